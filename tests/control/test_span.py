"""A span as people write it, at the edges of what a calendar holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from proxy_server.control.api import span
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Invalid


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("0001-01-01T00:00:00+14:00", ""),
        ("", "0001-01-01T00:00"),
        ("9999-12-31T23:00-14:00", ""),
        ("", "9999-12-31T23:59-10:00"),
        ("", "9999-12-31"),
        ("0001-01-01T00:00", "2026-01-01"),
    ],
)
def test_instants_beyond_the_calendar_are_refused_with_a_sentence(start: str, end: str) -> None:
    clock = SteppedClock(datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(Invalid):
        span.read(start, end, "Asia/Tokyo", clock=clock, default=timedelta(days=366))
