"""Budgets as bars: what is spent and held of each, in numbers, words and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy_server.control.api import limits, span
from proxy_server.control.pages import shown
from ultimate_lib.access import users
from ultimate_lib.errors import NotFound

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from ultimate_lib.limits.status import BudgetState
    from ultimate_lib.workbench import Workbench

WIDTH = 1000
PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in all"}
_NEARLY = 0.8


class Bar(NamedTuple):
    """One budget, ready to be shown."""

    id: str
    name: str
    whose: str
    subject: str
    subject_id: str | None
    amount: str  # empty: not for who looks
    period: str
    spent: str
    held: str
    left: str
    percent: str
    ends: str  # empty: never
    kind: str  # hard or soft, in words
    state: str  # in words
    mood: str  # ok | off | bad: the look of the state
    spent_width: float
    held_width: float
    over: bool


def bars(bench: Workbench, caller: Caller) -> list[Bar]:
    """Return the budgets that concern the caller. Raises `Unavailable` when they cannot be told."""
    zone = span.zone_of(bench.settings.billing.time_zone)
    return [_bar(bench, caller, one, zone) for one in limits.states(bench, caller)]


def amount_of(value: int | None, unit: str) -> str:
    """Return a number in a budget's unit; a dash if it is not known."""
    if unit == "nano_usd":
        return shown.usd(value / 1e9 if value is not None else None)
    return f"{shown.count(value)} tokens" if value is not None else shown.UNKNOWN


def _bar(bench: Workbench, caller: Caller, one: BudgetState, zone: ZoneInfo) -> Bar:
    spent_width = min(one.used_ratio or 0.0, 1.0) * WIDTH
    held_width = min((one.held or 0) / one.amount * WIDTH, WIDTH - spent_width) if one.amount else 0.0
    over = one.left <= 0 if one.left is not None else one.used_ratio is not None and one.used_ratio >= 1
    state, mood = _state(one, over=over)
    whose = _whose(bench, caller, one)
    return Bar(
        id=one.id,
        name=one.name or whose[:1].upper() + whose[1:],
        whose=whose,
        subject=one.subject,
        subject_id=one.subject_id,
        amount=amount_of(one.amount, one.unit) if one.amount is not None else "",
        period=PERIODS[one.period],
        spent=amount_of(one.spent, one.unit),
        held=amount_of(one.held, one.unit),
        left=amount_of(max(one.left, 0) if one.left is not None else None, one.unit),
        percent=f"{one.used_ratio:.0%}" if one.used_ratio is not None else shown.UNKNOWN,
        ends=shown.minute(one.period_end, zone) if one.period_end is not None else "",
        kind="hard: calls that could exceed it are refused" if one.hard else "soft: it only tells",
        state=state,
        mood=mood,
        spent_width=round(spent_width, 1),
        held_width=round(held_width, 1),
        over=over,
    )


def _state(one: BudgetState, *, over: bool) -> tuple[str, str]:
    if not one.enabled:
        return "off", "off"
    if one.used_ratio is None:
        return "not known", "off"
    if over:
        return ("used up: calls are refused" if one.hard else "used up"), "bad"
    if one.used_ratio is not None and one.used_ratio >= _NEARLY:
        return "nearly used up", "bad"
    return "within", "ok"


def _whose(bench: Workbench, caller: Caller, one: BudgetState) -> str:
    if one.subject == "global":
        return "everyone"
    if one.subject != "user":
        return f"{one.subject} {one.subject_id}"
    if one.subject_id == caller.known.user_id:
        return "you"
    try:
        return f"user {users.one(bench.store, one.subject_id or '')['name']}"
    except NotFound:
        return f"user {one.subject_id}"
