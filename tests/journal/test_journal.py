"""The journal keeps what it was given: through rotation, reopening, short writes, failing syncs and kills."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ultimate_lib import journal
from ultimate_lib.clock import SteppedClock, SystemClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.journal import reader as reader_module
from ultimate_lib.journal import writer as writer_module
from ultimate_lib.records import CallRecord, new_call_id
from ultimate_lib.settings import Record

START = datetime(2026, 3, 1, tzinfo=UTC)


def record(number: int, **members: object) -> CallRecord:
    return CallRecord(call_id=f"call-{number:06d}", started_at=number, provider="demo", **members)


def open_writer(folder: Path, **settings: object) -> JournalWriter:
    return JournalWriter(folder, "0", Record(**settings), SteppedClock(START))


def all_calls(folder: Path) -> list[str]:
    found = []
    for owner in journal.writer_folders(folder):
        for segment in journal.segments(owner):
            lines = journal.read_segment(segment.path).calls
            found += [msgspec.json.decode(line)["call_id"] for line in lines.split(b"\n") if line]
    return found


def test_a_call_stands_in_the_file_when_call_returns(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.intent(record(1))
    writer.call(record(1, status="ok"))
    (folder,) = journal.writer_folders(tmp_path)
    (segment,) = journal.segments(folder)
    lines = journal.read_segment(segment.path)
    assert folder.alive
    assert not segment.sealed
    assert lines.call_count == 1
    assert len(lines.intents) == 1
    assert lines.end == segment.path.stat().st_size
    writer.close()
    assert [s.sealed for s in journal.segments(folder)] == [True]
    assert not journal.writer_folders(tmp_path)[0].alive


def test_a_reader_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.call(record(1))
    (segment,) = journal.segments(journal.writer_folders(tmp_path)[0])
    first = journal.read_segment(segment.path)
    writer.call(record(2))
    second = journal.read_segment(segment.path, first.end)
    assert second.call_count == 1
    assert b"call-000002" in second.calls
    writer.close()


def test_a_new_segment_repeats_open_intents_and_only_those(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, segment_bytes=1)
    writer.intent(record(1))
    writer.intent(record(2))
    writer.call(record(1, status="ok"))
    last = journal.segments(journal.writer_folders(tmp_path)[0])[-1]
    lines = journal.read_segment(last.path)
    assert [b"call-000002" in line for line in lines.intents] == [True]
    assert lines.call_count == 1
    writer.call(record(2, status="ok"))
    writer.close()
    folder = journal.writer_folders(tmp_path)[0]
    assert journal.cut_rows(folder) == []
    assert sorted(all_calls(tmp_path)) == ["call-000001", "call-000002"]


def test_a_segment_reads_alike_in_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = open_writer(tmp_path)
    for number in range(50):
        writer.intent(record(number))
        writer.call(record(number))
    writer.close()
    path = journal.segments(journal.writer_folders(tmp_path)[0])[0].path
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (
        whole,
        whole[:-7],
        b"".join(lines[:60]) + lines[60].replace(b"demo", b"dema") + b"".join(lines[61:]),
    ):
        path.write_bytes(damaged)
        monkeypatch.setattr(reader_module, "_BLOCK", 1 << 20)
        truth = journal.read_segment(path)
        for size in (1, 64, len(lines[0]), 5000):
            monkeypatch.setattr(reader_module, "_BLOCK", size)
            assert journal.read_segment(path) == truth
        assert truth.end + truth.bad_bytes + truth.torn_bytes == len(damaged)
        assert truth.call_count == truth.calls.count(b"call_id")


def test_many_open_calls_do_not_fill_every_segment_with_their_repetition(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, segment_bytes=2000)
    for number in range(300):
        writer.intent(record(number))
    (folder,) = journal.writer_folders(tmp_path)
    found = journal.segments(folder)
    assert len(found) < 30
    assert len(journal.read_segment(found[-1].path).intents) == 300
    writer.close()


def test_rotation_by_age_seals_and_leaves_idle_journals_alone(tmp_path: Path) -> None:
    clock = SteppedClock(START)
    writer = JournalWriter(tmp_path, "0", Record(segment_age_s=5), clock)
    writer.intent(record(1))
    clock.advance(6)
    writer._rotate_by_age()
    writer._sync()
    folder = journal.writer_folders(tmp_path)[0]
    assert [s.sealed for s in journal.segments(folder)] == [True, False]
    clock.advance(60)
    writer._rotate_by_age()
    assert len(journal.segments(folder)) == 2, "repeated intents alone are no reason for another segment"
    writer.call(record(1))
    clock.advance(6)
    writer._rotate_by_age()
    writer._sync()
    assert [s.sealed for s in journal.segments(folder)] == [True, True]
    writer.close()


def test_open_intents_of_a_dead_writer_become_cut_rows(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.intent(record(1, input_tokens=12))
    writer.intent(record(2))
    writer.intent(record(3))
    writer.call(record(3, status="ok"))
    writer.close()
    (folder,) = journal.writer_folders(tmp_path)
    assert not folder.alive
    assert journal.seal_dead(folder)
    rows = {row.call_id: row for row in journal.cut_rows(folder)}
    assert set(rows) == {"call-000001", "call-000002"}
    assert {row.status for row in rows.values()} == {"cut"}
    assert rows["call-000001"].usage_source == "estimated"
    assert rows["call-000002"].usage_source == "none"
    assert rows["call-000002"].input_tokens is None


def test_a_living_writer_is_not_sealed(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.call(record(1))
    (folder,) = journal.writer_folders(tmp_path)
    assert not journal.seal_dead(folder)
    assert not journal.segments(folder)[0].sealed
    writer.close()


def test_commit_mode_waits_for_a_sync_that_came_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = writer_module.sync_file
    monkeypatch.setattr(writer_module, "sync_file", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))

    async def scenario() -> None:
        writer = JournalWriter(tmp_path, "0", Record(sync="commit"), SystemClock())
        writer.start()
        for number in range(5):
            writer.call(record(number))
            size = writer._segment.size
            await asyncio.wait_for(writer.synced(), 5)
            assert synced[-1] >= size
        await asyncio.gather(*(writer.synced() for _ in range(50)))
        writer.close()

    asyncio.run(scenario())


def test_a_failed_sync_seals_the_segment_and_is_not_retried_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def failing(fd: int) -> None:
        tried.append(os.fstat(fd).st_ino)
        if len(tried) == 1:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(writer_module, "sync_file", failing)
    writer = open_writer(tmp_path)
    writer.call(record(1))
    writer._sync()
    assert writer.failure is not None
    assert writer.sync_failures == 1
    writer.call(record(2))
    assert writer.failure is None, "a later good write says so"
    writer.close()
    assert len(tried) == len(set(tried)), "no second sync on the same file"
    assert sorted(all_calls(tmp_path)) == ["call-000001", "call-000002"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = JournalWriter(Path(sys.argv[1]), "0", Record(on_disk_full=sys.argv[2]), SystemClock())
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
kept = 0
for number in range(20):
    if number == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (writer._segment.size + 100, hard))
    if number == 15:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer._probe()
    if writer.accepting:
        writer.call(CallRecord(call_id=f"call-{number:06d}", started_at=number, app="x" * 60))
        kept += 1
print(kept, writer.written, writer.dropped, writer.failure)
writer.close()
"""


