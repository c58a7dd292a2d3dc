"""The worker process: each job in a thread of its own, again and again, its last word in the heartbeat.

A job keeps nothing in memory that a kill would lose: what it does is written by the lake in steps that can end
anywhere, and run again by whoever comes next. Two workers at a time therefore do no harm either. A job that fails is
logged with a sentence and tried again after a pause that doubles.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from proxy_server import heartbeat
from proxy_server.heartbeat import Heartbeat, JobState
from proxy_server.worker.baselines import Learning
from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from proxy_server.process import Child
    from ultimate_lib.clock import Clock
    from ultimate_lib.lake import Lake
    from ultimate_lib.limits.sums import Sums
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

Told = dict[str, bool | int | float | str | None]

_BEAT_S = 1.0
_MINUTE_S, _QUARTER_S, _HOUR_S, _DAY_S = 60.0, 900.0, 3600.0, 86400.0
_LEAVE_S = 20.0  # how long a draining worker waits for what is under way; then it goes all the same
_SPREAD = 0.2  # pauses differ by so much, so that workers do not keep step


class Job(NamedTuple):
    """What is done, how often, and how soon again after a failure."""

    name: str
    work: Callable[[Lake], Told]
    every_s: float
    retry_s: float
    longest_retry_s: float


def jobs(settings: Settings, stop: threading.Event | None = None) -> tuple[Job, ...]:
    """Return the worker's jobs; `stop` is set when it leaves, for jobs that would keep it."""
    demo = settings.data.demo and settings.data.demo_history
    return (
        *((Job("demo", partial(_demo, stop or threading.Event()), _QUARTER_S, 5.0, _MINUTE_S),) if demo else ()),
        Job("ingest", partial(_ingest, Budgets(settings)), settings.record.commit_interval_s, 1.0, 30.0),
        Job("rollup", _rollup, _MINUTE_S, 5.0, 2 * _MINUTE_S),
        Job("baselines", Learning(settings), _MINUTE_S, 5.0, 10 * _MINUTE_S),
        Job("maintain", _maintain, 5 * _MINUTE_S, _MINUTE_S, 15 * _MINUTE_S),
        Job("scrub", _scrub, _DAY_S, _MINUTE_S, _HOUR_S),
        Job("retention", partial(_retention, settings.record.keep_days or None), _DAY_S, _MINUTE_S, _HOUR_S),
    )


def _ingest(budgets: Budgets, lake: Lake) -> Told:
    from ultimate_lib.lake import ingest  # noqa: PLC0415 - loads polars; the process says "ready" before that

    done = ingest.run_once(lake, tidy=budgets.update(lake))
    return {"rows": done.rows, "cut": done.cut, "version": lake.calls.snapshot().version}


class Budgets:
    """The budgets' sums, kept beside the lake; while they cannot be written the journal keeps its segments."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.store_url
        self._store: Store | None = None
        self._sums: Sums | None = None
        self._failure = ""

    def update(self, lake: Lake) -> bool:
        """Sum up what is sealed; say whether the journal may be tidied."""
        from ultimate_lib.limits.sums import Sums  # noqa: PLC0415 - see above
        from ultimate_lib.store import Store  # noqa: PLC0415 - see above

        if self._store is None or self._sums is None:
            self._store, self._sums = Store(self._url), Sums()
        try:
            self._sums.update(lake, self._store)
        except UltimateError as error:  # calls go into the lake all the same
            if str(error) != self._failure:
                log.warning("The budgets' sums wait, and the journal with them: %s", error)
            self._failure = str(error)
            return False
        self._failure = ""
        return True


def _demo(stop: threading.Event, lake: Lake) -> Told:
    from proxy_server.prices import kept_table  # noqa: PLC0415 - see above
    from ultimate_lib.demo.lake import fill  # noqa: PLC0415
    from ultimate_lib.pricing import PriceBook  # noqa: PLC0415

    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        if total > 1 and done > told:
            told = done
            log.info("demo data: %d of %d days are there.", done, total)

    filled = fill(lake, PriceBook(kept_table(lake.settings.run_dir)), progress=tell, stop=stop.is_set)
    if told >= 0:
        log.info("demo data: %s made-up calls written and rolled up.", f"{filled.rows:,}")
    return {"rows": filled.rows, "first_start": filled.first_start.isoformat()}


def _rollup(lake: Lake) -> Told:
    from ultimate_lib.lake import rollup  # noqa: PLC0415 - see above

    return _plain(rollup.update(lake))


def _maintain(lake: Lake) -> Told:
    from ultimate_lib.lake import optimize  # noqa: PLC0415 - see above

    return _plain(optimize.maintain(lake))


def _scrub(lake: Lake) -> Told:
    from ultimate_lib.lake import coverage, manifest, rolled  # noqa: PLC0415 - see above

    tables = [lake.calls, *(coverage.table(lake, rollup) for rollup in rolled.ROLLUPS.values())]
    found = [manifest.scrub(lake, table) for table in tables]
    return {
        "files": sum(one.files for one in found),
        "bytes": sum(one.bytes for one in found),
        "bad": sum(len(one.bad) for one in found),  # of rollups too, which are built anew
        "call_rows_missing": found[0].rows_missing,
    }


def _retention(keep_days: int | None, lake: Lake) -> Told:
    from ultimate_lib.lake import retention  # noqa: PLC0415 - see above

    return _plain(retention.drop(lake, keep_days))


def _plain(done: object) -> Told:
    """Return the numbers and texts of what a job says it did."""
    fields: dict[str, object] = getattr(done, "_asdict", dict)()
    return {name: value for name, value in fields.items() if isinstance(value, int | float | str)}


class Board:
    """What is known of each job; written by the jobs' threads, sent out by the beat."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._run_dir = run_dir
        self._clock = clock
        self._guard = threading.Lock()
        before = heartbeat.read(run_dir)  # of the process before this one: daily work is not repeated at each start
        self._jobs: dict[str, JobState] = dict(before.jobs) if before is not None else {}

    def due_in_s(self, job: Job) -> float:
        """Return when a job is due, counted from its last success; at once if there is none."""
        with self._guard:
            done_us = self._jobs.get(job.name, JobState()).succeeded_at_us
        if done_us is None:
            return 0.0
        since_s = (self._clock.now_us() - done_us) / 1e6
        return min(job.every_s, max(0.0, job.every_s - since_s))

    def started(self, job: Job) -> None:
        """Note that a run begins."""
        with self._guard:
            state = self._jobs.setdefault(job.name, JobState())
            state.runs += 1
            state.started_at_us = self._clock.now_us()

    def succeeded(self, job: Job, duration_s: float, told: Told) -> None:
        """Note a success."""
        with self._guard:
            state = self._jobs[job.name]
            state.succeeded_at_us, state.duration_ms = self._clock.now_us(), int(duration_s * 1000)
            state.failure, state.told = None, told

    def failed(self, job: Job, duration_s: float, sentence: str) -> None:
        """Note a failure."""
        with self._guard:
            state = self._jobs[job.name]
            state.failed_at_us, state.duration_ms = self._clock.now_us(), int(duration_s * 1000)
            state.failures += 1
            state.failure = sentence

    def send(self) -> None:
        """Write the heartbeat. Raises OSError."""
        with self._guard:
            beat = Heartbeat(pid=os.getpid(), at_us=self._clock.now_us(), jobs=self._jobs)
            heartbeat.write(self._run_dir, beat)


