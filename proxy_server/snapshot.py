"""How each gateway does, written by it each second and read by control for `/metrics` and `/readyz`."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.limits.status import Standing

if TYPE_CHECKING:
    from pathlib import Path

    from proxy_server.gateway.state import State


_KEPT_S = 3600.0


class Row(msgspec.Struct, frozen=True):
    """Totals of one (provider, protocol, status) since the process started."""

    provider: str
    protocol: str
    status: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int
    duration_ms: int
    overhead_ms: float


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway process at one instant."""

    pid: int
    slot: int
    token: str
    writer: str
    at_us: int
    in_flight: int
    connections: int
    draining: bool
    journal_written: int
    journal_dropped: int
    journal_sync_failures: int
    journal_failure: str | None
    rows: list[Row]
    stored_keys: str = ""  # mark of the providers' keys that calls go by
    budgets: list[Standing] = []
    limits_failure: str | None = None  # the code of why limits are not kept up with the store
    guard_failure: str | None = None  # the code of why the guard goes by what it knew before
    baselines_us: int | None = None  # when what is usual, as the guard knows it, was learnt
    owning: bool = False  # this process admits calls under hard budgets


def take(state: State, connections: int) -> Snapshot:
    """Return how a gateway does now."""
    journal = state.journal
    return Snapshot(
        pid=os.getpid(),
        slot=state.slot,
        token=state.token,
        writer=journal.writer,
        at_us=state.clock.now_us(),
        in_flight=len(state.relays),
        connections=connections,
        draining=state.draining,
        journal_written=journal.written,
        journal_dropped=journal.dropped,
        journal_sync_failures=journal.sync_failures,
        journal_failure=journal.failure,
        rows=[Row(*key, *msgspec.structs.astuple(totals)) for key, totals in state.totals.items()],
        stored_keys=state.stored.mark,
        budgets=state.admission.counters.accounts.standings(),
        limits_failure=state.admission.failure or None,
        guard_failure=state.guard.failure or None,
        baselines_us=state.guard.learnt_us,
        owning=state.admission.counters.owning,
    )


def write(run_dir: Path, told: Snapshot) -> None:
    """Write a snapshot in one step; a reader never sees half of one."""
    path = _path(run_dir, told.slot, told.token)
    making = path.with_suffix(".new")
    making.write_bytes(msgspec.json.encode(told))
    making.replace(path)


def leave(run_dir: Path, told: Snapshot) -> None:
    """Write the last word of a process that ends; control adds it to its sums and removes it."""
    with contextlib.suppress(OSError):  # the counters miss a second; the journal has every call
        write(run_dir, told)
        kept_from = _path(run_dir, told.slot, told.token).stat().st_mtime - _KEPT_S
        for path in run_dir.glob("gateway-*.json"):
            if path.stat().st_mtime < kept_from:  # without a control process here nobody else removes them
                path.unlink(missing_ok=True)


def remove(run_dir: Path, slot: int, token: str) -> None:
    """Remove the snapshot of a process that is gone."""
    with contextlib.suppress(OSError):
        _path(run_dir, slot, token).unlink()


def read_all(run_dir: Path, *, since_us: int = 0) -> list[Snapshot]:
    """Return the snapshots of all gateways that were written since an instant."""
    found = []
    for path in sorted(run_dir.glob("gateway-*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            told = msgspec.json.decode(path.read_bytes(), type=Snapshot)
            if told.at_us >= since_us:
                found.append(told)
    return found


def _path(run_dir: Path, slot: int, token: str) -> Path:
    return run_dir / f"gateway-{slot}-{token}.json"
