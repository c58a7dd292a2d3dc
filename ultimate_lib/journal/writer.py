"""The one writer of a journal folder: one `write(2)` a line, syncs and rotation in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ultimate_lib.errors import Unavailable
from ultimate_lib.journal.lines import CALL, INTENT, frame, sync_file, sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ultimate_lib.clock import Clock
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Record

log = logging.getLogger(__name__)

_GROUP_WINDOW_S = 0.002
_PROBE_S = 1.0
_PROBE_BYTES = 64 * 1024


@dataclass(slots=True)
class _Open:
    """The segment that is being written."""

    number: int
    path: Path
    fd: int
    size: int
    born: float
    dirty: bool = True
    full: int = 0  # the size at which the next one begins
    fresh: bool = False  # holds something besides repeated intents
    torn: bool = False  # ends in half a line, behind which nothing would be read


class JournalWriter:
    """The one writer of its own folder. `intent` and `call` are called by one thread; each is one `write(2)`.

    Raises `Unavailable` when the folder cannot be made. Afterwards it never raises: a disk that fails is told by
    `failure`, lost call lines are counted in `dropped`, and with `on_disk_full = "block"` `accepting` turns False
    until a probe succeeds.
    """

    def __init__(self, journal_dir: Path, slot: str, record: Record, clock: Clock) -> None:
        self.writer = f"{slot}-{secrets.token_hex(6)}"
        self.dropped = 0
        self.written = 0
        self.sync_failures = 0
        self.failure: str | None = None
        self._settings = record
        self._clock = clock
        self._folder, self._lock_fd = _make_folder(journal_dir / f"slot-{slot}", self.writer)
        self._guard = threading.Lock()  # held for a write or a switch of segments, never for a sync
        self._segment: _Open | None = None
        self._next_number = 1
        self._intents: dict[str, bytes] = {}
        self._retired: list[_Open] = []
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._probed = 0.0

    @property
    def accepting(self) -> bool:
        """Whether new calls may be admitted: False only while a blocked disk fails."""
        return self.failure is None or self._settings.on_disk_full != "block"

    @property
    def unsynced(self) -> int:
        """Segments with bytes that no sync has covered yet."""
        return len(self._retired) + (1 if self._segment is not None and self._segment.dirty else 0)

    @property
    def position(self) -> tuple[int, int]:
        """Where the next line goes: the number of the segment that is being written and its size."""
        with self._guard:
            segment = self._segment
            return (self._next_number - 1, 1 << 62) if segment is None else (segment.number, segment.size)

    def intent(self, record: CallRecord, charge: Mapping[str, int] | None = None) -> None:
        """Write the line that says a call has been admitted, and what is held for it."""
        line = frame(INTENT, record, charge)
        with self._guard:
            self._append(line)
            self._intents[record.call_id] = line  # afterwards: a segment opened for this line does not repeat it

    def call(self, record: CallRecord, charge: Mapping[str, int] | None = None) -> None:
        """Write the call's one line; once this returns, a killed process loses nothing of it."""
        line = frame(CALL, record, charge)
        with self._guard:
            self._intents.pop(record.call_id, None)
            if self._append(line):
                self.written += 1
            else:
                self.dropped += 1

    async def synced(self) -> None:
        """Return once everything written so far is on disk (`sync = "commit"`), else at once."""
        if self._settings.sync != "commit":
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._guard:
            self._waiting.append((loop, future))
        self._wake.set()
        await future

    def start(self) -> None:
        """Start the thread that syncs and rotates."""
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sync everything, seal the last segment unless calls are still open, and let go of the folder."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard:
            segment = self._segment
            if segment is not None and not self._intents:
                self._retired.append(segment)
                self._segment = None
        self._sync()
        if self._segment is not None:
            os.close(self._segment.fd)
        os.close(self._lock_fd)

    # -- writing, under the guard -------------------------------------------------------------------------------

    def _append(self, line: bytes) -> bool:
        segment = self._segment
        try:
            if segment is None or segment.size >= segment.full or segment.torn:
                segment = self._switch()
            written = os.write(segment.fd, line)
            if written < len(line):
                _write_rest(segment, line, written)
        except OSError as error:
            self._failed(f"a write failed: {error.strerror}")
            return False
        segment.size += len(line)
        segment.dirty = segment.fresh = True
        if self.failure is not None:
            self._recovered()
        return True

    def _switch(self) -> _Open:
        """Open the next segment with the open intents at its head, then retire the present one."""
        path = self._folder / f"{self._next_number:010d}.open"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        segment = _Open(
            self._next_number, path, fd, 0, self._clock.monotonic(), full=self._settings.segment_bytes
        )  # fmt: skip
        try:
            if self._intents:
                _write_whole(segment, b"".join(self._intents.values()))
                segment.full += segment.size  # repeated intents do not count, or many would fill each
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._next_number += 1
        if self._segment is not None:
            self._retired.append(self._segment)
        self._segment = segment
        return segment

    def _failed(self, what: str) -> None:
        if self.failure is None:
            log.error(
                "journal: %s; calls go on %s. Free space or repair the disk of %s.",
                what,
                "refused" if self._settings.on_disk_full == "block" else "unrecorded",
                self._folder,
            )
        self.failure = what

    def _recovered(self) -> None:
        log.warning("journal: recovered from: %s; %d calls were not recorded.", self.failure, self.dropped)
        self.failure = None

    # -- syncing, in the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = self._settings.sync_interval_s
        while not self._closing:
            if self._wake.wait(wait) and not self._closing:
                self._wake.clear()
                threading.Event().wait(_GROUP_WINDOW_S)  # let a group gather
            self._rotate_by_age()
            self._sync()
            self._probe()

    def _rotate_by_age(self) -> None:
        with self._guard:
            segment = self._segment
            if segment is None or not segment.fresh:
                return
            if self._clock.monotonic() - segment.born < self._settings.segment_age_s:
                return
            if self._intents:
                try:
                    self._switch()
                except OSError as error:
                    self._failed(f"a new segment could not be opened: {error.strerror}")
            else:
                self._retired.append(segment)
                self._segment = None

    def _sync(self) -> None:
        with self._guard:
            retired, self._retired = self._retired, []
            current = self._segment
            waiting, self._waiting = self._waiting, []
            dirty = current is not None and current.dirty
            if current is not None:
                current.dirty = False
        for segment in retired:
            self._seal(segment)
        if current is not None and dirty:
            try:
                sync_file(current.fd)
            except OSError as error:
                self._abandon(current, error)
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, future)

    def _seal(self, segment: _Open) -> None:
        try:
            sync_file(segment.fd)
        except OSError as error:
            self.sync_failures += 1
            self._failed(f"a sync failed: {error.strerror}")
        os.close(segment.fd)
        try:
            segment.path.rename(segment.path.with_suffix(".seg"))
            sync_folder(self._folder)
        except OSError as error:
            self._failed(f"a segment could not be sealed: {error.strerror}")

    def _abandon(self, segment: _Open, error: OSError) -> None:
        """After a failed sync: go on in a new file; the old one is sealed as it is."""
        self.sync_failures += 1
        with self._guard:
            self._failed(f"a sync failed: {error.strerror}")
            if self._segment is not segment:
                return
            try:
                self._switch()
            except OSError:
                self._segment = None
            else:
                self._retired.remove(segment)
        os.close(segment.fd)
        with contextlib.suppress(OSError):  # left as .open it is sealed by the replay of this writer
            segment.path.rename(segment.path.with_suffix(".seg"))

    def _probe(self) -> None:
        """While the disk fails and nothing is admitted, find out when it works again."""
        if self.failure is None or self.accepting or self._clock.monotonic() - self._probed < _PROBE_S:
            return
        self._probed = self._clock.monotonic()
        path = self._folder / "probe"
        try:
            with path.open("wb") as file:
                file.write(bytes(_PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return
        else:
            with self._guard:
                self._recovered()
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _write_whole(segment: _Open, data: bytes) -> None:
    """Append `data` or nothing: a short write is cut off again, or the segment marked torn. Raises OSError."""
    written = os.write(segment.fd, data)
    if written < len(data):
        _write_rest(segment, data, written)
    segment.size += len(data)
    segment.dirty = True


def _write_rest(segment: _Open, data: bytes, written: int) -> None:
    try:
        while written < len(data):
            written += os.write(segment.fd, data[written:])
    except OSError:
        try:
            os.ftruncate(segment.fd, segment.size)
        except OSError:
            segment.torn = True
        raise


def _make_folder(parent: Path, writer: str) -> tuple[Path, int]:
    """Make the writer's folder so that it never stands there unlocked."""
    making = parent / f".{writer}"
    folder = parent / writer
    try:
        making.mkdir(parents=True, mode=0o700)
        lock_fd = os.open(making / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        making.rename(folder)
        sync_folder(parent)
    except OSError as error:
        msg = f"The journal folder {folder} cannot be made ({error.strerror})."
        raise Unavailable(msg, hint="Give a writable data folder with --data.", code="journal_folder") from error
    return folder, lock_fd
