"""The scripted provider's answers, pure: from a request to the bytes and pauses of its answer.

A message that holds `script: {…}` steers it; without one it answers briefly and plausibly. Members, all optional:

    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens
    chunks            events that the text is spread over (streams)
    first_delay_ms    silence before the first event, or before a whole answer
    delay_ms          silence between events
    status            an error of that HTTP status instead of an answer; retry_after (s) becomes its header
    fail_after        an error event after so many events, and the end
    drop_after        the connection is closed after so many events
    stall_after       silence for ever after so many events
    omit_done         no terminal event
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from ultimate_lib.errors import Invalid
from ultimate_lib.protocols.errors import anthropic_error, openai_error
from ultimate_lib.protocols.sse import format_event

_SCRIPT = re.compile(r"script:\s*(\{.*?\})", re.DOTALL)
_WORDS = (
    "The",
    "scripted",
    "provider",
    "answers",
    "so",
    "that",
    "you",
    "can",
    "try",
    "everything",
    "without",
    "a",
    "key",
    ".",
)
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
_Events = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Script(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a message asks of the scripted provider; see the module's list."""

    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    cache_read_tokens: _Tokens = 0
    cache_write_tokens: _Tokens = 0
    cache_write_1h_tokens: _Tokens = 0
    reasoning_tokens: _Tokens = 0
    chunks: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 4
    first_delay_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 0
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 0
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] | None = None
    retry_after: int | None = None
    fail_after: _Events | None = None
    drop_after: _Events | None = None
    stall_after: _Events | None = None
    omit_done: bool = False


class Answer(msgspec.Struct, kw_only=True, frozen=True):
    """An answer as pieces of bytes, each with the silence before it in seconds."""

    status: int
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]]
    ending: str  # "end", "drop" (close the connection) or "stall" (stay silent)
    answer_id: str
    input_tokens: int = 0  # inclusive of cache, as a record counts them
    output_tokens: int = 0


