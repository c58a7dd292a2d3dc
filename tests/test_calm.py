"""Files of tests begin where neither hour nor day turns under them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.calm import DAY, HOUR, Calm, until_calm


@pytest.mark.parametrize(
    ("at", "step", "wait_s"),
    [
        ("00:00:00", DAY, 0),
        ("23:58:59", DAY, 0),
        ("23:59:00", DAY, 60),
        ("23:59:59.5", DAY, 0.5),
        ("22:59:30", DAY, 0),
        ("22:59:30", HOUR, 30),
        ("23:00:00", HOUR, 0),
    ],
)
def test_who_asks_just_before_the_end_waits_for_it(at: str, step: timedelta, wait_s: float) -> None:
    assert until_calm(datetime.fromisoformat(f"2026-11-30T{at}+00:00"), step) == timedelta(seconds=wait_s)


def test_it_is_one_instant_from_the_first_question_on() -> None:
    calm, before = Calm(DAY), datetime.now(UTC)
    first = calm.now
    assert first >= before
    assert calm.now is first
    assert calm.monday <= calm.today <= calm.hour <= calm.minute <= first < calm.hour + HOUR
    assert calm.monday.weekday() == 0
