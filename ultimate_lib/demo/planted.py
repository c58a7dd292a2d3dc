"""What stands in the made-up calls for someone to find, as data: tests and detectors are held against it.

    for one in PLANTED:
        start, end = one.span(first_start)          # UTC; `end` is None for what lasts
        print(one.sentence)

Each lies on a fixed weekday before the day of the demo's first start, so that a week looks the same whenever that is.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple


class Planted(NamedTuple):
    """One anomaly. In its span `metric` of the calls that match `where` is about `factor` times what is usual."""

    name: str
    kind: str  # spend | volume | errors | latency | cache | change
    sentence: str
    weekday: int  # Monday is 0
    days_before: int  # at least so many days before the first start
    hour: float  # of the day, UTC
    hours: float | None  # how long; None: for good
    where: tuple[str, str]  # dimension and value of the calls it shows in
    metric: str
    factor: float  # at least, or below 1 at most

    def span(self, first_start: date) -> tuple[datetime, datetime | None]:
        """Return when it begins and ends, for a demo that was first started on a day (UTC)."""
        day = first_start - timedelta(days=self.days_before)
        day -= timedelta(days=(day.weekday() - self.weekday) % 7)
        start = datetime.combine(day, time(), UTC) + timedelta(hours=self.hour)
        return start, None if self.hours is None else start + timedelta(hours=self.hours)


PLANTED: tuple[Planted, ...] = (
    Planted(
        "spend-spike", "spend",
        "On an afternoon Carla rewrites the whole product catalog with the dearest model: growth spends a month's "
        "worth within three hours.",
        1, 2, 13.5, 3.0, ("team", "growth"), "cost_usd", 20.0,
    ),
    Planted(
        "runaway-key", "volume",
        "In a night from Friday to Saturday the key of the review job sends the same request over and over, every "
        "five seconds.",
        5, 3, 1.25, 3.5, ("key", "key_ci_review"), "requests", 100.0,
    ),
    Planted(
        "outage", "errors",
        "For 65 minutes of a morning OpenAI answers most calls with 503.",
        3, 5, 9.5, 65 / 60, ("provider", "openai"), "error_ratio", 15.0,
    ),
    Planted(
        "slow-gemini", "latency",
        "For two days answers of Gemini take three times as long; nothing else changes.",
        1, 12, 0.0, 48.0, ("provider", "gemini"), "latency_p50_ms", 2.5,
    ),
    Planted(
        "cold-cache", "cache",
        "For a day the coding agents' prompts miss the provider's cache, after a change of their tools: the same "
        "tokens cost several times as much.",
        2, 18, 0.0, 24.0, ("app", "claude-code"), "cache_hit_ratio", 0.2,
    ),
    Planted(
        "model-change", "change",
        "The support bot moves from gpt-4o to gpt-5.4-mini: a call of it costs less than half from then on.",
        0, 28, 7.0, None, ("app", "support-bot"), "cost_per_request_usd", 0.6,
    ),
)  # fmt: skip
