"""What is done for a writer that is gone: seal what it left open, and name the calls it left unfinished."""

from __future__ import annotations

import fcntl
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib import records
from ultimate_lib.journal.lines import sync_file, sync_folder
from ultimate_lib.journal.reader import WriterFolder, read_segment, segments

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)


def seal_dead(folder: WriterFolder) -> bool:
    """Seal what a dead writer left open; bytes that are not good lines move to a `.quarantine` file beside it.

    Return False when the writer lives after all or another process is at it. Safe to be killed at any point.
    """
    try:
        fd = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for segment in segments(folder):
            if not segment.sealed:
                quarantine(segment.path)
                segment.path.rename(segment.path.with_suffix(".seg"))
        sync_folder(folder.path)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def quarantine(path: Path) -> int:
    """Move what follows the last good line of a segment to a file beside it and return how many bytes that is.

    Only for segments that nobody writes any more. The copy is on disk before the segment is cut.
    """
    lines = read_segment(path)
    lost = lines.bad_bytes + lines.torn_bytes
    with path.open("r+b") as file:
        if lost:
            file.seek(lines.end)
            aside = path.with_suffix(".quarantine")
            with aside.open("wb") as copy:
                copy.write(file.read())
                copy.flush()
                os.fsync(copy.fileno())
            file.truncate(lines.end)
            log.error("journal: %d bytes behind the last good line of %s are kept in %s.", lost, path, aside)
        file.flush()
        sync_file(file.fileno())
    return lost


def cut_rows(folder: WriterFolder) -> list[CallRecord]:
    """Return one row of status `cut` for each intent of a dead writer that no call line answers.

    Usage is what was known at admission: the estimate of the input, marked so. The last two segments tell: each
    begins with the intents that were open then, and the head of the very last may be torn. Call it once, with the
    writer's last segment: segments are removed in ascending order, so a call line is never gone before its intent.
    """
    rows = []
    for line in open_intents(folder):
        record = _admitted(line)
        record.status = "cut"
        record.error_type = record.error_type or "process_ended"
        record.usage_source = "estimated" if record.input_tokens is not None else "none"
        rows.append(record)
    return rows


def open_intents(folder: WriterFolder) -> list[bytes]:
    """Return the intent lines of a writer that no call line answers, each call's once."""
    opened: dict[str, bytes] = {}
    ended: set[str] = set()
    for segment in segments(folder)[-2:]:
        lines = read_segment(segment.path)
        opened.update((_named.decode(line).call_id, line) for line in lines.intents)
        ended.update(_named.decode(line).call_id for line in lines.calls.split(b"\n") if line)
    return [line for call_id, line in opened.items() if call_id not in ended]


class _Named(msgspec.Struct):
    """The members that tell which call a line is of, whatever the others hold."""

    call_id: str
    started_at: int


_named: msgspec.json.Decoder[_Named] = msgspec.json.Decoder(_Named)


def _admitted(line: bytes) -> CallRecord:
    """Return an intent's record; when a member is of the wrong type, that there was such a call is kept."""
    try:
        return records.decode(line)
    except msgspec.ValidationError:
        log.exception("journal: an intent line is not of the record's types; its call is kept without them.")
        named = _named.decode(line)
        return records.CallRecord(call_id=named.call_id, started_at=named.started_at)
