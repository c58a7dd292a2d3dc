"""What a widget shows, before anybody draws it: plain values, with a sentence and a table for each.

Pure: no Panel, no Bokeh. `None` among values is "not known" and becomes a gap or a dash, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ultimate_lib.dashboards import units

if TYPE_CHECKING:
    from datetime import datetime

OTHER = "Other"
NONE = "none given"
"""The name of calls without a value in a dimension."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one layer of bars: a value a step."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """Values over time."""

    unit: str
    grain: str
    steps: tuple[datetime, ...]  # starts, in the zone that is shown
    series: tuple[Series, ...]
    stacked: bool  # layers of bars; else lines
    runs: bool  # the last step is still running
    zone: str
    note: str = ""  # what has to be known beside the numbers

    def label(self, index: int, *, axis: bool = False) -> str:
        """Return the name of a step: for the axis short, else with its day."""
        at = self.steps[index]
        if axis and self.grain == "hour" and (at.hour or index == 0):
            return f"{at:%H:%M}"
        return f"{at:%b} {at.day}" if axis else step_name(at, self.grain)


@dataclass(frozen=True, slots=True)
class Ahead:
    """One step of a forecast; the bounds hold 80 % and 95 % of what may come, the naive is the last cycle again."""

    at: datetime
    value: float
    lower_80: float
    upper_80: float
    lower_95: float
    upper_95: float
    naive: float


@dataclass(frozen=True, slots=True)
class Fan:
    """What was, what is expected, and how sure that is."""

    unit: str
    grain: str
    past: tuple[tuple[datetime, float | None], ...]
    ahead: tuple[Ahead, ...]  # at least one
    zone: str
    words: str  # what it says, in a sentence
    note: str = ""

    @property
    def steps(self) -> tuple[datetime, ...]:
        """The starts of all steps, those that were and those ahead."""
        return (*(at for at, _ in self.past), *(one.at for one in self.ahead))

    @property
    def top(self) -> float:
        """The highest value that is drawn: far bounds may be far indeed, and leave the picture."""
        known = [value for _, value in self.past if value is not None]
        return max(*known, *(max(one.upper_80, one.naive) for one in self.ahead), 0.0)


@dataclass(frozen=True, slots=True)
class Cell:
    """One step in a calendar: its value, and what there is to say of it when it is an anomaly."""

    at: datetime
    value: float | None
    judged: bool
    anomaly: bool = False
    expected: str = ""
    why: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Steps in a calendar: days beside each other with their hours below, or weeks with their weekdays."""

    unit: str
    grain: str
    cells: tuple[Cell, ...]  # oldest first, at least one
    zone: str
    words: str  # what it says, in a sentence
    note: str = ""

    @property
    def anomalies(self) -> tuple[Cell, ...]:
        """Those that are anomalies, the newest first."""
        return tuple(cell for cell in reversed(self.cells) if cell.anomaly)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its name."""

    name: str
    value: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Named amounts, the largest first."""

    unit: str
    what: str  # what the names are: Model, Project
    bars: tuple[Bar, ...]
    total: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One large number, and the same of the span before."""

    label: str
    value: float | None
    unit: str
    before: float | None = None
    note: str = ""
    more_is: str = ""  # better | worse | "": what a rise means
    words: str = ""  # instead of the value
    tone: str = ""  # good | bad | "": of these words


@dataclass(frozen=True, slots=True)
class Figures:
    """Large numbers side by side."""

    figures: tuple[Figure, ...]
    before: str  # the span that they are compared with, in words


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. `numbers` are the columns that hold numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = field(default_factory=frozenset)
    note: str = ""
    long: frozenset[int] = field(default_factory=frozenset)  # columns whose texts may take several lines


Picture = Steps | Fan | Cells | Bars | Figures | Grid


