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
        if self.grain == "day":
            return f"{at:%b} {at.day}" if axis else f"{at:%a} {at:%b} {at.day}, {at.year}"
        if axis:
            return f"{at:%H:%M}" if at.hour or index == 0 else f"{at:%b} {at.day}"
        return f"{at:%a} {at:%b} {at.day}, {at:%H:%M}"


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


Picture = Steps | Bars | Figures | Grid


def table(picture: Picture) -> Grid:
    """Return the picture as a table with exact values."""
    if isinstance(picture, Grid):
        return picture
    if isinstance(picture, Bars):
        rows = tuple((bar.name, units.exact(bar.value, picture.unit), bar.note) for bar in picture.bars)
        return Grid((picture.what, units.AXES[picture.unit], ""), rows, frozenset({1}), picture.note)
    if isinstance(picture, Figures):
        numbers = tuple(
            (one.label, units.exact(one.value, one.unit), units.exact(one.before, one.unit), one.note)
            for one in picture.figures
        )
        return Grid(("", "Now", picture.before, ""), numbers, frozenset({1, 2}))
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


def _ran(picture: Steps, index: int) -> str:
    running = picture.runs and index == len(picture.steps) - 1
    return f"{picture.label(index)} (still running)" if running else picture.label(index)


def summary(picture: Picture) -> str:
    """Return what the picture says, in a sentence; empty where the picture is text itself."""
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
