"""Whether the parts work: gateways, journal, store, worker. Asked by `/readyz`, `/metrics`, status and doctor."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from proxy_server import heartbeat
from proxy_server.control import gateways
from ultimate_lib.errors import UltimateError
from ultimate_lib.journal import segments, writer_folders
from ultimate_lib.store import identities

if TYPE_CHECKING:
    from proxy_server.control.gateways import Seen
    from proxy_server.heartbeat import Heartbeat
    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store

WORKER_FRESH_S = 10.0
_LATE_COMMITS = 6  # a job that has not succeeded for this many of its intervals is late
_LATE_AT_LEAST_S = 60.0


class Health(NamedTuple):
    """What was found. `reasons` is empty when all is well; each is a sentence that names no path and no person."""

    reasons: list[str]
    seen: Seen
    heartbeat: Heartbeat | None
    journal_lag_s: float
    ingest_age_s: float | None
    lake_version: int | None


def look(settings: Settings, store: Store, clock: Clock) -> Health:
    """Return how the parts do now."""
    now_us = clock.now_us()
    seen = gateways.observe(settings.run_dir, now_us)
    beat = heartbeat.read(settings.run_dir)
    ingest = beat.jobs.get("ingest") if beat is not None else None
    done_us = ingest.succeeded_at_us if ingest is not None else None
    age_s = max(0.0, (now_us - done_us) / 1e6) if done_us is not None else None
    version = ingest.told.get("version") if ingest is not None else None
    reasons = [*_kept(seen), *_gateways(seen), *_store(store), *_worker(settings, beat, now_us, age_s)]
    return Health(
        reasons=reasons,
        seen=seen,
        heartbeat=beat,
        journal_lag_s=_journal_lag_s(settings, now_us),
        ingest_age_s=age_s,
        lake_version=version if isinstance(version, int) else None,
    )


def _journal_lag_s(settings: Settings, now_us: int) -> float:
    """Return the age of the oldest sealed segment beyond its writer's mark of what the lake holds."""
    oldest_us = now_us  # the marks are explained in lake/ingest.py
    for folder in writer_folders(settings.journal_dir):
        held = max((int(path.stem) for path in folder.path.glob("*.done")), default=0)
        for segment in segments(folder):
            if segment.sealed and segment.number > held:
                with contextlib.suppress(OSError):  # removed meanwhile: the lake holds it
                    oldest_us = min(oldest_us, segment.path.stat().st_mtime_ns // 1000)
    return (now_us - oldest_us) / 1e6


def _kept(seen: Seen) -> list[str]:
    return [f"The data folder takes no writes ({seen.failure})."] if seen.failure is not None else []


def _gateways(seen: Seen) -> list[str]:
    if not seen.fresh:
        return [f"No gateway has spoken within {gateways.FRESH_S:g} s."]
    reasons = []
    if all(shot.draining for shot in seen.fresh):
        reasons.append("All gateways are leaving.")
    reasons += [
        f"The journal of gateway {shot.slot} fails: {shot.journal_failure}."
        for shot in seen.fresh
        if shot.journal_failure is not None
    ]
    reasons += [
        f"Gateway {shot.slot} goes by the limits that it knew before ({shot.limits_failure})."
        for shot in seen.fresh
        if shot.limits_failure is not None
    ]
    return reasons


def _store(store: Store) -> list[str]:
    try:
        with store.begin() as connection:
            identities.user_by_name(connection, "")
    except UltimateError as error:
        return [f"The store does not work ({error.code})."]
    return []


def _worker(settings: Settings, beat: Heartbeat | None, now_us: int, ingest_age_s: float | None) -> list[str]:
    if beat is None or now_us - beat.at_us > WORKER_FRESH_S * 1e6:
        return [f"No worker has spoken within {WORKER_FRESH_S:g} s."]
    late_s = max(_LATE_AT_LEAST_S, settings.record.commit_interval_s * _LATE_COMMITS)
    started_us = min((job.started_at_us or now_us for job in beat.jobs.values()), default=now_us)
    waited_s = ingest_age_s if ingest_age_s is not None else (now_us - started_us) / 1e6
    if waited_s > late_s:
        failure = beat.jobs["ingest"].failure if "ingest" in beat.jobs else None
        why = f" ({failure})" if failure else ""
        return [f"The journal has not reached the lake for {waited_s:.0f} s{why}."]
    return []
