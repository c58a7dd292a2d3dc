"""The framing of a journal line: kind, members, CRC; and how bytes get onto the disk itself."""

from __future__ import annotations

import fcntl
import os
import zlib
from typing import TYPE_CHECKING

from ultimate_lib import records

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.records import CallRecord

CALL = b'{"k":"call",'
INTENT = b'{"k":"intent",'
_CRC_OPEN = b',"crc":"'
_CRC_LENGTH = len(_CRC_OPEN) + 8 + len(b'"}')


def frame(opening: bytes, record: CallRecord) -> bytes:
    """Return the line for a record; `opening` is CALL or INTENT."""
    body = opening + records.encode(record)[1:-1]
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))


def is_good(line: bytes) -> bool:
    """Say whether a line (without its end) is whole: known kind, matching CRC."""
    tail = line[-_CRC_LENGTH:]
    if not tail.startswith(_CRC_OPEN) or not tail.endswith(b'"}') or not line.startswith((CALL, INTENT)):
        return False
    return tail[len(_CRC_OPEN) : -2] == b"%08x" % zlib.crc32(line[:-_CRC_LENGTH])


def sync_file(fd: int) -> None:
    """Bring the file's data to the disk itself."""
    if hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:  # macOS: fsync stops at the drive's cache
        fcntl.fcntl(fd, getattr(fcntl, "F_FULLFSYNC"))  # noqa: B009 - not in the type stubs of other systems


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries (creations, renames) to the disk itself."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