def table(picture: Picture) -> Grid:
    """Return the picture as a table with exact values."""
    if isinstance(picture, Grid):
        return picture
    if isinstance(picture, Bars):
        rows = tuple((bar.name, units.exact(bar.value, picture.unit), bar.note) for bar in picture.bars)
        return Grid((picture.what, units.AXES[picture.unit], ""), rows, frozenset({1}), picture.note)
    if isinstance(picture, Figures):
        numbers = tuple(
            (one.label, one.words or units.exact(one.value, one.unit), units.exact(one.before, one.unit), one.note)
            for one in picture.figures
        )
        return Grid(("", "Now", picture.before, ""), numbers, frozenset({1, 2}))
    if isinstance(picture, Fan):
        return _steps_ahead(picture)
    if isinstance(picture, Cells):
        return _anomalies(picture)
    shown = [
        (
            _ran(picture, index),
            *(units.exact(series.values[index], picture.unit) for series in picture.series),
        )
        for index in range(len(picture.steps))
    ]
    names = tuple(series.name for series in picture.series)
    header = (f"{picture.grain.capitalize()} ({picture.zone})", *names)
    return Grid(header, tuple(shown), frozenset(range(1, len(header))), picture.note)


def _steps_ahead(picture: Fan) -> Grid:
    header = (f"{picture.grain.capitalize()} ({picture.zone})", "Expected", "80 % from", "to", "95 % from", "to",
              "Last cycle again")  # fmt: skip
    rows = []
    for number, one in enumerate(picture.ahead):
        name = step_name(one.at, picture.grain) + ("" if number else " (still running)")
        told = (one.value, one.lower_80, one.upper_80, one.lower_95, one.upper_95, one.naive)
        rows.append((name, *(units.exact(value, picture.unit) for value in told)))
    return Grid(header, tuple(rows), frozenset(range(1, len(header))), picture.note)


def _anomalies(picture: Cells) -> Grid:
    header = (f"{picture.grain.capitalize()} ({picture.zone})", units.AXES[picture.unit], "Expected", "Why",
              "Mostly made by")  # fmt: skip
    rows = tuple(
        (step_name(one.at, picture.grain), units.exact(one.value, picture.unit), one.expected, one.why, one.who)
        for one in picture.anomalies
    )
    return Grid(header, rows, frozenset({1, 2}), picture.note, frozenset({4}))


def step_name(at: datetime, grain: str) -> str:
    """Return the name of a step, with its day."""
    return f"{at:%a} {at:%b} {at.day}, " + (f"{at.year}" if grain == "day" else f"{at:%H:%M}")


def _ran(picture: Steps, index: int) -> str:
    running = picture.runs and index == len(picture.steps) - 1
    return f"{picture.label(index)} (still running)" if running else picture.label(index)


def summary(picture: Picture) -> str:
    """Return what the picture says, in a sentence; empty where the picture is text itself."""
    if isinstance(picture, (Fan, Cells)):
        return picture.words
    if not isinstance(picture, Steps):
        return ""
    return _stacked(picture) if picture.stacked else _lines(picture)


def _stacked(picture: Steps) -> str:
    sums = {series.name: _sum(series.values) for series in picture.series}
    known = {name: value for name, value in sums.items() if value is not None}
    total = sum(known.values())
    if not total:
        return "Nothing in this span."
    largest = max(known, key=lambda name: known[name])
    peaks = [_sum(tuple(s.values[i] for s in picture.series)) or 0.0 for i in range(len(picture.steps))]
    peak = peaks.index(max(peaks))
    told = [f"{units.short(total, picture.unit)}{_noun(picture.unit)} in all"]
    if len(picture.series) > 1:
        told.append(f"{largest} {known[largest] / total:.0%}")
    on = "on" if picture.grain == "day" else "at"
    told.append(f"most {on} {picture.label(peak)} ({units.short(peaks[peak], picture.unit)})")
    return ", ".join(told) + "."


def _lines(picture: Steps) -> str:
    told = []
    for series in picture.series:
        known = [value for value in series.values if value is not None]
        if known:
            low, high = units.short(min(known), picture.unit), units.short(max(known), picture.unit)
            told.append(f"{series.name} {low}" if low == high else f"{series.name} {low} to {high}")
    return ", ".join(told) + "." if told else "Not known for any call of this span."


def _noun(unit: str) -> str:
    return f" {units.AXES[unit]}" if unit in {"tokens", "calls"} else ""


def _sum(values: tuple[float | None, ...]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
