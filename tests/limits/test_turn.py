"""The turn of a period: what was charged instead of a plain cost is not forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.gateway.limited import make_budget
from tests.limits.test_sums import call, folder, lake_of, spent_of, work, writer
from ultimate_lib.clock import SteppedClock
from ultimate_lib.lake import ingest

__all__ = ["folder"]


def test_charges_outlive_a_store_that_was_away_when_the_period_turned(folder: Path) -> None:
    clock = SteppedClock(datetime.now(UTC))
    made = make_budget(folder, 10**6)
    work(folder, clock)
    clock.advance(86_400)
    one = writer(folder)
    one.call(call(1, started_at=clock.now_us(), status="cut"), {made: 500})
    one.call(call(started_at=clock.now_us()))
    one.close()
    assert spent_of(folder, made, clock) == (510, 0)
    ingest.run_once(lake_of(folder, clock), tidy=False)  # the store is away, the lake is not
    assert spent_of(folder, made, clock) == (510, 0)
    work(folder, clock)
    assert spent_of(folder, made, clock) == (510, 0)
    work(folder, clock)
    assert spent_of(folder, made, clock) == (510, 0)
