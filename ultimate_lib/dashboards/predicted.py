"""Answers of `/api/predictive` as pictures: the same numbers, in words and shapes. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ultimate_lib.dashboards import units
from ultimate_lib.dashboards.shapes import OTHER, Ahead, Bar, Bars, Cell, Cells, Fan, Figure, Figures, Grid, step_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    Answer: TypeAlias = Mapping[str, Any]

WHY = {
    "novelty": "unlike any value before",
    "hour": "unusual for this time of the day",
    "season's level": "above or below its usual times for a while",
    "level": "the level has moved",
    "shift": "a sudden shift",
    "unrest": "unusually restless",
    "restless": "unusually restless",
    "calm": "unusually calm",
    "still": "stuck at one value",
}
"""What a detector's reason means."""
_TONES = {"low": "good", "high": "bad"}
_MOST_MEMBERS = 8
_CYCLES, _FEWEST_PAST = 4, {"day": 28, "hour": 72}  # what is drawn of the history: what comes should not be a sliver
_NANO = 1e9


def fan(told: Answer) -> Fan:
    """Return the forecast with its history."""
    ahead = tuple(
        Ahead(
            _at(row["step_at"]), row["value"], row["lower_80"], row["upper_80"], row["lower_95"], row["upper_95"],
            row["naive"],
        )
        for row in told["rows"]
    )  # fmt: skip
    many = max(_CYCLES * len(ahead), _FEWEST_PAST[told["grain"]])
    past = tuple((_at(row["step_at"]), row["value"]) for row in told["history"][-many:])
    picture = Fan(told["unit"], told["grain"], past, ahead, told["time_zone"], _sentence(told))
    return Fan(picture.unit, picture.grain, past, ahead, picture.zone, picture.words, " ".join(_notes(told, picture)))


def _sentence(told: Answer) -> str:
    summary, unit, span = told["summary"], told["unit"], days(told["days"])
    if summary["total"] is None:
        return f"{units.short(summary['mean'], unit)} expected on average over the next {span}."
    total, low, high = (units.short(summary[name], unit) for name in ("total", "lower_80", "upper_80"))
    return f"{total} expected in the next {span}; in four of five futures between {low} and {high}."


def _notes(told: Answer, picture: Fan) -> list[str]:
    found = list(told["notes"])
    most = max(one.upper_95 for one in picture.ahead)
    if most > picture.top:
        found.append(f"The 95 % band reaches up to {units.short(most, told['unit'])}, beyond the picture.")
    unpriced, files = told["unpriced_requests"], told["missing"]["files"]
    if unpriced and told["unit"] == "usd":
        found.append(f"The cost of {unpriced:,} call{'s' if unpriced > 1 else ''} is not known and not in it.")
    if files:
        found.append(f"{files} damaged file{'s' if files > 1 else ''} could not be read and are left out.")
    return [*found, f"Times are in {told['time_zone']}."]


def figures(told: Answer) -> Figures:
    """Return the total with its interval, the risk in words, and how well the same way has done before."""
    summary, unit, test = told["summary"], told["unit"], told["backtest"]
    adds = summary["total"] is not None
    bounds = [units.short(summary[f"{side}_{level}"], unit) for level in (80, 95) for side in ("lower", "upper")]
    whole = Figure(
        f"Next {days(told['days'])}" if adds else f"Mean of the next {days(told['days'])}",
        summary["total"] if adds else summary["mean"],
        unit,
        note=f"80 %: {bounds[0]} to {bounds[1]}, 95 %: {bounds[2]} to {bounds[3]}" if adds else "",
    )
    risk = Figure(
        "Risk", None, "", note=told["risk_reason"], words=told["risk_level"], tone=_TONES.get(told["risk_level"], "")
    )
    if test is None:
        little = "too little history to test it: take it as a guess"
        return Figures((whole, risk, Figure("Error beside the naive", None, "ratio", note=little)), "")
    return Figures(
        (
            whole,
            risk,
            Figure(
                "Error beside the naive", None, "ratio",
                note=f"that of repeating the last cycle, from {test['origins']} earlier moments",
                words=units.UNKNOWN if test["ratio_to_naive"] is None else f"{test['ratio_to_naive']:.2f} times",
            ),
            Figure(
                "Inside the 80 % band", test["coverage_80"], "ratio",
                note=f"95 % band: {test['coverage_95']:.1%} of what came",
            ),
        ),
        "",
    )  # fmt: skip


