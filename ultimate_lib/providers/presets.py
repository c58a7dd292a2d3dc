"""Providers known by name: data, not code. A new one is an entry here, or an entry point `ultimate_proxy.provider`.

`key_variables` are read in order; the first that is set switches the preset on. Addresses are written
as the protocol's own client takes them: with `/v1` (or what stands for it) for OpenAI's, without for Anthropic's.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Auth = Literal["bearer", "x-api-key", "api-key", "client", "none"]
StreamUsage = Literal["inject", "native", "none"]
Billing = Literal["metered", "subscription", "local"]


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a provider before anyone configures it."""

    name: str
    protocol: str
    base_url: str  # empty: must be configured
    auth: Auth = "bearer"
    key_variables: tuple[str, ...] = ()
    price_id: str = ""  # provider id in the price list
    stream_usage: StreamUsage = "inject"
    billing: Billing = "metered"


PRESETS: tuple[Preset, ...] = (
    Preset(
        name="anthropic", protocol="anthropic-messages", base_url="https://api.anthropic.com", auth="x-api-key",
        key_variables=("ANTHROPIC_API_KEY",), price_id="anthropic", stream_usage="native",
    ),
    Preset(
        name="openai", protocol="openai-chat", base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",), price_id="openai",
    ),
    Preset(
        name="openrouter", protocol="openai-chat", base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY",), price_id="openrouter",
    ),
    Preset(
        name="gemini", protocol="openai-chat", base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"), price_id="google",
    ),
    Preset(
        name="azure-openai", protocol="openai-chat", base_url="", auth="api-key",
        key_variables=("AZURE_OPENAI_API_KEY",), price_id="azure",
    ),
    Preset(
        name="groq", protocol="openai-chat", base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",), price_id="groq",
    ),
    Preset(
        name="mistral", protocol="openai-chat", base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",), price_id="mistral", stream_usage="native",
    ),
    Preset(
        name="deepseek", protocol="openai-chat", base_url="https://api.deepseek.com/v1",
        key_variables=("DEEPSEEK_API_KEY",), price_id="deepseek",
    ),
    Preset(
        name="together", protocol="openai-chat", base_url="https://api.together.xyz/v1",
        key_variables=("TOGETHER_API_KEY",), price_id="together",
    ),
    Preset(
        name="fireworks", protocol="openai-chat", base_url="https://api.fireworks.ai/inference/v1",
        key_variables=("FIREWORKS_API_KEY",), price_id="fireworks",
    ),
    Preset(
        name="xai", protocol="openai-chat", base_url="https://api.x.ai/v1",
        key_variables=("XAI_API_KEY",), price_id="x-ai",
    ),
    Preset(
        name="cerebras", protocol="openai-chat", base_url="https://api.cerebras.ai/v1",
        key_variables=("CEREBRAS_API_KEY",), price_id="cerebras",
    ),
    Preset(name="ollama", protocol="openai-chat", base_url="http://127.0.0.1:11434/v1", auth="none", billing="local"),
    Preset(name="vllm", protocol="openai-chat", base_url="http://127.0.0.1:8000/v1", auth="none", billing="local"),
    Preset(
        name="lmstudio", protocol="openai-chat", base_url="http://127.0.0.1:1234/v1", auth="none", billing="local",
    ),
    Preset(
        name="bedrock", protocol="anthropic-messages", base_url="",
        key_variables=("AWS_BEARER_TOKEN_BEDROCK",), price_id="aws", stream_usage="native",
    ),
    Preset(name="demo", protocol="any", base_url="", auth="none", price_id="demo"),
)  # fmt: skip
