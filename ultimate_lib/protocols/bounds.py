"""How much a request can use at most, before it is sent: an upper bound of its input tokens, and what has no bound.

A token is at least one byte, so the body's bytes bound its text; pictures count by their largest size instead of
their base64, and what a provider adds itself (tool prompts) is added. Documents may fill the model's context. What a
provider looks up on its own (server tools, stored conversations) has no bound and is named.

A body is looked at piece by piece and never decoded as a whole: in a thread beside an event loop no step of a large
one keeps the interpreter's lock for long.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.protocols import body as look
from ultimate_lib.protocols.telling import TELLING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ultimate_lib.protocols.facts import RequestFacts

_PICTURE_TOKENS = 6_000  # Anthropic: at most 4,784 for the newest models; OpenAI: 2,500 (vendors' vision pages)
_SMALL_GPT_PICTURE_TOKENS = 50_000  # gpt-4o-mini: 2,833 and 5,667 for each of at most 8 tiles
_DOCUMENT_TOKENS = 1_000_000  # the largest context that takes documents
_TOOL_PROMPT_TOKENS = 1_000  # docs.anthropic.com, Tool use, Pricing: at most 804 a call
_TYPED_TOOL_TOKENS = 1_000  # and for each tool that Anthropic defines at most 735
_FRAME_TOKENS = 64
_PIECE = 1 << 18  # bytes that are searched at a time
_ESCAPED = len(rb"\u0061")
_ESCAPE = re.compile(rb"(?<!\\)((?:\\\\)*)\\u00([2-7][0-9a-fA-F])")
_KEPT_ESCAPED = b'"\\'
_MARKS = (b'"image', b'"document"', b'"file"', b'"input_')
_CLIENT_TOOLS = ("custom", "function", "bash_", "text_editor_", "computer_", "memory_")  # run by the client
_PICTURES = frozenset({b'"image"', b'"image_url"', b'"input_image"'})
_DOCUMENT, _RESULT = b'"document"', b'"tool_result"'
_DOCUMENTS = frozenset({_DOCUMENT, b'"file"', b'"input_file"', b'"container_upload"'})
_DEEPEST = 2  # results within results
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


_Members = dict[str, msgspec.Raw]
_members: msgspec.json.Decoder[_Members] = msgspec.json.Decoder(_Members)


class Bounds(msgspec.Struct, frozen=True, gc=False):
    """`input_tokens` is at least what the request can be billed for as input; `unbound` says why nothing can."""

    input_tokens: int
    unbound: str | None = None
    tier: str | None = None
    caches: bool = False
    caches_hour: bool = False
    sound: bool = False


def bounds(body: bytes, facts: RequestFacts, model: str, read: bool = True) -> Bounds:
    """Return the bounds of a request; `model` is the one it goes to, `read` says that its kind's usage is read."""
    if not read:
        return Bounds(len(body), unbound="it is of a kind whose usage is not read")
    try:
        if not facts.plain:
            return _looked_through(body, facts, model)
        if not body.isascii():
            _members.decode(body)  # whoever reads keys that are no text may read others than we do
    except look.UNREADABLE:
        return Bounds(len(body), unbound="its body cannot be read")
    return Bounds(len(body) + _FRAME_TOKENS, None, None, not model.startswith("claude"))


def _looked_through(body: bytes, facts: RequestFacts, model: str) -> Bounds:
    has = _finder(body)
    plain = body
    shown = facts.has_images or facts.has_documents
    if has(b"\\u00"):  # a key may be spelled with escapes
        plain = _spelled_out(body)
        has = _finder(plain)
        shown = any(has(mark) for mark in _MARKS)
    size = len(body) + _FRAME_TOKENS
    unbound = "a maximum in it is no number" if facts.odd_counts else None
    sound, tier = has(b'"input_audio"'), None
    members = _members.decode(plain)
    if not TELLING.isdisjoint(members):
        given = {key: value for key, value in members.items() if bytes(value) != b"null"}
        unbound = next((reason for key, reason in _UNBOUND.items() if key in given), unbound)
        sound = sound or "audio" in given or "modalities" in given
        tier = _text(given["service_tier"]) if "service_tier" in given else None
    if facts.tool_count:
        typed, server = _tools(members.get("tools"))
        size += _TOOL_PROMPT_TOKENS + typed * _TYPED_TOOL_TOKENS
        unbound = f"the provider runs the tool '{server}' itself" if server else unbound
    if shown or has(b'"container_upload"'):
        size += _media(members.get("messages"), model, encoded=not sound)
    caches = has(b'"cache_control"')
    return Bounds(
        input_tokens=size,
        unbound=unbound,
        tier=tier,
        caches=caches or not model.startswith("claude"),  # others may write to a cache unasked
        caches_hour=caches and has(b'"ttl"'),
        sound=sound,
    )