def tested(told: Answer) -> Grid | None:
    """Return the backtest; None where the history is too short for one."""
    test = told["backtest"]
    if test is None:
        return None
    many, step = test["steps"], told["grain"]
    rows = (
        ("Earlier moments it was made from", f"{test['origins']}", ""),
        (f"{step.capitalize()}s ahead each time", f"{many}", ""),
        ("Error (MASE)", _number(test["mase"]), _number(test["naive_mase"])),
        ("Error beside the naive", _number(test["ratio_to_naive"]), "1.00"),
        ("Inside the 80 % band", f"{test['coverage_80']:.1%}", ""),
        ("Inside the 95 % band", f"{test['coverage_95']:.1%}", ""),
    )
    note = "MASE: the mean error over that of repeating each cycle within the history. Naive: the last cycle again."
    return Grid(("Backtest", "Forecast", "Naive"), rows, frozenset({1, 2}), note)


def members(told: Answer) -> Bars:
    """Return what each single method weighs, the heaviest first."""
    found = sorted(told["members"].items(), key=lambda one: -one[1])
    bars = [Bar(name, weight) for name, weight in found[:_MOST_MEMBERS]]
    rest = found[_MOST_MEMBERS:]
    if rest:
        bars.append(Bar(OTHER, sum(weight for _, weight in rest), f"{len(rest)} more"))
    return Bars("ratio", "Method", tuple(bars), None)


def budgets(told: Answer) -> Grid | None:
    """Return when budgets of the same calls would be spent; None where there is none."""
    if not told["budgets"]:
        return None
    header = ("Budget", "Spent", "Of", "Likely to be spent", "By", "Spent on", "80 % between", "Risk")
    return Grid(header, tuple(_budget(one) for one in told["budgets"]), frozenset({1, 2}))


def _budget(one: Answer) -> tuple[str, ...]:
    unit, scale = ("usd", _NANO) if one["unit"] == "nano_usd" else ("tokens", 1.0)
    spent = None if one["spent"] is None else one["spent"] / scale
    early, late = _day(one["earliest_80"]), _day(one["latest_80"])
    return (
        one["name"] or one["id"],
        units.exact(spent, unit),
        units.exact(one["amount"] / scale, unit),
        f"{one['probability']:.0%}",
        _day(one["until"]),
        _day(one["exhausted_at"]) if one["exhausted_at"] else "in no future that was looked at",
        units.UNKNOWN if one["earliest_80"] is None else early if early == late else f"{early} and {late}",
        one["risk_level"],
    )


def calendar(told: Answer, steps: Sequence[datetime], values: Sequence[float | None]) -> Cells:
    """Return the anomalies among the steps they were looked for in, with each step's value.

    The last `judged` of the steps were judged; what came before was learnt from.
    """
    found = {_at(row["step_at"]).timestamp(): row for row in told["anomalies"]}
    begun = len(steps) - told["judged"]
    cells = tuple(
        _cell(at, value, found.get(at.timestamp()), told["unit"], judged=number >= begun)
        for number, (at, value) in enumerate(zip(steps, values, strict=True))
    )
    judged = min(len(steps), told["judged"])
    step = f"{told['grain']}s"
    note = f"The first {told['learnt']:,} {step} of the history are learnt from and not judged. After an anomaly the "
    note += f"detector is silent for a while, so that one mark may stand for several {step}."
    words = _found([cell for cell in cells if cell.anomaly], told, judged)
    return Cells(told["unit"], told["grain"], cells, told["time_zone"], words, note)


def _found(odd: list[Cell], told: Answer, judged: int) -> str:
    step = told["grain"]
    if not judged:
        return f"None of these {step}s could be judged yet: {told['learnt']:,} {step}s are only learnt from."
    among = f"among {judged:,} {step}{'s' if judged > 1 else ''}"
    if not odd:
        return f"Nothing unusual {among}."
    newest, unit = odd[-1], told["unit"]
    count = f"{len(odd)} anomal{'ies' if len(odd) > 1 else 'y'} {among}"
    value = units.short(newest.value, unit)
    return f"{count}, the newest on {step_name(newest.at, step)}: {value}, expected {newest.expected}."


def _cell(at: datetime, value: float | None, row: Answer | None, unit: str, *, judged: bool) -> Cell:
    if row is None:
        return Cell(at, value, judged)
    low, high = (units.UNKNOWN if row[name] is None else units.short(row[name], unit) for name in _EXPECTED)
    who = [f"{one['dimension']} {one['value']} ({one['share']:.0%})" for one in row["made_by"] if one["value"]]
    return Cell(
        at, row["value"], judged=True, anomaly=True,
        expected="usual by itself" if row["within"] else f"{low} to {high}",
        why=WHY.get(row["reason"]) or row["reason"], who=", ".join(who),
    )  # fmt: skip


_EXPECTED = ("expected_low", "expected_high")


def days(count: int) -> str:
    """Return a number of days in words, after "next".

    >>> days(1), days(7)
    ('day', '7 days')
    """
    return "day" if count == 1 else f"{count} days"


def _number(value: float | None) -> str:
    return units.UNKNOWN if value is None else f"{value:.2f}"


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _day(text: str | None) -> str:
    if text is None:
        return units.UNKNOWN
    at = _at(text)
    return f"{at:%b} {at.day}, {at.year}"
