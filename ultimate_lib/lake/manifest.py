"""Checksums: a flipped bit in a Parquet page reads as a wrong number without any error, so every file has a SHA-256.

A data file carries its own in its name (`date=…/<nonce>-<sha256>.parquet`), taken of the bytes in memory before they
are written: it is known with the commit itself, at no moment is a row committed that cannot be checked. The files of
`_delta_log`, whose bytes are the Delta library's, and data files that another program wrote have theirs in a small
file each under `manifest/`, written after the commit and, if a kill came between, by the worker's next pass
(`heal`): a log file is without checksum for at most the time to that pass.

A reader checks a local file before it uses it, once per inode, mtime and size; of files in an object store, which has
checksums of its own, the daily scrub condemns what it finds under `manifest/quarantine/`. What fails is left out and
counted.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.delta import Table
    from ultimate_lib.lake.storage import Storage

log = logging.getLogger(__name__)

_NAMED = re.compile(r"-([0-9a-f]{64})\.parquet$")
_LOG_FILE = re.compile(r"^\d{20}\.(json|checkpoint(\.\d+\.\d+)?\.parquet)$")
_BLOCK = 1 << 20
_THREADS = 4
_QUARANTINE = "manifest/quarantine"
_LISTED_S = 30.0
_Identity = tuple[int, int, int]


def file_name(data: bytes) -> str:
    """Return a name for a data file that tells its SHA-256; two files of the same bytes still differ."""
    return f"{secrets.token_hex(4)}-{hashlib.sha256(data).hexdigest()}.parquet"


class Manifest:
    """What each file of a table ought to hash to, and which files have been checked by this process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._checked: dict[str, tuple[_Identity, bool]] = {}
        self._listed: dict[str, tuple[float, frozenset[str]]] = {}
        self._guard = threading.Lock()

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 that the file at `path` (relative to the lake) ought to have; None: not known."""
        named = _NAMED.search(path)
        if named:
            return named[1]
        try:
            return self._storage.read(_beside(path)).decode("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def matches(self, path: str, data: bytes) -> bool:
        """Say whether these bytes are those that were written as `path`."""
        expected = self.digest(path)
        return expected is None or hashlib.sha256(data).hexdigest() == expected

    def good(self, paths: Sequence[str]) -> list[bool]:
        """Check local files, those not yet checked at 1-2 GB/s a core.

        In an object store, which keeps checksums of its own, a file is good unless a scrub has condemned it.
        """
        if paths and self._storage.local(paths[0]) is None:
            condemned = self._condemned(paths[0].partition("/")[0])
            return [path.rpartition("/")[2] not in condemned for path in paths]
        unread = [path for path in paths if path not in self._checked]
        if len(unread) > 1:  # no threads for one file, nor for what takes a look at its inode
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(self._good, unread))
        return [self._good(path) for path in paths]

    def _good(self, path: str) -> bool:
        local = self._storage.local(path)
        if local is None:
            return True  # the log of a lake in an object store
        try:
            now = _identity(local)
            known = self._checked.get(path)
            if known is not None and known[0] == now:
                return known[1]
            expected = self.digest(path)
            good = expected is None or _hash(local) == expected
        except OSError as error:
            self._tell(path, f"cannot be read ({error.strerror})")
            return False
        if not good:
            self._tell(path, "fails its checksum")
        if expected is not None:
            with self._guard:
                self._checked[path] = (now, good)
        return good

    def recheck(self, path: str) -> bool:
        """Read a file through and say whether it is as it was written, whatever was found before."""
        try:
            good = self.matches(path, self._storage.read(path))
        except OSError:
            good = False
        with self._guard:
            self._checked.pop(path, None)
            self._listed.clear()
        if not good:
            self._tell(path, "fails the scrub")
        if self._storage.local(path) is None:
            self._condemn(path, good=good)
        return good

    def _condemn(self, path: str, *, good: bool) -> None:
        table, name = path.partition("/")[0], path.rpartition("/")[2]
        if not good:
            self._storage.write(f"{_QUARANTINE}/{table}/{name}", b"")
        elif name in self._condemned(table):
            self._storage.delete(f"{_QUARANTINE}/{table}/{name}")

    def _condemned(self, table: str) -> frozenset[str]:
        """Return the names of files that a scrub has condemned, as of the last half minute."""
        now = time.monotonic()
        with self._guard:
            at, names = self._listed.get(table, (-_LISTED_S, frozenset()))
        if now - at >= _LISTED_S:
            names = frozenset(self._storage.names(f"{_QUARANTINE}/{table}"))
            with self._guard:
                self._listed[table] = (now, names)
        return names

    def _tell(self, path: str, what: str) -> None:
        log.error("lake: %s %s; its rows are left out and counted as missing.", path, what)

    def forget(self, live: Sequence[str], folder: str) -> None:
        """Drop what is remembered of files under `folder` that are no longer live."""
        keep = set(live)
        with self._guard:
            for path in [path for path in self._checked if path.startswith(folder) and path not in keep]:
                del self._checked[path]

    def record(self, path: str) -> None:
        """Write down what the file at `path` hashes to now."""
        data = self._storage.read(path)
        self._storage.write(_beside(path), hashlib.sha256(data).hexdigest().encode("ascii") + b"\n")

    def heal(self, table: str) -> int:
        """Give every file of the table's log that has no checksum yet one, and drop those of files that are gone.

        Returns how many were missing. Costs two listings when there is nothing to do.
        """
        folder = f"{table}/_delta_log"
        recorded = {name.removesuffix(".sha256") for name in self._storage.names(_beside(folder, ""))}
        present = {name for name in self._storage.names(folder) if _LOG_FILE.match(name)}  # last: none seems gone
        for name in sorted(present - recorded):
            self.record(f"{folder}/{name}")
        for name in recorded - present:
            self._storage.delete(_beside(f"{folder}/{name}"))
        return len(present - recorded)

    def bad_log_file(self, table: str, version: int) -> str | None:
        """Return the first file behind this version of the table's log that fails its checksum, if there is one."""
        folder = f"{table}/_delta_log"
        if self._storage.local(folder) is None:
            return None
        names = [name for name in self._storage.names(folder) if _LOG_FILE.match(name) and int(name[:20]) <= version]
        last = max((int(name[:20]) for name in names if "checkpoint" in name), default=-1)
        for name in names:
            number = int(name[:20])
            if (number > last or (number == last and "checkpoint" in name)) and not self._good(f"{folder}/{name}"):
                return f"{folder}/{name}"
        return None


class Scrubbed(NamedTuple):
    """What a scrub found."""

    files: int
    bytes: int
    bad: tuple[str, ...]  # relative to the lake; readers leave these out
    rows_missing: int


def scrub(lake: Lake, table: Table | None = None) -> Scrubbed:
    """Read every live file of a table (default: the calls) through and compare it with its checksum.

    For once a day: 1-2 GB/s a core on a local disk. Raises `Corrupt` when the table's log itself fails.
    """
    table = table or lake.calls
    files = table.snapshot().files
    bad = [file for file in files if not lake.manifest.recheck(table.path(file))]
    return Scrubbed(
        files=len(files),
        bytes=sum(file.size for file in files),
        bad=tuple(table.path(file) for file in bad),
        rows_missing=sum(file.rows for file in bad),
    )


def _beside(path: str, ending: str = ".sha256") -> str:
    return f"manifest/{path}{ending}"


def _identity(path: Path) -> _Identity:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
