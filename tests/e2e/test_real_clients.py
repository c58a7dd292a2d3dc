"""The real anthropic and openai packages through the port: each call one row, right to token and nano-dollar."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import anthropic
import openai
import polars as pl
import pytest

from tests.harness import Running, start_proxy
from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.settings import load

CLAUDE = "demo/claude-sonnet-4-5"
GPT = "demo/gpt-4o-mini"
# USD per million tokens, written out here by hand: 1,000 nano-dollars a token are 1 USD per million tokens.
CLAUDE_INPUT, CLAUDE_READ, CLAUDE_WRITE_5M, CLAUDE_OUTPUT = 3_000, 300, 3_750, 15_000
GPT_INPUT, GPT_READ, GPT_OUTPUT = 150, 75, 600


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("proxy")) as running:
        yield running


_clients: list[anthropic.Anthropic | openai.OpenAI] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close the clients of a test, whose connections would otherwise be left to the garbage collector."""
    yield
    while _clients:
        _clients.pop().close()


def claude(proxy: Running, key: str) -> anthropic.Anthropic:
    client = anthropic.Anthropic(base_url=proxy.url, api_key=key, max_retries=0)
    _clients.append(client)
    return client


def gpt(proxy: Running, key: str) -> openai.OpenAI:
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=key, max_retries=0)
    _clients.append(client)
    return client


def script(**told: object) -> str:
    return f"Please answer. script: {json.dumps(told)}"


def row_of(proxy: Running, call_id: str) -> dict[str, object]:
    """Read the one row of a call the way any reader does; visible within a second or so."""
    lake = Lake.open(load(environ={}, overrides={"data.folder": str(proxy.data_dir)}), SystemClock())
    now = datetime.now(UTC)
    until = time.monotonic() + 10
    while True:
        rows = (
            scan_calls(lake, now - timedelta(hours=1), now + timedelta(hours=1))
            .filter(pl.col("call_id") == call_id)
            .collect()
        )
        if rows.height or time.monotonic() > until:
            assert rows.height == 1
            return rows.to_dicts()[0]
        time.sleep(0.1)


def test_anthropic_plain(proxy: Running) -> None:
    client = claude(proxy, proxy.key)
    raw = client.messages.with_raw_response.create(
        model=CLAUDE,
        max_tokens=400,
        system="Be brief.",
        messages=[{"role": "user", "content": script(input_tokens=123, output_tokens=45)}],
        extra_headers={"x-ultimate-project": "search", "x-ultimate-tags": "run=7,stage=test"},
    )
    message = raw.parse()
    assert (message.usage.input_tokens, message.usage.output_tokens) == (123, 45)
    row = row_of(proxy, raw.headers["x-ultimate-call-id"])
    expected = 123 * CLAUDE_INPUT + 45 * CLAUDE_OUTPUT
    assert row["upstream_id"] == message.id
    assert (row["input_tokens"], row["output_tokens"]) == (123, 45)
    assert row["cost_nano_usd"] == expected
    assert float(raw.headers["x-ultimate-cost-usd"]) * 1e9 == pytest.approx(expected, abs=0.5)
    assert (row["status"], row["http_status"], row["stream"]) == ("ok", 200, False)
    assert (row["protocol_in"], row["endpoint"]) == ("anthropic-messages", "/v1/messages")
    assert (row["project"], sorted(row["tags"])) == ("search", ["run=7", "stage=test"])
    assert (row["max_tokens"], row["has_system"], row["message_count"]) == (400, True, 1)
    assert row["usage_source"] == "provider"
    assert row["finish_reason"] == message.stop_reason


def test_anthropic_stream_with_cache(proxy: Running) -> None:
    client = claude(proxy, proxy.key)
    told = script(input_tokens=500, cache_read_tokens=2000, cache_write_tokens=300, output_tokens=64, chunks=8)
    with client.messages.stream(model=CLAUDE, max_tokens=400, messages=[{"role": "user", "content": told}]) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
        call_id = stream.response.headers["x-ultimate-call-id"]
    assert text
    row = row_of(proxy, call_id)
    assert message.usage.output_tokens == row["output_tokens"] == 64
    assert row["input_tokens"] == 500 + 2000 + 300, "inclusive of cache"
    assert (row["cache_read_tokens"], row["cache_write_5m_tokens"]) == (2000, 300)
    parts = (500 * CLAUDE_INPUT, 2000 * CLAUDE_READ, 300 * CLAUDE_WRITE_5M, 64 * CLAUDE_OUTPUT)
    named = ("input_cost", "cache_read_cost", "cache_write_cost", "output_cost")
    assert tuple(row[f"{name}_nano_usd"] for name in named) == parts
    assert row["cost_nano_usd"] == sum(parts)
    assert row["stream"] is True
    assert 0 <= row["ttft_ms"] <= row["duration_ms"]


