"""`worker.json`: how each job of the worker did last, read by readiness, status and doctor."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class JobState(msgspec.Struct, kw_only=True):
    """How one job did. Instants are microseconds since 1970, UTC."""

    runs: int = 0
    failures: int = 0
    started_at_us: int | None = None
    succeeded_at_us: int | None = None
    failed_at_us: int | None = None
    duration_ms: int | None = None  # of the last run, failed or not
    failure: str | None = None  # a sentence; None once a run succeeds again
    told: dict[str, bool | int | float | str | None] = {}  # what the last successful run said of itself


class Heartbeat(msgspec.Struct, kw_only=True):
    """One worker process at one instant."""

    pid: int
    at_us: int
    jobs: dict[str, JobState] = {}


def write(run_dir: Path, beat: Heartbeat) -> None:
    """Write the heartbeat in one step. Raises OSError."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = run_dir / f".worker.{secrets.token_hex(4)}"  # two workers never share a half-written file
    making.write_bytes(msgspec.json.encode(beat))
    making.replace(_path(run_dir))


def read(run_dir: Path) -> Heartbeat | None:
    """Return the last heartbeat, or None when there is none that can be read."""
    try:
        return msgspec.json.decode(_path(run_dir).read_bytes(), type=Heartbeat)
    except (OSError, msgspec.DecodeError):
        return None


def _path(run_dir: Path) -> Path:
    return run_dir / "worker.json"
