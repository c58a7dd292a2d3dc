"""The framing of a journal line: kind, members, CRC; and how bytes get onto the disk itself."""

from __future__ import annotations

import fcntl
import os
import zlib
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib import records

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ultimate_lib.records import CallRecord

CALL = b'{"k":"call",'
INTENT = b'{"k":"intent",'
_encode = msgspec.json.Encoder().encode
_CRC_LENGTH = len(b',"crc":"xxxxxxxx"}')


def frame(opening: bytes, record: CallRecord, charge: Mapping[str, int] | None = None) -> bytes:
    """Return the line for a record; `opening` is CALL or INTENT.

    `charge` (budget's id → amount) is a member of the line alone, no column: on an intent what is held for the call,
    on a call what it is charged where that is not its plain cost.
    """
    body = opening + records.encode(record)[1:-1]
    if charge:
        body += b',"charge":' + _encode(charge)
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def is_good(line: bytes) -> bool:
    """Say whether a line (without its end) is whole: known kind, matching CRC."""
    crc = b',"crc":"%08x"}' % zlib.crc32(line[:-_CRC_LENGTH])
    return line[-_CRC_LENGTH:] == crc and line.startswith((CALL, INTENT))


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
