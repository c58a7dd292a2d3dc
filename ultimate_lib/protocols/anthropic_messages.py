"""Anthropic Messages: https://docs.anthropic.com/en/api/messages and /messages-streaming."""

from __future__ import annotations

from typing import Any

import msgspec

from ultimate_lib.errors import Invalid
from ultimate_lib.protocols import body as look
from ultimate_lib.protocols import sse
from ultimate_lib.protocols.errors import anthropic_error
from ultimate_lib.protocols.facts import RequestFacts, ResponseFacts
from ultimate_lib.protocols.telling import Telling
from ultimate_lib.records import Usage

name = "anthropic-messages"
path = "/v1/messages"
operation = "chat"

_FREE_TOOLS = frozenset({"web_fetch_requests"})  # costs its tokens alone (docs: Web fetch tool, Usage and pricing)
_MOST_REQUESTS = 10**9  # what its column holds; beyond that it is no count


class _Metadata(msgspec.Struct):
    user_id: Any = None


class _Request(Telling, kw_only=True):
    model: str
    stream: Any = None
    max_tokens: Any = None
    messages: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    metadata: Any = None


class _Usage(msgspec.Struct):
    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_creation: Any = None
    server_tool_use: Any = None
    service_tier: Any = None
    output_tokens_details: Any = None


class _Error(msgspec.Struct):
    type: Any = None


class _Message(msgspec.Struct):
    id: Any = None
    model: Any = None
    stop_reason: Any = None
    usage: _Usage | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    type: Any = None
    message: _Message | None = None
    delta: Any = None
    usage: _Usage | None = None
    error: _Error | None = None


_request = msgspec.json.Decoder(_Request)
_message = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_Event)


def read_request(body: bytes) -> RequestFacts:
    """Read a request body; see `Protocol.read_request`."""
    try:
        request = _request.decode(body)
    except look.UNREADABLE as error:
        raise Invalid(f"The request body is not a Messages request: {error}.", code="body") from error
    span = look.model_span(body)
    messages, tools = look.items(request.messages), look.items(request.tools)
    text = look.is_text(body)
    images, documents = (False, False) if text else look.media(body)
    metadata, most = request.metadata, look.whole(request.max_tokens)
    odd = request.max_tokens is not None and most is None
    return RequestFacts(
        model=request.model,
        model_span=span,
        plain=text and not (tools or odd or request.tells()),
        stream=request.stream is True,
        max_tokens=most,
        most_output=most,
        odd_counts=odd,
        message_count=None if messages is None else len(messages),
        tool_count=None if tools is None else len(tools),
        has_system=len(request.system) > len(b'""'),
        has_images=images,
        has_documents=documents,
        end_user=look.text(metadata.get("user_id")) if isinstance(metadata, dict) else None,
        input_estimate=look.estimate_tokens(body, encoded=images or documents),
        prefix=bytes(request.tools) + bytes(request.system),
    )


def prepare(body: bytes, facts: RequestFacts, *, model: str, stream_usage: str) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return the body with the model spliced in when it is another."""
    if model == facts.model:
        return body
    start, end = facts.model_span
    return body[:start] + msgspec.json.encode(model) + body[end:]


def with_max_tokens(body: bytes, model: str, tokens: int) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return the body with this max_tokens."""
    return look.with_number(body, (b"max_tokens",), b"max_tokens", tokens)


def read_response(body: bytes) -> ResponseFacts:
    """Read a whole message, an error, or a token count."""
    facts = ResponseFacts()
    try:
        message = _message.decode(body)
    except look.UNREADABLE:
        return facts
    _take_message(facts, message)
    return facts


def watch(facts: RequestFacts, *, withhold_usage: bool) -> Watch:  # noqa: ARG001 - one signature for all protocols
    """Return the reader of a stream; Messages streams always tell their usage."""
    return Watch()


