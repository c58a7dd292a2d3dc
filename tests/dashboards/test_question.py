"""Spans as people choose them: where they begin and end, in which steps, and what they are compared with."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ultimate_lib.dashboards.question import SPANS, ask
from ultimate_lib.errors import Invalid

NOW = datetime(2026, 11, 24, 13, 20, 31, tzinfo=UTC)


def test_today_ends_with_the_hour_that_runs() -> None:
    asked = ask("today", NOW, "Europe/Berlin")
    assert asked.start == datetime(2026, 11, 23, 23, tzinfo=UTC), "midnight in Berlin"
    assert asked.end == datetime(2026, 11, 24, 14, tzinfo=UTC)
    assert asked.grain == "hour"
    assert asked.runs
    assert asked.before == (asked.start - timedelta(days=1), asked.until - timedelta(days=1))


def test_the_same_question_all_through_a_minute_and_the_same_span_all_through_an_hour() -> None:
    assert ask("24h", NOW, "UTC") == ask("24h", NOW + timedelta(seconds=20), "UTC")
    later = ask("24h", NOW + timedelta(minutes=30), "UTC")
    assert (later.start, later.end) == (ask("24h", NOW, "UTC").start, ask("24h", NOW, "UTC").end)


def test_hours_of_a_zone_at_half_hours() -> None:
    asked = ask("24h", NOW, "Asia/Kolkata")
    assert asked.end.astimezone(ZoneInfo("Asia/Kolkata")).minute == 0
    assert asked.end - asked.start == timedelta(days=1)


@pytest.mark.parametrize(("span", "days"), [("7d", 7), ("30d", 30), ("90d", 90)])
def test_days_are_whole_days_of_the_zone_over_a_change_of_the_clocks(span: str, days: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    asked = ask(span, datetime(2026, 10, 27, 12, tzinfo=UTC), "Europe/Berlin")
    start, end = asked.start.astimezone(zone), asked.end.astimezone(zone)
    assert (start.hour, end.hour) == (0, 0)
    assert (end.date() - start.date()).days == days
    assert asked.grain == "day"


def test_custom_days_are_inclusive_and_past_ones_do_not_run() -> None:
    asked = ask("custom", NOW, "UTC", days=(date(2026, 11, 1), date(2026, 11, 2)))
    assert asked.end - asked.start == timedelta(days=2)
    assert asked.grain == "hour"
    assert not asked.runs
    assert asked.before == (asked.start - timedelta(days=2), asked.start)


def test_what_is_no_span_says_what_to_do() -> None:
    with pytest.raises(Invalid, match="Known: today"):
        ask("yesterday", NOW, "UTC")
    with pytest.raises(Invalid, match="Write both as"):
        ask("custom", NOW, "UTC")
    with pytest.raises(Invalid, match="before"):
        ask("custom", NOW, "UTC", days=(date(2026, 11, 2), date(2026, 11, 1)))
    assert set(SPANS) == {"today", "24h", "7d", "30d", "90d", "custom"}
