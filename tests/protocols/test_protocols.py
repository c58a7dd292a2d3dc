"""Bytes to meaning and back, for bodies and streams as clients and providers really send them."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultimate_lib import protocols
from ultimate_lib.errors import Invalid
from ultimate_lib.protocols import anthropic_messages, openai_chat
from ultimate_lib.protocols.sse import MOST_HELD_BYTES, Holder

BOTH = [anthropic_messages, openai_chat]


def body(**members: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}).encode()


def test_protocols_are_found_by_name_and_path() -> None:
    assert protocols.for_path("/v1/messages") is protocols.by_name("anthropic-messages")
    assert protocols.for_path("/v1/chat/completions") is protocols.by_name("openai-chat")
    assert protocols.for_path("/v1/elsewhere") is None


def test_anthropic_request_facts() -> None:
    facts = anthropic_messages.read_request(
        body(
            model="claude-sonnet-4-5",
            stream=True,
            max_tokens=1e3,
            system="Be brief.",
            tools=[{"name": "a"}],
            metadata={"user_id": "u-1"},
            unknown={"kept": True},
            messages=[{"role": "user", "content": [{"type": "image", "source": {"data": "x"}}]}],
        )
    )
    assert (facts.model, facts.stream, facts.max_tokens) == ("claude-sonnet-4-5", True, 1000)
    assert (facts.message_count, facts.tool_count, facts.has_system) == (1, 1, True)
    assert (facts.has_images, facts.has_documents, facts.end_user) == (True, False, "u-1")
    assert b'"name": "a"' in facts.prefix
    assert b"Be brief." in facts.prefix


def test_openai_request_facts() -> None:
    facts = openai_chat.read_request(
        body(
            max_completion_tokens=50,
            n=2,
            user="u-2",
            stream=True,
            stream_options={"include_usage": True},
            messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
        )
    )
    assert (facts.max_tokens, facts.choices, facts.end_user, facts.asked_usage) == (50, 2, "u-2", True)
    assert (facts.message_count, facts.has_system, facts.tool_count) == (2, True, None)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("wrong", [b"", b"[]", b"{", b'{"messages":[]}', b'{"model":3}', b'{"model":"m"}x', b"\xff"])
def test_a_body_that_is_no_request_is_refused(protocol: protocols.Protocol, wrong: bytes) -> None:
    with pytest.raises(Invalid):
        protocol.read_request(wrong)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    "twice",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","messages":[],"mod\\u0065l":"b"}',
        b'{"max_tokens":1,"model":"a","max_tokens":2}',
        b'{"stream":false,"model":"a","x":{"stream":true},"stream" : true}',
        b'{"n":1,"model":"a","n":9}',
    ],
)
def test_a_repeated_deciding_key_is_refused(protocol: protocols.Protocol, twice: bytes) -> None:
    with pytest.raises(Invalid, match="twice"):
        protocol.read_request(twice)


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    "once",
    [
        b'{"tools":[{"model":"x","stream":1,"n":[{"n":2}]}],"model" : "a\\"b","stream":true,"z":"model"}',
        b'{"a":"\\\\","mod\\u0065l":"a\\"b","stream":true,"tools":[{"model":"}]"}]}',
        b'{"messages":[{"content":"say \\"model\\": \\"x\\""}],"stream":true,"model":"a\\"b"}',
    ],
)
def test_keys_deeper_down_are_not_the_requests_own(protocol: protocols.Protocol, once: bytes) -> None:
    facts = protocol.read_request(once)
    assert facts.model == 'a"b'
    assert once[slice(*facts.model_span)] == b'"a\\"b"'
    prepared = protocol.prepare(once, facts, model="other", stream_usage="native")
    assert json.loads(prepared) == {**json.loads(once), "model": "other"}


@pytest.mark.parametrize("protocol", BOTH)
def test_a_body_that_needs_no_change_is_the_same_object(protocol: protocols.Protocol) -> None:
    sent = body(stream=True, stream_options={"include_usage": True})
    facts = protocol.read_request(sent)
    assert protocol.prepare(sent, facts, model="m", stream_usage="inject") is sent


@pytest.mark.parametrize(
    "options", [None, {"include_usage": False}, {"include_obfuscation": False}, "absent"], ids=str
)
def test_the_usage_chunk_is_asked_for(options: object) -> None:
    sent = body(stream=True) if options == "absent" else body(stream=True, stream_options=options)
    facts = openai_chat.read_request(sent)
    got = json.loads(openai_chat.prepare(sent, facts, model="m2", stream_usage="inject"))
    wanted = json.loads(sent)
    kept = wanted.get("stream_options") or {}
    assert got == {**wanted, "model": "m2", "stream_options": {**kept, "include_usage": True}}
    assert json.loads(openai_chat.prepare(sent, facts, model="m", stream_usage="none")) == wanted


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("most", [10**19, 10**30, 1e300, -1, 10**12 + 1])
def test_a_count_that_no_column_can_hold_is_none(protocol: protocols.Protocol, most: float) -> None:
    assert protocol.read_request(body(max_tokens=most)).max_tokens is None
    told = {"id": "x", "model": "m", "usage": {"prompt_tokens": most, "input_tokens": most, "cost": most}}
    usage = protocol.read_response(json.dumps(told).encode()).usage
    assert usage is None or (usage.input_tokens is None and usage.cost_nano_usd is None)


def test_an_estimate_is_the_same_however_letters_are_written() -> None:
    told = {
        "model": "m",
        "messages": [{"role": "user", "content": "Съешь ещё этих мягких французских булок. " * 100}],
    }
    plain, escaped = (
        openai_chat.read_request(json.dumps(told, ensure_ascii=ascii_only).encode()).input_estimate
        for ascii_only in (False, True)
    )
    assert plain == pytest.approx(escaped, rel=0.05)
    windows = json.dumps({**told, "messages": [{"role": "user", "content": "C:\\u" * 1000}]}).encode()
    assert openai_chat.read_request(windows).input_estimate >= len(windows) // 12


def test_estimates_leave_base64_out() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    plain = openai_chat.read_request(body(messages=[{"role": "user", "content": "word " * 400}]))
    seen = openai_chat.read_request(body(messages=[{"role": "user", "content": [picture]}]))
    assert 400 <= plain.input_estimate <= 600
    assert 1500 <= seen.input_estimate <= 1700


def anthropic_stream() -> bytes:
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "role": "assistant", "usage": {
            "input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens": 1, "service_tier": "standard"}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "message_ of tokens "}}
          for _ in range(5)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {
            "output_tokens": 42, "server_tool_use": {"web_search_requests": 2}}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def openai_stream(*, ending: str = "\n") -> tuple[bytes, bytes]:
    """Return a stream and the one event of it that tells usage alone."""
    head = {"id": "chatcmpl-1", "model": "gpt-x"}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None},
        *({**head, "choices": [{"index": 0, "delta": {"content": "four tok of text "}}]} for _ in range(5)),
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    usage = {**head, "choices": [], "usage": {
        "prompt_tokens": 130, "completion_tokens": 42, "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 7}, "cost": 0.000123456}}  # fmt: skip
    event = [f"data: {json.dumps(chunk)}{ending}{ending}".encode() for chunk in [*chunks, usage]]
    done = f"data: [DONE]{ending}{ending}".encode()
    return b"".join([*event, done]), event[-1]


def through(watch: protocols.StreamWatch, data: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    passed = b""
    for start, end in pairwise(edges):
        passed += watch.feed(data[start:end])
        if not watch.terminal:
            assert b"[DONE]" not in passed
            assert b"event: message_stop" not in passed
    return passed + watch.finish()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_an_anthropic_stream_passes_unchanged_and_is_understood(cuts: list[int]) -> None:
    data = anthropic_stream()
    watch = anthropic_messages.watch(anthropic_messages.read_request(body()), withhold_usage=True)
    assert through(watch, data, cuts) == data
    usage = watch.facts.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (140, 42, 100)
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (20, 10)
    assert (usage.server_tool_requests, usage.service_tier) == (2, "standard")
    assert (watch.facts.upstream_id, watch.facts.model_served) == ("msg_1", "claude-x")
    assert (watch.facts.finish_reason, watch.terminal, watch.first_token) == ("end_turn", True, True)
    assert 5 <= watch.output_estimate <= 60


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=40), st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_an_openai_stream_loses_only_the_usage_event(cuts: list[int], withhold: bool, ending: str) -> None:
    data, usage_event = openai_stream(ending=ending)
    watch = openai_chat.watch(openai_chat.read_request(body()), withhold_usage=withhold)
    passed = through(watch, data, cuts)
    wanted = data.replace(usage_event, b"") if withhold else data
    assert passed.replace(b"\r", b"").replace(b"\n", b"") == wanted.replace(b"\r", b"").replace(b"\n", b"")
    if ending != "\r\n" or not withhold:
        assert passed == wanted
    usage = watch.facts.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (130, 42, 100)
    assert (usage.reasoning_tokens, usage.cost_nano_usd) == (7, 123_456)
    assert (watch.facts.finish_reason, watch.terminal, watch.first_token) == ("stop", True, True)
    assert 5 <= watch.output_estimate <= 60


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"\n\n", b"\r\n", b"data: {"])))
def test_whatever_comes_passes_unchanged(chunks: list[bytes]) -> None:
    for protocol in BOTH:
        watch = protocol.watch(protocol.read_request(body()), withhold_usage=False)
        assert b"".join(watch.feed(chunk) for chunk in chunks) + watch.finish() == b"".join(chunks)


def test_usage_on_the_last_choice_is_not_withheld() -> None:
    chunk = b'data: {"id":"1","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}\n\n'
    watch = openai_chat.watch(openai_chat.read_request(body()), withhold_usage=True)
    assert watch.feed(chunk) == chunk
    assert watch.facts.usage is not None


def test_an_event_without_end_does_not_grow_memory() -> None:
    holder = Holder()
    passed = 0
    for _ in range(300):
        passed += len(holder.feed(b"x" * 10_000))
    assert passed >= 3_000_000 - MOST_HELD_BYTES - 10_000
    assert len(holder._held) <= MOST_HELD_BYTES


def test_errors_in_the_middle_of_a_stream_are_seen() -> None:
    watch = anthropic_messages.watch(anthropic_messages.read_request(body()), withhold_usage=False)
    watch.feed(anthropic_messages.error_event(529, "x", "busy", "req"))
    assert (watch.facts.error_type, watch.terminal) == ("overloaded_error", False)
    chat = openai_chat.watch(openai_chat.read_request(body()), withhold_usage=False)
    chat.feed(openai_chat.error_event(500, "x", "broken", "req"))
    assert (chat.facts.error_type, chat.terminal) == ("server_error", False)


def test_whole_answers() -> None:
    facts = anthropic_messages.read_response(
        b'{"id":"msg_2","model":"c","stop_reason":"max_tokens","usage":{"input_tokens":3,"cache_creation_input_tokens":12304,"output_tokens":550}}'
    )
    assert facts.usage is not None
    assert (facts.usage.input_tokens, facts.usage.cache_write_5m_tokens) == (12307, 12304)
    assert facts.finish_reason == "max_tokens"
    facts = openai_chat.read_response(b'{"error":{"type":"insufficient_quota","code":"x"}}')
    assert (facts.error_type, facts.usage) == ("insufficient_quota", None)
    for protocol in BOTH:
        assert protocol.read_response(b"<html>").usage is None


@pytest.mark.parametrize(
    ("status", "anthropic", "openai"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (404, "not_found_error", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (503, "api_error", "server_error"),
        (529, "overloaded_error", "server_error"),
    ],
)
def test_error_envelopes(status: int, anthropic: str, openai: str) -> None:
    told = json.loads(anthropic_messages.error_body(status, "code", "what", "req-1"))
    assert told == {"type": "error", "error": {"type": anthropic, "message": "what"}, "request_id": "req-1"}
    told = json.loads(openai_chat.error_body(status, "code", "what", "req-1"))
    assert told["error"] == {"message": "what", "type": openai, "param": None, "code": "code"}


@pytest.mark.parametrize("count", ["1e30", "1e308", "9223372036854775808", "99999999999999999999999", "-1"])
def test_a_count_beyond_reason_is_unknown(count: str) -> None:
    number = count.encode()
    for protocol in BOTH:
        assert protocol.read_request(b'{"model":"m","max_tokens":%b}' % number).max_tokens is None
    told = anthropic_messages.read_response(
        b'{"usage":{"input_tokens":%b,"output_tokens":5,"server_tool_use":{"web_search_requests":%b}}}'
        % (number, number)
    )
    assert told.usage is not None
    assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.server_tool_requests) == (None, 5, None)
    told = openai_chat.read_response(b'{"usage":{"prompt_tokens":%b,"cost":%b}}' % (number, number))
    assert told.usage is not None
    assert (told.usage.input_tokens, told.usage.cost_nano_usd) == (None, None)


def test_more_server_tool_requests_than_the_column_holds_are_unknown() -> None:
    told = anthropic_messages.read_response(b'{"usage":{"server_tool_use":{"web_search_requests":4000000000}}}')
    assert told.usage is not None
    assert told.usage.server_tool_requests is None


def test_what_is_nested_too_deeply_is_told_or_left_unread() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for protocol in BOTH:
        with pytest.raises(Invalid, match="request"):
            protocol.read_request(b'{"model":"m","messages":%b}' % deep)
        assert protocol.read_response(b'{"id":"x","content":%b,"choices":%b}' % (deep, deep)).upstream_id is None
        watch = protocol.watch(protocol.read_request(body(stream=True)), withhold_usage=False)
        event = b'data: {"type":"message_start","usage":{},"message":%b}\n\n' % deep
        assert watch.feed(event) == event


@pytest.mark.parametrize("options", ["{}", "null", '{"include_usage": false}'])
def test_the_usage_is_asked_for_at_the_top_level_alone(options: str) -> None:
    nested = f'"metadata":{{"stream_options":{options}}}'
    sent = f'{{"model":"m","stream":true,"stream_options": {options},{nested}}}'.encode()
    got = openai_chat.prepare(sent, openai_chat.read_request(sent), model="m", stream_usage="inject")
    assert json.loads(got)["stream_options"] == {"include_usage": True}
    assert got.endswith(nested.encode() + b"}")
