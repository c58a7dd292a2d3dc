"""How ids, names, filters and moments are written in the address of a request."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from claude_proxy.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Names: TypeAlias = "str | Iterable[str]"
Moment: TypeAlias = "str | date"
Filter: TypeAlias = "str | Iterable[str] | Mapping[str, str | Iterable[str] | None]"


def segment(text: str) -> str:
    """Return an id or a name as one segment of a path. Raises `BadRequest` for one that cannot be any."""
    if not text or text in {".", ".."}:
        raise BadRequest(f"'{text}' is no id.", hint="Give the id as the list shows it.", code="id")
    return quote(text, safe="")


def filters(told: Filter | None) -> list[str]:
    """Return filters as the proxy reads them: of `"project:search"`, several, or `{"project": ["a", "b"]}`.

    None stands for calls without one.
    """
    if told is None:
        return []
    if isinstance(told, str):
        return [told]
    if not hasattr(told, "items"):
        return list(told)
    found = []
    for name, value in told.items():
        values = [value] if value is None or isinstance(value, str) else list(value)
        found += [f"{name}:{one or ''}" for one in values]
    return found


def names(told: Names | None) -> str | None:
    """Return names between commas."""
    if told is None or isinstance(told, str):
        return told or None
    return ",".join(told) or None


def pairs(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return parameters of a query: a list becomes repeated ones, None is left out."""
    found: list[tuple[str, str]] = []
    for name, value in params.items():
        values = value if isinstance(value, (list, tuple, set)) else [value]
        found += [(name, _plain(one)) for one in values if one is not None]
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else str(value)  # a datetime is a date too
