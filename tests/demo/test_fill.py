"""The lake is filled once: by a second start, days later, two at a time, and through kills at every step."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.demo.filled import NOW, book, open_lake, rows, shorten
from tests.harness import ROOT, environment
from ultimate_lib.clock import SteppedClock
from ultimate_lib.demo import cast, history
from ultimate_lib.demo.lake import fill, first_start
from ultimate_lib.lake import Lake

DAY = timedelta(days=1)
CHILD = """
import os, signal, sys
from pathlib import Path
from tests.demo.filled import book, open_lake, shorten
from ultimate_lib.demo import cast
from ultimate_lib.demo.lake import fill

vars(cast).update(shorten())
folder, moment, times, mutant = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]
lake = open_lake(folder)
real = lake.calls.commit

def dying(files, **members):
    global times
    times -= 1
    if times == 0 and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if mutant:
        members = {}
    version = real(files, **members)
    if times == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return version

lake.calls.commit = dying
fill(lake, book())
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the history be short and thin."""
    for name, value in shorten().items():
        monkeypatch.setattr(cast, name, value)


def killed(folder: Path, moment: str, times: int, *mutant: str) -> None:
    command = [sys.executable, "-c", CHILD, str(folder), moment, str(times), *mutant]
    done = subprocess.run(command, cwd=ROOT, env=environment(folder), capture_output=True, timeout=90, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]


def expected(lake: Lake) -> pl.DataFrame:
    """Return what one uninterrupted filling would have written."""
    day = first_start(lake)
    assert day is not None
    start = NOW.replace(hour=0, minute=0, second=0) - (NOW.date() - history.first_day(day))
    return history.calls(day, start, lake.clock.now().replace(second=0, microsecond=0), book())


@pytest.mark.usefixtures("short")
def test_a_second_filling_adds_nothing_and_a_later_one_the_missing_days(tmp_path: Path) -> None:
    lake = open_lake(tmp_path, NOW - 3 * DAY)
    assert isinstance(lake.clock, SteppedClock)
    first = fill(lake, book())
    assert first.rows == rows(lake).height > 3_000
    version = lake.calls.snapshot().version
    assert fill(lake, book()).rows == 0
    assert lake.calls.snapshot().version == version, "nothing to write is nothing written"
    lake.clock.advance(3 * DAY.total_seconds())
    later = fill(lake, book())
    assert (later.first_start, later.until) == (first.first_start, NOW.replace(second=0))
    found = rows(lake)
    assert later.rows == found.filter(pl.col("started_at") >= first.until).height > 100
    assert found.equals(expected(lake).sort("started_at", "call_id"))
    assert first_start(open_lake(tmp_path / "other")) is None


@pytest.mark.usefixtures("short")
def test_a_gap_longer_than_the_history_is_not_filled(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    assert isinstance(lake.clock, SteppedClock)
    fill(lake, book())
    lake.clock.advance(100 * DAY.total_seconds())
    again = fill(lake, book())
    days = rows(lake)["started_at"].dt.date().unique().sort().to_list()
    assert len(days) == 22 + 22
    assert days[-1] == again.until.date()
    assert (days[22] - days[21]).days == 100 - 21


@pytest.mark.usefixtures("short")
def test_two_at_a_time_write_each_call_once(tmp_path: Path) -> None:
    lakes = [open_lake(tmp_path), open_lake(tmp_path)]
    threads = [threading.Thread(target=fill, args=(lake, book())) for lake in lakes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(lakes[0]).equals(expected(lakes[0]).sort("started_at", "call_id"))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("moment", "times"), [("before", 1), ("after", 1), ("before", 3), ("after", 4)])
def test_a_kill_anywhere_ends_with_every_call_once(tmp_path: Path, moment: str, times: int) -> None:
    killed(tmp_path, moment, times)
    lake = open_lake(tmp_path)
    before = rows(lake).height
    filled = fill(lake, book())
    found = rows(lake)
    assert found.height == before + filled.rows
    assert found.equals(expected(lake).sort("started_at", "call_id"))


@pytest.mark.usefixtures("short")
def test_a_filling_that_does_not_say_how_far_it_is_would_be_caught(tmp_path: Path) -> None:
    killed(tmp_path, "after", 2, "mutant")
    lake = open_lake(tmp_path)
    fill(lake, book())
    assert rows(lake).height > expected(lake).height, "calls of the first week are there twice"