class Runner:
    """Runs one job until told to stop."""

    def __init__(self, job: Job, open_lake: Callable[[], Lake], board: Board, clock: Clock) -> None:
        self.job = job
        self._open = open_lake
        self._board = board
        self._clock = clock
        self._failed_in_a_row = 0

    def repeat(self, stop: threading.Event) -> None:
        """Run the job when it is due, again and again."""
        pause = self._board.due_in_s(self.job)
        while not stop.wait(pause):
            pause = self.once()

    def once(self) -> float:
        """Run the job and return how long to wait before the next run. The outermost frame of a job."""
        began = self._clock.monotonic()
        self._board.started(self.job)
        sentence = ""
        told: Told = {}
        try:
            told = self.job.work(self._open())
        except (UltimateError, OSError) as error:
            sentence = str(error)
            log.warning("The job '%s' failed and is tried again: %s", self.job.name, error)
        except Exception as error:
            sentence = f"{type(error).__name__}: {error}"
            log.exception("The job '%s' failed and is tried again.", self.job.name)
        took = self._clock.monotonic() - began
        if sentence:
            self._board.failed(self.job, took, sentence)
            pause = min(self.job.longest_retry_s, self.job.retry_s * 2.0**self._failed_in_a_row)
            self._failed_in_a_row = min(self._failed_in_a_row + 1, 16)
            return pause * random.uniform(1 - _SPREAD, 1 + _SPREAD)  # noqa: S311 - spreads retries
        self._board.succeeded(self.job, took, told)
        self._failed_in_a_row = 0
        return max(0.05, self.job.every_s - took)


class _Opener:
    """Opens the lake once, in whichever thread needs it first."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._guard = threading.Lock()
        self._lake: Lake | None = None

    def __call__(self) -> Lake:
        with self._guard:
            if self._lake is None:
                from ultimate_lib.lake import Lake  # noqa: PLC0415 - see above

                self._lake = Lake.open(self._settings, self._clock)
            return self._lake


async def run(child: Child) -> None:
    """Work until drained."""
    stop = threading.Event()
    await work(child, jobs(child.settings, stop), stop)


async def work(child: Child, table: Sequence[Job], stop: threading.Event | None = None) -> None:
    """Run these jobs until drained."""
    clock = SystemClock()
    board = Board(child.settings.run_dir, clock)
    open_lake = _Opener(child.settings, clock)
    stop = stop or threading.Event()
    threads = [
        threading.Thread(
            target=Runner(job, open_lake, board, clock).repeat, args=(stop,), name=f"job-{job.name}", daemon=True
        )
        for job in table
    ]
    for thread in threads:
        thread.start()
    beat = asyncio.create_task(_beat(board))
    child.ready()
    await child.drain.wait()
    stop.set()
    until = clock.monotonic() + min(_LEAVE_S, child.settings.server.drain_s)
    for thread in threads:
        await asyncio.to_thread(thread.join, max(0.0, until - clock.monotonic()))
    beat.cancel()
    left = [thread.name for thread in threads if thread.is_alive()]
    if left:
        log.warning("Leaving in the middle of %s: what is not done is done by the next worker.", ", ".join(left))
        os._exit(0)  # the interpreter would wait for, or crash in, a thread that is inside a library


async def _beat(board: Board) -> None:
    """Once a second: tell that this process lives and how its jobs do."""
    failed = False
    while True:
        try:
            await asyncio.to_thread(board.send)
            failed = False
        except OSError as error:
            if not failed:  # said once, not each second
                log.warning("The heartbeat cannot be written: %s. Check the disk of the data folder.", error)
            failed = True
        except Exception:
            log.exception("The heartbeat failed; it is tried again.")
        await asyncio.sleep(_BEAT_S)
