"""Home: what happened today, the last calls, what to do next, and how to connect a client."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from msgspec import Struct

from proxy_server.control.answers import Page
from proxy_server.control.api import analytics, providers, span
from proxy_server.control.pages import budgets, chart, shown, subjects, whose
from proxy_server.control.pages.shown import count, usd
from ultimate_lib.access.local import local_path
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_LAST_CALLS = 12
_TOP_MODELS = 5
_HOURS = 24
_TICK_EVERY = 6
_LOOK_BACK = timedelta(days=30)


class Asked(Struct, kw_only=True):
    """What the links on the page say."""

    whose: str = ""  # mine, teams; empty: all that one may see


class Figure(NamedTuple):
    """One number with its label and what it says."""

    label: str
    value: str
    note: str


def home(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the first page."""
    base = (bench.settings.server.public_url or caller.origin + caller.root).rstrip("/")
    may = caller.principal.permissions if caller.principal is not None else frozenset()
    values: dict[str, Any] = {
        "openai_url": f"{base}/v1",
        "anthropic_url": base,
        "local": caller.loopback and bench.settings.server.local_key and (not may or "settings:manage" in may),
        "local_json": str(local_path(bench.settings)) if "settings:manage" in may else "",
        "figures": [],
        "rows": [],
        "models": [],
        "chart": None,
        "missing": 0,
        "sees_all": False,
        "may_see": "analytics:view" in may,
        "may_call": "proxy:call" in may,
        "unreadable": "",
        "zone": bench.settings.billing.time_zone,
        "newest": "",
        "budgets": [],
        "budgets_unreadable": "",
        "may_change": "settings:manage" in may,
        "providers": [],
        "providers_unreadable": "",
        "whose": asked.whose,
        "choices": {},
        "live": "/api/live",
    }
    if values["may_see"]:
        values["choices"], values["sees_all"] = whose.choices(caller.known), caller.known.view != "own"
        try:
            filters = tuple(whose.filters(caller.known, asked.whose))
            values["live"] += f"?{urlencode([('filter', one) for one in filters])}" if filters else ""
            values |= _numbers(bench, caller, filters)
        except UltimateError as error:  # the way to connect a client is shown all the same
            log.warning("The numbers of the first page cannot be read: %s", error)
            values["unreadable"] = str(error)
    if caller.principal is not None:
        try:
            values["budgets"] = budgets.bars(bench, caller)
        except UltimateError as error:
            log.warning("The budgets of the first page cannot be told: %s", error)
            values["budgets_unreadable"] = str(error)
    if "settings:manage" in may:
        try:
            values["providers"] = [told for told in _providers(bench, caller) if told.needs_key]
        except UltimateError as error:
            log.warning("The providers of the first page cannot be told: %s", error)
            values["providers_unreadable"] = str(error)
    return Page("home.html", "Home", values, current="home", script="live.js")


def _providers(bench: Workbench, caller: Caller) -> list[providers.ProviderTold]:
    from proxy_server.control.answers import Nothing  # noqa: PLC0415 - the type of what it takes

    return providers.listed(bench, caller, Nothing())


def _numbers(bench: Workbench, caller: Caller, filters: tuple[str, ...]) -> dict[str, Any]:
    day = span.today(bench.settings.billing.time_zone, bench.clock)
    start, end = day.start.isoformat(), day.end.isoformat()
    names = ("requests", "total_tokens", "cost_usd", "unpriced_requests")
    asked_total = analytics.Aggregate(metrics=names, start=start, end=end, filter=filters)
    total = analytics.aggregate(bench, caller, asked_total)
    since = (bench.clock.now() - _LOOK_BACK).isoformat()
    last = analytics.calls(bench, caller, analytics.Calls(start=since, limit=_LAST_CALLS, filter=filters))
    asked = analytics.Breakdown(
        by=("model",), metrics=names, order_by="cost_usd", start=start, end=end, limit=_TOP_MODELS, filter=filters
    )
    models = analytics.breakdown(bench, caller, asked)
    today, people = day.start.astimezone(day.zone).date(), subjects.callers(bench, caller, last.rows)
    return {
        "figures": _figures(total.rows[0] if total.rows else {}),
        "rows": [shown.row(call, day.zone, today, people) for call in last.rows],
        "newest": last.rows[0]["call_id"] if last.rows else "",
        "models": [_model(row) for row in models.rows],
        "chart": _chart(bench, caller, day.zone, filters),
        "missing": total.missing.files + last.missing.files,
    }


def _chart(bench: Workbench, caller: Caller, zone: ZoneInfo, filters: tuple[str, ...]) -> chart.Chart:
    """Return the spend of the last 24 hours, an hour a bar, the running one last."""
    now = bench.clock.now()
    hour = now.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    told = analytics.timeseries(
        bench,
        caller,
        analytics.Timeseries(
            metrics=("cost_usd", "requests", "unpriced_requests"),
            grain="hour",
            start=(hour - timedelta(hours=_HOURS - 1)).isoformat(),
            end=(now + timedelta(microseconds=1)).isoformat(),
            filter=filters,
        ),
    )
    bars = [_bar(row, number, zone) for number, row in enumerate(told.rows)]
    return chart.draw(bars, f"the last {_HOURS} hours")


def _bar(row: dict[str, Any], number: int, zone: ZoneInfo) -> chart.Bar:
    at: datetime = row["step_at"]
    local = shown.aware(at).astimezone(zone)
    requests, value = int(row["requests"] or 0), row["cost_usd"]
    return chart.Bar(
        label=f"{local:%H:%M}",
        tick=f"{local:%H:%M}" if number % _TICK_EVERY == 0 else "",
        value=0.0 if value is None and not requests else value,
        requests=requests,
        unpriced=int(row["unpriced_requests"] or 0),
    )


def _model(row: dict[str, Any]) -> dict[str, str]:
    return {
        "model": row["model"] or "",
        "requests": count(row["requests"]),
        "tokens": count(row["total_tokens"]),
        "cost": usd(row["cost_usd"]),
        "unpriced": count(row["unpriced_requests"]) if row["unpriced_requests"] else "",
    }


def _figures(total: dict[str, Any]) -> list[Figure]:
    unpriced = int(total.get("unpriced_requests") or 0)
    requests = int(total.get("requests") or 0)
    spend = total.get("cost_usd")
    if not requests:
        note = "no call yet today"
    elif unpriced == 0:
        note = "every call is priced"
    else:
        note = f"without {unpriced} unpriced call{'s' if unpriced > 1 else ''}"
    return [
        Figure("Requests", count(requests), "today"),
        Figure("Tokens", count(total.get("total_tokens") if requests else 0), "in and out, today"),
        Figure("Spend", usd(spend if requests else 0.0), note),
        Figure("Unpriced", count(unpriced), "calls whose price is not known"),
    ]
