"""Journal → table, exactly once however often the worker is killed, and the journal tidied behind it.

A commit carries, for each writer it takes from, the number of the writer's last segment in it as a Delta
transaction; it is made only while that number is still what it was when the segments were chosen. A writer that is
gone is sealed; its last commit carries its unfinished calls as rows of status `cut` under the number after its last
segment, which no segment ever has, so that they too are written once.

    0000000007.done     in the writer's folder: committed up to 7; its mtime says when. Segments go ten minutes later,
                        in ascending order. A number above the last segment's: nothing of this writer is outstanding

The last segment of a living writer stays: its intents may still be needed to name what is cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib import journal, records
from ultimate_lib.journal.lines import sync_folder
from ultimate_lib.lake import schema
from ultimate_lib.lake.optimize import maintain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ultimate_lib.journal import Lines, Segment, WriterFolder
    from ultimate_lib.lake import Lake

__all__ = ["Ingested", "Quarantined", "maintain", "quarantined", "run_once"]

log = logging.getLogger(__name__)

KEEP_S = 600.0  # how long a committed segment stays for readers whose snapshot is older
_BATCH_BYTES = 64 * 1024 * 1024  # of journal in one commit: bounds memory to some ten times this
_ASIDE = "quarantine"


class Ingested(NamedTuple):
    """What one pass did."""

    rows: int  # calls that went into the table, cut ones included
    cut: int  # calls that their process left unfinished
    segments: int
    version: int | None  # of the table, None when nothing was committed
    removed: int  # segments deleted


class Quarantined(NamedTuple):
    """What of the journal could not be read as rows and is kept aside."""

    files: int
    bytes: int
    folder: Path


@dataclass(slots=True)
class _Batch:
    """Segments of one or more writers that go into the table together."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    done: dict[Path, int] = field(default_factory=dict)  # writer's folder → number to mark once committed
    segments: int = 0
    size: int = 0
    cut: int = 0


def run_once(lake: Lake, *, tidy: bool = True) -> Ingested:
    """Commit every sealed segment that is not in the table yet, and remove those committed long enough ago.

    Without `tidy` none is removed: somebody else still needs them.

    Idempotent and safe to be killed at any point; two at a time do the work once. Raises `Unavailable` when the
    lake cannot be written (the journal then keeps everything).
    """
    rows = cut = segments = 0
    version: int | None = None
    folders = journal.writer_folders(lake.journal_dir)
    for batch in _batches(lake, folders):
        frame = pl.concat(batch.frames) if batch.frames else schema.empty()
        if batch.numbers:
            files = lake.calls.write(frame)
            committed = lake.calls.commit(files, transactions=batch.numbers, expected=batch.expected)
            if committed is None:
                log.info("lake: another process committed the same segments; nothing was added twice.")
                continue
            version = committed
        for path, number in batch.done.items():
            _mark(lake, path, number)
        rows += frame.height
        cut += batch.cut
        segments += batch.segments
    lake.calls.snapshot()
    removed = sum(_tidy(lake, folder) for folder in folders) if tidy else 0
    return Ingested(rows, cut, segments, version, removed)


def quarantined(lake: Lake) -> Quarantined:
    """Count the journal's bytes that failed their CRC or were no rows; they stay on disk for inspection."""
    paths = [*lake.journal_dir.glob("slot-*/*/*.quarantine"), *(lake.journal_dir / _ASIDE).glob("*.quarantine")]
    return Quarantined(len(paths), sum(path.stat().st_size for path in paths), lake.journal_dir)


# -- choosing what to commit ------------------------------------------------------------------------------------


def _batches(lake: Lake, folders: Iterable[WriterFolder]) -> Iterator[_Batch]:
    """Yield what is to be committed: whole segments, ascending, about 64 MiB of journal at a time."""
    lake.calls.snapshot()
    batch = _Batch()
    for folder in folders:
        present = lake.calls.transaction(folder.writer)
        if not folder.alive and _is_closed(folder):
            continue
        gone = not folder.alive and journal.seal_dead(folder)
        base = present
        for segment in journal.segments(folder):
            if not segment.sealed:
                break  # what follows would jump over it
            if segment.number <= present:
                continue
            if batch.size >= _BATCH_BYTES:
                yield batch
                batch = _Batch()
            if not _take(batch, lake, segment, base):
                gone = False
                break
            base = segment.number
        if gone:
            _close(batch, folder, base)
    yield batch


