"""A span of time as people write it: days, instants, or nothing at all."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_LONGEST = timedelta(days=366 * 20)


class Span(NamedTuple):
    """From `start` (inclusive) to `end` (exclusive), aware; `zone` cuts its days."""

    start: datetime
    end: datetime
    zone: ZoneInfo


def read(start: str, end: str, time_zone: str, *, clock: Clock, default: timedelta) -> Span:
    """Return the span that `start` and `end` name.

    A day such as `2026-11-23` is the whole day in `time_zone`, also as the end; an instant such as
    `2026-11-23T08:00` without an offset is in `time_zone` too. Nothing said: the last `default` until now.
    Raises `Invalid`.
    """
    zone = zone_of(time_zone)
    now = clock.now().astimezone(zone)
    until = _instant("end", end, zone) if end else now
    try:
        since = _instant("start", start, zone) if start else until - default
    except OverflowError as error:
        raise Invalid(f"end = '{end[:60]}' is too early.", hint="Give a later one.", code="span") from error
    if since >= until:
        raise Invalid(
            f"The span from {since.isoformat()} to {until.isoformat()} is empty.",
            hint="Give a start before the end.",
            code="span",
        )
    if until - since > _LONGEST:
        raise Invalid("The span is longer than twenty years.", hint="Give a shorter one.", code="span")
    return Span(since.astimezone(UTC), until.astimezone(UTC), zone)


def today(time_zone: str, clock: Clock) -> Span:
    """Return the day that it is in a zone, until now."""
    zone = zone_of(time_zone)
    now = clock.now().astimezone(zone)
    return Span(_midnight(now.date(), zone), now.astimezone(UTC) + timedelta(microseconds=1), zone)


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of that name. Raises `Invalid`."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Invalid(
            f"There is no time zone '{name}'.", hint="Use an IANA name such as 'Europe/Berlin'.", code="time_zone"
        ) from error


def _instant(name: str, text: str, zone: ZoneInfo) -> datetime:
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return _midnight(day + timedelta(days=1) if name == "end" else day, zone)
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo is not None else told.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"{name} = '{text[:60]}' is no day and no instant.",
            hint="Write 2026-11-23 or 2026-11-23T08:00:00Z.",
            code="span",
        ) from error


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
