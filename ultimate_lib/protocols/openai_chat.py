"""OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat (and what speaks it)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from ultimate_lib.errors import Invalid
from ultimate_lib.protocols import body as look
from ultimate_lib.protocols import sse
from ultimate_lib.protocols.errors import openai_error
from ultimate_lib.protocols.facts import RequestFacts, ResponseFacts
from ultimate_lib.protocols.telling import Telling
from ultimate_lib.records import Usage

name = "openai-chat"
path = "/v1/chat/completions"
operation = "chat"

_SYSTEM = re.compile(rb'"role"\s*:\s*"(?:system|developer)"')
_DONE = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\]")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_CONTENT = re.compile(rb'"(?:content|reasoning_content|reasoning|arguments|refusal|name)"\s*:\s*"[^"]')
_NEWER = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)")  # models that take max_completion_tokens alone
_NANO = 1_000_000_000
_MOST_USD = 10**9  # a call that costs more is a mistake, and its nano-dollars would not fit their column


class _Request(Telling, kw_only=True):
    model: str
    stream: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    messages: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    user: Any = None
    safety_identifier: Any = None
    stream_options: msgspec.Raw = msgspec.Raw()


class _Usage(msgspec.Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    cost: Any = None


class _Answer(msgspec.Struct):
    """A completion or one chunk of it."""

    id: Any = None
    model: Any = None
    choices: Any = None
    usage: _Usage | None = None
    service_tier: Any = None
    error: Any = None


_request = msgspec.json.Decoder(_Request)
_answer = msgspec.json.Decoder(_Answer)


def read_request(body: bytes) -> RequestFacts:
    """Read a request body; see `Protocol.read_request`."""
    try:
        request = _request.decode(body)
    except look.UNREADABLE as error:
        raise Invalid(f"The request body is not a Chat Completions request: {error}.", code="body") from error
    span = look.model_span(body)
    messages, tools = look.items(request.messages), look.items(request.tools)
    text = look.is_text(body)
    images, documents = (False, False) if text else look.media(body)
    first = bytes(messages[0]) if messages else b""
    system = first if _SYSTEM.search(first) else b""
    maxima = [told for told in (request.max_completion_tokens, request.max_tokens) if told is not None]
    counts = [look.whole(told) for told in (*maxima, *(() if request.n is None else (request.n,)))]
    most = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    return RequestFacts(
        model=request.model,
        model_span=span,
        plain=text and not (tools or None in counts or request.tells()),
        stream=request.stream is True,
        max_tokens=look.whole(most),
        choices=look.whole(request.n),
        most_output=max((look.whole(told) or 0 for told in maxima), default=None),
        odd_counts=None in counts,
        message_count=None if messages is None else len(messages),
        tool_count=None if tools is None else len(tools),
        has_system=bool(system),
        has_images=images,
        has_documents=documents,
        end_user=look.text(request.safety_identifier) or look.text(request.user),
        asked_usage=_asks_usage(request.stream_options),
        input_estimate=look.estimate_tokens(body, encoded=images or documents),
        prefix=bytes(request.tools) + system,
    )


def _asks_usage(options: msgspec.Raw) -> bool:
    try:
        told = msgspec.json.decode(options) if options else None
    except look.UNREADABLE:
        return False
    return isinstance(told, dict) and told.get("include_usage") is True


def prepare(body: bytes, facts: RequestFacts, *, model: str, stream_usage: str) -> bytes:
    """Splice in the model when it is another, and ask for the usage chunk of a stream when `stream_usage` says so."""
    if model != facts.model:
        start, end = facts.model_span
        body = body[:start] + msgspec.json.encode(model) + body[end:]
    if not facts.stream or facts.asked_usage or stream_usage != "inject":
        return body
    options: Any = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).get("stream_options")
    if options is None:
        opening = body.index(b"{") + 1
        return body[:opening] + b'"stream_options":{"include_usage":true},' + body[opening:]
    told = msgspec.json.decode(options)
    asked = {**(told if isinstance(told, dict) else {}), "include_usage": True}
    start = look.value_start(body, b"stream_options")
    if start < 0:
        raise Invalid("The request spells 'stream_options' with escapes.", hint="Write it plainly.", code="body")
    return body[:start] + msgspec.json.encode(asked) + body[start + len(options) :]


def with_max_tokens(body: bytes, model: str, tokens: int) -> bytes:
    """Return the body with this maximum under the name that the call or, in its silence, its model goes by."""
    newer = _NEWER.match(model.rpartition("/")[2].lower()) is not None
    name = b"max_completion_tokens" if newer else b"max_tokens"
    return look.with_number(body, (b"max_tokens", b"max_completion_tokens"), name, tokens)


def read_response(body: bytes) -> ResponseFacts:
    """Read a whole completion or an error."""
    facts = ResponseFacts()
    try:
        answer = _answer.decode(body)
    except look.UNREADABLE:
        return facts
    _take(facts, answer)
    return facts


def watch(facts: RequestFacts, *, withhold_usage: bool) -> Watch:  # noqa: ARG001 - one signature for all protocols
    """Return the reader of a stream; with `withhold_usage` the bare usage chunk is kept from the client."""
    return Watch(withhold_usage=withhold_usage)


def error_body(http_status: int, code: str, message: str, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return an error in the protocol's envelope."""
    return openai_error(http_status, code, message)


