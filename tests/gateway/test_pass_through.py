"""Bytes pass unchanged in both directions, and what they cost is read along the way."""

from __future__ import annotations

import gzip
import json
import random

import pytest

from tests.fakes.scripted import Scripted, answer, stream
from tests.gateway.gateways import ANTHROPIC, CLAUDE, GPT, OPENAI, PATHS, Gateway, Raw, ask
from ultimate_lib import demo

SCRIPTED = {"input_tokens": 321, "output_tokens": 40, "cache_read_tokens": 100, "chunks": 7}
# USD per million tokens are nano-dollars per thousandth of a token: 3 USD are 3,000 nano-dollars a token.
CLAUDE_COST = 321 * 3_000 + 100 * 300 + 40 * 15_000
GPT_COST = 321 * 150 + 100 * 75 + 40 * 600


def scripted_answer(protocol: str, *, streamed: bool, asked: bool = True) -> bytes:
    """Return the bytes of the demo provider's answer."""
    body = ask(protocol, stream=streamed, messages=[{"role": "user", "content": f"script: {json.dumps(SCRIPTED)}"}])
    if streamed and asked:
        body["stream_options"] = {"include_usage": True}
    told = demo.answer(PATHS[protocol], json.dumps(body).encode(), "msg_01")
    return b"".join(data for _, data in told.pieces)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_an_answer_passes_and_its_row_is_right_to_the_nano_dollar(
    gateway: Gateway, upstream: Scripted, protocol: str, streamed: bool
) -> None:
    told = scripted_answer(protocol, streamed=streamed)
    upstream.script = stream([told[i : i + 50] for i in range(0, len(told), 50)]) if streamed else answer(told)
    extra: dict[str, object] = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    sent = json.dumps(ask(protocol, **extra), indent=1).encode()
    got = gateway.post(PATHS[protocol], sent)
    assert got.body == told
    assert upstream.requests[-1].body == sent
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (421, 40, 100)
    cost = CLAUDE_COST if protocol == "anthropic" else GPT_COST
    assert row.cost_nano_usd == cost
    parts = (row.input_cost_nano_usd, row.cache_read_cost_nano_usd, row.cache_write_cost_nano_usd)
    assert sum(part or 0 for part in (*parts, row.output_cost_nano_usd, row.other_cost_nano_usd)) == cost
    assert (row.usage_source, row.cost_source, row.cache_hit) == ("provider", "table", True)
    assert (row.status, row.http_status, row.stream, row.attempts) == ("ok", 200, streamed, 1)
    assert (row.request_bytes, row.response_bytes) == (len(sent), len(told))
    assert (row.upstream_id, row.source, row.billing) == ("msg_01", "proxy", "metered")
    assert row.model_requested == row.model_routed == row.model_served == (CLAUDE if protocol == "anthropic" else GPT)
    assert row.provider == row.deployment == protocol
    assert row.protocol_in == row.protocol_out
    assert row.finish_reason == ("end_turn" if protocol == "anthropic" else "stop")
    assert row.duration_ms is not None
    assert row.upstream_ms is not None
    assert row.overhead_ms is not None
    assert 0 <= row.overhead_ms < row.duration_ms + 1
    assert (row.ttft_ms is not None) is streamed
    assert row.request_hash is not None
    assert row.message_count == 1
    if not streamed:
        assert got.headers["x-ultimate-cost-usd"] == f"{cost / 1e9:.9f}"


def test_the_usage_chunk_is_withheld_from_those_who_did_not_ask(gateway: Gateway, upstream: Scripted) -> None:
    told = scripted_answer("openai", streamed=True)
    upstream.script = stream([told[i : i + 61] for i in range(0, len(told), 61)])
    got = gateway.post(OPENAI, ask("openai", stream=True))
    assert b'"usage"' not in got.body
    events = told.split(b"\n\n")
    assert got.body == b"\n\n".join(event for event in events if b'"usage"' not in event)
    assert json.loads(upstream.requests[-1].body)["stream_options"] == {"include_usage": True}
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.input_tokens, row.cost_nano_usd) == (421, GPT_COST)


def test_a_model_is_renamed_in_place(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    sent = b'{ "max_tokens":5 ,"model" : "anthropic/claude-sonnet-4-5", "messages":[], "x\\u0041":1 }'
    got = gateway.post(ANTHROPIC, sent)
    assert upstream.requests[-1].body == sent.replace(b"anthropic/", b"")
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.model_requested, row.model_routed) == (f"anthropic/{CLAUDE}", CLAUDE)