def answer(path: str, body: bytes, answer_id: str) -> Answer:
    """Return the answer to a request at `/v1/messages`, `/v1/messages/count_tokens` or `/v1/chat/completions`.

    Raises `Invalid` for a body or a script that is not understood.
    """
    try:
        request = json.loads(body)
        texts = _texts(request)
        script = _script(texts[-1] if texts else "")
        model = str(request["model"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"The scripted provider does not understand this request: {error!r}.") from error
    counted = sum(len(text) for text in texts) // 4 + 4
    given = script.input_tokens if script.input_tokens is not None else counted
    told = script.output_tokens if script.output_tokens is not None else 12
    anthropic = path.startswith("/v1/messages")
    if script.status is not None:
        message = f"The script asked for status {script.status}."
        failure = (anthropic_error if anthropic else _openai_error)(script.status, message, answer_id)
        headers = {"content-type": "application/json"}
        if script.retry_after is not None:
            headers["retry-after"] = str(script.retry_after)
        return Answer(
            status=script.status, headers=headers, ending="end", answer_id=answer_id,
            pieces=[(script.first_delay_ms / 1000, failure)],
        )  # fmt: skip
    if path.endswith("/count_tokens"):
        return _whole(script, {"input_tokens": given}, answer_id, 0, 0)
    shape = _Messages if anthropic else _Chat
    made = shape(script, model, answer_id, given, told)
    inclusive = given + script.cache_read_tokens + script.cache_write_tokens + script.cache_write_1h_tokens
    if request.get("stream") is not True:
        return _whole(script, made.whole(), answer_id, inclusive, told)
    asked = bool((request.get("stream_options") or {}).get("include_usage"))
    events, failure = made.events(asked), made.failure()
    pieces, ending = _paced(script, events, failure)
    return Answer(
        status=200, headers={"content-type": "text/event-stream; charset=utf-8"}, pieces=pieces, ending=ending,
        answer_id=answer_id, input_tokens=inclusive, output_tokens=told,
    )  # fmt: skip


def _openai_error(status: int, message: str, request_id: str) -> bytes:  # noqa: ARG001 - the envelope has no place for it
    return openai_error(status, "scripted", message)


def _texts(request: dict[str, Any]) -> list[str]:
    texts = []
    for message in request["messages"]:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [part.get("text", "") for part in content or ()]
        texts += [part for part in parts if part]
    return texts


def _script(text: str) -> Script:
    found = _SCRIPT.search(text)
    if found is None:
        return Script()
    try:
        return msgspec.json.decode(found[1], type=Script)
    except msgspec.DecodeError as error:
        raise Invalid(f"The script is not understood: {error}.") from error


def _whole(script: Script, told: dict[str, Any], answer_id: str, input_tokens: int, output_tokens: int) -> Answer:
    return Answer(
        status=200, headers={"content-type": "application/json"}, ending="end", answer_id=answer_id,
        pieces=[(script.first_delay_ms / 1000, msgspec.json.encode(told))],
        input_tokens=input_tokens, output_tokens=output_tokens,
    )  # fmt: skip


def _paced(script: Script, events: list[bytes], failure: bytes) -> tuple[list[tuple[float, bytes]], str]:
    """Give each event its pause; without pauses they go out as one piece."""
    ending = "end"
    for cut, name in ((script.fail_after, "end"), (script.drop_after, "drop"), (script.stall_after, "stall")):
        if cut is not None:
            events, ending = events[:cut], name
            if cut is script.fail_after:
                events.append(failure)
            break
    if not script.delay_ms:
        return [(script.first_delay_ms / 1000, b"".join(events))], ending
    pause = script.delay_ms / 1000
    return [(pause if number else script.first_delay_ms / 1000, event) for number, event in enumerate(events)], ending


def _deltas(tokens: int, chunks: int) -> list[str]:
    """Spread about `tokens` words over `chunks` pieces."""
    words = [f"{_WORDS[number % len(_WORDS)]} " for number in range(max(tokens, 1))]
    chunks = min(chunks, len(words))
    edges = [len(words) * number // chunks for number in range(chunks + 1)]
    return ["".join(words[start:end]) for start, end in pairwise(edges)]


class _Messages:
    """Anthropic's shapes."""

    def __init__(self, script: Script, model: str, answer_id: str, given: int, told: int) -> None:
        self.script, self.model, self.answer_id, self.given, self.told = script, model, answer_id, given, told

    def usage(self, output: int) -> dict[str, Any]:
        script = self.script
        return {
            "input_tokens": self.given,
            "cache_creation_input_tokens": script.cache_write_tokens + script.cache_write_1h_tokens,
            "cache_read_input_tokens": script.cache_read_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": script.cache_write_tokens,
                "ephemeral_1h_input_tokens": script.cache_write_1h_tokens,
            },
            "output_tokens": output,
            "service_tier": "standard",
        }

    def message(self, content: list[Any], stop: str | None, output: int) -> dict[str, Any]:
        return {
            "id": self.answer_id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop, "stop_sequence": None, "usage": self.usage(output),
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        text = "".join(_deltas(self.told, 1))
        return self.message([{"type": "text", "text": text}], "end_turn", self.told)

    def events(self, asked_usage: bool) -> list[bytes]:  # noqa: ARG002 - Messages streams always tell it
        told: list[dict[str, Any]] = [
            {"type": "message_start", "message": self.message([], None, 1)},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]
        told += [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in _deltas(self.told, self.script.chunks)
        ]
        told += [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": self.told},
            },
        ]
        if not self.script.omit_done:
            told.append({"type": "message_stop"})
        return [format_event(msgspec.json.encode(event), event["type"].encode()) for event in told]

    def failure(self) -> bytes:
        return format_event(anthropic_error(529, "The script asked to fail here.", self.answer_id), b"error")


class _Chat:
    """OpenAI's shapes."""

    def __init__(self, script: Script, model: str, answer_id: str, given: int, told: int) -> None:
        self.script, self.model, self.answer_id, self.given, self.told = script, model, answer_id, given, told

    def usage(self) -> dict[str, Any]:
        script = self.script
        prompt = self.given + script.cache_read_tokens + script.cache_write_tokens + script.cache_write_1h_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.told,
            "total_tokens": prompt + self.told,
            "prompt_tokens_details": {"cached_tokens": script.cache_read_tokens},
            "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens},
        }

    def whole(self) -> dict[str, Any]:
        text = "".join(_deltas(self.told, 1))
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self.usage()}

    def events(self, asked_usage: bool) -> list[bytes]:
        told = [self._chunk({"role": "assistant", "content": ""}, None)]
        told += [self._chunk({"content": text}, None) for text in _deltas(self.told, self.script.chunks)]
        told.append(self._chunk({}, "stop"))
        if asked_usage:
            told.append({**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()})
        events = [format_event(msgspec.json.encode(event)) for event in told]
        return events if self.script.omit_done else [*events, format_event(b"[DONE]")]

    def failure(self) -> bytes:
        return format_event(openai_error(500, "scripted", "The script asked to fail here."))

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.answer_id, "object": kind, "created": 1_700_000_000, "model": self.model}

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}