def _take(batch: _Batch, lake: Lake, segment: Segment, base: int) -> bool:
    """Add a segment's rows; False when another process has committed and removed it meanwhile."""
    try:
        lines = _good_lines(lake, segment)
    except FileNotFoundError:
        return False
    parsed = schema.parse_lines(lines.calls)
    if parsed.rejected:
        _keep_aside(segment.path.parent, segment.number, parsed.rejected)
    batch.frames.append(parsed.frame)
    batch.expected.setdefault(segment.writer, base)
    batch.numbers[segment.writer] = segment.number
    batch.done[segment.path.parent] = segment.number
    batch.segments += 1
    batch.size += lines.end
    return True


def _close(batch: _Batch, folder: WriterFolder, base: int) -> None:
    """Add the unfinished calls of a writer that is gone, unless they are in the table already."""
    last = max((segment.number for segment in journal.segments(folder)), default=0)
    if base <= last:
        cut = journal.cut_rows(folder)
        if cut:
            parsed = schema.parse_lines(b"\n".join(records.encode(row) for row in cut))
            if parsed.rejected:
                _keep_aside(folder.path, last + 1, parsed.rejected)
            batch.frames.append(parsed.frame)
            batch.cut += parsed.frame.height
            batch.expected.setdefault(folder.writer, base)
            batch.numbers[folder.writer] = last + 1
    batch.done[folder.path] = last + 1


def _good_lines(lake: Lake, segment: Segment) -> Lines:
    lines = journal.read_segment(segment.path)
    if lines.bad_bytes or lines.torn_bytes:
        with _alone(lake):  # a second one would overwrite what the first has put aside
            lines = journal.read_segment(segment.path)
            if lines.bad_bytes or lines.torn_bytes:
                journal.quarantine(segment.path)
                lines = journal.read_segment(segment.path)
    return lines


def _keep_aside(folder: Path, number: int, rejected: list[bytes]) -> None:
    aside = folder / f"{number:010d}-rows.quarantine"
    aside.write_bytes(b"\n".join(rejected) + b"\n")
    log.error(
        "lake: %d lines of segment %d of %s are no calls; they are in %s.", len(rejected), number, folder, aside
    )


@contextlib.contextmanager
def _alone(lake: Lake) -> Iterator[None]:
    with (lake.journal_dir / "ingest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- tidying behind it ------------------------------------------------------------------------------------------


def _marks(folder: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in folder.glob("*.done"))


def _mark(lake: Lake, folder: Path, number: int) -> None:
    """Note that everything up to `number` is in the table, and when that was first known."""
    path = folder / f"{number:010d}.done"
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        now = lake.clock.now().timestamp()
        os.utime(path, (now, now))


def _is_closed(folder: WriterFolder) -> bool:
    last = max((segment.number for segment in journal.segments(folder)), default=0)
    return any(number > last for number, _ in _marks(folder.path))


def _tidy(lake: Lake, folder: WriterFolder) -> int:
    """Remove a writer's segments, and in the end its folder, ten minutes after their commit."""
    segments = journal.segments(folder)
    present = lake.calls.transaction(folder.writer)
    last = segments[-1].number if segments else 0
    marks = _marks(folder.path)
    if segments and present >= segments[0].number and present > max((number for number, _ in marks), default=0):
        _mark(lake, folder.path, present)  # a kill came between commit and mark
    until = lake.clock.now().timestamp() - KEEP_S
    old = 0
    for number, path in marks:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime <= until:
                old = number
    ended = not folder.alive and any(number > last for number, _ in marks)
    removed = 0
    for segment in segments:
        if (
            segment.number <= min(old, present)
            and segment.sealed
            and (segment.number < last or (ended and old > last))
        ):
            segment.path.unlink(missing_ok=True)
            removed += 1
    for number, path in marks:
        if number <= min(old, last):
            path.unlink(missing_ok=True)
    if ended and not journal.segments(folder):
        _remove_folder(lake, folder)
    return removed


def _remove_folder(lake: Lake, folder: WriterFolder) -> None:
    """Remove an empty folder; what was put aside is kept under `quarantine/`."""
    aside = lake.journal_dir / _ASIDE
    for path in folder.path.glob("*.quarantine"):
        aside.mkdir(exist_ok=True, mode=0o700)
        path.rename(aside / f"{folder.writer}-{path.name}")
    for path in (*folder.path.glob("*.done"), folder.path / "lock"):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another process looks into it; the next pass gets it
        folder.path.rmdir()
        sync_folder(folder.path.parent)
