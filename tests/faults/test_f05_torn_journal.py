"""F5: a journal torn or flipped anywhere yields a prefix of what was written, and never a row that was not."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest

from ultimate_lib import journal
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter, reader
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    writer = JournalWriter(tmp_path / "journal", "0", Record(), SystemClock())
    for number in range(40):
        call = CallRecord(
            call_id=f"call-{number:06d}", started_at=number, provider="demo", input_tokens=number * 7,
            cost_nano_usd=number * 1_000_003, status="ok", app='ünïcode \n \\ " app',
        )  # fmt: skip
        writer.intent(call)
        writer.call(call)
    writer.close()
    (folder,) = journal.writer_folders(tmp_path / "journal")
    return journal.segments(folder)[0].path


def rows(path: Path) -> list[dict[str, object]]:
    lines = journal.read_segment(path)
    assert lines.bad_bytes == 0 or lines.torn_bytes == 0
    try:
        return [msgspec.json.decode(line) for line in lines.calls.split(b"\n") if line]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [{"unreadable": True}]


def invented(path: Path, whole: bytes, truth: list[dict[str, object]]) -> int:
    """Try every cut of the last 4 KiB and 4,000 random flips; count the reads that are no prefix of the truth."""
    wrong = 0
    for end in reversed(range(max(0, len(whole) - 4096), len(whole))):
        os.truncate(path, end)
        wrong += not _is_prefix(rows(path), truth)
    path.write_bytes(whole)
    dice = random.Random(5)
    with path.open("r+b", buffering=0) as file:  # in place: a file written anew waits for the disk, 8,000 times
        for _ in range(4000):
            position, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
            os.pwrite(file.fileno(), bytes([whole[position] ^ bit]), position)
            wrong += not _is_prefix(rows(path), truth)
            os.pwrite(file.fileno(), whole[position : position + 1], position)
    assert path.read_bytes() == whole
    return wrong


def _is_prefix(found: list[dict[str, object]], truth: list[dict[str, object]]) -> bool:
    return found == truth[: len(found)]


def test_f05_no_row_is_invented(segment: Path) -> None:
    whole = segment.read_bytes()
    assert invented(segment, whole, rows(segment)) == 0


def test_f05_bites_without_the_crc(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, truth = segment.read_bytes(), rows(segment)

    def looks_like_json(line: bytes) -> bool:
        try:
            msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        return True

    monkeypatch.setattr(reader, "is_good", looks_like_json)
    assert invented(segment, whole, truth) > 0


def test_f05_what_is_bad_is_kept_aside_with_its_size(segment: Path) -> None:
    whole, truth = segment.read_bytes(), rows(segment)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    segment.write_bytes(flipped)
    lost = journal.read_segment(segment).bad_bytes
    assert lost > 0
    assert journal.quarantine(segment) == lost
    aside = segment.with_suffix(".quarantine")
    assert segment.read_bytes() + aside.read_bytes() == bytes(flipped)
    assert _is_prefix(rows(segment), truth)
    assert len(rows(segment)) in {19, 20}
