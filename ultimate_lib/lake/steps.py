"""Where minutes, hours, days, weeks and months begin in a time zone, clock changes included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ultimate_lib.errors import Invalid
from ultimate_lib.metrics import GRAINS

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_STEPS = 10_000
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 7 * 86_400, "month": 28 * 86_400}
_FIRST_WEEKDAY = {"monday": 0, "saturday": 5, "sunday": 6}


def steps(start: datetime, end: datetime, grain: str, zone: str, week_start: str = "monday") -> tuple[datetime, ...]:
    """Return the edges (UTC) of the steps that [start, end) touches: one more than there are steps.

    The first edge is at or before `start`, the last at or after `end`. A day is what lies between two local
    midnights: 23 to 25 hours. Raises `Invalid` when there would be more than `MOST_STEPS`.
    """
    if (end - start).total_seconds() / _SECONDS[grain] > MOST_STEPS:
        raise Invalid(
            f"{start.isoformat()} to {end.isoformat()} has more than {MOST_STEPS:,} steps of a {grain}.",
            hint=f"Ask for a shorter span or a coarser grain: {', '.join(GRAINS)}.",
            code="too_many_steps",
        )
    return _edges(start.astimezone(UTC), end.astimezone(UTC), grain, zone, week_start)


@lru_cache(maxsize=64)
def _edges(start: datetime, end: datetime, grain: str, zone: str, week_start: str) -> tuple[datetime, ...]:
    edges = []
    walk = _by_clock if grain in {"minute", "hour"} else _by_date
    for edge in walk(start, grain, ZoneInfo(zone), week_start):
        edges.append(edge)
        if edge >= end:
            break
    return tuple(edges)


def _by_clock(start: datetime, grain: str, zone: ZoneInfo, _: str) -> Iterator[datetime]:
    length = timedelta(seconds=_SECONDS[grain])
    edge = _floor(start, grain, zone)
    while True:
        yield edge
        # after a clock change by half an hour the local hour begins elsewhere
        following = _floor(edge + length, grain, zone)
        edge = following if following > edge else edge + length


def _floor(at: datetime, grain: str, zone: ZoneInfo) -> datetime:
    local = at.astimezone(zone)
    within = timedelta(seconds=local.second, microseconds=local.microsecond)
    if grain == "hour":
        within += timedelta(minutes=local.minute)
    return at - within


def _by_date(start: datetime, grain: str, zone: ZoneInfo, week_start: str) -> Iterator[datetime]:
    day = start.astimezone(zone).date()
    if grain == "week":
        day -= timedelta(days=(day.weekday() - _FIRST_WEEKDAY[week_start]) % 7)
    elif grain == "month":
        day = day.replace(day=1)
    while True:
        yield midnight(day, zone)
        if grain == "month":
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        else:
            day += timedelta(days=7 if grain == "week" else 1)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which a date begins; where clocks skip midnight, that of the skip."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the date of an instant in a time zone."""
    return at.astimezone(zone).date()
