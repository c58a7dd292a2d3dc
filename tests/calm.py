"""The hour and day in which a file of tests runs, which do not turn under it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import cached_property

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_CALM = timedelta(minutes=1)


class Calm:
    """An instant, and the beginnings of its minute, hour, day and week in UTC.

    It is of the first question, thus of a file's first test and not of when the file was read, minutes before in a
    long run. Who asks just before an hour or day ends waits until it has: what a file expects stays true.
    """

    def __init__(self, step: timedelta) -> None:
        self._step = step

    @cached_property
    def now(self) -> datetime:
        now = datetime.now(UTC)
        wait = until_calm(now, self._step)
        time.sleep(wait.total_seconds())
        return now + wait

    @property
    def minute(self) -> datetime:
        return self.now.replace(second=0, microsecond=0)

    @property
    def hour(self) -> datetime:
        return self.now.replace(minute=0, second=0, microsecond=0)

    @property
    def today(self) -> datetime:
        return self.hour.replace(hour=0)

    @property
    def monday(self) -> datetime:
        return self.today - timedelta(days=self.today.weekday())


def until_calm(now: datetime, step: timedelta) -> timedelta:
    """Return how long to wait for the next hour or day, if this one ends within a minute; else nothing."""
    left = step - (now - datetime(1970, 1, 1, tzinfo=UTC)) % step
    return left if left <= _CALM else timedelta(0)
