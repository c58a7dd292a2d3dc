"""Steps of time on the wall clock of a zone: minutes, hours, and days of 23 to 25 hours."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo


def floor(now: datetime, grain: str) -> datetime:
    """Return the beginning of the step that an instant lies in."""
    hour, minute = (0 if grain == "day" else now.hour), (now.minute if grain == "minute" else 0)
    return now.replace(hour=hour, minute=minute, second=0, microsecond=0)


def left_of(later: list[datetime], now: datetime) -> float:
    """Return which part of the step that is running is still to come: of time, not of the clock on the wall."""
    begin, end, at = (one.astimezone(UTC) for one in (later[0], later[1], now))
    return (end - at) / (end - begin)


def later_of(now: datetime, zone: ZoneInfo, grain: str, steps: int) -> list[datetime]:
    """Return the starts of the steps from the running one on, and the end of the last."""
    first = floor(now, grain)
    if grain == "day":  # days of the wall clock: 23 to 25 hours
        return [first + timedelta(days=at) for at in range(steps + 1)]
    return [(first.astimezone(UTC) + timedelta(hours=at)).astimezone(zone) for at in range(steps + 1)]
