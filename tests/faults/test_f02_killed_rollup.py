"""F2: kill -9 at each labelled point of a rollup; answers are right at once, and rollups equal calls after a pass.

The child runs the real code; a function at the labelled point is wrapped there so that the process kills itself right
before or right after it, the nth time it is reached: before a file, between file and commit, between two tables.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.lake.random_calls import make_lake, random_frame
from ultimate_lib.lake import delta, merges, plan, rollup
from ultimate_lib.lake.query import Query
from ultimate_lib.lake.rolled import ROLLUPS

START = datetime(2026, 3, 27, 13, 7, tzinfo=UTC)
END = datetime(2026, 3, 30, 9, 52, tzinfo=UTC)
ZONE = "Asia/Kolkata"

CHILD = """
import importlib, os, signal, sys
from pathlib import Path
from tests.faults.test_f02_killed_rollup import END, ZONE
from tests.lake.random_calls import make_lake
from ultimate_lib.lake import rolling, rollup

data, target, moment, times, mutant = sys.argv[1:]
where, _, name = target.rpartition(":")
module, _, owner = where.partition("/")
holder = importlib.import_module(module)
holder = getattr(holder, owner) if owner else holder
real = getattr(holder, name)
left = int(times)

def dying(*arguments, **members):
    global left
    left -= 1
    if left == 0 and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **members)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(holder, name, dying)
if mutant == "claim first":
    replace = rolling._replace
    def claiming(lake, one, frame, spans, *, last):
        version, until = one.claim
        made = rolling.made(lake, one.rollup)
        numbers = {"made": made, "calls": version + 1, "until": until // rolling.QUARTER_US}
        rolling._commit(one, [], [], numbers)
        replace(lake, one, frame, spans, last=last)
    rolling._replace = claiming
if mutant == "claim with every portion":
    replace = rolling._replace
    rolling._replace = lambda lake, one, frame, spans, *, last: replace(lake, one, frame, spans, last=True)
rolling._PORTION_CALLS = 150
rollup.update(make_lake(Path(data), END, ZONE))
"""

POINTS = [
    ("ultimate_lib.lake.rolling:_read", (1, 2)),
    ("ultimate_lib.lake.rolling:_replace", (1, 9)),
    ("ultimate_lib.lake.delta/Table:write", (5, 8)),
    ("ultimate_lib.lake.storage/FolderStorage:write", (2, 11)),
    ("ultimate_lib.lake.delta/Table:_try", (1, 9)),
    ("ultimate_lib.lake.delta/Table:_settle", (1, 7)),
    ("ultimate_lib.lake.rollup:maintain", (1, 3)),
]
FIRST = ("Table:write", "Table:_try")  # every run kills the first build there; at the other points `make heavy` does


KILLS = [(point, times, rolled) for point, times in POINTS for rolled in (True, False)]


def kill_of(point: str, times: tuple[int, ...], rolled: bool) -> ParameterSet:
    marks = () if rolled or point.endswith(FIRST) else pytest.mark.heavy
    name = point.rpartition(":")[2]
    return pytest.param(point, times, rolled, id=f"{name}-{'late calls' if rolled else 'first build'}", marks=marks)


def prepare(data: Path, *, rolled: bool) -> None:
    """Make a lake: not rolled at all, or rolled and then given late calls in each of its days."""
    lake = make_lake(data, END, ZONE)
    delta.append(lake, random_frame(1, 600, START, END))
    if rolled:
        rollup.update(lake)
        delta.append(lake, random_frame(2, 200, START, END))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The two lakes that kills begin with, to be copied: not rolled, and rolled with late calls."""
    folders = {rolled: tmp_path_factory.mktemp("lake") for rolled in (False, True)}
    for rolled, folder in folders.items():
        prepare(folder, rolled=rolled)
    return folders


def kill(data: Path, point: str, moment: str, times: int, mutant: str = "") -> int:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(data), point, moment, str(times), mutant], capture_output=True, check=False
    )
    assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr.decode()
    return ran.returncode


def breaches(data: Path) -> list[str]:
    """Name every answer that differs between rollups and calls, and every rollup that differs from its calls."""
    lake = make_lake(data, END, ZONE)
    found = []
    for by, grain in ((("model",), "hour"), (("key",), "day"), (("project", "app"), "day")):
        query = Query(
            metrics=("requests", "cost_usd", "errors", "latency_p95_ms"), start=START, end=END, by=by, grain=grain
        )
        keys = [merges.STEP, *by]
        one, other = (
            merges.Merges(lake, query, plan.make(lake, query, rollups=rollups)).evaluate(keys).sort(keys)
            for rollups in (True, False)
        )
        found += [f"{grain} by {by}"] * (not one.equals(other))
    return found + [difference.rollup for difference in rollup.verify(lake)]


@pytest.mark.parametrize(("point", "times", "rolled"), [kill_of(*one) for one in KILLS])
def test_f02_a_rollup_killed_anywhere_is_healed_by_the_next(
    tmp_path: Path, prepared: dict[bool, Path], point: str, times: tuple[int, ...], rolled: bool
) -> None:
    shutil.copytree(prepared[rolled], tmp_path, dirs_exist_ok=True)
    reached = 0
    for number, at in enumerate(times):
        reached += kill(tmp_path, point, "before" if number % 2 else "after", at) == -signal.SIGKILL
        assert breaches(tmp_path) == [], "an answer in between is right, too"
    assert reached, f"{point} was never reached"
    lake = make_lake(tmp_path, END, ZONE)
    rollup.update(lake)
    assert breaches(tmp_path) == []
    assert rollup.update(lake) == rollup.RolledUp()
    for name, one in ROLLUPS.items():
        rows = rollup.scan_rollup(lake, name, START - timedelta(days=2), END).collect()
        assert rows.height
        assert rows.select("started_at", *one.keys).is_unique().all()


@pytest.mark.parametrize(
    ("mutant", "point", "times"),
    [
        ("claim first", "ultimate_lib.lake.delta/Table:write", 1),
        ("claim with every portion", "ultimate_lib.lake.rolling:_read", 2),
    ],
)
def test_f02_bites_when_a_rollup_claims_what_it_has_not(
    tmp_path: Path, prepared: dict[bool, Path], mutant: str, point: str, times: int
) -> None:
    shutil.copytree(prepared[True], tmp_path, dirs_exist_ok=True)
    assert kill(tmp_path, point, "before", times, mutant) == -signal.SIGKILL
    assert breaches(tmp_path)
    rollup.update(make_lake(tmp_path, END, ZONE))
    assert breaches(tmp_path), "and no later pass finds out"
