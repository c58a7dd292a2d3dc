"""Time as a value that is handed in, so that tests can step it.

Wall time (`now`, `now_us`) stamps records; `monotonic` measures durations and drives timers, and never goes back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def to_datetime(us: int) -> datetime:
    """Return microseconds since 1970 as a UTC instant."""
    return EPOCH + timedelta(microseconds=us)


class Clock(Protocol):
    """What every part that needs the time asks for."""

    def now(self) -> datetime:
        """Return the UTC instant."""
        ...

    def now_us(self) -> int:
        """Return the UTC instant in microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never decreases."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the UTC instant."""
        return datetime.now(UTC)

    def now_us(self) -> int:
        """Return the UTC instant in microseconds since 1970."""
        return time.time_ns() // 1000

    monotonic = staticmethod(time.monotonic)  # as it is: a gateway asks several times a piece


class SteppedClock:
    """A clock that moves only when told to; wall time may step back, monotonic time may not.

    >>> clock = SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.advance(90)
    >>> clock.now().isoformat(), clock.monotonic()
    ('2026-01-01T00:01:30+00:00', 90.0)
    """

    def __init__(self, start: datetime) -> None:
        self._wall = start
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the UTC instant."""
        return self._wall

    def now_us(self) -> int:
        """Return the UTC instant in microseconds since 1970."""
        return to_us(self._wall)

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass (≥ 0) on both clocks."""
        if seconds < 0:
            msg = "monotonic time cannot go back; use step_wall"
            raise ValueError(msg)
        self._wall += timedelta(seconds=seconds)
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Move wall time alone, as an operator or NTP would; may be negative."""
        self._wall += timedelta(seconds=seconds)
