"""Rate limits: those that concern the caller; making, changing and removing them, for who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from proxy_server.control.api import limits, span
from proxy_server.control.pages import admin, shown, subjects

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.workbench import Workbench

_SUBJECTS = {"global": "everyone together", "team": "a team", "user": "a person", "key": "a key"}
_A_PAGE = 500


class Asked(Struct, kw_only=True):
    """Which rate limits are looked for."""

    q: str = ""
    cursor: str = ""


class One(Struct, kw_only=True):
    """Which rate limit."""

    id: str


class Row(NamedTuple):
    """A rate limit in the list."""

    id: str
    whose: str
    requests: str
    tokens: str
    concurrent: str
    made: str


def rate_limits(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the rate limits that concern the caller."""
    may_change = "settings:manage" in caller.known.permissions
    zone = span.zone_of(bench.settings.billing.time_zone)
    told = limits.rate_limits(bench, caller, limits.Pages(cursor=asked.cursor, limit=_A_PAGE))
    rows, found = admin.matching(
        (_row(bench, caller, one, zone) for one in told.rate_limits), asked.q, lambda row: row.whose
    )
    values: dict[str, Any] = {
        "q": asked.q,
        "rows": rows,
        "found": found,
        "next": told.next,
        "zone": zone.key,
        "may_change": may_change,
        "subjects": _SUBJECTS,
        "suggested": subjects.suggested(bench, caller) if may_change else {},
    }
    return admin.page(caller, "rate_limits", "Rate limits", values)


def rate_limit(bench: Workbench, caller: Caller, asked: One) -> Page:
    """Return the page on which a rate limit is changed. Raises `NotFound`."""
    told = limits.rate_limit(bench, caller, limits.One(asked.id))
    name = subjects.whose(bench, caller, told.subject, told.subject_id)
    values = {"limit": told, "name": name}
    return admin.page(caller, "rate_limits", f"Rate limit of {name}", values, template="rate_limit")


def _row(bench: Workbench, caller: Caller, one: limits.RateLimitTold, zone: ZoneInfo) -> Row:
    return Row(
        id=one.id,
        whose=subjects.whose(bench, caller, one.subject, one.subject_id),
        requests=_most(one.requests_per_minute),
        tokens=_most(one.tokens_per_minute),
        concurrent=_most(one.concurrent),
        made=shown.day(one.created_at, zone),
    )


def _most(value: int | None) -> str:
    return f"{value:,}" if value is not None else "no limit"