def error_body(http_status: int, code: str, message: str, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return an error in the protocol's envelope."""
    return anthropic_error(http_status, message, request_id)


def error_event(http_status: int, code: str, message: str, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return `event: error`; no message_stop follows it."""
    return sse.format_event(anthropic_error(http_status, message, request_id), b"error")


def _take_message(facts: ResponseFacts, message: _Message) -> None:
    facts.upstream_id = look.text(message.id) or facts.upstream_id
    facts.model_served = look.text(message.model) or facts.model_served
    facts.finish_reason = look.text(message.stop_reason) or facts.finish_reason
    if message.error is not None:
        facts.error_type = look.text(message.error.type) or "error"
    if message.usage is not None:
        facts.usage = _merge(facts.usage, message.usage)


def _merge(before: Usage | None, told: _Usage) -> Usage:
    """Merge what message_start and message_delta told: the later statement wins, a missing one changes nothing.

    Anthropic's input_tokens exclude what the cache served or took; ours include it.
    """
    had = before or Usage()
    read = _or(look.whole(told.cache_read_input_tokens), had.cache_read_tokens)
    write_5m, write_1h = had.cache_write_5m_tokens, had.cache_write_1h_tokens
    if isinstance(told.cache_creation, dict):
        write_5m = _or(look.whole(told.cache_creation.get("ephemeral_5m_input_tokens")), write_5m)
        write_1h = _or(look.whole(told.cache_creation.get("ephemeral_1h_input_tokens")), write_1h)
    else:
        written = look.whole(told.cache_creation_input_tokens)
        if written is not None and written != (write_5m or 0) + (write_1h or 0):
            write_5m, write_1h = written, None
    uncached = look.whole(told.input_tokens)
    if uncached is None and had.input_tokens is not None:
        uncached = had.input_tokens - _cached(had)
    merged = Usage(
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        output_tokens=_or(look.whole(told.output_tokens), had.output_tokens),
        reasoning_tokens=_or(_member(told.output_tokens_details, "thinking_tokens"), had.reasoning_tokens),
        server_tool_requests=_or(_tool_requests(told.server_tool_use), had.server_tool_requests),
        service_tier=look.text(told.service_tier) or had.service_tier,
    )
    if uncached is None:
        return merged
    return msgspec.structs.replace(merged, input_tokens=uncached + _cached(merged))


def _cached(usage: Usage) -> int:
    return (usage.cache_read_tokens or 0) + (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)


def _or(new: int | None, old: int | None) -> int | None:
    return old if new is None else new


def _member(value: Any, key: str) -> int | None:
    return look.whole(value.get(key)) if isinstance(value, dict) else None


def _tool_requests(value: Any) -> int | None:
    if not isinstance(value, dict):
        return None
    counts = [
        look.whole(count) for key, count in value.items() if str(key).endswith("_requests") and key not in _FREE_TOOLS
    ]
    told = [count for count in counts if count is not None]
    return sum(told) if told and sum(told) <= _MOST_REQUESTS else None


class Watch:
    """Reads along a Messages stream."""

    __slots__ = ("_bytes", "_events", "_frame_bytes", "_holder", "facts", "first_token", "terminal")

    def __init__(self) -> None:
        self.facts = ResponseFacts()
        self.first_token = False
        self.terminal = False
        self._holder = sse.Holder()
        self._events = 0
        self._bytes = 0
        self._frame_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk and return whole events."""
        events = self._holder.feed(chunk)
        if events:
            telling = b"message_" in events or b'"error"' in events
            if telling:
                self._read(events)
            deltas = events.count(b"event: content_block_delta")
            if deltas:
                if not self.first_token:
                    self._measure(events)
                self._events += deltas
                self._bytes += deltas * self._frame_bytes if telling else len(events)
        return events

    def finish(self) -> bytes:
        """Return what is held back; an unfinished event is read too."""
        rest = self._holder.finish()
        if rest:
            self._read(rest)
        return rest

    @property
    def output_estimate(self) -> int:
        """Tokens of the deltas so far: the text's bytes over four, at least one an event."""
        return max(self._events, (self._bytes - self._events * self._frame_bytes) // 4)

    def _measure(self, events: bytes) -> None:
        """Learn from the first delta how many bytes of an event are not text."""
        self.first_token = True
        for event in sse.split(events):
            if b"content_block_delta" in event:
                try:
                    delta = _event.decode(sse.data_of(event)).delta
                except look.UNREADABLE:
                    return
                values = delta.values() if isinstance(delta, dict) else ()
                text = max((len(value.encode()) for value in values if isinstance(value, str)), default=0)
                self._frame_bytes = max(len(event) - text, 0)
                return

    def _read(self, events: bytes) -> None:
        for block in sse.split(events):
            if b"message_" not in block and b"error" not in block:
                continue
            try:
                event = _event.decode(sse.data_of(block))
            except look.UNREADABLE:
                continue
            if event.type == "message_start" and event.message is not None:
                _take_message(self.facts, event.message)
            elif event.type == "message_delta":
                if isinstance(event.delta, dict):
                    self.facts.finish_reason = look.text(event.delta.get("stop_reason")) or self.facts.finish_reason
                if event.usage is not None:
                    self.facts.usage = _merge(self.facts.usage, event.usage)
            elif event.type == "message_stop":
                self.terminal = True
            elif event.type == "error":
                self.facts.error_type = (look.text(event.error.type) if event.error else None) or "error"
