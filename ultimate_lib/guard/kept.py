"""What keys have spent lately, as each gateway keeps it for the others: one file a process, replaced in one step.

A process writes what it has counted itself, and no more, so that no two files tell of the same call: what a key has
spent is what all files come to. One that was replaced or killed leaves its file behind, which counts until all of it
is too old to matter. Who drains writes on, and its successor reads it again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.guard.spend import WINDOWS, Kept

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

_NAMES = "guard-spend-*.json"
_OLD_US = WINDOWS[-1].part_us * (WINDOWS[-1].parts + 2)
_Mark = tuple[int, int, int]

_decoder = msgspec.json.Decoder(Kept)


class KeptSums:
    """The files, as one process writes and reads them; written in any thread, read in one at a time."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._own = run_dir / f"guard-spend-{secrets.token_hex(6)}.json"
        self._writing = threading.Lock()
        self._seen: dict[str, tuple[_Mark, Kept]] = {}

    def write(self, told: Kept) -> None:
        """Put this process's sums in the place of its last ones; for this user's eyes alone. Raises OSError."""
        making = self._own.with_suffix(".making")
        with self._writing:
            with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(told))
            making.replace(self._own)

    def others(self, now_us: int) -> Sequence[Kept] | None:
        """Return what other processes have kept; None: as before. What is too old is deleted."""
        found: dict[str, tuple[_Mark, Kept]] = {}
        for path in self._run_dir.glob(_NAMES):
            if path.name == self._own.name:
                continue
            with contextlib.suppress(FileNotFoundError):
                told = path.stat()
                if now_us - told.st_mtime_ns // 1000 > _OLD_US:
                    path.unlink()
                    continue
                mark = (told.st_ino, told.st_mtime_ns, told.st_size)
                before = self._seen.get(path.name)
                found[path.name] = before if before is not None and before[0] == mark else (mark, _read(path))
        if found == self._seen:  # the marks differ first
            return None
        self._seen = found
        return [kept for _, kept in found.values()]


def _read(path: Path) -> Kept:
    try:
        return _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:  # told once, for its mark is known from now on
        log.warning("What keys have spent lately cannot be read in %s, and does not count: %s", path.name, error)
        return {}
