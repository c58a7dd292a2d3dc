"""Real processes: spawned, killable, one polars thread, gone when their parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.harness import wait_until
from tests.stopwatch import Stopwatch
from ultimate_lib.compute import LocalPool
from ultimate_lib.errors import Invalid, Unavailable

TASKS = """
import os, sys, time
from ultimate_lib.compute import report

def square(value): return value * value
def sleep(seconds): time.sleep(seconds); return os.getpid()
def sleep_after_note(path, seconds):
    open(path, "w").write(str(os.getpid())); time.sleep(seconds)
def fail(value):
    if value == 3: raise ValueError("three")
    return value
class Odd(Exception):
    def __init__(self, a, b): super().__init__(a)
def fail_oddly(): raise Odd(1, 2)
def threads():
    before = "polars" in sys.modules
    import polars
    return before, polars.thread_pool_size()
def count(total):
    for step in range(total): report(step + 1, total)
    return total
def pid(): return os.getpid()
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "pool_tasks_for_test.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import pool_tasks_for_test

    yield pool_tasks_for_test
    sys.modules.pop("pool_tasks_for_test", None)


def test_map_gathers_in_order_and_tells_progress(tasks: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    with LocalPool(2) as pool:
        assert pool.gather(pool.map(tasks.square, range(20), progress=lambda *at: seen.append(at))) == [
            number * number for number in range(20)
        ]
    assert seen == [(number + 1, 20) for number in range(20)]


def test_tasks_run_in_other_processes_with_one_polars_thread(tasks: ModuleType) -> None:
    with LocalPool(1) as pool:
        assert pool.submit(tasks.threads).result(30) == (False, 1)
        assert pool.submit(tasks.pid).result(30) != os.getpid()


def test_a_task_reports_its_own_progress(tasks: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    with LocalPool(1) as pool:
        assert pool.submit(tasks.count, 3, progress=lambda *at: seen.append(at)).result(30) == 3
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_cancel_kills_a_running_task_within_a_second(tasks: ModuleType, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with LocalPool(1) as pool:
        running = pool.submit(tasks.sleep_after_note, str(note), 60)
        waiting = pool.submit(tasks.square, 5)
        wait_until(lambda: note.exists() and note.read_text(), 30)
        process = psutil.Process(int(note.read_text()))
        with Stopwatch() as took:
            assert pool.cancel(running)
            with pytest.raises(CancelledError):
                running.result(10)
        assert took.seconds < 1.0
        assert not process.is_running()
        assert waiting.result(30) == 25, "the pool goes on with a new process"
        assert not pool.cancel(running)


def test_a_waiting_task_is_cancelled_without_running(tasks: ModuleType, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with LocalPool(1) as pool:
        first = pool.submit(tasks.sleep, 0.3)
        second = pool.submit(tasks.sleep_after_note, str(note), 0)
        assert pool.cancel(second)
        first.result(30)
        assert pool.submit(tasks.square, 2).result(30) == 4
    assert second.cancelled()
    assert not note.exists()


def test_the_first_failure_is_raised_and_the_rest_is_cancelled(tasks: ModuleType) -> None:
    with LocalPool(1) as pool:
        started = [*pool.map(tasks.fail, [1, 2, 3]), pool.submit(tasks.sleep, 60)]
        with pytest.raises(ValueError, match="three"):
            pool.gather(started)
        with pytest.raises(CancelledError):
            started[-1].result(5)


def test_gather_gives_up_in_time(tasks: ModuleType) -> None:
    with LocalPool(1) as pool, pytest.raises(TimeoutError):
        pool.gather([pool.submit(tasks.sleep, 60)], timeout_s=0.5)


def test_a_killed_process_fails_its_task_and_nothing_else(tasks: ModuleType, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with LocalPool(1) as pool:
        task = pool.submit(tasks.sleep_after_note, str(note), 60)
        wait_until(lambda: note.exists() and note.read_text(), 30)
        os.kill(int(note.read_text()), signal.SIGKILL)
        with pytest.raises(Unavailable, match="ended before"):
            task.result(20)
        assert pool.submit(tasks.square, 3).result(30) == 9


def test_what_cannot_be_sent_is_refused(tasks: ModuleType) -> None:
    with LocalPool(1) as pool:
        with pytest.raises(Invalid, match="named function"):
            pool.submit(lambda: 1)
        with pytest.raises(Unavailable, match="Odd"):
            pool.submit(tasks.fail_oddly).result(30)
    with pytest.raises(Unavailable, match="closed"):
        pool.submit(tasks.pid)
    with pytest.raises(Invalid):
        LocalPool(0)


def test_a_failing_progress_function_fails_its_task_alone(tasks: ModuleType) -> None:
    def broken(done: int, total: int) -> None:
        raise ZeroDivisionError(f"{done} of {total}")

    with LocalPool(1) as pool:
        with pytest.raises(ZeroDivisionError, match="1 of 3"):
            pool.submit(tasks.count, 3, progress=broken).result(30)
        assert pool.submit(tasks.square, 6).result(30) == 36


def test_an_idle_process_ends(tasks: ModuleType) -> None:
    with LocalPool(1, idle_s=0.2) as pool:
        process = pool.submit(tasks.pid).result(30)
        wait_until(lambda: not psutil.pid_exists(process), 20)
        assert pool.submit(tasks.square, 4).result(30) == 16


def test_children_end_with_their_parent(tasks: ModuleType, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(tmp_path)!r})
        import pool_tasks_for_test
        from ultimate_lib.compute import LocalPool
        LocalPool(1).submit(pool_tasks_for_test.sleep_after_note, {str(note)!r}, 60)
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_until(lambda: note.exists() and note.read_text(), 30)
        child = psutil.Process(int(note.read_text()))
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not child.is_running(), 20)


def test_importing_starts_nothing_and_loads_no_frames() -> None:
    code = "import sys, ultimate_lib.compute; print('polars' in sys.modules or 'multiprocessing.pool' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
