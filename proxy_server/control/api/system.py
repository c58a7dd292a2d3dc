"""How the processes do: health, readiness, metrics, status."""

from __future__ import annotations

import functools
from http import HTTPStatus
from importlib import metadata
from typing import TYPE_CHECKING

from msgspec import Struct

from proxy_server.control import exposition
from proxy_server.control.answers import Answer, Text
from proxy_server.control.health import look
from proxy_server.heartbeat import JobState

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from proxy_server.control.health import Health
    from ultimate_lib.workbench import Workbench

API = 1


class Readiness(Struct):
    """Whether all parts work, and what is wrong when they do not."""

    ready: bool
    reasons: list[str]


class Gateway(Struct, kw_only=True):
    """One gateway process."""

    slot: int
    pid: int
    age_s: float  # since it last spoke
    in_flight: int
    connections: int
    draining: bool
    journal_failure: str | None
    guard_failure: str | None  # why the guard goes by what it knew before


class Status(Struct, kw_only=True):
    """How everything does."""

    ready: bool
    reasons: list[str]
    gateways: list[Gateway]
    calls: int  # since the data folder was made
    journal_written: int
    journal_dropped: int
    journal_lag_s: float
    ingest_age_s: float | None
    lake_version: int | None
    jobs: dict[str, JobState]


class Version(Struct, kw_only=True):
    """Which program answers."""

    version: str
    api: int  # of this interface; it changes when something is taken away or means something else
    demo: bool  # the numbers are made up


def version(bench: Workbench, _caller: Caller, _: Nothing) -> Version:
    """Return which version this is."""
    return Version(version=_version(), api=API, demo=bench.settings.data.demo)


@functools.cache
def _version() -> str:
    return metadata.version("ultimate-proxy")


def healthz(_bench: Workbench, _caller: Caller, _: Nothing) -> dict[str, str]:
    """Say that this process answers."""
    return {"status": "ok"}


def readyz(bench: Workbench, _caller: Caller, _: Nothing) -> Answer:
    """Say whether all parts work; 503 with the reasons when not."""
    reasons = _look(bench).reasons
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return Answer(Readiness(not reasons, reasons), status=status)


def metrics(bench: Workbench, _caller: Caller, _: Nothing) -> Text:
    """Return the metrics in Prometheus' text format."""
    return Text(exposition.render(_look(bench)), exposition.CONTENT_TYPE)


def status(bench: Workbench, _caller: Caller, _: Nothing) -> Status:
    """Return how everything does."""
    health = _look(bench)
    now_us, total = bench.clock.now_us(), health.seen.total
    return Status(
        ready=not health.reasons,
        reasons=health.reasons,
        gateways=[
            Gateway(
                slot=shot.slot,
                pid=shot.pid,
                age_s=round((now_us - shot.at_us) / 1e6, 3),
                in_flight=shot.in_flight,
                connections=shot.connections,
                draining=shot.draining,
                journal_failure=shot.journal_failure,
                guard_failure=shot.guard_failure,
            )
            for shot in health.seen.fresh
        ],
        calls=sum(row.calls for row in total.rows),
        journal_written=total.journal_written,
        journal_dropped=total.journal_dropped,
        journal_lag_s=round(health.journal_lag_s, 3),
        ingest_age_s=round(health.ingest_age_s, 3) if health.ingest_age_s is not None else None,
        lake_version=health.lake_version,
        jobs=health.heartbeat.jobs if health.heartbeat is not None else {},
    )


def _look(bench: Workbench) -> Health:
    return look(bench.settings, bench.store, bench.clock)
