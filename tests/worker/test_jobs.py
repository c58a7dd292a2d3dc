"""The worker as a real process: killed at any time it loses and doubles nothing; what fails is told and retried."""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proxy_server import heartbeat
from proxy_server.heartbeat import Heartbeat, JobState
from proxy_server.worker import jobs
from proxy_server.worker.jobs import Board, Job, Runner
from tests.worker import alone
from ultimate_lib.clock import SteppedClock, SystemClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.records import CallRecord, new_call_id
from ultimate_lib.settings import Record, load

SMALL = Record(segment_bytes=20_000, segment_age_s=0.1, sync_interval_s=0.05)
FAST = {"record.commit_interval_s": 0.2}


def lake_of(folder: Path) -> Lake:
    return Lake.open(load(environ={}, overrides={"data.folder": str(folder)}), SystemClock())


def call(number: int) -> CallRecord:
    now = SystemClock().now_us()
    return CallRecord(call_id=new_call_id(), started_at=now, status="ok", input_tokens=number, cost_nano_usd=7)


def committed(folder: Path) -> int:
    """Count the rows in the table alone, the journal's tail left out."""
    return sum(file.rows for file in lake_of(folder).calls.snapshot().files)


def rows(folder: Path) -> pl.DataFrame:
    now = datetime.now(UTC)
    return scan_calls(lake_of(folder), now - timedelta(hours=1), now + timedelta(hours=1), ["call_id"]).collect()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[JournalWriter]:
    writer = JournalWriter(tmp_path / "journal", "0", SMALL, SystemClock())
    writer.start()
    yield writer
    writer.close()


def test_killed_again_and_again_it_brings_each_row_once(tmp_path: Path, writer: JournalWriter) -> None:
    random.seed(11)
    written: list[str] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.002):
            record = call(len(written))
            writer.intent(record)
            writer.call(record)
            written.append(record.call_id)

    thread = threading.Thread(target=write)
    thread.start()
    kills = 0
    for _ in range(4):
        with alone.start(tmp_path, **FAST):
            before = committed(tmp_path)
            alone.wait_for(lambda: committed(tmp_path) > before)  # noqa: B023 - asked at once
            time.sleep(random.uniform(0, 0.3))
            kills += 1  # leaving the block kills it
        now = rows(tmp_path)
        assert now["call_id"].n_unique() == now.height
    stop.set()
    thread.join()
    with alone.start(tmp_path, **FAST), alone.start(tmp_path, **FAST):  # two at a time, for good measure
        alone.wait_for(lambda: committed(tmp_path) >= len(written))
        time.sleep(0.5)
    assert kills == 4
    assert committed(tmp_path) == len(written)
    assert sorted(rows(tmp_path)["call_id"]) == sorted(written)


def test_the_mutant_that_does_not_name_its_segments_doubles_rows(tmp_path: Path, writer: JournalWriter) -> None:
    for number in range(50):
        writer.call(call(number))
    alone.wait_for(lambda: bool(list(tmp_path.glob("journal/*/*/*.seg"))))
    for expected in (50, 100):
        with alone.start(tmp_path, "careless"):
            alone.wait_for(lambda: committed(tmp_path) >= expected)  # noqa: B023 - asked at once
    assert committed(tmp_path) == 100


def test_the_heartbeat_tells_what_failed_and_that_it_works_again(tmp_path: Path, writer: JournalWriter) -> None:
    writer.call(call(1))
    (tmp_path / "lake").write_text("in the way")
    with alone.start(tmp_path, **FAST):
        alone.wait_for(lambda: _failed(tmp_path, "ingest"))
        told = alone.beat(tmp_path).jobs["ingest"]
        assert told.failure
        assert told.succeeded_at_us is None
        (tmp_path / "lake").unlink()
        alone.wait_for(lambda: alone.beat(tmp_path).jobs["ingest"].succeeded_at_us is not None)
        told = alone.beat(tmp_path).jobs["ingest"]
        assert told.failure is None
        assert told.failures >= 1
        assert told.told["version"] is not None
    assert "The job 'ingest' failed and is tried again" in (tmp_path / "worker.log").read_text()
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def _failed(folder: Path, name: str) -> bool:
    told = heartbeat.read(folder / "run")
    return told is not None and name in told.jobs and told.jobs[name].failures > 0


