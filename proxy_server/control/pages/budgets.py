"""Budgets as bars: what is spent and held of each, in numbers, words and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control.api import budget_marks, limits, span
from proxy_server.control.pages import shown, subjects
from ultimate_lib.limits import edit
from ultimate_lib.limits.worst import PRICE_AS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from proxy_server.control.api.predictive import BudgetOutlook
    from ultimate_lib.limits.status import BudgetState
    from ultimate_lib.workbench import Workbench

WIDTH = 1000
PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in all"}
_UNPRICED = {"refuse": "are refused", "allow": "are let through"}
UNKNOWN = "unknown"
NOT_TOLD = "not told"
_NEARLY = 0.8
_RARE, _SURE = 0.01, 0.995
_FAILED = "where it will end cannot be told now"
_NO_MARK: dict[str, Any] = {"expected": "", "when": "", "mark_at": None, "band_at": 0.0, "band_width": 0.0}


class Bar(NamedTuple):
    """One budget, ready to be shown."""

    id: str
    name: str
    whose: str
    subject: str
    subject_id: str | None
    amount: str
    period: str
    spent: str
    held: str
    left: str
    percent: str
    ends: str  # empty: never
    kind: str  # hard or soft, in words
    rules: str  # what a hard one does with calls that do not fit; empty: soft
    state: str  # in words
    mood: str  # ok | off | bad: the look of the state
    spent_width: float
    held_width: float
    over: bool
    known: bool  # whether it is known how much is used
    veiled: bool  # its amounts are not for who looks
    expected: str  # at the period's end, with 80 %; empty: not known, or it has no end
    when: str  # when it will be spent, in words; empty: not known
    mark_at: float | None  # where the bar will end; None: no mark
    band_at: float
    band_width: float
    pending: bool  # the mark is being reckoned


def bars(bench: Workbench, caller: Caller) -> list[Bar]:
    """Return the budgets that concern the caller. Raises `Unavailable` when they cannot be told."""
    zone = span.zone_of(bench.settings.billing.time_zone)
    rows = {row["id"]: row for row in edit.listed(bench.store, "budget")}
    states = limits.states(bench, caller)
    told = budget_marks.marks(bench, states)
    return [
        _bar(bench, caller, one, rows.get(one.id), zone)._replace(
            pending=one.id in told.pending,
            **(
                {**_NO_MARK, "when": _FAILED}
                if one.id in told.failed
                else _mark(one, told.outlooks.get(one.id), zone)
            ),
        )
        for one in states
    ]


def amount_of(value: int | None, unit: str) -> str:
    """Return a number in a budget's unit, or that it is not known."""
    if value is None:
        return UNKNOWN
    return shown.usd(value / 1e9) if unit == "nano_usd" else f"{shown.count(value)} tokens"


def _bar(bench: Workbench, caller: Caller, one: BudgetState, row: Mapping[str, Any] | None, zone: ZoneInfo) -> Bar:
    spent_width = min(one.used_ratio or 0.0, 1.0) * WIDTH
    held_width = min((one.held or 0) / one.amount * WIDTH, WIDTH - spent_width) if one.amount else 0.0
    over = one.left <= 0 if one.left is not None else one.used_ratio is not None and one.used_ratio >= 1
    veiled = one.amount is None
    state, mood = _state(one, over=over)
    whose = subjects.whose(bench, caller, one.subject, one.subject_id)
    return Bar(
        id=one.id,
        name=one.name or whose[:1].upper() + whose[1:],
        whose=whose,
        subject=one.subject,
        subject_id=one.subject_id,
        amount=NOT_TOLD if veiled else amount_of(one.amount, one.unit),
        period=PERIODS[one.period],
        spent=NOT_TOLD if veiled else amount_of(one.spent, one.unit),
        held=NOT_TOLD if veiled else amount_of(one.held, one.unit),
        left=NOT_TOLD if veiled else amount_of(max(one.left, 0) if one.left is not None else None, one.unit),
        percent=shown.percent(one.used_ratio) if one.used_ratio is not None else UNKNOWN,
        ends=shown.minute(one.period_end, zone) if one.period_end is not None else "",
        kind="hard: it is never exceeded" if one.hard else "soft: it only tells",
        rules=_rules(bench, row) if one.hard and row is not None else "",
        state=state,
        mood=mood,
        spent_width=round(spent_width, 1),
        held_width=round(held_width, 1),
        over=over,
        known=one.used_ratio is not None,
        veiled=veiled,
        **_NO_MARK,
        pending=False,
    )


def _mark(one: BudgetState, told: BudgetOutlook | None, zone: ZoneInfo) -> dict[str, Any]:
    """Return where a budget will end, in the picture and in words."""
    if told is None or not one.amount or one.spent is None or one.spent >= one.amount:
        return _NO_MARK
    when = _when(one, told, zone)
    if told.expected is None or told.lower_80 is None or told.upper_80 is None:
        return {**_NO_MARK, "when": when}
    likely, low, high = (max(value, one.spent) for value in (told.expected, told.lower_80, told.upper_80))
    places = [round(min(value / one.amount, 1.0) * WIDTH, 1) for value in (likely, low, high)]
    span_80 = f"80 %: {amount_of(low, one.unit)} to {amount_of(high, one.unit)}"
    return {
        "expected": f"{amount_of(likely, one.unit)} ({span_80})",
        "when": when,
        "mark_at": places[0],
        "band_at": places[1],
        "band_width": round(places[2] - places[1], 1),
    }


def _when(one: BudgetState, told: BudgetOutlook, zone: ZoneInfo) -> str:
    """Return when a budget will be spent: "84 % likely to be used up, on 27 Nov (80 %: 26-29 Nov)"."""
    if told.exhausted_at is None or told.earliest_80 is None or told.latest_80 is None or told.probability < _RARE:
        return "" if one.period_end else f"not by {told.until.astimezone(zone):%-d %b} in 99 of 100 futures"
    at, early, late = (when.astimezone(zone) for when in (told.exhausted_at, told.earliest_80, told.latest_80))
    if one.period == "day":
        day, spread = f"at {at:%H:%M}", f"{early:%H:%M}-{late:%H:%M}"
        alike = early == late
    else:
        first = "%-d" if early.month == late.month else "%-d %b"
        day, spread = f"on {at:%-d %b}", f"{early:{first}}-{late:%-d %b}"
        alike = early.date() == late.date()
    sure = "almost certain" if told.probability >= _SURE else f"{told.probability:.0%} likely"
    return f"{sure} to be used up, {day}" + ("" if alike else f" (80 %: {spread})")


def _state(one: BudgetState, *, over: bool) -> tuple[str, str]:
    if not one.enabled:
        return "off", "off"
    if one.used_ratio is None:
        return "not known", "off"
    if over:
        return ("used up: calls are refused" if one.hard else "used up"), "bad"
    if one.used_ratio >= _NEARLY:
        return "nearly used up", "bad"
    return "within", "ok"


def _rules(bench: Workbench, row: Mapping[str, Any]) -> str:
    short = "get a shorter answer" if row["when_short"] == "clamp" else "are refused"
    wait = bench.settings.limits.hold_wait_s if row["hold_wait_s"] is None else row["hold_wait_s"]
    rule = row["unpriced"] or bench.settings.billing.unpriced
    cost = _UNPRICED.get(rule) or f"count as {rule.removeprefix(PRICE_AS)}"
    waits = f"wait up to {wait:g}\u00a0s for others to end, then" if wait else "do not wait for others to end; they"
    return f"Calls that do not fit {waits} {short}; those without a price {cost}."
