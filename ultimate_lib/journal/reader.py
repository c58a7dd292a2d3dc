"""Reading a journal: who wrote, which segments there are, and their good lines."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from ultimate_lib.journal.lines import CALL, is_good

_BLOCK = 256 * 1024


class WriterFolder(NamedTuple):
    """The folder of one writing process, and whether that process still lives."""

    path: Path
    writer: str
    slot: str
    alive: bool


class Segment(NamedTuple):
    """One file of a writer."""

    path: Path
    writer: str
    number: int
    sealed: bool


class Lines(NamedTuple):
    """The good lines of a segment from an offset on.

    `end` is the offset behind the last good line. `bad_bytes` counts what lies from the first bad line on,
    `torn_bytes` a last line that has no end yet; at most one of them is above 0.
    """

    calls: bytes
    call_count: int
    intents: list[bytes]
    end: int
    bad_bytes: int
    torn_bytes: int


def writer_folders(journal_dir: Path) -> list[WriterFolder]:
    """Return the folders of all writers, living and dead, in the order of their names."""
    found = []
    for path in sorted(journal_dir.glob("slot-*/*")):
        if path.name.startswith(".") or not path.is_dir():
            continue
        slot = path.parent.name.removeprefix("slot-")
        found.append(WriterFolder(path, path.name, slot, _is_locked(path / "lock")))
    return found


def _is_locked(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two lookers do not take each other for the writer
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def segments(folder: WriterFolder) -> list[Segment]:
    """Return a writer's segments in the order of their numbers.

    A segment that is sealed between two looks is listed once, as sealed.
    """
    found: dict[int, Segment] = {}
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder.path):
            stem, _, suffix = entry.name.partition(".")
            if suffix in {"open", "seg"} and stem.isdigit():
                number = int(stem)
                if suffix == "seg" or number not in found:
                    found[number] = Segment(Path(entry.path), folder.writer, number, suffix == "seg")
    return [found[number] for number in sorted(found)]


def read_segment(path: Path, offset: int = 0, until: int = 1 << 62) -> Lines:
    """Read a segment from `offset` (the `end` of an earlier look) up to `until` and return its good lines.

    Reading stops at the first line whose CRC fails: nothing behind it can be trusted. Raises FileNotFoundError
    when the segment was renamed or removed meanwhile.
    """
    joined: list[bytes] = []
    count = 0
    intents: list[bytes] = []
    end = offset
    with path.open("rb") as file:
        file.seek(offset)
        torn = b""
        good = True
        while good and (
            block := file.read(min(_BLOCK, until - file.tell()))
        ):  # in blocks that fit the processor's cache: twice as fast
            lines = (torn + block).split(b"\n")
            torn = lines.pop()
            calls = []
            for line in lines:
                if not is_good(line):
                    good = False
                    break
                end += len(line) + 1
                if line.startswith(CALL):
                    calls.append(line)
                else:
                    intents.append(line)
            count += len(calls)
            if calls:
                joined.append(b"\n".join(calls))
        bad = 0 if good else file.seek(0, os.SEEK_END) - end
    return Lines(
        calls=b"\n".join(joined),
        call_count=count,
        intents=intents,
        end=end,
        bad_bytes=bad,
        torn_bytes=len(torn) if good else 0,
    )