def test_the_query_goes_along(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(scripted_answer("anthropic", streamed=False))
    gateway.post(f"{ANTHROPIC}?beta=true&x=%20%2F", ask("anthropic"))
    assert upstream.requests[-1].path == "/v1/messages?beta=true&x=%20%2F"


def test_what_is_compressed_all_the_same_passes_and_is_read(gateway: Gateway, upstream: Scripted) -> None:
    told = scripted_answer("anthropic", streamed=False)
    packed = gzip.compress(told)
    upstream.script = answer(packed, 200, "content-encoding: gzip")
    got = gateway.post(ANTHROPIC, ask("anthropic"))
    assert (got.body, got.headers["content-encoding"]) == (packed, "gzip")
    assert gateway.row(got.headers["x-ultimate-call-id"]).cost_nano_usd == CLAUDE_COST
    assert upstream.requests[-1].header("accept-encoding") == "identity"
    streamed = gzip.compress(scripted_answer("openai", streamed=True))
    upstream.script = stream([streamed[i : i + 30] for i in range(0, len(streamed), 30)], "content-encoding: gzip")
    got = gateway.post(OPENAI, ask("openai", stream=True))
    assert got.body == streamed
    assert gateway.row(got.headers["x-ultimate-call-id"]).cost_nano_usd == GPT_COST


@pytest.mark.parametrize("protocol", ["anthropic", "openai"])
def test_f12_broken_streams_pass_byte_for_byte(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    """A sample of the full fuzz: broken JSON, SSE, UTF-8 and gzip, unknown events, frames split anywhere."""
    chance = random.Random(f"f12 {protocol}")
    for number in range(120):
        told = broken(chance, scripted_answer(protocol, streamed=True))
        packed = number % 10 == 9
        if packed:
            told = gzip.compress(told)
            cut = chance.randrange(len(told))
            told = told[:cut] + chance.randbytes(5) + told[cut:]
        pieces = split(chance, told)
        upstream.script = stream(pieces, *(["content-encoding: gzip"] if packed else []))
        extra = {"stream_options": {"include_usage": True}} if protocol == "openai" else {}
        got = gateway.post(PATHS[protocol], ask(protocol, stream=True, **extra))
        assert got.body == told, f"stream {number}"
        row = gateway.row(got.headers["x-ultimate-call-id"])
        assert row.status in {"ok", "error"}
        assert row.response_bytes == len(told)


def broken(chance: random.Random, told: bytes) -> bytes:
    """Damage a stream somewhere."""
    data = bytearray(told)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind == 0:
            data[at:at] = chance.randbytes(chance.randrange(1, 20))
        elif kind == 1:
            del data[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            data[at:at] = b"\n\nevent: never_heard_of\ndata: {\"x\": [1,\n\n"
        elif kind == 3:
            data[at:at] = b"\xff\xc3\x28\xed\xa0\x80"
        elif kind == 4:
            data[:] = data.replace(b"\n\n", chance.choice([b"\r\n\r\n", b"\r\r", b"\n\r\n"]))
        else:
            data[at:at] = b": comment\n\n:\n\n" + b"data: " + b"x" * chance.randrange(3000) + b"\n"
    return bytes(data)


def split(chance: random.Random, data: bytes) -> list[bytes]:
    pieces = []
    while data:
        size = chance.choice([1, 2, 3, 17, 200, 5000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def test_an_event_of_ten_megabytes_passes(gateway: Gateway, upstream: Scripted) -> None:
    event = b'data: {"choices":[{"delta":{"content":"' + b"x" * (10 * 1024 * 1024) + b'"}}]}\n\n'
    told = event + b"data: [DONE]\n\n"
    upstream.script = stream([told[i : i + 60_000] for i in range(0, len(told), 60_000)])
    got = gateway.post(OPENAI, ask("openai", stream=True))
    assert got.body == told
    assert gateway.row(got.headers["x-ultimate-call-id"]).status == "ok"


def test_a_whole_answer_too_large_to_hold_passes_with_an_estimate(gateway: Gateway, upstream: Scripted) -> None:
    told = b'{"choices":[{"message":{"content":"' + b"y" * (9 * 1024 * 1024) + b'"}}],"usage":{"prompt_tokens":3}}'
    upstream.script = answer(told)
    got = gateway.post(OPENAI, ask("openai"))
    assert got.body == told
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.status, row.usage_source, row.response_bytes) == ("ok", "estimated", len(told))


def test_error_answers_pass_unmodified(gateway: Gateway, upstream: Scripted, protocol: str) -> None:
    told = b'{"type":"error", "error" : {"type":"overloaded_error","message":"Busy"}}'
    for status in (400, 402, 403, 404, 422, 429, 500, 503, 529):
        upstream.script = answer(told, status, "retry-after: 17", "x-should-retry: false")
        got = gateway.post(PATHS[protocol], ask(protocol, stream=status % 2 == 0))
        assert (got.status, got.body, got.headers["retry-after"]) == (status, told, "17")
        row = gateway.row(got.headers["x-ultimate-call-id"])
        assert (row.status, row.http_status, row.error_type) == ("error", status, "overloaded_error")
        assert (row.cost_nano_usd, row.usage_source, row.input_tokens) == (None, "none", None)


def test_counting_tokens_passes_and_costs_nothing(gateway: Gateway, upstream: Scripted) -> None:
    upstream.script = answer(b'{"input_tokens": 77}')
    got = gateway.post("/v1/messages/count_tokens", ask("anthropic"))
    assert got.json == {"input_tokens": 77}
    assert upstream.requests[-1].path == "/v1/messages/count_tokens"
    row = gateway.row(got.headers["x-ultimate-call-id"])
    assert (row.operation, row.status, row.cost_nano_usd) == ("count_tokens", "ok", 0)
    assert (row.input_tokens, row.usage_source) == (None, "none")


def test_http_1_0_clients_get_plain_bodies(gateway: Gateway, upstream: Scripted) -> None:
    told = scripted_answer("anthropic", streamed=True)
    upstream.script = stream([told])
    body = json.dumps(ask("anthropic", stream=True)).encode()
    head = f"POST {ANTHROPIC} HTTP/1.0\r\nx-api-key: {gateway.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    seen = Raw(gateway.port, head + body).rest()
    assert seen.partition(b"\r\n\r\n")[2] == told
    assert b"chunked" not in seen.partition(b"\r\n\r\n")[0].lower()
