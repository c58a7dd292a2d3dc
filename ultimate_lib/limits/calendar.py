"""Periods of the billing calendar: between which instants a day, week or month lies, clock changes included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ultimate_lib.clock import EPOCH, to_datetime, to_us

if TYPE_CHECKING:
    from ultimate_lib.settings import Billing

PERIODS = ("day", "week", "month", "total")
_FIRST_WEEKDAY = {"monday": 0, "saturday": 5, "sunday": 6}
_NEVER_US = to_us(datetime(9999, 1, 1, tzinfo=UTC))


class Span(NamedTuple):
    """[start, end) in microseconds since 1970."""

    start_us: int
    end_us: int

    @property
    def start(self) -> datetime:
        """The first instant, UTC; of `total` the beginning of 1970."""
        return to_datetime(self.start_us)

    @property
    def end(self) -> datetime | None:
        """The first instant of the next period; None: it never ends."""
        return None if self.end_us == _NEVER_US else to_datetime(self.end_us)


ALWAYS = Span(to_us(EPOCH), _NEVER_US)


def span(period: str, at_us: int, billing: Billing) -> Span:
    """Return the period that an instant lies in. A day is what lies between two local midnights: 23 to 25 hours.

    >>> from ultimate_lib.settings import Billing
    >>> day = span("day", to_us(datetime(2026, 3, 29, 12, tzinfo=UTC)), Billing(time_zone="Europe/Berlin"))
    >>> (day.end_us - day.start_us) // 3_600_000_000
    23
    """
    if period == "total":
        return ALWAYS
    zone = ZoneInfo(billing.time_zone)
    return _span(period, to_datetime(at_us).astimezone(zone).date(), billing.time_zone, billing.week_start)


@lru_cache(maxsize=256)
def _span(period: str, day: date, zone: str, week_start: str) -> Span:
    if period == "day":
        following = day + timedelta(days=1)
    elif period == "week":
        day -= timedelta(days=(day.weekday() - _FIRST_WEEKDAY[week_start]) % 7)
        following = day + timedelta(days=7)
    else:
        day = day.replace(day=1)
        following = (day + timedelta(days=32)).replace(day=1)
    return Span(_midnight(day, zone), _midnight(following, zone))


def _midnight(day: date, zone: str) -> int:
    return to_us(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC))
