"""The turn of a period: what was charged instead of a plain cost is not forgotten."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.gateway.limited import make_budget
from tests.limits.test_sums import call, folder, lake_of, spent_of, work, writer
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.lake import Lake, ingest
from ultimate_lib.limits.spent import Elsewhere, read
from ultimate_lib.limits.sums import Sums
from ultimate_lib.settings import load
from ultimate_lib.store import Store

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


def test_a_changed_calendar_forgets_nothing(folder: Path) -> None:
    clock = SteppedClock(datetime.now(UTC))
    make_budget(folder, 10**6, period="month")
    one = writer(folder)
    for _ in range(3):
        one.call(call())
        one._sync()
    for _ in range(2):
        work(folder, clock)
    clock.advance(3600)
    work(folder, clock)  # the journal does not have them any more
    moved = load(environ={}, overrides={"data.folder": str(folder), "billing.time_zone": "Asia/Tokyo"})
    store = Store(moved.store_url)
    limits = read(store)
    assert limits is not None
    seen = Elsewhere(moved, store, clock, "")
    with pytest.raises(Unavailable):
        seen.look(limits.budgets)
    Sums().update(Lake.open(moved, clock), store)
    assert list(seen.look(limits.budgets).spent.values()) == [30]
    store.close()
    one.close()
