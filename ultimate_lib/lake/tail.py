"""The journal's tail: rows that are written and not yet in the table, parsed once and kept.

Open the table's snapshot first, then ask for the tail with that snapshot's transaction numbers: a segment above its
writer's number is not in the snapshot, one at or below it is. Segments stay ten minutes after their commit.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib import journal
from ultimate_lib.lake import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ultimate_lib.journal import Segment

_CHUNKS = 32


class Gone(Exception):
    """A segment was removed between the look at its folder and the look into it: the snapshot is too old."""


@dataclass(slots=True)
class _Part:
    """What has been read of one segment."""

    offset: int = 0
    frames: list[pl.DataFrame] = field(default_factory=list)


class Tail:
    """The parsed tail of one journal; safe to share among threads."""

    def __init__(self, journal_dir: Path) -> None:
        self._journal_dir = journal_dir
        self._parts: dict[tuple[str, int], _Part] = {}
        self._guard = threading.Lock()

    def frame(self, committed: Callable[[str], int]) -> pl.DataFrame:
        """Return the rows of all segments above `committed(writer)`, reading only bytes not read before.

        Raises `Gone` when a segment vanished meanwhile: take a new snapshot and ask again.
        """
        with self._guard:
            wanted: dict[tuple[str, int], _Part] = {}
            for folder in journal.writer_folders(self._journal_dir):
                number = committed(folder.writer)
                for segment in journal.segments(folder):
                    if segment.number > number:
                        key = (segment.writer, segment.number)
                        wanted[key] = self._parts.get(key) or _Part()
                        _read_on(wanted[key], segment)
            self._parts = wanted
            frames = [frame for part in wanted.values() for frame in part.frames]
        return pl.concat(frames, rechunk=False) if frames else schema.empty()


def _read_on(part: _Part, segment: Segment) -> None:
    path = segment.path
    try:
        if path.stat().st_size == part.offset:
            return
        lines = journal.read_segment(path, part.offset)
    except FileNotFoundError:
        try:
            lines = journal.read_segment(path.with_suffix(".seg"), part.offset)  # sealed since the look
        except FileNotFoundError as error:
            raise Gone from error
    part.offset = lines.end
    if lines.call_count:
        part.frames.append(schema.frame_from_lines(lines.calls))
    if len(part.frames) > _CHUNKS:
        part.frames = [pl.concat(part.frames, rechunk=True)]
