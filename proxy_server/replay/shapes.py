"""The two protocols as the load client writes and reads them, on purpose without the proxy's own parsers.

What a ledger says is held against what the proxy recorded; a shared parser would hide its own mistakes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TOKENS = 8192
_DONE = re.compile(rb"^data: ?\[DONE\]\r?\n\r?\n", re.MULTILINE)
_STOP = re.compile(rb'^data: ?\{"type": ?"message_stop"[^\n]*\n\r?\n', re.MULTILINE)
_TELLING = re.compile(rb'"(?:usage|error)"')
_TAIL_BYTES = 256  # within which a terminal event ends


class Told(NamedTuple):
    """What a streamed answer said of itself. Null tokens: it did not say."""

    terminal: bool
    error: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


class Shape(NamedTuple):
    """A protocol: where calls go, and the model that is asked unless another is named."""

    name: str
    path: str
    model: str


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("openai-chat", "/v1/chat/completions", "demo/gpt-4o-mini"),
        Shape("anthropic-messages", "/v1/messages", "demo/claude-sonnet-4-5"),
    )
}


def body_template(shape: Shape, model: str, script: dict[str, Any]) -> bytes:
    """Return the body of a streaming call as a `%` template for (input tokens, output tokens).

    The scripted provider answers it with those tokens; `script` holds what else steers it.
    """
    steered = msgspec.json.encode(script).decode().replace("%", "%%")[1:-1]
    text = f'A replayed call. script: {{"input_tokens": %d, "output_tokens": %d, {steered}}}'
    asked: dict[str, Any] = {"model": model.replace("%", "%%"), "stream": True}
    if shape.name == "openai-chat":
        asked["stream_options"] = {"include_usage": True}
    else:
        asked["max_tokens"] = MAX_TOKENS
    asked["messages"] = [{"role": "user", "content": text}]
    return msgspec.json.encode(asked)


def told(shape: Shape, answer: bytes) -> Told:
    """Read an answer as far as it came. Its terminal event counts only when the event is complete."""
    chat = shape.name == "openai-chat"
    found = (_DONE if chat else _STOP).search(answer, max(len(answer) - _TAIL_BYTES, 0))
    given = output = None
    error = ""
    for event in _telling(answer):
        if event.get("error"):
            error = _message(event)
        holder = event.get("message") if event.get("type") == "message_start" else event
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if isinstance(usage, dict):
            given = usage.get("prompt_tokens" if chat else "input_tokens", given)
            output = usage.get("completion_tokens" if chat else "output_tokens", output)
    return Told(found is not None and not error, error, given, output)


def refusal(answer: bytes) -> str:
    """Return the message of an error body, in either envelope; the body's beginning when it is neither."""
    try:
        return _message(msgspec.json.decode(answer))
    except ValueError:
        return answer[:200].decode(errors="replace").strip()


def _telling(answer: bytes) -> Iterator[dict[str, Any]]:
    """Yield the complete events that speak of usage or of an error."""
    at = 0
    while (found := _TELLING.search(answer, at)) is not None:
        at = answer.find(b"\n", found.end())
        if at < 0:
            return
        line = answer[answer.rfind(b"\n", 0, found.start()) + 1 : at]
        try:
            event = msgspec.json.decode(line.removeprefix(b"data:"))
        except msgspec.DecodeError:
            continue
        if isinstance(event, dict):
            yield event


def _message(event: Any) -> str:
    error = event.get("error") if isinstance(event, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or error.get("type") or "error")
    return str(error or event)[:200]
