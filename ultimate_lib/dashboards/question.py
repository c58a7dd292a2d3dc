"""What a dashboard asks: a span of time in a zone, filters, a dimension to tell calls apart by.

A span ends where its last step ends, so that the same question is asked again and again within a step: its answer is
kept by whoever has it, and the step that still runs is known as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_HOURS_UP_TO = timedelta(days=3)
_LONGEST_DAYS = 3660

SPANS: dict[str, str] = {
    "today": "Today",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "custom": "Custom",
}
"""Name of a span → what a person reads."""

GROUPS: dict[str, str] = {
    "model": "Model",
    "provider": "Provider",
    "project": "Project",
    "app": "Application",
    "notebook": "Notebook",
    "team": "Team",
    "status": "Outcome",
}
"""What calls can be told apart by, and how it is called."""

FILTERS = ("model", "provider", "project")
"""What calls can be filtered by."""


@dataclass(frozen=True, slots=True)
class Question:
    """One state of a dashboard's controls at one minute. Instants are aware and in UTC."""

    start: datetime
    end: datetime  # where the last step ends
    now: datetime  # to the minute; what is after it has not happened yet
    grain: str  # hour | day
    zone: str
    before: tuple[datetime, datetime]  # the span that this one is compared with, equally long up to now
    words: str  # the span, for a sentence: "today", "the last 24 hours"
    group: str = "model"
    where: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether the last step is still running."""
        return self.now < self.end

    @property
    def until(self) -> datetime:
        """The end of what has happened."""
        return min(self.now, self.end)


def ask(
    span: str,
    now: datetime,
    zone: str,
    *,
    group: str = "model",
    where: Mapping[str, tuple[str | None, ...]] | None = None,
    days: tuple[date, date] | None = None,
) -> Question:
    """Return the question for a span of `SPANS`; `days` are the first and last day of "custom".

    Raises `Invalid` for a span that is not known, or days that are no span.
    """
    local = now.astimezone(ZoneInfo(zone))
    now = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    if span == "today":
        start, end, grain, words = _midnight(local.date(), zone), _next_hour(local), "hour", "today"
    elif span == "24h":
        end = _next_hour(local)
        start, grain, words = end - _DAY, "hour", "the last 24 hours"
    elif span in {"7d", "30d", "90d"}:
        count = int(span[:-1])
        start, end = _midnight(local.date() - timedelta(days=count - 1), zone), _midnight(local.date() + _DAY, zone)
        grain, words = "day", f"the last {count} days"
    elif span == "custom":
        start, end, grain, words = _custom(days, zone)
    else:
        raise Invalid(f"There is no span '{span}'.", hint=f"Known: {', '.join(SPANS)}.", code="span")
    length = _DAY if span == "today" else end - start
    until = min(now, end)
    before = (start - length, max(until - length, start - length + timedelta(minutes=1)))
    return Question(start, end, now, grain, zone, before, words, group, dict(where or {}))


def _custom(days: tuple[date, date] | None, zone: str) -> tuple[datetime, datetime, str, str]:
    if days is None:
        raise Invalid("A custom span needs a first and a last day.", hint="Write both as 2026-11-24.", code="span")
    first, last = days
    if last < first:
        raise Invalid(
            f"{last} is before {first}.", hint="Choose a last day that is not before the first.", code="span"
        )
    if (last - first).days > _LONGEST_DAYS:
        raise Invalid("The span is longer than ten years.", hint="Choose days that are nearer.", code="span")
    start, end = _midnight(first, zone), _midnight(last + _DAY, zone)
    words = f"{first}" if first == last else f"{first} to {last}"
    return start, end, "hour" if end - start <= _HOURS_UP_TO else "day", words


def _midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _next_hour(local: datetime) -> datetime:
    """Return the end of the hour as the zone's clock shows it (half an hour off in some zones)."""
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return local.astimezone(UTC) - into + _HOUR
