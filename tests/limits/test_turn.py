"""The turn of a period: what was charged instead of a plain cost is not forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.gateway.limited import make_budget, settings_of
from tests.limits.test_memory import budget as limit
from tests.limits.test_sums import call, folder, lake_of, on_both, spent_of, work, writer
from ultimate_lib.clock import SteppedClock, to_us
from ultimate_lib.lake import Lake, ingest
from ultimate_lib.limits.calendar import span
from ultimate_lib.limits.memory import MemoryCounters
from ultimate_lib.limits.spent import Elsewhere, read, turned
from ultimate_lib.limits.status import status
from ultimate_lib.limits.sums import Sums
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


@on_both
def test_a_changed_calendar_forgets_nothing(folder: Path) -> None:
    clock = SteppedClock(datetime.now(UTC))
    made = make_budget(folder, 10**6, period="month")
    one = writer(folder)
    for _ in range(3):
        one.call(call())
        one._sync()
    for _ in range(2):
        work(folder, clock)
    clock.advance(3600)
    work(folder, clock)  # the journal does not have them any more
    moved = settings_of(folder, **{"billing.time_zone": "Asia/Tokyo"})
    store = Store(moved.store_url)
    limits = read(store)
    assert limits is not None
    seen = Elsewhere(moved, store, clock, "")
    first = seen.look(limits.budgets)
    assert (first.late, first.begun, first.spent) == ({made}, frozenset(), {})
    (told,) = status(store, clock, moved, [])
    assert (told.spent, told.left, told.used_ratio) == (None, None, None)
    Sums().update(Lake.open(moved, clock), store)
    then = seen.look(limits.budgets)
    assert (then.late, then.begun, list(then.spent.values())) == (frozenset(), {made}, [30])
    store.close()
    one.close()


@on_both
def test_a_clock_that_went_ahead_and_came_back_finds_what_was_spent(folder: Path) -> None:
    """The gateway was started while the clock was a month ahead; the worker's sums of today stand in the store."""
    clock = SteppedClock(datetime.now(UTC))
    made = make_budget(folder, 10**6)
    one = writer(folder)
    one.call(call(30))
    one._sync()
    work(folder, clock)
    clock.step_wall(30 * 86_400)
    work(folder, clock)
    store = Store(settings_of(folder).store_url)
    limits = read(store)
    assert limits is not None
    seen = Elsewhere(settings_of(folder), store, clock, "")
    counters = MemoryCounters(settings_of(folder), clock)
    counters.set(limits.budgets, ())

    def look() -> int:
        anew = counters.accounts.count_anew()
        found = seen.look(limits.budgets, (0, 0), anew)
        counters.add(found.spent, found.held, found.begun)
        (told,) = counters.accounts.standings()
        return told.spent

    assert look() == 0
    clock.step_wall(-30 * 86_400)
    assert look() == 30
    work(folder, clock)
    assert look() == 30
    assert spent_of(folder, made, clock) == (30, 0)
    store.close()
    one.close()


def test_a_period_begins_with_nothing_only_behind_the_last_one() -> None:
    day, billing = limit(), settings_of(Path()).billing
    today = datetime(2026, 3, 28, tzinfo=UTC)
    start_us = span("day", to_us(today), billing).start_us
    assert turned(day, today - timedelta(days=1), start_us, billing)
    assert not turned(day, today + timedelta(days=30), start_us, billing)  # the clock went back
    assert not turned(day, today - timedelta(hours=9), start_us, billing)  # the calendar has changed
