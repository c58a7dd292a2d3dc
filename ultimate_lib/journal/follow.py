"""Following a journal: the calls whose lines were written since the last look, whoever wrote them.

It reads segments as they grow and needs neither the lake nor its libraries. Rows that are made for calls of a process
that was killed, and imported ones, go to the lake without a line: they are not seen here.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib import records
from ultimate_lib.journal.reader import read_segment, segments, writer_folders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ultimate_lib.journal.reader import Segment
    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)

_SEALED = ".seg"
_LAST_BYTES = 512 * 1024
_MOST_BYTES = 4 * 1024 * 1024


class Follower:
    """Remembers how far it has read. Not safe for several threads."""

    def __init__(self, journal_dir: Path) -> None:
        self._journal_dir = journal_dir
        self._read: dict[tuple[str, int], int] = {}  # (writer, segment) → offset; -1: read to the end and sealed

    def begin(self, most: int) -> list[CallRecord]:
        """Start from now and return up to `most` of the newest calls that are still in the journal, oldest first."""
        self._read.clear()
        found: list[CallRecord] = []
        left = _MOST_BYTES
        for segment in sorted(self._segments(), key=_modified, reverse=True):
            if segment.sealed and left <= 0:
                self._read[segment.writer, segment.number] = -1
                continue
            self._read[segment.writer, segment.number] = start = _boundary(segment)
            found += self._read_on(segment)
            left -= max(0, self._read[segment.writer, segment.number] - start)
        return sorted(found, key=ended_us)[-most:]

    def look(self) -> list[CallRecord]:
        """Return the calls that were written since the last look, in the order of their ends."""
        found: list[CallRecord] = []
        there = set()
        for segment in self._segments():
            there.add((segment.writer, segment.number))
            found += self._read_on(segment)
        self._read = {key: offset for key, offset in self._read.items() if key in there}
        return sorted(found, key=ended_us)

    def _segments(self) -> Iterator[Segment]:
        for folder in writer_folders(self._journal_dir):
            yield from segments(folder)

    def _read_on(self, segment: Segment) -> Iterator[CallRecord]:
        key = (segment.writer, segment.number)
        offset = self._read.get(key, 0)
        if offset < 0:
            return
        for path in _paths(segment):
            try:
                if path.stat().st_size > offset:
                    lines = read_segment(path, offset)
                    offset = lines.end
                    yield from _decoded(lines.calls)
            except FileNotFoundError:
                continue
            self._read[key] = -1 if path.suffix == _SEALED else offset
            return


def ended_us(record: CallRecord) -> int:
    """Return when a call ended, in microseconds since 1970."""
    return record.started_at + 1000 * (record.duration_ms or 0)


def _modified(segment: Segment) -> int:
    with contextlib.suppress(OSError):
        return segment.path.stat().st_mtime_ns
    return 0


def _paths(segment: Segment) -> tuple[Path, ...]:
    """Return where a segment may lie: one listed as open may have been sealed, and so renamed, since."""
    return (segment.path,) if segment.sealed else (segment.path, segment.path.with_suffix(_SEALED))


def _boundary(segment: Segment) -> int:
    """Return where the first line begins of the last half megabyte of a segment."""
    for path in _paths(segment):
        with contextlib.suppress(OSError), path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= _LAST_BYTES:
                return 0
            file.seek(size - _LAST_BYTES)
            return size - _LAST_BYTES + len(file.readline())
    return 0


def _decoded(calls: bytes) -> Iterator[CallRecord]:
    for line in calls.split(b"\n"):
        if line:
            try:
                yield records.decode(line)
            except msgspec.ValidationError:
                log.exception("journal: a call line is not of the record's types; it is not shown live.")