def _finder(data: bytes) -> Callable[[bytes], bool]:
    """Return what tells whether bytes stand in `data`."""
    return data.__contains__ if len(data) <= _PIECE else partial(_stands_in, data)


def _stands_in(data: bytes, mark: bytes) -> bool:
    return any(data.find(mark, at, at + _PIECE + len(mark)) >= 0 for at in range(0, len(data), _PIECE))


def _spelled_out(body: bytes) -> bytes:
    """Return valid JSON with its escapes of printable ASCII resolved, but for quotes and backslashes."""
    parts, at = [], 0
    while at < len(body):
        end = at + _PIECE
        while b"\\" in body[end - _ESCAPED : end]:  # an escape may go on behind it
            end += _ESCAPED
        piece = body[at:end]
        parts.append(_ESCAPE.sub(_resolved, piece) if b"\\u00" in piece else piece)
        at = end
    return b"".join(parts)


def _resolved(found: re.Match[bytes]) -> bytes:
    letter = int(found[2], 16)
    return found[0] if letter in _KEPT_ESCAPED else found[1] + bytes([letter])


def _tools(raw: msgspec.Raw | None) -> tuple[int, str]:
    """Return how many tools have a type of the provider's, and the first that the provider itself runs."""
    tools = look.items(raw)
    if tools is None:
        return 0, "?"
    typed, server = 0, ""
    for piece in tools:
        tool = msgspec.json.decode(piece)
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str):
            typed += 1
            if not kind.startswith(_CLIENT_TOOLS):
                server = server or kind[:64]
    return typed, server


def _text(raw: msgspec.Raw) -> str:
    told = msgspec.json.decode(raw)
    return told if isinstance(told, str) else "?"


def _media(messages: msgspec.Raw | None, model: str, *, encoded: bool) -> int:
    """Return what pictures and documents add to the bytes, which may be less than nothing for base64."""
    a_picture = _SMALL_GPT_PICTURE_TOKENS if "4o-mini" in model else _PICTURE_TOKENS
    added = 0
    for message in look.items(messages) or ():
        for kind, block in _blocks(_object(message).get("content"), 0):
            if kind in _PICTURES:
                added += a_picture - (_base64(block) if encoded else 0)
            elif kind in _DOCUMENTS:
                added += _DOCUMENT_TOKENS
    return added


def _blocks(content: msgspec.Raw | None, depth: int) -> Iterator[tuple[bytes, _Members]]:
    """Yield the blocks of a message, and those of tools' results within it, as (type in quotes, members)."""
    for piece in look.items(content) or ():
        block = _object(piece)
        kind = bytes(block.get("type", b""))
        if kind == _RESULT and depth == _DEEPEST:
            yield _DOCUMENT, {}  # no provider takes such a thing; who knows what it holds
        else:
            yield kind, block
            if kind == _RESULT:
                yield from _blocks(block.get("content"), depth + 1)


def _object(raw: msgspec.Raw | None) -> _Members:
    try:
        return _members.decode(raw) if raw else {}
    except msgspec.ValidationError:  # a value of another kind
        return {}


def _base64(block: _Members) -> int:
    """Return how many bytes of a picture's block are base64."""
    source = _object(block.get("source"))
    if bytes(source.get("type", b"")) == b'"base64"':
        return len(_string(source.get("data")))
    link = block.get("image_url")
    url = _string(_object(link).get("url") or link)
    return len(url) if bytes(url[:16]).replace(b"\\/", b"/").startswith(b"data:image/") else 0


def _string(raw: msgspec.Raw | None) -> memoryview:
    """Return what stands between the quotes of a JSON string, as it is written; nothing of another value."""
    told = memoryview(raw or b"")
    return told[1:-1] if bytes(told[:1]) == b'"' else told[:0]