def test_openai_plain(proxy: Running) -> None:
    client = gpt(proxy, proxy.key)
    raw = client.chat.completions.with_raw_response.create(
        model=GPT,
        messages=[{"role": "user", "content": script(input_tokens=1000, cache_read_tokens=400, output_tokens=30)}],
        user="customer-9",
    )
    answer = raw.parse()
    assert answer.usage is not None
    row = row_of(proxy, raw.headers["x-ultimate-call-id"])
    assert row["input_tokens"] == answer.usage.prompt_tokens
    assert row["output_tokens"] == answer.usage.completion_tokens == 30
    assert row["cache_read_tokens"] == 400
    uncached = row["input_tokens"] - 400
    assert row["cost_nano_usd"] == uncached * GPT_INPUT + 400 * GPT_READ + 30 * GPT_OUTPUT
    assert (row["end_user"], row["protocol_in"]) == ("customer-9", "openai-chat")


@pytest.mark.parametrize("asked", [True, False])
def test_openai_stream_withholds_usage_that_was_not_asked_for(proxy: Running, asked: bool) -> None:
    client = gpt(proxy, proxy.key)
    options = {"stream_options": {"include_usage": True}} if asked else {}
    with client.chat.completions.with_streaming_response.create(
        model=GPT,
        stream=True,
        messages=[{"role": "user", "content": script(input_tokens=77, output_tokens=21, chunks=5)}],
        **options,
    ) as raw:
        call_id = raw.headers["x-ultimate-call-id"]
        chunks = list(raw.parse())
    assert any(chunk.usage for chunk in chunks) is asked
    row = row_of(proxy, call_id)
    assert (row["input_tokens"], row["output_tokens"]) == (77, 21)
    assert row["cost_nano_usd"] == 77 * GPT_INPUT + 21 * GPT_OUTPUT


def test_errors_are_the_clients_own(proxy: Running) -> None:
    wrong_key = "cp_" + "x" * 43
    with pytest.raises(anthropic.AuthenticationError):
        claude(proxy, wrong_key).messages.create(
            model=CLAUDE, max_tokens=5, messages=[{"role": "user", "content": "hi"}]
        )
    with pytest.raises(openai.AuthenticationError):
        gpt(proxy, wrong_key).chat.completions.create(model=GPT, messages=[{"role": "user", "content": "hi"}])
    client = claude(proxy, proxy.key)
    with pytest.raises(anthropic.NotFoundError, match="demo"):
        client.messages.create(model="nobody/has-this", max_tokens=5, messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(anthropic.RateLimitError) as limited:
        client.messages.create(
            model=CLAUDE, max_tokens=5, messages=[{"role": "user", "content": script(status=429, retry_after=7)}]
        )
    assert limited.value.response.headers["retry-after"] == "7"
    row = row_of(proxy, limited.value.response.headers["x-ultimate-call-id"])
    assert (row["status"], row["http_status"], row["cost_nano_usd"]) == ("error", 429, None)


def test_the_rest_interface_tells_the_same_sums(proxy: Running) -> None:
    client = gpt(proxy, proxy.key)
    for _ in range(3):
        client.chat.completions.create(
            model=GPT,
            messages=[{"role": "user", "content": script(input_tokens=10, output_tokens=20)}],
            extra_headers={"x-ultimate-project": "sums"},
        )
    until = time.monotonic() + 10
    while True:
        answer = proxy.get("/api/analytics/aggregate?metrics=requests,cost_usd,input_tokens&filter=project:sums")
        total = answer["rows"][0] if answer["rows"] else {}
        if total.get("requests") == 3 or time.monotonic() > until:
            break
        time.sleep(0.1)
    assert (total["requests"], total["input_tokens"]) == (3, 30)
    assert total["cost_usd"] == pytest.approx(3 * (10 * GPT_INPUT + 20 * GPT_OUTPUT) / 1e9, rel=1e-12)
