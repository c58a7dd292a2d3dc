"""Keeping a table quick to read: small files merged, the log checkpointed and short, files that went removed.

Merging reads each file as bytes, checks them against their SHA-256 and only then decodes them: a flipped bit never
gets a fresh checksum. A file that fails stays where it is, quarantined.
"""

from __future__ import annotations

import logging
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.delta import Table
    from ultimate_lib.lake.files import File, Snapshot

log = logging.getLogger(__name__)

MERGE_ROWS = 400_000  # of a merged file: about 30 MB on disk, and some 400 MB while it is made
_SMALL_BYTES = 16 * 1024 * 1024
_MERGE_AT = 50  # small files in a day
_SETTLED_MS = 10 * 60 * 1000  # a day's small files are merged sooner once nothing has come for so long
_CHECKPOINT_EVERY = 50  # versions
_VACUUM_EVERY_S = 6 * 3600.0  # in a lake that is too quiet for checkpoints
_KEEP_HOURS = 1  # files that a merge or a retention took out, for readers that hold an older snapshot


class Maintained(NamedTuple):
    """What one pass did."""

    merged: int  # files that went into larger ones
    checkpointed: bool
    vacuumed: int  # files deleted
    healed: int  # files of the log that had no checksum yet


def maintain(lake: Lake, table: Table | None = None) -> Maintained:
    """Do what is due for a table (default: the calls); a pass with nothing due costs a few milliseconds.

    Safe to be killed at any point and to run twice at a time. Raises `Unavailable` when the lake cannot be written.
    """
    table = table or lake.calls
    snapshot = table.snapshot()
    if snapshot.version < 0:
        return Maintained(0, False, 0, 0)
    merged = sum(_merge(lake, table, files) for files in _due(snapshot, lake.clock.now_us() // 1000))
    checkpointed = table.snapshot().version - table.last_checkpoint() >= _CHECKPOINT_EVERY
    vacuumed = 0
    if checkpointed:
        table.checkpoint()
    now = lake.clock.monotonic()
    if table.vacuumed is None:
        table.vacuumed = now  # a process that just started lets its first pass be a light one
    if checkpointed or now - table.vacuumed >= _VACUUM_EVERY_S:
        table.vacuumed = now
        vacuumed = table.vacuum(_KEEP_HOURS)
        lake.manifest.forget([table.path(file) for file in table.snapshot().files], f"{table.name}/date=")
    return Maintained(merged, checkpointed, vacuumed, lake.manifest.heal(table.name))


def _due(snapshot: Snapshot, now_ms: int) -> Iterator[list[File]]:
    """Yield sets of small files of one day, in the order of time, that should become one file."""
    for _, group in groupby(sorted(snapshot.files, key=attrgetter("date", "first_us")), key=attrgetter("date")):
        small = [file for file in group if file.size < _SMALL_BYTES]
        settled = bool(small) and now_ms - max(file.modified_ms for file in small) >= _SETTLED_MS
        if len(small) < (2 if settled else _MERGE_AT):
            continue
        part: list[File] = []
        for file in small:
            if part and sum(other.rows for other in part) + file.rows > MERGE_ROWS:
                if len(part) > 1:
                    yield part
                part = []
            part.append(file)
        if len(part) > 1:
            yield part


def _merge(lake: Lake, table: Table, files: list[File]) -> int:
    frames: list[pl.DataFrame] = []
    taken: list[File] = []
    for file in files:
        try:
            data = lake.storage.read(table.path(file))
        except FileNotFoundError:
            log.error("lake: %s is gone; its %d rows are missing.", table.path(file), file.rows)  # noqa: TRY400
            continue
        if not lake.manifest.matches(table.path(file), data):
            log.error("lake: %s fails its checksum and is not merged.", table.path(file))
            continue
        frames.append(table.decode(data))
        taken.append(file)
    if len(taken) < 2:  # noqa: PLR2004 - one file alone is merged already
        return 0
    made = table.write(pl.concat(frames))
    version = table.commit(made, taken, rearranged=True)
    if version is None:
        log.info("lake: another process has merged or removed the same files of %s.", table.name)
        return 0
    return len(taken)