def test_it_beats_each_second_and_leaves_when_asked(tmp_path: Path) -> None:
    with alone.start(tmp_path, **FAST) as process:
        alone.wait_for(lambda: heartbeat.read(tmp_path / "run") is not None)
        first = alone.beat(tmp_path).at_us
        alone.wait_for(lambda: alone.beat(tmp_path).at_us > first, 3)
        assert alone.beat(tmp_path).pid == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_it_leaves_in_the_middle_of_a_job_that_does_not_end(tmp_path: Path) -> None:
    with alone.start(tmp_path, "stuck", **{"server.drain_s": 0.5}) as process:
        alone.wait_for(lambda: heartbeat.read(tmp_path / "run") is not None)
        alone.wait_for(lambda: alone.beat(tmp_path).jobs["ingest"].runs == 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Leaving in the middle of job-ingest" in (tmp_path / "worker.log").read_text()


# -- the runner, step by step --------------------------------------------------------------------------------------


def runner(folder: Path, work: Callable[[Any], jobs.Told], clock: SteppedClock) -> tuple[Runner, Board]:
    board = Board(folder, clock)
    job = Job("ingest", work, 5.0, 1.0, 30.0)
    return Runner(job, lambda: None, board, clock), board  # type: ignore[arg-type,return-value] # no lake is needed


def test_pauses_double_up_to_a_limit_and_begin_anew_after_a_success(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))
    fails = True

    def work(_: Any) -> jobs.Told:
        clock.advance(0.5)
        if fails:
            raise Unavailable("The disk is full.", hint="Free some space.")
        return {"rows": 3}

    one, board = runner(tmp_path, work, clock)
    pauses = [one.once() for _ in range(8)]
    for pause, expected in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert expected * 0.8 <= pause <= expected * 1.2
    board.send()
    state = alone_state(tmp_path)
    assert state.failure == "The disk is full. Free some space."
    assert (state.runs, state.failures, state.duration_ms) == (8, 8, 500)
    assert "Traceback" not in caplog.text, "an error with a sentence needs no traceback"
    fails = False
    assert one.once() == 4.5
    board.send()
    state = alone_state(tmp_path)
    assert (state.failure, state.told, state.failures) == (None, {"rows": 3}, 8)
    fails = True
    assert one.once() < 1.3


def alone_state(folder: Path) -> JobState:
    told = heartbeat.read(folder)
    assert told is not None
    return told.jobs["ingest"]


def test_an_error_of_ours_is_logged_with_its_place_and_the_job_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(_: Any) -> jobs.Told:
        raise ZeroDivisionError("oops")

    one, board = runner(tmp_path, work, SteppedClock(datetime(2026, 1, 1, tzinfo=UTC)))
    with caplog.at_level(logging.ERROR):
        assert one.once() > 0
    assert "ZeroDivisionError" in caplog.text
    board.send()
    assert alone_state(tmp_path).failure == "ZeroDivisionError: oops"


def test_daily_work_is_not_repeated_at_each_start(tmp_path: Path) -> None:
    clock = SteppedClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
    scrub = Job("scrub", lambda _: {}, 86_400.0, 60.0, 3_600.0)
    assert Board(tmp_path, clock).due_in_s(scrub) == 0
    done = clock.now_us() - 3_600_000_000
    heartbeat.write(
        tmp_path, Heartbeat(pid=1, at_us=done, jobs={"scrub": JobState(succeeded_at_us=done, failures=4)})
    )
    board = Board(tmp_path, clock)
    assert board.due_in_s(scrub) == 23 * 3600
    clock.step_wall(-30 * 86_400)
    assert board.due_in_s(scrub) == 86_400, "a clock that was set back delays by one interval at most"
    board.send()
    told = heartbeat.read(tmp_path)
    assert told is not None
    assert told.jobs["scrub"].failures == 4, "counters go on"


def test_a_torn_heartbeat_is_none(tmp_path: Path) -> None:
    (tmp_path / "worker.json").write_text('{"pid": 1, "at')
    assert heartbeat.read(tmp_path) is None
    assert heartbeat.read(tmp_path / "nowhere") is None


def test_retention_drops_whole_days_only_when_told(tmp_path: Path) -> None:
    names = {job.name: job for job in jobs.jobs(load(environ={}, overrides={"data.folder": str(tmp_path)}))}
    assert set(names) == {"ingest", "rollup", "baselines", "maintain", "scrub", "retention"}
    lake = lake_of(tmp_path)
    old = JournalWriter(lake.journal_dir, "0", SMALL, SystemClock())
    record = call(1)
    record.started_at -= 10 * 86_400_000_000
    old.call(record)
    old.call(call(2))
    old.close()
    assert names["ingest"].work(lake)["rows"] == 2
    assert names["retention"].work(lake)["rows"] == 0
    kept = load(environ={}, overrides={"data.folder": str(tmp_path), "record.keep_days": 3})
    named = {job.name: job for job in jobs.jobs(kept)}
    assert named["retention"].work(lake)["rows"] == 1
    assert named["maintain"].work(lake) is not None
    assert named["scrub"].work(lake)["bad"] == 0
    assert committed(tmp_path) == 1
