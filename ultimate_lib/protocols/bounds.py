"""How much a request can use at most, before it is sent: an upper bound of its input tokens, and what has no bound.

A token is at least one byte, so the body's bytes bound its text; pictures count by their largest size instead of
their base64, and what a provider adds itself (tool prompts) is added. Documents may fill the model's context. What a
provider looks up on its own (server tools, stored conversations) has no bound and is named.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from ultimate_lib.protocols import body as look

if TYPE_CHECKING:
    from ultimate_lib.protocols.facts import RequestFacts

_PICTURE_TOKENS = 6_000  # Anthropic: at most 4,784 for the newest models; OpenAI: 2,500 (vendors' vision pages)
_SMALL_GPT_PICTURE_TOKENS = 50_000  # gpt-4o-mini: 2,833 and 5,667 for each of at most 8 tiles
_DOCUMENT_TOKENS = 1_000_000  # the largest context that takes documents
_TOOL_PROMPT_TOKENS = 1_000  # docs.anthropic.com, Tool use, Pricing: at most 804 a call
_TYPED_TOOL_TOKENS = 1_000  # and for each tool that Anthropic defines at most 735
_FRAME_TOKENS = 64
_MARKS = (b'"image', b'"document"', b'"file"', b'"input_')
_CLIENT_TOOLS = ("custom", "function", "bash_", "text_editor_", "computer_", "memory_")  # run by the client
_PICTURES = frozenset({"image", "image_url", "input_image"})
_DOCUMENTS = frozenset({"document", "file", "input_file", "container_upload"})
_UNBOUND = {
    "web_search_options": "it searches the web",
    "search_parameters": "it searches the web",
    "mcp_servers": "it calls MCP servers",
    "plugins": "it uses plugins",
    "prediction": "predicted output is billed beside max_tokens",
    "previous_response_id": "it continues a stored conversation",
    "speed": "its speed has a price of its own",
    "inference_geo": "its place has a price of its own",
}


_TELLING = frozenset({*_UNBOUND, "service_tier", "audio", "modalities"})
_members: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Bounds(msgspec.Struct, frozen=True):
    """`input_tokens` is at least what the request can be billed for as input; `unbound` says why nothing can."""

    input_tokens: int
    unbound: str | None = None
    tier: str | None = None
    caches: bool = False
    caches_hour: bool = False
    sound: bool = False


def bounds(body: bytes, facts: RequestFacts, model: str) -> Bounds:
    """Return the bounds of a request whose body is valid JSON of its protocol; `model` is the one it goes to."""
    plain = body
    shown = facts.has_images or facts.has_documents
    if b"\\u00" in body:  # a key may be spelled with escapes
        plain = msgspec.json.encode(msgspec.json.decode(body))
        shown = any(mark in plain for mark in _MARKS)
    size = max(len(body), len(plain)) + _FRAME_TOKENS
    unbound = "a maximum in it is no number" if facts.odd_counts else None
    sound, tier = b'"input_audio"' in plain, None
    members = _members.decode(plain)
    if not _TELLING.isdisjoint(members):
        given = {key: value for key, value in members.items() if value != b"null"}
        unbound = next((reason for key, reason in _UNBOUND.items() if key in given), unbound)
        sound = sound or "audio" in given or "modalities" in given
        tier = _text(given["service_tier"]) if "service_tier" in given else None
    if facts.tool_count:
        typed, server = _tools(facts.prefix)
        size += _TOOL_PROMPT_TOKENS + typed * _TYPED_TOOL_TOKENS
        unbound = f"the provider runs the tool '{server}' itself" if server else unbound
    if shown or b'"container_upload"' in plain:
        size += _media(plain, model, encoded=not sound)
    caches = b'"cache_control"' in plain
    return Bounds(
        input_tokens=size,
        unbound=unbound,
        tier=tier,
        caches=caches or not model.startswith("claude"),  # others may write to a cache unasked
        caches_hour=caches and b'"ttl"' in plain,
        sound=sound,
    )


def _tools(prefix: bytes) -> tuple[int, str]:
    """Return how many tools have a type of the provider's, and the first that the provider itself runs."""
    try:
        tools, _ = json.JSONDecoder().raw_decode(prefix.decode())  # the one decoder that stops where a value ends
    except (ValueError, *look.UNREADABLE):
        return 0, "?"
    typed, server = 0, ""
    for tool in tools:
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str):
            typed += 1
            if not kind.startswith(_CLIENT_TOOLS):
                server = server or kind[:64]
    return typed, server


def _text(raw: msgspec.Raw) -> str:
    told = msgspec.json.decode(raw)
    return told if isinstance(told, str) else "?"


def _media(plain: bytes, model: str, *, encoded: bool) -> int:
    """Return what pictures and documents add to the bytes, which may be less than nothing for base64."""
    a_picture = _SMALL_GPT_PICTURE_TOKENS if "4o-mini" in model else _PICTURE_TOKENS
    added = 0
    told = msgspec.json.decode(plain)
    messages = told.get("messages") if isinstance(told, dict) else None
    for message in messages if isinstance(messages, list) else ():
        for block in _blocks(message):
            kind = block.get("type")
            if kind in _PICTURES:
                added += a_picture - (_base64(block) if encoded else 0)
            elif kind in _DOCUMENTS:
                added += _DOCUMENT_TOKENS
    return added


def _blocks(message: Any) -> list[dict[str, Any]]:
    content = message.get("content") if isinstance(message, dict) else None
    found = []
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict):
            found.append(block)
            if block.get("type") == "tool_result":
                found += _blocks(block)
    return found


def _base64(block: dict[str, Any]) -> int:
    """Return how many bytes of a picture's block are base64."""
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "base64":
        data = source.get("data")
        return len(data) if isinstance(data, str) else 0
    link = block.get("image_url")
    url = link.get("url") if isinstance(link, dict) else link
    return len(url) if isinstance(url, str) and url.startswith("data:image/") else 0
