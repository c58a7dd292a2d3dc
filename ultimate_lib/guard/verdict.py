"""What is said of one call that is described: whether it is anomalous, and what the guard would do about it. Pure.

The same scores, limit and rule as for calls that are made: a cost is judged as when a call has ended, input tokens as
at the door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ultimate_lib.baseline import ANOMALOUS, score
from ultimate_lib.clock import to_datetime
from ultimate_lib.guard import rule as rules
from ultimate_lib.guard.words import usd

if TYPE_CHECKING:
    from ultimate_lib.guard.known import Known
    from ultimate_lib.guard.rule import Rule, Standing

Action = Literal["none", "warn", "block"]
Measure = Literal["cost_usd", "input_tokens"]
_ORDINALS = {1: "st", 2: "nd", 3: "rd"}


class Described(NamedTuple):
    """A call as far as it is known; None is unknown."""

    cost_usd: float | None = None
    input_tokens: int | None = None
    input_usd: float | None = None  # what its input alone costs


class Score(NamedTuple):
    """What of a call is most unlike those before it."""

    measure: Measure
    value: float
    score: float
    expected_high: float  # from which on it is anomalous
    calls: int  # learnt from

    @property
    def anomalous(self) -> bool:
        """Whether it is above the limit."""
        return self.score >= ANOMALOUS


class Verdict(NamedTuple):
    """What the guard would do, and why."""

    action: Action
    reason: str


def scored(usual: Known, call: Described) -> Score | None:
    """Return the higher of the two scores; None where nothing is known of what is known of the call."""
    found = []
    for measure, value, baseline, high in (
        ("cost_usd", call.cost_usd, usual.cost, usual.usual_usd),
        ("input_tokens", call.input_tokens, usual.tokens, usual.usual_tokens),
    ):
        if value is not None and baseline is not None and high is not None:
            found.append(Score(measure, value, score(baseline, value), high, baseline.n))  # type: ignore[arg-type] # one of both
    return max(found, key=lambda one: one.score, default=None)


def verdict(  # noqa: PLR0917 - all that is known
    rule: Rule, usual: Known, call: Described, found: Score, mode: str, standing: Standing, now_us: int
) -> Verdict:
    """Return what the guard would do; `mode` is off, observe, warn or block, `standing` that of key and model."""
    told = _compared(found)
    if rules.cooling(standing, now_us):
        until = f"until {to_datetime(standing.until_us):%Y-%m-%d %H:%M:%S} UTC"
        return _done(mode, f"{told} A cool-down of this key and model lasts {until}: each call would be refused.")
    if not found.anomalous:
        return Verdict("none", told)
    why_not = _harmless(rule, usual, call, found, now_us)
    if why_not:
        return Verdict("none", f"{told} {why_not}")
    if found.measure == "input_tokens":
        return _done(mode, f"{told} A call of so much input would be refused at the door.")
    return _ended(rule, mode, standing, now_us, told)


def _harmless(rule: Rule, usual: Known, call: Described, found: Score, now_us: int) -> str:
    """Return why an anomalous call counts for nothing; empty when it counts."""
    if not rules.ripe(usual.ripe_us, now_us):
        asked = f"{rule.after_days} days and {rule.after_calls} calls with a cost"
        return f"The guard does nothing before it knows {asked} of a key and model."
    dollars = call.cost_usd if found.measure == "cost_usd" else call.input_usd
    if dollars is None:
        return "What its input costs is not known; the guard refuses no such call."
    if dollars * 1e9 <= rule.floor_nano_usd:
        floor = usd(rule.floor_nano_usd / 1e9)
        return f"That costs {usd(dollars)}; what costs {floor} or less blocks nothing."
    return ""


def _ended(rule: Rule, mode: str, standing: Standing, now_us: int, told: str) -> Verdict:
    """Return what follows when an anomalous call that counts has ended."""
    counted = [one for one in standing.counted if one.ended_us >= now_us - rule.window_us]
    nth = len(counted) + 1
    within = f"{rule.window_us / 60_000_000:g} minutes"
    if nth >= rule.anomalies:
        minutes = f"{rule.cooldown_us / 60_000_000:g} minutes"
        return _done(
            mode, f"{told} It would be the {_nth(nth)} within {within}: calls would be refused for {minutes}."
        )
    told = f"{told} It would be the {_nth(nth)} within {within}; the {_nth(rule.anomalies)} begins a cool-down."
    return _done("warn" if mode == "block" else mode, told)


def _done(mode: str, told: str) -> Verdict:
    if mode in {"off", "observe"}:
        why = "The guard is switched off" if mode == "off" else "This key is only observed"
        return Verdict("none", f"{told} {why}: nothing is done.")
    return Verdict("warn" if mode == "warn" else "block", told)


def _compared(found: Score) -> str:
    what, show = ("cost", usd) if found.measure == "cost_usd" else ("input", _tokens)
    like = "unusual" if found.anomalous else "not unusual"
    high = f"the usual most, by {found.calls:,} calls, is {show(found.expected_high)}"
    return f"The {what} of {show(found.value)} is {like}: {high}."


def _tokens(value: float) -> str:
    return f"{value:,.0f} tokens"


def _nth(number: int) -> str:
    return f"{number}{'th' if number // 10 % 10 == 1 else _ORDINALS.get(number % 10, 'th')}"
