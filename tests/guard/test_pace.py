"""What is too quick for a key, learnt from its calls: not a burst of ordinary ones, nor a job at another hour."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.lake.random_calls import make_lake
from ultimate_lib.clock import to_us
from ultimate_lib.guard.known import Rate
from ultimate_lib.guard.pace import too_quick
from ultimate_lib.guard.spend import WINDOWS, Spend
from ultimate_lib.lake import delta, schema
from ultimate_lib.lake.rates import rates_of
from ultimate_lib.records import CallRecord

NOW = datetime(2026, 3, 30, tzinfo=UTC)
FLOOR = 50_000_000


def learnt(folder: Path, calls: list[tuple[datetime, float]]) -> Rate:
    lake = make_lake(folder, NOW)
    made = [
        CallRecord(
            call_id=f"c{number}", started_at=to_us(at), key_id="k", model_routed="m", status="ok", operation="chat",
            cost_nano_usd=round(usd * 1e9),
        )
        for number, (at, usd) in enumerate(calls)
    ]  # fmt: skip
    delta.append(lake, schema.frame_from_records(made))
    (rate,) = rates_of(lake, NOW)
    return rate


def refused(rate: Rate, calls: list[tuple[datetime, float]]) -> int:
    """Return how many of the calls are refused; those that are not have spent."""
    spend, count = Spend(), 0
    for at, usd in calls:
        if too_quick(rate, spend.within("k", to_us(at)), FLOOR, to_us(at)) is not None:
            count += 1
        else:
            spend.add("k", to_us(at), round(usd * 1e9))
    return count


@pytest.mark.parametrize("usd", [0.01, 0.5])
def test_a_burst_of_ordinary_calls_is_not(tmp_path: Path, usd: float) -> None:
    rate = learnt(tmp_path, [(NOW - timedelta(hours=0.5 * one + 0.1), usd) for one in range(1000)])
    assert refused(rate, [(NOW + timedelta(seconds=4 * one), usd) for one in range(15)]) == 0
    assert refused(rate, [(NOW + timedelta(seconds=one), 50 * usd) for one in range(60)]) > 40


def test_a_nightly_job_that_is_run_by_hand_at_noon_is_not(tmp_path: Path) -> None:
    dice = random.Random(1)

    def job(day: int, hour: int) -> list[tuple[datetime, float]]:
        begin = NOW + timedelta(days=day, hours=hour)
        return [(begin + timedelta(minutes=2 * one), 0.1 * math.exp(dice.gauss(0, 0.2))) for one in range(60)]

    rate = learnt(tmp_path, [call for day in range(-29, 0) for call in job(day, 2)])
    assert rate.shares[12] < 0.5
    assert [refused(rate, job(0, hour)) for hour in (1, 2, 6, 12)] == [0, 0, 0, 0]
    assert refused(rate, [(NOW + timedelta(hours=12, minutes=one), 1.0) for one in range(60)]) > 40


def test_the_longest_window_is_told() -> None:
    rate = Rate(key_id="k", usual_usd=(1.0, 1.0, 1.0), shares=[1.0] * 168)
    found = too_quick(rate, (2 * 10**9, 3 * 10**9, 4 * 10**9), FLOOR, to_us(NOW))
    assert found is not None
    assert (WINDOWS[found.window].name, found.spent, found.most) == ("day", 4 * 10**9, 10**9)
