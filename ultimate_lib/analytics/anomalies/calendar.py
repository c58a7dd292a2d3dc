"""Anomalies by day and hour, as a calendar shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

DARKEST = 4
_MOST_DAYS = 1000


@dataclass(frozen=True, slots=True)
class Day:
    """One day. None is where nothing was judged, which is not the same as no anomaly."""

    on: date
    count: int | None
    hours: tuple[int | None, ...]  # by the hour on the wall clock, 24 of them; empty where whole days were judged
    worst: float | None  # the highest score of its anomalies


def days(marks: Iterable[tuple[datetime, float]], begin: datetime, end: datetime, *, hours: bool = True) -> list[Day]:
    """Return the days from `begin` to `end`, oldest first.

    `marks` are anomalies: the start of the step and its score. What was judged runs from `begin` (inclusive) to `end`
    (exclusive), and their zone is that of the days; `hours=False` where the steps are whole days. An hour that the
    clocks leave out is None, one that comes twice counts both. Raises `Invalid` beyond a thousand days.
    """
    if begin >= end:
        return []
    zone = begin.tzinfo
    first, last = begin.date(), (end - timedelta(microseconds=1)).date()
    count = (last - first).days + 1
    if count > _MOST_DAYS:
        raise Invalid(f"A calendar of {count:,} days is too long.", hint=f"Ask for at most {_MOST_DAYS:,} days.")
    judged: list[list[int | None]] = [[None] * 24 for _ in range(count)]
    at, until = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0), end.astimezone(UTC)
    while at < until:
        wall = at.astimezone(zone)
        if wall.date() >= first:
            judged[(wall.date() - first).days][wall.hour] = 0
        at += timedelta(hours=1)
    counts = [0] * count
    worst: list[float | None] = [None] * count
    for moment, score in marks:
        wall = moment.astimezone(zone)
        place = (wall.date() - first).days
        if 0 <= place < count:
            counts[place] += 1
            judged[place][wall.hour] = (judged[place][wall.hour] or 0) + 1
            worst[place] = max(score, worst[place] or score)
    return [
        Day(
            first + timedelta(days=place),
            counts[place] if any(one is not None for one in judged[place]) else None,
            tuple(judged[place]) if hours else (),
            worst[place],
        )
        for place in range(count)
    ]


def weeks(told: Sequence[Day], first_weekday: int = 0) -> list[list[Day | None]]:
    """Return days as rows of seven, filled up with None; a row begins on `first_weekday` (Monday is 0)."""
    if not told:
        return []
    before = (told[0].on.weekday() - first_weekday) % 7
    row: list[Day | None] = [*([None] * before), *told]
    row += [None] * (-len(row) % 7)
    return [row[at : at + 7] for at in range(0, len(row), 7)]


def shade(count: int | None, most: int) -> int:
    """Return how dark a place is beside the darkest one: 0 for none, up to `DARKEST`."""
    if not count or most <= 0:
        return 0
    return max(1, -(-DARKEST * min(count, most) // most))
