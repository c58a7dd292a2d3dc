"""What all gateways have counted since the data folder was made, and how those that run do now.

A gateway counts from its own start and tells it in a snapshot each second. Counters that Prometheus reads must not
fall when a gateway leaves, so `run/counters.json` keeps the last word of every process:

    ended   sums of the processes that are gone
    living  the last word of each process that may still speak, by its token
    folded  tokens that are in `ended` while their snapshot still lies there

Each look replaces a living process's last word (it only grows) and moves the ones that are gone to `ended`. The file
is replaced in one step before a dead snapshot is removed, so a kill between the two counts nothing twice. What can be
lost is what a process counted after its last snapshot: at most one second of a killed gateway. The lake loses nothing
of it; these are counters for watching, not for billing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from proxy_server import snapshot
from proxy_server.snapshot import Row, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FRESH_S = 5.0
_guard = threading.Lock()


class Word(msgspec.Struct, kw_only=True):
    """The counters of one process, or the sums of many."""

    journal_written: int = 0
    journal_dropped: int = 0
    journal_sync_failures: int = 0
    rows: list[Row] = []


class _Kept(msgspec.Struct, kw_only=True):
    ended: Word = msgspec.field(default_factory=Word)
    living: dict[str, Word] = {}
    folded: list[str] = []


class Seen(NamedTuple):
    """All counters, and the gateways that have spoken within `FRESH_S`."""

    total: Word
    fresh: list[Snapshot]
    failure: str | None  # why the sums could not be written down, if they could not


def observe(run_dir: Path, now_us: int) -> Seen:
    """Look at the snapshots, keep what they say, and return the sums. Several processes may look at once."""
    with _turn(run_dir):
        kept = _read(run_dir)
        before = msgspec.json.encode(kept)
        told = snapshot.read_all(run_dir)
        present = {shot.token for shot in told}
        kept.folded = [token for token in kept.folded if token in present]
        for shot in told:
            if shot.token not in kept.folded:
                kept.living[shot.token] = _word(shot)
        dead = [shot for shot in told if not _alive(shot.pid)]
        gone = {token for token in kept.living if token not in present}
        for token in gone | {shot.token for shot in dead if shot.token in kept.living}:
            kept.ended = _sum([kept.ended, kept.living.pop(token)])
            if token in present:
                kept.folded.append(token)
        after = msgspec.json.encode(kept)
        failure = _write(run_dir, after) if after != before else None
        for shot in dead if failure is None else ():
            snapshot.remove(run_dir, shot.slot, shot.token)
    since = now_us - int(FRESH_S * 1_000_000)
    fresh = [shot for shot in told if shot.at_us >= since and shot not in dead]
    return Seen(_sum([kept.ended, *kept.living.values()]), fresh, failure)


def _word(shot: Snapshot) -> Word:
    return Word(
        journal_written=shot.journal_written,
        journal_dropped=shot.journal_dropped,
        journal_sync_failures=shot.journal_sync_failures,
        rows=shot.rows,
    )


def _sum(words: Iterable[Word]) -> Word:
    total = Word()
    rows: dict[tuple[str, str, str], list[float]] = {}
    names = Row.__struct_fields__[3:]
    for word in words:
        total.journal_written += word.journal_written
        total.journal_dropped += word.journal_dropped
        total.journal_sync_failures += word.journal_sync_failures
        for row in word.rows:
            values = rows.setdefault((row.provider, row.protocol, row.status), [0] * len(names))
            for place, name in enumerate(names):
                values[place] += getattr(row, name)
    total.rows = [Row(*key, *values) for key, values in sorted(rows.items())]  # type: ignore[arg-type] # ints stay ints
    return total


def _alive(pid: int) -> bool:
    """Say whether a process with this number runs. Another one may have taken it: then folding waits, no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _path(run_dir: Path) -> Path:
    return run_dir / "counters.json"


def _read(run_dir: Path) -> _Kept:
    try:
        return msgspec.json.decode(_path(run_dir).read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):  # none yet, or unreadable: counting starts anew, as after a new install
        return _Kept()


def _write(run_dir: Path, data: bytes) -> str | None:
    making = _path(run_dir).with_suffix(".new")
    try:
        making.write_bytes(data)
        making.replace(_path(run_dir))
    except OSError as error:  # a full disk takes no counters, but they can still be read
        return error.strerror or str(error)
    return None


@contextlib.contextmanager
def _turn(run_dir: Path) -> Iterator[None]:
    """Wait for other threads and, where the disk lets us, for other processes."""
    with _guard, contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = stack.enter_context((run_dir / "counters.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