def error_event(http_status: int, code: str, message: str, request_id: str) -> bytes:  # noqa: ARG001 - one signature for all protocols
    """Return an error chunk; no `[DONE]` follows it."""
    return sse.format_event(openai_error(http_status, code, message))


def _take(facts: ResponseFacts, answer: _Answer) -> None:
    facts.upstream_id = look.text(answer.id) or facts.upstream_id
    facts.model_served = look.text(answer.model) or facts.model_served
    if isinstance(answer.choices, list):
        for choice in answer.choices:
            if isinstance(choice, dict):
                facts.finish_reason = look.text(choice.get("finish_reason")) or facts.finish_reason
    if answer.error is not None:
        told = answer.error if isinstance(answer.error, dict) else {}
        facts.error_type = look.text(told.get("type")) or look.text(told.get("code")) or "error"
    if answer.usage is not None:
        facts.usage = _usage_of(answer.usage, look.text(answer.service_tier))


def _usage_of(told: _Usage, service_tier: str | None) -> Usage:
    return Usage(
        input_tokens=look.whole(told.prompt_tokens),
        output_tokens=look.whole(told.completion_tokens),
        cache_read_tokens=_member(told.prompt_tokens_details, "cached_tokens"),
        cache_write_5m_tokens=_member(told.prompt_tokens_details, "cache_write_tokens"),
        audio_input_tokens=_member(told.prompt_tokens_details, "audio_tokens"),
        reasoning_tokens=_member(told.completion_tokens_details, "reasoning_tokens"),
        audio_output_tokens=_member(told.completion_tokens_details, "audio_tokens"),
        service_tier=service_tier,
        cost_nano_usd=_bill(told.cost),
    )


def _member(value: Any, key: str) -> int | None:
    return look.whole(value.get(key)) if isinstance(value, dict) else None


def _bill(cost: Any) -> int | None:
    """Return the provider's own bill (OpenRouter's usage.cost, in USD) in nano-dollars."""
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost <= _MOST_USD:
        return None
    return round(Decimal(str(cost)) * _NANO)


class Watch:
    """Reads along a Chat Completions stream."""

    __slots__ = (
        "_bytes", "_events", "_frame_bytes", "_holder", "_withhold", "facts", "first_token", "terminal",
    )  # fmt: skip

    def __init__(self, *, withhold_usage: bool) -> None:
        self.facts = ResponseFacts()
        self.first_token = False
        self.terminal = False
        self._withhold = withhold_usage
        self._holder = sse.Holder()
        self._events = 0
        self._bytes = 0
        self._frame_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk and return whole events, the usage chunk left out when it is to be withheld."""
        events = self._holder.feed(chunk)
        return self._pass(events) if events else events

    def finish(self) -> bytes:
        """Return what is held back; an unfinished event is read too."""
        rest = self._holder.finish()
        return self._pass(rest) if rest else rest

    @property
    def output_estimate(self) -> int:
        """Tokens of the deltas so far: the text's bytes over four, at least one an event."""
        return max(self._events, (self._bytes - self._events * self._frame_bytes) // 4)

    def _pass(self, events: bytes) -> bytes:
        facts = self.facts
        telling = facts.upstream_id is None or b'"error"' in events or _FINISH.search(events) or _USAGE.search(events)
        if telling:
            events = self._read(events)
        if not self.first_token and (content := _CONTENT.search(events)):
            self.first_token = True
            text_end = events.find(b'"', content.end())
            event_end = events.find(b"\n\n", content.end())
            text = max(text_end - content.end() + 1, 1)
            self._frame_bytes = (event_end if event_end > 0 else len(events)) - text
        if self.first_token:
            deltas = events.count(b'"delta"')
            self._events += deltas
            self._bytes += deltas * self._frame_bytes if telling else len(events)
        if b"[DONE]" in events and _DONE.search(events):
            self.terminal = True
        return events

    def _read(self, events: bytes) -> bytes:
        kept = []
        for block in sse.split(events):
            data = sse.data_of(block)
            try:
                answer = _answer.decode(data) if data.startswith(b"{") else None
            except look.UNREADABLE:
                answer = None
            if answer is not None:
                _take(self.facts, answer)
                if self._withhold and answer.usage is not None and answer.choices == []:
                    continue
            kept.append(block)
        return b"".join(kept)
