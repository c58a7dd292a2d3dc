"""F2: kill -9 at each labelled point of flush and ingestion; the next pass ends with every row there exactly once.

The child runs the real code; a function at the labelled point is wrapped there so that the process kills itself
right before or right after it, the first or the second time it is reached.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lake.conftest import END, START, expected, ids, open_lake
from ultimate_lib import journal
from ultimate_lib.lake import Lake, ingest, optimize
from ultimate_lib.lake.reader import missing, scan_calls

CALLS = 40

CHILD = """
import importlib, os, signal, sys
from pathlib import Path
from tests.lake.conftest import open_lake, record
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import ingest, optimize
from ultimate_lib.settings import Record

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
lake = open_lake(Path(data))
if mutant:
    commit = lake.calls.commit
    lake.calls.commit = lambda adds, *rest, transactions=None, expected=None, **more: commit(adds, *rest, **more)
if not lake.journal_dir.exists():
    writer = JournalWriter(lake.journal_dir, "0", Record(segment_bytes=1500), SystemClock())
    for number in range(40):
        writer.intent(record(number))
        if number % 10 != 9:
            writer.call(record(number, status="ok"))
        print(number, flush=True)
        if number % 8 == 7:
            writer._sync()
    writer.close()
optimize._MERGE_AT = 2
ingest._BATCH_BYTES = 4000
for _ in range(3):
    ingest.run_once(lake)
    optimize.maintain(lake)
lake.calls.checkpoint()
"""

POINTS = [
    "ultimate_lib.journal.writer:_write_whole",
    "ultimate_lib.journal.writer/JournalWriter:_seal",
    "ultimate_lib.journal.replay:quarantine",
    "ultimate_lib.journal:seal_dead",
    "ultimate_lib.journal:cut_rows",
    "ultimate_lib.lake.storage/FolderStorage:write",
    "ultimate_lib.lake.delta/Table:write",
    "ultimate_lib.lake.delta/DeltaTable:create",
    "ultimate_lib.lake.delta/Table:_try",
    "ultimate_lib.lake.manifest/Manifest:record",
    "ultimate_lib.lake.delta/Table:_settle",
    "ultimate_lib.lake.ingest:_mark",
    "ultimate_lib.lake.optimize:_merge",
    "ultimate_lib.lake.delta/Table:checkpoint",
]


def run(data: Path, point: str, moment: str, times: int, mutant: str = "") -> tuple[int, list[int]]:
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, str(data), point, moment, str(times), mutant], capture_output=True, check=False
    )
    assert ran.returncode in {0, -signal.SIGKILL}, ran.stderr.decode()
    return ran.returncode, [int(line) for line in ran.stdout.split()]


def settled(data: Path) -> Lake:
    """Do what the next worker does, and look at what the journal still says."""
    lake = open_lake(data)
    for _ in range(2):
        ingest.run_once(lake)
        optimize.maintain(lake)
    return lake


def losses(lake: Lake, acknowledged: list[int]) -> list[str]:
    """Name every breach: a call lost, doubled or unreadable."""
    found = ids(lake)
    breaches = [f"{call} lost" for call in expected(CALLS) if int(call[5:]) in acknowledged and call not in found]
    breaches += [f"{call} doubled" for call in sorted(set(found)) if found.count(call) > 1]
    breaches += [f"{missing(lake, START, END).files} files unreadable"] * bool(missing(lake, START, END).files)
    breaches += [f"{ingest.quarantined(lake).bytes} bytes unreadable"] * bool(ingest.quarantined(lake).bytes)
    statuses = scan_calls(lake, START, END, ["call_id", "status"]).collect().rows()
    breaches += [
        f"{call} is {status}"
        for call, status in statuses
        if int(call[5:]) in acknowledged and status != ("cut" if call[-1] == "9" else "ok")
    ]
    return breaches


ONCE = [point for point in POINTS if ":seal_dead" in point or "journal.writer" in point or ":create" in point]


@pytest.mark.parametrize(("point", "moments"), [(p, "before after") for p in POINTS] + [(p, "after") for p in ONCE])
def test_f02_a_kill_at_a_labelled_point_loses_and_doubles_nothing(tmp_path: Path, point: str, moments: str) -> None:
    acknowledged: list[int] = []
    codes = []
    for moment in moments.split():  # the next worker is killed there too
        code, calls = run(tmp_path, point, moment, 3 if point.endswith(("_whole", "_seal")) else 1)
        codes.append(code)
        acknowledged += calls
    assert codes[0] == -signal.SIGKILL, f"{point} was never reached"
    lake = settled(tmp_path)
    assert losses(lake, acknowledged) == []
    assert lake.tail.frame(lake.calls.transaction).height == 0, "all of it is in the table"
    assert not any(journal.segments(folder) and folder.alive for folder in journal.writer_folders(lake.journal_dir))


def test_f02_bites_when_the_commit_carries_no_transaction(tmp_path: Path) -> None:
    point = "ultimate_lib.lake.ingest:_mark"
    code, acknowledged = run(tmp_path, point, "before", 1, "no transaction")
    assert code == -signal.SIGKILL
    assert any("doubled" in breach for breach in losses(settled(tmp_path), acknowledged))


def test_f02_bites_when_segments_go_before_their_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, acknowledged = run(tmp_path, "ultimate_lib.lake.delta/Table:write", "before", 1)
    lake = open_lake(tmp_path)
    for folder in journal.writer_folders(lake.journal_dir):
        journal.segments(folder)[0].path.unlink()
    assert any("lost" in breach for breach in losses(settled(tmp_path), acknowledged))
