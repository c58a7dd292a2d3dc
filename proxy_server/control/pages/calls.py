"""The list of calls: filters, pages, and rows that appear as calls end."""

from __future__ import annotations

import logging
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from msgspec import Struct, structs

from proxy_server.control.answers import Answer, Page
from proxy_server.control.api import analytics, span
from proxy_server.control.pages import shown, subjects, whose
from ultimate_lib.access import users
from ultimate_lib.errors import Invalid, UltimateError

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

PAGE = 50
_MOST_TRAIL = 20
_SUGGESTED = 50
_SPANS = {
    "1h": ("last hour", 1),
    "24h": ("last 24 hours", 24),
    "7d": ("last 7 days", 168),
    "30d": ("last 30 days", 720),
}
_STATUSES = ("ok", "error", "cut", "refused", "blocked")
_DIMENSIONS = {
    "model": "model",
    "provider": "provider",
    "status": "status",
    "project": "project",
    "notebook": "notebook",
    "user": "user",
    "session": "session",
    "cell": "cell_id",
    "key": "key",
    "team": "team",
}
"""Parameter of the page → dimension of the calls."""


class Asked(Struct, kw_only=True):
    """What the form and the links on the page say."""

    span: str = "24h"
    start: str = ""  # a day or an instant; wins over `span`
    end: str = ""
    model: str = ""
    provider: str = ""
    status: str = ""
    project: str = ""
    notebook: str = ""
    user: str = ""
    whose: str = ""  # mine, teams; empty: all that one may see
    session: str = ""
    cell: str = ""
    key: str = ""
    team: str = ""
    filter: tuple[str, ...] = ()  # dimension:value as the interface takes them, of links from other pages
    q: str = ""  # the beginning of an id
    cursor: str = ""
    trail: str = ""  # cursors of the pages before, between commas; "-" for the first


def calls(bench: Workbench, caller: Caller, asked: Asked) -> Answer:
    """Return the page, with what is wrong on it where something is."""
    who = caller.known
    choices, own = whose.choices(who), filters_of(asked)
    values: dict[str, Any] = {
        "asked": asked,
        "spans": {name: label for name, (label, _) in _SPANS.items()},
        "statuses": _STATUSES,
        "sees_all": who.view != "own",
        "choices": choices,
        "filtered": bool(own) or bool(asked.q),
        "headline": choices.get(asked.whose) or choices.get("", "All calls"),
        "pinned": [(name, value) for name in ("session", "cell", "key", "team") if (value := getattr(asked, name))]
        + [("filter", one) for one in asked.filter],
        "live": "/api/live",
        "may_follow": not (asked.q or asked.cursor or asked.start or asked.end),
        "suggested": {},
        "rows": [],
        "missing": 0,
        "problem": "",
        "unreadable": "",
        "older": "",
        "newer": "",
        "newest": "",
        "zone": bench.settings.billing.time_zone,
    }
    status = None
    try:
        meant = structs.replace(asked, user=users.id_of(bench.store, asked.user.strip()))  # people know names
        filters = filters_of(meant) + _whose(who, meant)
        values["live"] += f"?{urlencode([('filter', one) for one in filters])}" if filters else ""
        values |= _found(bench, caller, asked, filters)
        values["suggested"] = _suggested(bench, caller)
    except UltimateError as error:
        status = error.http_status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("The list of calls cannot be read: %s", error)
        values["unreadable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "problem"] = str(error)
    return Answer(Page("calls.html", "Calls", values, current="calls", script="live.js"), status=status)


def filters_of(asked: Asked) -> list[str]:
    """Return the filters as the interface takes them."""
    told = [(dimension, getattr(asked, name).strip()) for name, dimension in _DIMENSIONS.items()]
    return [*(f"{dimension}:{value}" for dimension, value in told if value), *asked.filter]


def _whose(who: Principal, asked: Asked) -> list[str]:
    """Return the filters of whose calls are wanted. Raises `Invalid` for one's own that are another's."""
    if asked.whose == "mine" and asked.user.strip() not in {"", who.user_id}:
        raise Invalid(
            "Your own calls are not another user's.",
            hint="Empty 'User', or choose others under 'Whose'.",
            code="whose",
        )
    found = whose.filters(who, asked.whose)
    return [one for one in found if one != f"user:{asked.user.strip()}"]


def _found(bench: Workbench, caller: Caller, asked: Asked, filters: list[str]) -> dict[str, Any]:
    from ultimate_lib.lake.calls import page  # noqa: PLC0415 - the lake's libraries load with the first question

    if asked.span not in _SPANS:
        raise Invalid(f"There is no time span '{asked.span[:20]}'.", hint=f"Choose one of {', '.join(_SPANS)}.")
    zone = span.zone_of(bench.settings.billing.time_zone)
    default = timedelta(hours=_SPANS[asked.span][1])
    within = span.read(asked.start, asked.end, zone.key, clock=bench.clock, default=default)
    found = page(
        bench.lake,
        within.start,
        within.end,
        analytics.where(caller, filters),
        limit=PAGE,
        cursor=asked.cursor or None,
        search=asked.q.strip(),
    )
    today = bench.clock.now().astimezone(zone).date()
    rows = analytics.rows_of(found.frame)
    people = subjects.callers(bench, caller, rows)
    return {
        "rows": [shown.row(row, zone, today, people) for row in rows],
        "newest": rows[0]["call_id"] if rows else "",
        "missing": found.missing_files,
        "older": _link(asked, cursor=found.cursor, trail=_longer(asked)) if found.cursor else "",
        "newer": _newer(asked),
    }


def _longer(asked: Asked) -> str:
    trail = [one for one in asked.trail.split(",") if one]
    return ",".join([*trail, asked.cursor or "-"][-_MOST_TRAIL:])


def _newer(asked: Asked) -> str:
    """Return the link to the page before; to the first one where the way back is not known any more."""
    if not asked.cursor:
        return ""
    *trail, last = asked.trail.split(",")
    return _link(asked, cursor="" if last == "-" else last, trail=",".join(trail))


def _link(asked: Asked, **changed: str) -> str:
    told = structs.asdict(structs.replace(asked, **changed))
    return "/calls?" + urlencode(
        {name: value for name, value in told.items() if value and (name, value) != ("span", "24h")}, doseq=True
    )


def _suggested(bench: Workbench, caller: Caller) -> dict[str, list[str]]:
    """Return names to choose from, the most used first; of people to those who know them all."""
    since = (bench.clock.now() - timedelta(days=30)).isoformat()
    found = {}
    for name in ("model", "provider", "project"):
        asked = analytics.Breakdown(by=(name,), metrics=("requests",), start=since, limit=_SUGGESTED)
        found[name] = [row[name] for row in analytics.breakdown(bench, caller, asked).rows if row[name]]
    if "users:manage" in caller.known.permissions:
        found["user"] = [one["name"] for one in users.listed(bench.store, limit=_SUGGESTED)]
    return found