@pytest.mark.parametrize(("policy", "expected"), [("drop", "20 10 10 None"), ("block", "11 10 1 None")])
def test_a_full_disk_loses_only_what_it_counts_and_resumes_alone(tmp_path: Path, policy: str, expected: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), policy], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == expected
    kept = all_calls(tmp_path)
    assert kept == [f"call-{n:06d}" for n in [*range(5), *range(15, 20)]]
    for folder in journal.writer_folders(tmp_path):
        for segment in journal.segments(folder):
            lines = journal.read_segment(segment.path)
            assert (lines.bad_bytes, lines.torn_bytes) == (0, 0), "a short write leaves no torn line behind"


def test_an_unwritable_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot be made"):
        open_writer(tmp_path / "file")


KILLED = """
import os, sys
from pathlib import Path
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record
writer = JournalWriter(Path(sys.argv[1]), "0", Record(segment_bytes=4000, sync_interval_s=0.01, segment_age_s=0.02),
                       SystemClock())
writer.start()
number = 0
while True:
    call = CallRecord(call_id=f"call-{number:06d}", started_at=number)
    writer.intent(call)
    writer.call(call)
    os.write(1, b"%d\\n" % number)
    number += 1
"""


def test_a_kill_loses_no_acknowledged_call_and_doubles_none(tmp_path: Path) -> None:
    for round_number in range(3):
        folder = tmp_path / str(round_number)
        with subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(0.1 + 0.07 * round_number)
            child.send_signal(signal.SIGKILL)
            acknowledged = child.stdout.read().split(b"\n")[:-1]
        (owner,) = journal.writer_folders(folder)
        assert not owner.alive
        journal.seal_dead(owner)
        kept = all_calls(folder)
        assert len(kept) == len(set(kept))
        last = int(acknowledged[-1])
        assert {f"call-{n:06d}" for n in range(last + 1)} <= set(kept)
        assert {row.call_id for row in journal.cut_rows(owner)}.isdisjoint(kept)


def test_call_ids_are_uuid7_in_order_of_time() -> None:
    early, late = new_call_id(1_700_000_000_000_000), new_call_id(1_700_000_001_000_000)
    assert early < late
    assert early[14] == "7"
    assert early[19] in "89ab"


def test_descriptors_are_not_leaked_by_rotation(tmp_path: Path) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    writer = open_writer(tmp_path, segment_bytes=1)
    for number in range(min(limit, 200)):
        writer.call(record(number))
        writer._sync()
    writer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_half_a_line_that_cannot_be_cut_off_hides_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    writer.call(record(1))
    real, wrote = os.write, []

    def half(fd: int, data: bytes) -> int:
        if wrote:
            raise OSError(errno.EIO, "broken")
        wrote.append(real(fd, data[: len(data) // 2]))
        return wrote[0]

    def no_cut(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        broken.setattr(os, "ftruncate", no_cut)
        writer.call(record(2))
    for number in (3, 4):
        writer.call(record(number))
    writer.close()
    assert (writer.written, writer.dropped) == (3, 1)
    assert all_calls(tmp_path) == ["call-000001", "call-000003", "call-000004"]
