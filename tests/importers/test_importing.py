"""A call is taken once: imported twice, recorded by the proxy, killed in the middle, from several places at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.importers.logs import BOOK, SESSION, answer, open_lake, rows, write_log
from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import NotFound, Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, delta, importing, ingest, schema
from ultimate_lib.lake.importing import Imported
from ultimate_lib.records import CallRecord, new_call_id
from ultimate_lib.registry import Registry
from ultimate_lib.settings import load

ROOT = Path(__file__).resolve().parent.parent.parent
MESSAGE = "msg_01Aq9w8e7r6t5y4u3i2o1p0a"  # of the session's first call


def take(lake: Lake, *places: Path, dry_run: bool = False, billing: str | None = None) -> Imported:
    return importing.run(lake, "claude_code", places, book=BOOK, dry_run=dry_run, billing=billing)


def proxied(upstream_id: str) -> CallRecord:
    """Return the row that the proxy wrote for a call, started a little before its client's first line."""
    at_us = 1_760_432_401_000_000
    return CallRecord(
        call_id=new_call_id(at_us), started_at=at_us, upstream_id=upstream_id, source="proxy", billing="metered",
        status="ok", input_tokens=18_412, output_tokens=187,
    )  # fmt: skip


def test_imported_twice_adds_nothing(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    assert take(lake, SESSION).taken == 4
    again = take(open_lake(tmp_path), SESSION)
    assert (again.taken, again.present) == (0, 4)
    assert rows(lake).height == 4


def test_what_came_since_the_last_import_is_taken(tmp_path: Path) -> None:
    lake, log = open_lake(tmp_path), tmp_path / "log.jsonl"
    for upto in (3, 3, 9):
        result = take(lake, write_log(log, [answer(number) for number in range(upto)]))
    assert (result.taken, result.present) == (6, 3)
    assert rows(lake).height == rows(lake)["call_id"].n_unique() == 9


@pytest.mark.parametrize("committed", [True, False])
def test_a_row_that_the_proxy_has_adds_nothing(tmp_path: Path, committed: bool) -> None:
    lake = open_lake(tmp_path)
    if committed:
        delta.append(lake, schema.frame_from_records([proxied(MESSAGE)]))
    else:
        journal = JournalWriter(lake.journal_dir, "0", lake.settings.record, SystemClock())
        journal.call(proxied(MESSAGE))  # in the tail: no worker has been here yet
    result = take(lake, SESSION)
    assert (result.taken, result.present) == (3, 1)
    of_message = rows(lake).filter(rows(lake)["upstream_id"] == MESSAGE)
    assert of_message["source"].to_list() == ["proxy"]
    if not committed:
        journal.close()
        ingest.run_once(lake)
        assert take(lake, SESSION).taken == 0
        assert rows(lake).height == 4


def test_bites_without_the_look_into_the_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_fresh", lambda lake, batch: (batch, 0))
    lake = open_lake(tmp_path)
    delta.append(lake, schema.frame_from_records([proxied(MESSAGE)]))
    take(lake, SESSION)
    take(lake, SESSION)
    assert rows(lake).height == 9, "this is what the tests above would see"


def test_an_import_says_what_a_request_is_and_what_has_none(tmp_path: Path) -> None:
    """A line without request id belongs to whatever its message is in the lake; another request is another call."""
    lake = open_lake(tmp_path)
    assert take(lake, write_log(tmp_path / "a.jsonl", [answer(1)])).taken == 1
    assert take(lake, write_log(tmp_path / "b.jsonl", [answer(1, requestId=None)])).present == 1
    assert take(lake, write_log(tmp_path / "c.jsonl", [answer(1) | {"requestId": "req_other"}])).taken == 1
    assert take(lake, write_log(tmp_path / "d.jsonl", [answer(2, requestId=None)])).taken == 1
    assert take(lake, write_log(tmp_path / "e.jsonl", [answer(2)])).present == 1, "now its request is known"


def test_a_dry_run_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    dry = take(lake, SESSION, dry_run=True)
    assert rows(lake).height == 0
    assert take(lake, SESSION) == dry


def test_billing_is_the_importers_unless_told(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    take(lake, write_log(tmp_path / "a.jsonl", [answer(1)]))
    take(lake, write_log(tmp_path / "b.jsonl", [answer(2)]), billing="metered")
    assert rows(lake)["billing"].to_list() == ["subscription", "metered"]


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    with pytest.raises(NotFound, match=r"There is no .*nowhere"):
        take(lake, SESSION, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match=r"no Claude Code session logs here. Looked in .*empty"):
        take(lake, tmp_path / "empty")
    assert rows(lake).height == 0


def test_a_corrupt_file_of_the_lake_is_told(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    take(lake, SESSION)
    file = next((tmp_path / "lake" / "calls").glob("date=*/*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert take(open_lake(tmp_path), SESSION).missing_files == 1


def test_another_importer_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's file that knows nothing of lake, prices or repeats is imported as ours is."""
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers" / "__init__.py").touch()
    (tmp_path / "strangers" / "toy.py").write_text(_TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(importing, "IMPORTERS", Registry("importer", "strangers", "importer"))
    (tmp_path / "past.csv").write_text("a,100\nb,200\nb,200\nwhat\n", encoding="utf-8")
    lake = open_lake(tmp_path / "data")
    for taken, present in ((2, 1), (0, 3)):
        result = importing.run(lake, "toy", [tmp_path / "past.csv"], book=BOOK)
        assert (result.taken, result.present) == (taken, present)
        assert result.skipped["not two columns"].samples == ["line 4"]
    assert rows(lake)["cost_nano_usd"].to_list() == [100 * 150, 200 * 150]
    assert rows(lake)["billing"].to_list() == ["metered"] * 2


_TOY = """
from ultimate_lib.lake.importers import Found, Row, Skip
from ultimate_lib.records import CallRecord, Usage

class Toy:
    sentence, billing = "toys", "metered"
    def places(self, environment): return []
    def find(self, places): return Found(list(places), [])
    def read(self, files, now_us, progress):
        for number, line in enumerate(files[0].read_text().splitlines(), 1):
            name, comma, tokens = line.partition(",")
            if not comma:
                yield Skip("not two columns", f"line {number}")
                continue
            at_us = 1_760_000_000_000_000 + number
            record = CallRecord(call_id="", started_at=at_us, upstream_id=name, model_served="gpt-4o-mini")
            yield Row(record, Usage(input_tokens=int(tokens), output_tokens=0), "openai")

importer = Toy()
"""


# -- at once ------------------------------------------------------------------------------------------------------


def overtaken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path) -> Callable[[], int]:
    """Let a second import run to its end between the first one's look into the lake and its commit."""
    real = importing._fresh
    inside = []

    def slow(lake: Lake, batch: list[importing.Row]) -> object:
        fresh = real(lake, batch)
        if not inside:
            inside.append(True)
            take(open_lake(tmp_path), log)
        return fresh

    monkeypatch.setattr(importing, "_fresh", slow)

    def run() -> int:
        take(open_lake(tmp_path), log)
        return rows(open_lake(tmp_path)).height

    return run


def test_an_import_that_is_overtaken_by_another_adds_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_log(tmp_path / "a.jsonl", [answer(number) for number in range(20)])
    assert overtaken(monkeypatch, tmp_path, log)() == 20


def test_overtaking_bites_without_the_writers_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(lake: Lake, records: list[CallRecord], number: int) -> bool:
        return delta.append(lake, schema.frame_from_records(records)) is not None

    log = write_log(tmp_path / "a.jsonl", [answer(number) for number in range(20)])
    monkeypatch.setattr(importing, "_append", careless)
    assert overtaken(monkeypatch, tmp_path, log)() == 40


def test_an_import_that_is_always_overtaken_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "_append", lambda lake, records, number: False)
    with pytest.raises(Unavailable, match="Try again"):
        take(open_lake(tmp_path), SESSION)


_IMPORT = """
import os, signal, sys
from pathlib import Path
from tests.importers.logs import BOOK, open_lake
from ultimate_lib.lake import delta, importing, schema
data, log, point, number, mutant = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5]
importing.BATCH_ROWS = 25
real, seen = importing._append, []
def append(lake, records, writer_number):
    seen.append(1)
    if point == "before" and len(seen) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    if point == "written" and len(seen) == number:
        lake.calls.write(schema.frame_from_records(records))
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(lake, records, writer_number)
    if point == "after" and len(seen) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
importing._append = append
if mutant == "blind":
    importing._fresh = lambda lake, batch: (batch, 0)
importing.run(open_lake(data), "claude_code", [log], book=BOOK)
"""


def start(
    data: Path, log: Path, point: str = "never", number: int = 0, mutant: str = "no"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _IMPORT, str(data), str(log), point, str(number), mutant]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def killed_then_whole(tmp_path: Path, point: str, mutant: str = "no") -> tuple[int, int]:
    """Kill an import at its first and at its third commit, then let one finish; return rows and different calls."""
    log = write_log(tmp_path / "a.jsonl", [answer(number) for number in range(120)])
    for number in (1, 3):
        assert start(tmp_path / "data", log, point, number, mutant).wait(60) == -signal.SIGKILL
    assert start(tmp_path / "data", log, mutant=mutant).wait(60) == 0
    found = rows(open_lake(tmp_path / "data"))
    return found.height, found["call_id"].n_unique()


@pytest.mark.parametrize("point", ["before", "written", "after"])
def test_killed_at_any_point_of_a_commit_and_begun_again_each_call_is_there_once(tmp_path: Path, point: str) -> None:
    assert killed_then_whole(tmp_path, point) == (120, 120)


def test_killing_bites_when_nobody_looks_into_the_lake(tmp_path: Path) -> None:
    found, different = killed_then_whole(tmp_path, "after", "blind")
    assert (found > 120, different) == (True, 120)


def test_three_imports_at_once_take_each_call_once(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a.jsonl", [answer(number) for number in range(300)])
    running = [start(tmp_path / "data", log) for _ in range(3)]
    assert [process.wait(90) for process in running] == [0, 0, 0]
    found = rows(open_lake(tmp_path / "data"))
    assert (found.height, found["call_id"].n_unique()) == (300, 300)


def test_settings_of_the_lake_are_what_is_asked(tmp_path: Path) -> None:
    """The importer's places come from the settings' environment, never from the process's."""
    write_log(tmp_path / "home" / ".claude" / "projects" / "p" / "s.jsonl", [answer(1)])
    settings = load(environ={"HOME": str(tmp_path / "home")}, overrides={"data.folder": str(tmp_path / "data")})
    lake = Lake.open(settings, SystemClock())
    assert take(lake).taken == 1
