"""The page of forecasts: what the next days will be, how sure that is, and when budgets would be spent."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from proxy_server.control.answers import Answer, Page
from proxy_server.control.api import predictive
from proxy_server.control.pages import fan, shown, whose
from ultimate_lib.errors import Invalid, NotEnoughData, UltimateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy_server.control.answers import Caller
    from proxy_server.control.api.predictive import BudgetOutlook, Forecasted
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

METRICS = {
    "cost_usd": "cost",
    "total_tokens": "tokens",
    "requests": "calls",
    "errors": "errors",
    "latency_p95_ms": "latency (95 % of calls)",
}
_DAYS = (1, 7, 14, 30, 90)
_MEMBERS = 8
_RISK = {"low": "ok", "medium": "off", "high": "bad", "unknown": "off"}


class Asked(Struct, kw_only=True):
    """What the form says."""

    metric: str = "cost_usd"
    days: str = "7"
    grain: str = "day"
    project: str = ""
    model: str = ""
    whose: str = ""


class Row(NamedTuple):
    """A step ahead in words."""

    step: str
    value: str
    lower_80: str
    upper_80: str
    lower_95: str
    upper_95: str
    naive: str


def forecast(bench: Workbench, caller: Caller, asked: Asked) -> Answer:
    """Return the page, with what is wrong on it where something is."""
    values: dict[str, Any] = {
        "asked": asked,
        "metrics": METRICS,
        "days": _DAYS,
        "choices": whose.choices(caller.known),
        "told": None,
        "problem": "",
        "few": "",
        "unreadable": "",
    }
    status = None
    try:
        values |= _found(predictive.forecast(bench, caller, _question(caller, asked)))
    except NotEnoughData as error:
        values["few"] = str(error)
    except UltimateError as error:
        status = error.http_status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning("The forecast cannot be made: %s", error)
        values["unreadable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "problem"] = str(error)
    return Answer(Page("forecast.html", "Forecast", values, current="forecast"), status=status)


def _question(caller: Caller, asked: Asked) -> predictive.AskedForecast:
    if not (asked.days.isdecimal() and len(asked.days) < 4 and 1 <= int(asked.days) <= 90):  # noqa: PLR2004 - as the sentence says
        raise Invalid(f"'{asked.days[:20]}' is no number of days.", hint="Choose 1 to 90.")
    if asked.grain not in {"hour", "day"}:
        raise Invalid(f"There are no steps of '{asked.grain[:20]}'.", hint="Choose hour or day.")
    told = [f"{name}:{value}" for name in ("project", "model") if (value := getattr(asked, name).strip())]
    filters = (*told, *whose.filters(caller.known, asked.whose))
    return predictive.AskedForecast(metric=asked.metric, days=int(asked.days), grain=asked.grain, filter=filters)


def _found(told: Forecasted) -> dict[str, Any]:
    say = words(told.unit)
    total = told.summary.total
    if total is not None:
        low, high = (say(getattr(told.summary, name) or 0.0) for name in ("lower_80", "upper_80"))
        headline = f"{say(total)}"
        sentence = f"expected in the next {_days(told.days)}; in four of five futures between {low} and {high}"
    else:
        headline = say(told.summary.mean)
        sentence = f"expected on average over the next {_days(told.days)}"
    steps = "%Y-%m-%d" if told.grain == "day" else "%Y-%m-%d %H:%M"
    return {
        "told": told,
        "chart": fan.draw(told.history, told.rows, say),
        "headline": headline,
        "sentence": sentence,
        "risk": _RISK[told.risk_level],
        "budgets": [_budget(one) for one in told.budgets],
        "tested": _tested(told),
        "members": [(name, f"{weight:.1%}") for name, weight in list(told.members.items())[:_MEMBERS]],
        "left_out": max(len(told.members) - _MEMBERS, 0),
        "rows": [
            Row(
                f"{row.step_at:{steps}}",
                *(say(getattr(row, name)) for name in Row._fields[1:]),
            )
            for row in told.rows
        ],
    }


def words(unit: str) -> Callable[[float], str]:
    """Return what says a value in a unit."""
    if unit == "usd":
        return lambda value: shown.usd(value) if value >= 0 else f"-{shown.usd(-value)}"
    if unit == "ms":
        return lambda value: shown.took(round(value))
    return shown.count


def _days(days: int) -> str:
    return "day" if days == 1 else f"{days} days"


def _budget(one: BudgetOutlook) -> tuple[str, str, str]:
    """Return a budget's name, what is to be said of it, and the class of its risk."""
    name = one.name or one.id
    if one.exhausted_at is None:
        return name, f"not spent by {one.until:%Y-%m-%d} in any future that was looked at", _RISK[one.risk_level]
    when = f"{one.exhausted_at:%Y-%m-%d}"
    if one.earliest_80 != one.latest_80:
        when += f" (80 %: {one.earliest_80:%Y-%m-%d} to {one.latest_80:%Y-%m-%d})"
    words = f"{one.probability:.0%} likely to be spent by {one.until:%Y-%m-%d}, then on {when}"
    return name, words, _RISK[one.risk_level]


def _tested(told: Forecasted) -> str:
    test = told.backtest
    if test is None:
        return "There is too little history to test this forecast: take it as a guess."
    better = ""
    if test.ratio_to_naive is not None:
        better = f"its error was {test.ratio_to_naive:.2f} of that of simply repeating the last cycle, and "
    return (
        f"Made in the same way from {test.origins} earlier moments, {better}"
        f"{test.coverage_80:.0%} of what came lay inside the 80 % band, {test.coverage_95:.0%} inside the 95 % band."
    )
