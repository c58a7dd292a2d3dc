"""Home: what happened today, the last calls, and how to connect a client."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control.answers import Page
from proxy_server.control.api import analytics, span
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from datetime import date
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_LAST_CALLS = 12
_LOOK_BACK = timedelta(days=30)
_MILLION = 1_000_000
_MS_A_SECOND = 1000
_UNKNOWN = "—"


class Figure(NamedTuple):
    """One number with its label and what it says."""

    label: str
    value: str
    note: str


def home(bench: Workbench, caller: Caller, _: Nothing) -> Page:
    """Return the first page."""
    base = (bench.settings.server.public_url or caller.origin + caller.root).rstrip("/")
    values: dict[str, Any] = {
        "openai_url": f"{base}/v1",
        "anthropic_url": base,
        "local": caller.loopback,
        "figures": [],
        "rows": [],
        "missing": 0,
        "may_see": False,
        "unreadable": "",
        "zone": bench.settings.billing.time_zone,
    }
    if caller.principal is not None and "analytics:view" in caller.principal.permissions:
        values["may_see"] = True
        try:
            values |= _numbers(bench, caller)
        except UltimateError as error:  # the way to connect a client is shown all the same
            log.warning("The numbers of the first page cannot be read: %s", error)
            values["unreadable"] = str(error)
    return Page("home.html", "Home", values)


def _numbers(bench: Workbench, caller: Caller) -> dict[str, Any]:
    day = span.today(bench.settings.billing.time_zone, bench.clock)
    names = ("requests", "total_tokens", "cost_usd", "unpriced_requests")
    asked = analytics.Aggregate(metrics=names, start=day.start.isoformat(), end=day.end.isoformat())
    total = analytics.aggregate(bench, caller, asked)
    since = (bench.clock.now() - _LOOK_BACK).isoformat()
    last = analytics.calls(bench, caller, analytics.Calls(start=since, limit=_LAST_CALLS))
    return {
        "figures": _figures(total.rows[0] if total.rows else {}),
        "rows": [_row(call, day.zone, day.start.astimezone(day.zone).date()) for call in last.rows],
        "missing": total.missing.files + last.missing.files,
    }


def _figures(total: dict[str, Any]) -> list[Figure]:
    unpriced = int(total.get("unpriced_requests") or 0)
    requests = int(total.get("requests") or 0)
    spend = total.get("cost_usd")
    if unpriced == 0:
        note = "every call is priced"
    else:
        note = f"without {unpriced} unpriced call{'s' if unpriced > 1 else ''}"
    return [
        Figure("Requests", _count(requests), "today"),
        Figure("Tokens", _count(total.get("total_tokens") if requests else 0), "in and out, today"),
        Figure("Spend", usd(spend if requests else 0.0), note),
        Figure("Unpriced", _count(unpriced), "calls whose price is not known"),
    ]


def _row(call: dict[str, Any], zone: ZoneInfo, today: date) -> dict[str, str]:
    started: datetime = call["started_at"]
    if started.tzinfo is None:
        started = started.replace(tzinfo=UTC)
    local = started.astimezone(zone)
    nano = call.get("cost_nano_usd")
    duration = call.get("duration_ms")
    return {
        "instant": started.isoformat(),
        "at": f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}",
        "model": call.get("model_served") or call.get("model_routed") or call.get("model_requested") or _UNKNOWN,
        "provider": call.get("provider") or _UNKNOWN,
        "project": call.get("project") or "",
        "status": call.get("status") or _UNKNOWN,
        "input": _count(call.get("input_tokens")),
        "output": _count(call.get("output_tokens")),
        "cost": usd(nano / 1e9 if nano is not None else None),
        "took": _span(duration),
    }


def _span(duration_ms: int | None) -> str:
    if duration_ms is None:
        return _UNKNOWN
    return f"{duration_ms} ms" if duration_ms < _MS_A_SECOND else f"{duration_ms / _MS_A_SECOND:.1f} s"


def usd(value: float | None) -> str:
    """Return dollars for people: cents where there are dollars, three significant digits below; a dash if unknown."""
    if value is None:
        return _UNKNOWN
    if value == 0:
        return "$0"
    if value >= 1:
        return f"${value:,.2f}"
    return f"${float(f'{value:.3g}'):.9f}".rstrip("0")


def _count(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    if value >= 10 * _MILLION:
        return f"{value / _MILLION:,.1f} M"
    return f"{value:,.0f}"
