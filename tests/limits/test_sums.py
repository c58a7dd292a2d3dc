"""Sums that outlive the journal: counted once, whoever is killed, however many workers there are."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.limited import STORE, make_budget, settings_of
from tests.store.ready import ready_store
from tests.store.stores import BOTH, Migrated
from ultimate_lib import journal
from ultimate_lib.clock import SteppedClock, SystemClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, ingest
from ultimate_lib.limits import edit, spent
from ultimate_lib.limits.spent import Elsewhere, read
from ultimate_lib.limits.status import Journaled, status
from ultimate_lib.limits.sums import Sums
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record
from ultimate_lib.store import Store
from ultimate_lib.store import limits as rows
from ultimate_lib.store.tables import budget_sums

CLOCK = SystemClock()
_numbers = itertools.count()


def call(cost: int | None = 10, **members: Any) -> CallRecord:
    about: dict[str, Any] = {
        "call_id": f"c{next(_numbers)}", "started_at": CLOCK.now_us(), "source": "proxy", "billing": "metered",
        "user_id": "u1", "team": "search", "status": "ok", "cost_nano_usd": cost, "usage_source": "provider",
        "input_tokens": 3, "output_tokens": 4, **members,
    }  # fmt: skip
    return CallRecord(**about)


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A data folder whose store is SQLite; of tests that are `on_both`, PostgreSQL as well."""
    if getattr(request, "param", "sqlite") == "postgresql":
        found: Migrated = request.getfixturevalue("migrated")
        lent = found.lend()
        (tmp_path / STORE).write_text(lent, encoding="utf-8")
        yield tmp_path
        found.take_back(lent)
    else:
        ready_store(settings_of(tmp_path).store_url).close()
        yield tmp_path


on_both = pytest.mark.parametrize("folder", BOTH, indirect=True)


def lake_of(folder: Path, clock: Any = CLOCK) -> Lake:
    return Lake.open(settings_of(folder), clock)


def writer(folder: Path) -> JournalWriter:
    return JournalWriter(settings_of(folder).journal_dir, "0", Record(segment_bytes=1), CLOCK)  # a segment a line


def spent_of(folder: Path, budget_id: str, clock: Any = CLOCK) -> tuple[int, int]:
    """Return (spent, held) as a starting gateway finds them."""
    store = Store(settings_of(folder).store_url)
    (one,) = [one for one in status(store, clock, settings_of(folder), []) if one.id == budget_id]
    store.close()
    assert one.spent is not None
    assert one.held is not None
    return one.spent, one.held


def work(folder: Path, clock: Any = CLOCK) -> None:
    """Do what a worker does in one pass."""
    store = Store(settings_of(folder).store_url)
    Sums().update(lake_of(folder, clock), store)
    store.close()
    ingest.run_once(lake_of(folder, clock))


