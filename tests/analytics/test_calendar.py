"""The calendar of anomalies: days and hours, clock changes, and what was not judged."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ultimate_lib.analytics.anomalies.calendar import DARKEST, days, shade, weeks
from ultimate_lib.errors import Invalid

BERLIN = ZoneInfo("Europe/Berlin")


def test_anomalies_are_counted_by_day_and_hour_and_what_was_not_judged_is_none() -> None:
    begin, end = datetime(2026, 11, 2, 6, tzinfo=UTC), datetime(2026, 11, 4, 12, tzinfo=UTC)
    marks = [(datetime(2026, 11, 3, 9, at, tzinfo=UTC), float(at)) for at in (0, 30)]
    first, second, third = days([*marks, (datetime(2026, 12, 1, tzinfo=UTC), 9.0)], begin, end)
    assert (first.on, first.count, first.worst) == (date(2026, 11, 2), 0, None)
    assert first.hours == (None,) * 6 + (0,) * 18
    assert (second.count, second.hours[9], second.worst) == (2, 2, 30.0)
    assert third.hours == (0,) * 12 + (None,) * 12
    assert days([], end, end) == []
    assert [one.hours for one in days(marks, begin, end, hours=False)] == [(), (), ()]


def test_an_hour_that_the_clocks_leave_out_was_not_judged_and_one_that_comes_twice_counts_both() -> None:
    (spring,) = days([], datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN))
    assert [hour for hour, count in enumerate(spring.hours) if count is None] == [2]
    twice = [datetime(2026, 10, 25, at, 10, tzinfo=UTC) for at in (0, 1)]  # 02:10 by the wall clock, both
    begin = datetime(2026, 10, 25, tzinfo=BERLIN)
    (autumn,) = days([(at, 5.0) for at in twice], begin, begin + timedelta(days=1))
    assert (autumn.count, autumn.hours[2]) == (2, 2)
    assert None not in autumn.hours


def test_weeks_are_rows_of_seven() -> None:
    told = days([], datetime(2026, 11, 4, tzinfo=UTC), datetime(2026, 11, 11, tzinfo=UTC))  # from a Wednesday
    rows = weeks(told)
    assert [[one and one.on.day for one in row] for row in rows] == [
        [None, None, 4, 5, 6, 7, 8], [9, 10, None, None, None, None, None],
    ]  # fmt: skip
    assert weeks(told, first_weekday=6)[0][:4] == [None, None, None, told[0]]
    assert weeks([]) == []


def test_shades_are_none_for_nothing_and_the_darkest_for_the_most() -> None:
    assert [shade(one, 8) for one in (None, 0, 1, 4, 8)] == [0, 0, 1, 2, DARKEST]
    assert shade(1, 1) == DARKEST


def test_a_calendar_of_centuries_is_refused() -> None:
    with pytest.raises(Invalid, match="too long"):
        days([], datetime(1900, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
