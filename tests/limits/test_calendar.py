"""Days, weeks and months of the billing calendar, clock changes included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultimate_lib.clock import to_us
from ultimate_lib.limits.calendar import span
from ultimate_lib.settings.sections import Billing

BERLIN = Billing(time_zone="Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago")


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 3, 30), 24), ((2026, 10, 25), 25)])
def test_a_day_lies_between_two_midnights(day: tuple[int, int, int], hours: int) -> None:
    noon = datetime(*day, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    found = span("day", to_us(noon), BERLIN)
    assert found.start.astimezone(ZoneInfo("Europe/Berlin")).hour == 0
    assert found.end_us - found.start_us == hours * 3_600_000_000


@pytest.mark.parametrize(("week_start", "first"), [("monday", 23), ("sunday", 22), ("saturday", 28)])
def test_a_week_begins_on_its_day(week_start: str, first: int) -> None:
    at = to_us(datetime(2026, 3, 28, 12, tzinfo=UTC))  # a Saturday
    found = span("week", at, Billing(week_start=week_start))  # type: ignore[arg-type] # one of the three
    assert found.start == datetime(2026, 3, first, tzinfo=UTC)
    assert found.end == found.start + timedelta(days=7)


def test_total_has_no_edges() -> None:
    found = span("total", 5, BERLIN)
    assert found.end is None
    assert found.start_us == 0


@given(
    at=st.integers(to_us(datetime(2020, 1, 1, tzinfo=UTC)), to_us(datetime(2030, 1, 1, tzinfo=UTC))),
    period=st.sampled_from(["day", "week", "month"]),
    zone=st.sampled_from(ZONES),
    week_start=st.sampled_from(["monday", "sunday", "saturday"]),
)
def test_periods_cover_time_without_gap_or_overlap(at: int, period: str, zone: str, week_start: str) -> None:
    billing = Billing(time_zone=zone, week_start=week_start)  # type: ignore[arg-type] # one of the three
    found = span(period, at, billing)
    assert found.start_us <= at < found.end_us
    assert span(period, found.start_us, billing) == found
    assert span(period, found.end_us - 1, billing) == found
    assert span(period, found.end_us, billing).start_us == found.end_us
