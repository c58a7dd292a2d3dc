"""What all gateways of an installation know of anomalies: `guard.log`, one line an event, appended, read as it grows.

An event is an anomalous call that counts, or that somebody has ended a cool-down or accepted calls as usual. How a
key and model stand is what all events together come to (`rule.after`), so it is the same in every process and after
every restart, also a kill: a line is on file before the call's own line in the journal. An event that is read twice
counts once.

`compact` makes a new file without what is too old to matter; who appends then finds another inode under the name.
Only counted anomalies are written, so that a run-away adds a few lines a cool-down, not one a call.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ultimate_lib.guard import rule as rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ultimate_lib.guard.rule import Rule, Standing

_COMPACT_BYTES = 256 * 1024
_BLOCK = 1 << 20


class Event(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. `by` is set on the end of a cool-down and on an acceptance, the call's members on an anomaly."""

    key_id: str
    model: str
    at_us: int  # when the call has ended, or the cool-down was
    call_id: str = ""
    started_us: int = 0
    cost_usd: float = 0.0
    usual_usd: float = 0.0  # the most that is usual
    by: str = ""
    since_us: int = 0  # of an acceptance: anomalous calls since then, until `at_us`, are usual


class Accepted(NamedTuple):
    """Anomalous calls of a key and model that are learnt from all the same: those that began in this span."""

    since_us: int
    at_us: int
    by: str


class Fold(NamedTuple):
    """How a key and model stand, and the anomaly that counted last."""

    standing: Standing = rules.NEW
    last: Event | None = None


def fold(rule: Rule, before: Fold, event: Event) -> Fold:
    """Return how a key and model stand after an event."""
    if event.by:
        return Fold(rules.lifted(before.standing, event.at_us), before.last)
    anomaly = rules.Anomaly(event.call_id, event.started_us, event.at_us)
    standing = rules.after(rule, before.standing, anomaly)
    return before if standing is before.standing else Fold(standing, event)


def accepted(told: Iterable[Event]) -> dict[tuple[str, str], Accepted]:
    """Return the last acceptance of each key and model."""
    found: dict[tuple[str, str], Accepted] = {}
    for one in told:
        pair = (one.key_id, one.model)
        if one.since_us and (pair not in found or one.at_us >= found[pair].at_us):
            found[pair] = Accepted(one.since_us, one.at_us, one.by)
    return found


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


class EventLog:
    """The file, as one process writes and reads it. For one thread at a time."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / "guard.log"
        self._at = 0
        self._inode = 0
        self.bad = 0
        """Lines that are none of ours, among those read since the file was last read from its beginning."""

    def append(self, event: Event) -> None:
        """Write an event. Raises OSError; `BlockingIOError` while the file is being compacted."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self._path) as fd:
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"  # by a disk that was full
            line = (b"\n" if torn else b"") + _encoder.encode(event) + b"\n"
            written = os.write(fd, line)
            if written < len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")

    def moved(self) -> bool:
        """Return whether there is something to be read."""
        try:
            told = self._path.stat()
        except FileNotFoundError:
            return self._inode != 0
        return told.st_ino != self._inode or told.st_size != self._at

    def read(self) -> tuple[bool, list[Event]]:
        """Return (whether all is told anew, the events since the last reading). Raises OSError."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            anew = self._inode != 0
            self._at = self._inode = self.bad = 0
            return anew, []
        with file:
            told = os.fstat(file.fileno())
            anew = told.st_ino != self._inode or told.st_size < self._at
            if anew:
                self._at, self._inode, self.bad = 0, told.st_ino, 0
            file.seek(self._at)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._at += len(whole)
        events = []
        for line in whole.split(b"\n"):
            if line:
                event = _event(line)
                if event is None:
                    self.bad += 1
                else:
                    events.append(event)
        return anew, events


def _event(line: bytes) -> Event | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, ValueError):
        return None


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = False) -> Iterator[int]:
    """Give the file that has this name, and keep it from being replaced meanwhile."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(fd).st_ino:
                    yield fd
                    return
        finally:
            os.close(fd)


def compact(
    run_dir: Path,
    oldest_us: int,
    *,
    accepted_us: int | None = None,
    above: int = _COMPACT_BYTES,
    pause: Callable[[], None] = lambda: None,
) -> bool:
    """Leave out events before an instant once the file is larger than `above` bytes; say whether that was done.

    Acceptances are left out before `accepted_us`, which is earlier: they matter as long as calls are learnt from.
    `pause` is called with the file locked, for tests. Raises OSError.
    """
    path = run_dir / "guard.log"
    try:
        if path.stat().st_size <= above:
            return False
    except FileNotFoundError:
        return False
    with _locked(path, wait=True) as fd:
        pause()
        data = b""
        while block := os.pread(fd, _BLOCK, len(data)):
            data += block
        least_us = oldest_us if accepted_us is None else accepted_us
        kept = [
            line
            for line in data.split(b"\n")
            if (event := _event(line)) is not None and event.at_us >= (least_us if event.since_us else oldest_us)
        ]
        making = run_dir / f".guard.{secrets.token_hex(4)}"
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(b"".join(line + b"\n" for line in kept))
            file.flush()
            os.fsync(file.fileno())
        making.replace(path)
    return True
