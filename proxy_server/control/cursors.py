"""Cursors of lists: where a page ended, as one opaque word that only the same list takes back.

A cursor is a place and no right: what its holder may see is decided anew on each page. Its check therefore needs no
secret; it refuses what was mangled, was made for another list or by another version, before anything is asked.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    _Row = TypeVar("_Row")

_VERSION = "1"
_CHECK_BYTES = 6
_LONGEST = 600
_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what a database's integer holds
Place = tuple[_Number | str, ...]
"""The values by which a list is ordered, of the last row that was shown."""

Limit = Annotated[int, Meta(ge=1, le=500, description="Most of them on a page.")]
Cursor = Annotated[str, Meta(max_length=_LONGEST, description="`next` of the page before; empty: the first page.")]


def page(
    rows: Sequence[_Row], limit: int, key: Callable[[_Row], Place], kind: str
) -> tuple[Sequence[_Row], str | None]:
    """Return the first `limit` of rows, of which one more was read, and the cursor behind them; None: the end."""
    shown = rows[:limit]
    return shown, encode(key(shown[-1]), kind) if len(rows) > limit else None


def encode(place: Place, kind: str) -> str:
    """Return the cursor of a place in lists of a kind."""
    told = msgspec.json.encode(place)
    return _VERSION + base64.urlsafe_b64encode(_check(told, kind) + told).decode().rstrip("=")


def decode(cursor: str, kind: str, place: Any = Place) -> Any:
    """Return the place that a cursor stands for; None for an empty one. `place` is the type of its values, a tuple.

    Raises `Invalid`.
    """
    if not cursor:
        return None
    try:
        return _opened(cursor, kind, place)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid(
            "The cursor is not one of this list.", hint="Leave it out to begin with the first page.", code="cursor"
        ) from error


def _opened(cursor: str, kind: str, place: Any) -> Any:
    if cursor[0] != _VERSION or len(cursor) > _LONGEST:
        raise ValueError("another version")
    text = cursor[1:].encode("ascii")
    raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    told = raw[_CHECK_BYTES:]
    if raw[:_CHECK_BYTES] != _check(told, kind):
        raise ValueError("another list")
    found = msgspec.convert(msgspec.json.decode(told, type=Place), place)
    if encode(found, kind) != cursor or any(isinstance(value, str) and "\0" in value for value in found):
        raise ValueError("not as we write it")
    return found


def _check(told: bytes, kind: str) -> bytes:
    return hashlib.sha256(f"{_VERSION}:{kind}:".encode() + told).digest()[:_CHECK_BYTES]
