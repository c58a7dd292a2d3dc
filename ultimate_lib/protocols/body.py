r"""Looking into a JSON body without building it: repeated keys, where a value stands, what it holds.

JSON parsers differ on a repeated key: ours takes the last, an upstream may take the first. A call whose deciding keys
stand twice is therefore refused, however they are spelled (`"mod\u0065l"` is `model`).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ultimate_lib.errors import Invalid

MOST_TEXT = 256  # characters of a name or an id
DECIDING = (b"model", b"max_tokens", b"max_completion_tokens", b"max_output_tokens", b"n", b"stream")
_QUOTED = tuple(b'"%b"' % key for key in DECIDING)
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_IMAGE = re.compile(rb'"type"\s*:\s*"(?:image|image_url|input_image)"')
_DOCUMENT = re.compile(rb'"type"\s*:\s*"(?:document|file|input_file)"')
_ENCODED = re.compile(rb'"(?:data|url|image_url|file_data)"\s*:\s*"[^"\\\s]{512,}"')
_MEDIA_OR_CACHED = re.compile(rb'"(?:image|document"|file"|input_|container_upload"|cache_control")')
_QUOTE = ord('"')
_BACKSLASH = ord("\\")
_MEDIA_TOKENS = 1500
_MOST = 10**12  # no count is larger; one that is would not fit its column, or its cost would not
_BYTES_A_TOKEN = 4
_ESCAPE_BYTES, _LETTER_BYTES = 6, 2

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading someone's JSON raises; the last one when it is nested too deeply."""

_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def model_span(body: bytes) -> tuple[int, int]:
    """Return where the top-level model's JSON string starts and ends.

    Raises `Invalid` when a deciding key stands twice at the top level. The body must be a valid JSON object with a
    string `model`.
    """
    if not has_escapes(body) and all(body.count(key) <= 1 for key in _QUOTED):
        # A key without escapes is spelled exactly so; it stands once, so this is the top-level one.
        start = body.find(_QUOTED[0]) + len(_QUOTED[0])
    else:
        start = _scan(body)
    colon = _COLON.match(body, start)
    value = _STRING.match(body, colon.end()) if colon else None
    if value is None:
        raise Invalid("The request names no model.", hint="Set 'model'.", code="model_missing")
    return value.start(), value.end()


def _scan(body: bytes) -> int:
    """Walk the top level and return where the key `model` ends; nested values are jumped over token by token."""
    depth = 0
    found: dict[bytes, int] = {}
    for token in _TOKEN.finditer(body):
        text = token.group()
        first = text[0]
        if first == _QUOTE:
            if depth == 1 and _COLON.match(body, token.end()):
                key = msgspec.json.decode(text, type=str).encode() if b"\\" in text else text[1:-1]
                if key in found:
                    raise Invalid(
                        f"The request has '{key.decode()}' twice at its top level.",
                        hint="Send each key once.",
                        code="duplicate_key",
                    )
                if key in DECIDING:
                    found[key] = token.end()
        elif first in b"{[":
            depth += 1
        else:
            depth -= 1
    return found.get(b"model", len(body))


def value_start(body: bytes, key: bytes) -> int:
    """Return where the value of the last top-level `key` stands (parsers take the last of repeated keys), or -1.

    The key must be spelled without escapes.
    """
    depth, start = 0, -1
    quoted = b'"%b"' % key
    for token in _TOKEN.finditer(body):
        text = token.group()
        if text[0] == _QUOTE:
            if depth == 1 and text == quoted and (colon := _COLON.match(body, token.end())):
                start = colon.end()
        else:
            depth += 1 if text in b"{[" else -1
    return start


def with_number(body: bytes, names: tuple[bytes, ...], otherwise: bytes, number: int) -> bytes:
    """Return the body with `number` as the value of each of these top-level keys that it has.

    With none of them (null counts as none, and is replaced) it gets the key `otherwise`. Raises `Invalid` for a key
    that is spelled with escapes.
    """
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    there = [name for name in names if name.decode() in members]
    told = [name for name in there if bytes(members[name.decode()]) != b"null"]
    if not told and otherwise not in there:
        opening = body.index(b"{") + 1
        return b'%b"%b":%d,%b' % (body[:opening], otherwise, number, body[opening:])
    for name in told or [otherwise]:
        start = value_start(body, name)
        if start < 0:
            message = f"The request spells '{name.decode()}' with escapes."
            raise Invalid(message, hint="Write it plainly.", code="body")
        body = b"%b%d%b" % (body[:start], number, body[start + len(members[name.decode()]) :])
    return body


def items(raw: msgspec.Raw | None) -> list[msgspec.Raw] | None:
    """Return the members of a JSON array, undecoded; None when it is not an array."""
    if not raw:
        return None
    try:
        return _list_decoder.decode(raw)
    except UNREADABLE:
        return None


def is_text(body: bytes) -> bool:
    """Say for sure that nothing in the body is media, is to be cached, or is spelled with escapes."""
    return _MEDIA_OR_CACHED.search(body) is None and not has_escapes(body)


def has_escapes(body: bytes) -> bool:
    """Say whether the body may spell ASCII with escapes: then it has to be searched otherwise."""
    return _BACKSLASH in body and b"\\u00" in body


def media(body: bytes) -> tuple[bool, bool]:
    """Say whether the body carries images and documents."""
    images = b'"image' in body or b'"input_image' in body
    documents = b'"document"' in body or b'"file"' in body or b'"input_file"' in body
    return (
        images and _IMAGE.search(body) is not None,
        documents and _DOCUMENT.search(body) is not None,
    )


def estimate_tokens(body: bytes, *, encoded: bool) -> int:
    r"""Estimate the input tokens of a body: bytes over four, and a flat sum for each picture or file for its base64.

    An escape (`\u0416`) counts as two bytes, as most of such letters have: whoever writes JSON so, as Python does
    unless told otherwise, is not billed for it.
    """
    size = len(body)
    escapes = body.count(b"\\u")
    if escapes:
        size = max(size - escapes * (_ESCAPE_BYTES - _LETTER_BYTES), size // 3)  # two backslashes may be none
    parts = 0
    if encoded:
        for match in _ENCODED.finditer(body):
            size -= match.end() - match.start()
            parts += 1
    return size // _BYTES_A_TOKEN + parts * _MEDIA_TOKENS


def whole(value: Any) -> int | None:
    """Return a non-negative whole number that JSON wrote as int or float (1e3), else and beyond reason None."""
    kind = type(value)  # exact, so that a bool is no number; and quick, for every count of every call passes here
    if (kind is not int and kind is not float) or not 0 <= value <= _MOST:
        return None
    return int(value)


def text(value: Any) -> str | None:
    """Return a non-empty string as it may stand in a record, cut to a length, else None."""
    return value[:MOST_TEXT] if isinstance(value, str) and value else None
