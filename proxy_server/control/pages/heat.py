"""Anomalies as a heat map in inline SVG: days by hours, or weeks by weekdays where whole days were judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.analytics.anomalies import calendar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ultimate_lib.analytics.anomalies.calendar import Day

WIDTH = 720
_LEFT, _TOP, _GAP = 76, 20, 2
_ROW, _WIDEST = 20, 40
_EVERY_HOUR = 3
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Cell(NamedTuple):
    """One square: `kind` is how it looks, `link` leads to its calls and is empty where nothing was found."""

    x: float
    y: float
    kind: str
    label: str
    link: str


class Tick(NamedTuple):
    """Words beside or above the squares."""

    x: float
    y: float
    label: str


class Heat(NamedTuple):
    """What the picture draws, in its own units."""

    cells: list[Cell]
    ticks: list[Tick]  # at the left
    heads: list[Tick]  # above
    width: float
    side: float
    height: float


def draw(days: Sequence[Day], first: datetime, link: Callable[[datetime, str], str]) -> Heat:
    """Return the map of days, oldest first; `first` is in their zone, `link` takes a step's start and its grain."""
    return _hours(days, first, link) if days and days[0].hours else _weeks(days, first, link)


def _hours(days: Sequence[Day], first: datetime, link: Callable[[datetime, str], str]) -> Heat:
    across = (WIDTH - _LEFT) / 24
    most = max((count or 0 for day in days for count in day.hours), default=0)
    cells = []
    for row, day in enumerate(days):
        for hour, count in enumerate(day.hours):
            at = first.replace(year=day.on.year, month=day.on.month, day=day.on.day, hour=hour, minute=0)
            label = f"{day.on:%Y-%m-%d} {hour:02}:00"
            place = round(_LEFT + hour * across, 1), _TOP + row * _ROW
            cells.append(_cell(place, count, most, label, link(at, "hour") if count else ""))
    return Heat(
        cells=cells,
        ticks=[
            Tick(_LEFT - 6, _TOP + row * _ROW + 14, f"{day.on:%a %d %b}")
            for row, day in enumerate(days)
            if len(days) <= calendar.DARKEST or day.on.weekday() == 0 or row == 0
        ],
        heads=[Tick(round(_LEFT + at * across, 1), _TOP - 6, f"{at:02}:00") for at in range(0, 24, _EVERY_HOUR)],
        width=round(across - _GAP, 1),
        side=_ROW - _GAP,
        height=_TOP + len(days) * _ROW,
    )


def _weeks(days: Sequence[Day], first: datetime, link: Callable[[datetime, str], str]) -> Heat:
    weeks = calendar.weeks(days)
    across = min((WIDTH - _LEFT) / max(len(weeks), 1), _WIDEST)
    most = max((day.count or 0 for day in days), default=0)
    cells, heads, month = [], [], 0
    for column, week in enumerate(weeks):
        for row, day in enumerate(week):
            if day is None:
                continue
            at = first.replace(year=day.on.year, month=day.on.month, day=day.on.day, hour=0, minute=0)
            place = round(_LEFT + column * across, 1), _TOP + row * _ROW
            cells.append(_cell(place, day.count, most, f"{day.on:%Y-%m-%d}", link(at, "day") if day.count else ""))
            if day.on.month != month:
                month = day.on.month
                heads.append(Tick(place[0], _TOP - 6, f"{day.on:%b}"))
    return Heat(
        cells=cells,
        ticks=[Tick(_LEFT - 6, _TOP + row * _ROW + 14, name) for row, name in enumerate(_WEEKDAYS)],
        heads=heads,
        width=round(across - _GAP, 1),
        side=_ROW - _GAP,
        height=_TOP + len(_WEEKDAYS) * _ROW,
    )


def _cell(place: tuple[float, float], count: int | None, most: int, label: str, link: str) -> Cell:
    if count is None:
        return Cell(*place, "unjudged", f"{label}: not judged", "")
    many = "no anomaly" if not count else "1 anomaly" if count == 1 else f"{count} anomalies"
    return Cell(*place, f"heat{calendar.shade(count, most)}", f"{label}: {many}", link)