@on_both
def test_sums_and_journal_add_up_at_every_step(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    one = writer(folder)
    for number in range(1, 8):
        one.intent(call(), {made: 99})
        one.call(call())
        one._sync()
        assert spent_of(folder, made)[0] == number * 10
        work(folder)
        assert spent_of(folder, made)[0] == number * 10
    one.close()


def test_a_budget_made_in_the_middle_begins_with_what_the_lake_and_the_journal_have(folder: Path) -> None:
    one = writer(folder)
    for _ in range(3):
        one.call(call())
    one.call(call(billing="subscription"))
    one.call(call(source="import"))
    one._sync()
    work(folder)  # two or three of them are in the lake, the last in the journal
    one.call(call())
    one._sync()
    made = make_budget(folder, 10**6)
    of_team = make_budget(folder, 10**6, subject="project", subject_id="p", unit="tokens")
    assert spent_of(folder, made) == (40, 0)
    assert spent_of(folder, of_team) == (0, 0)
    for _ in range(2):
        work(folder)
        one.call(call(project="p"))
        one._sync()
    assert spent_of(folder, made) == (60, 0)
    assert spent_of(folder, of_team) == (14, 0)
    one.close()
    work(folder)
    work(folder)
    assert spent_of(folder, made) == (60, 0)


@on_both
def test_a_dead_writers_calls_are_held_and_then_charged_what_they_held(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    one = writer(folder)
    one.intent(call(cost=None), {made: 500})
    known = call(cost=20)
    one.intent(known, {made: 500})
    one.call(known)
    one.call(call(cost=None), {made: 70})  # unknown: charged as it was held
    one._sync()
    assert spent_of(folder, made) == (90, 500)
    os.close(one._lock_fd)  # it dies
    assert spent_of(folder, made) == (90, 500)
    for _ in range(3):
        work(folder)
        assert sum(spent_of(folder, made)) == 590
    assert spent_of(folder, made) == (590, 0)


@on_both
def test_two_workers_at_once_count_nothing_twice(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    one = writer(folder)
    for _ in range(60):
        one.call(call())
    one.close()
    code = (
        "import sys; from pathlib import Path; from tests.limits.test_sums import work\n"
        "for _ in range(3): work(Path(sys.argv[1]))"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(folder)]) for _ in range(2)]
    assert [each.wait(60) for each in workers] == [0, 0]
    assert spent_of(folder, made) == (600, 0)


@on_both
def test_a_stale_pass_adds_nothing(folder: Path) -> None:
    """A worker that stood still between reading and writing finds the mark moved."""
    made = make_budget(folder, 10**6)
    store = Store(settings_of(folder).store_url)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with store.begin() as connection:
        assert rows.advance(connection, made, at, "w", 0, 3, 30)
        assert not rows.advance(connection, made, at, "w", 0, 4, 40)
        assert rows.advance(connection, made, at, "w", 3, 4, 10)
        assert rows.sums(connection, {made: at})[made]["w"] == rows.Mark(4, 40)
    store.close()


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3, 0.8])
def test_a_worker_killed_anywhere_leaves_sums_that_add_up(folder: Path, delay: float) -> None:
    made = make_budget(folder, 10**6)
    one = writer(folder)
    for _ in range(80):
        one.call(call())
    one.close()
    code = (
        "import sys; from pathlib import Path; from tests.limits.test_sums import work\n"
        "print('ready', flush=True)\nwork(Path(sys.argv[1]))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    worker.stdout.readline()
    try:
        worker.wait(delay)
    except subprocess.TimeoutExpired:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    worker.stdout.close()
    assert spent_of(folder, made) == (800, 0)
    work(folder)
    work(folder)
    assert spent_of(folder, made) == (800, 0)


@on_both
def test_the_next_period_begins_anew_and_old_sums_are_folded(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    one = writer(folder)
    one.call(call())
    one.call(call())  # which seals the first; the last of a period that is over concerns nobody any more
    one._sync()
    later = SteppedClock(CLOCK.now())
    for _ in range(50):
        work(folder, later)
        later.advance(86_400)
    assert spent_of(folder, made, later) == (0, 0)
    one.close()
    store = Store(settings_of(folder).store_url)
    with store.begin() as connection:
        kept = list(connection.execute(budget_sums.select().order_by(budget_sums.c.period_at)).mappings())
    store.close()
    of_first = [row for row in kept if row["period_at"] == kept[0]["period_at"]]
    assert [(row["writer"], row["spent"]) for row in of_first] == [("", 10)]


def test_while_the_store_is_away_the_journal_keeps_its_segments(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from proxy_server.worker.jobs import Budgets, _ingest

    made = make_budget(folder, 10**6, period="total")  # the worker's clock goes on for more than an hour
    one = writer(folder)
    for _ in range(4):
        one.call(call())
    one.close()
    later = SteppedClock(CLOCK.now())
    lake = lake_of(folder, later)
    budgets = Budgets(settings_of(folder))

    def away(*_: object) -> None:
        raise Unavailable("The store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(Sums, "update", away)
        for _ in range(3):
            _ingest(budgets, lake)
            later.advance(700)
    (owner,) = journal.writer_folders(lake.journal_dir)
    assert len(journal.segments(owner)) == 4
    for _ in range(3):
        _ingest(budgets, lake)
        later.advance(700)
    assert journal.writer_folders(lake.journal_dir) == []
    assert spent_of(folder, made) == (40, 0)


def test_a_gateway_adds_what_others_write_and_drops_what_they_held(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    store = Store(settings_of(folder).store_url)
    looking = Elsewhere(settings_of(folder), store, CLOCK, "0-own")
    limits = read(store)
    assert limits is not None
    other = writer(folder)
    running = call()
    other.intent(running, {made: 100})
    seen = looking.look(limits.budgets)
    assert (sum(seen.spent.values()), sum(seen.held.values())) == (0, 100)
    other.call(running)
    seen = looking.look(limits.budgets)
    assert (sum(seen.spent.values()), sum(seen.held.values())) == (10, 0)
    seen = looking.look(limits.budgets)
    assert (sum(seen.spent.values()), sum(seen.held.values())) == (0, 0)
    other.close()
    store.close()


@on_both
def test_a_removed_budget_takes_its_sums_along(folder: Path) -> None:
    made = make_budget(folder, 10**6)
    store = Store(settings_of(folder).store_url)
    edit.remove(store, CLOCK, "test", "budget", made, expect=lambda _: None)
    with store.begin() as connection:
        assert not list(connection.execute(budget_sums.select()))
    store.close()
    work(folder)


def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that takes how many lines each reading of a segment gives."""
    lines: list[int] = []
    read_on = spent._read

    def counting(*told: Any) -> Any:
        found = read_on(*told)
        lines.append(len(found.calls.split(b"\n")) if found is not None and found.calls else 0)
        return found

    monkeypatch.setattr(spent, "_read", counting)
    return lines


@pytest.mark.parametrize("own", [True, False])
def test_a_new_budget_is_added_up_without_reading_what_is_in_its_sum(
    folder: Path, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    one = writer(folder)
    store = Store(settings_of(folder).store_url)
    seen = Elsewhere(settings_of(folder), store, CLOCK, one.writer if own else "")
    for _ in range(9):
        one.call(call())
        one._sync()
    seen.look([], one.position)  # it follows others; its own it knows
    work(folder)
    one.call(call())
    one._sync()
    made = make_budget(folder, 10**6)
    lines = lines_read(monkeypatch)
    found = read(store)
    assert found is not None
    told = seen.look(found.budgets, one.position)
    ((_, start),) = told.spent
    assert (told.spent, told.begun) == ({(made, start): 100}, {made})
    assert 1 <= sum(lines) <= 2
    one.close()
    store.close()


def test_a_state_asked_for_again_reads_only_what_is_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_budget(folder, 10**6)
    clock = SteppedClock(datetime.now(UTC))
    store = Store(settings_of(folder).store_url)
    known = Journaled(store, clock, settings_of(folder))
    one = writer(folder)
    lines = lines_read(monkeypatch)

    def state() -> tuple[int | None, int]:
        lines.clear()
        (told,) = [told for told in status(store, clock, settings_of(folder), [], known) if told.id == made]
        return told.spent, sum(lines)

    for _ in range(5):
        one.call(call(), {})
    one._sync()
    assert state()[0] == 50
    one.call(call(), {})
    one._sync()
    spent_now, read = state()
    assert spent_now == 60
    assert read <= 2
    assert state() == (60, 0)
    work(folder)  # the sums move on, and what was added stays as it is
    assert state()[0] == 60
    make_budget(folder, 10**6, subject="project", subject_id="p")
    assert state()[0] == 60
    clock.advance(61)  # the journal may have been tidied meanwhile
    assert state()[0] == 60
    one.close()
    store.close()


def test_what_is_read_while_a_period_turns_is_kept_for_the_new_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day turns while a state is read, and a call of the new day ends; later the clock is put back."""
    made = make_budget(folder, 10**6)
    clock = SteppedClock(datetime.now(UTC))
    store = Store(settings_of(folder).store_url)
    known = Journaled(store, clock, settings_of(folder))
    one = writer(folder)

    def told() -> int | None:
        (state,) = [state for state in status(store, clock, settings_of(folder), [], known) if state.id == made]
        return state.spent

    one.call(call(7))
    one._sync()
    assert told() == 7
    reading = Elsewhere.look

    def turning(self: Elsewhere, *about: Any) -> Any:
        clock.step_wall(2 * 86_400)
        one.call(call(5, started_at=clock.now_us()))
        one._sync()
        return reading(self, *about)

    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "look", turning)
        assert told() == 5
    assert told() == 5
    clock.step_wall(-2 * 86_400)
    assert told() in {7, None}  # None: its past is not known until the worker has read it
    one.close()
    store.close()
