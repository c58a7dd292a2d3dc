"""Readiness, metrics and status: what the gateways and the worker tell, and who may read it."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy_server import heartbeat, snapshot
from proxy_server.heartbeat import Heartbeat, JobState
from proxy_server.snapshot import Row, Snapshot
from tests.control import alone
from tests.control.alone import Alone
from tests.harness import wait_until
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.records import CallRecord, new_call_id

REMOTE = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def gateway(control: Alone, **changed: Any) -> Snapshot:
    told = Snapshot(
        pid=os.getpid(),
        slot=0,
        token="t0",
        writer="0-t0",
        at_us=control.bench.clock.now_us(),
        in_flight=2,
        connections=5,
        draining=False,
        journal_written=7,
        journal_dropped=0,
        journal_sync_failures=0,
        journal_failure=None,
        rows=[Row("demo", "openai-chat", "ok", 7, 700, 70, 2_500_000_000, 3_500, 1.5)],
    )
    told = msgspec.structs.replace(told, **changed)
    snapshot.write(control.bench.settings.run_dir, told)
    return told


def worker(control: Alone, *, age_s: float = 0.0, done_s: float | None = 1.0, failure: str | None = None) -> None:
    now = control.bench.clock.now_us()
    done = None if done_s is None else now - int(done_s * 1e6)
    job = JobState(
        runs=9,
        failures=2,
        started_at_us=now - 300_000_000,
        succeeded_at_us=done,
        duration_ms=4,
        failure=failure,
        told={"version": 41, "rows": 3},
    )
    beat = Heartbeat(pid=1, at_us=now - int(age_s * 1e6), jobs={"ingest": job})
    heartbeat.write(control.bench.settings.run_dir, beat)


def reasons(control: Alone) -> list[str]:
    reply = control.ask("GET", "/readyz", headers=REMOTE)
    assert reply.status == (503 if reply.json["reasons"] else 200)
    assert reply.json["ready"] is not bool(reply.json["reasons"])
    found: list[str] = reply.json["reasons"]
    return found


def test_ready_only_when_all_parts_work(control: Alone) -> None:
    assert reasons(control) == ["No gateway has spoken within 5 s.", "No worker has spoken within 10 s."]
    gateway(control)
    worker(control)
    assert reasons(control) == []
    gateway(control, journal_failure="a write failed: No space left on device")
    assert reasons(control) == ["The journal of gateway 0 fails: a write failed: No space left on device."]
    gateway(control, limits_failure="limits_slow")
    assert reasons(control) == ["Gateway 0 goes by the limits that it knew before (limits_slow)."]
    gateway(control, guard_failure="baselines")  # it serves, and goes by the last good ones
    assert reasons(control) == []
    (told,) = control.get("/api/system/status").json["gateways"]
    assert told["guard_failure"] == "baselines"
    assert "ultimate_guard_failing 1" in control.get("/metrics").text
    gateway(control, draining=True)
    assert reasons(control) == ["All gateways are leaving."]
    gateway(control, slot=1, token="t1")
    assert reasons(control) == [], "one leaves, another serves"


def test_a_gateway_or_worker_that_falls_silent_is_seen(control: Alone) -> None:
    now = control.bench.clock.now_us()
    gateway(control, at_us=now - 6_000_000)
    worker(control, age_s=11)
    assert len(reasons(control)) == 2


def test_a_worker_that_does_not_get_the_journal_to_the_lake_is_seen(control: Alone) -> None:
    gateway(control)
    worker(control, done_s=90, failure="The lake cannot be written.")
    assert reasons(control) == ["The journal has not reached the lake for 90 s (The lake cannot be written.)."]
    worker(control, done_s=None)
    assert reasons(control) == ["The journal has not reached the lake for 300 s."]


def test_a_full_disk_is_seen_and_hides_no_metric(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway(control)
    worker(control)
    assert reasons(control) == []
    gateway(control, journal_written=8)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_bytes(path: Path, data: bytes) -> int:
        raise full

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    assert reasons(control) == ["The data folder takes no writes (No space left on device)."]
    assert metrics(control)["ultimate_journal_written_total{}"] == 8


def test_a_store_that_is_broken_is_seen(control: Alone) -> None:
    gateway(control)
    worker(control)
    path = control.bench.store.path
    assert path is not None
    database = sqlite3.connect(path)
    with database:
        database.execute("ALTER TABLE users RENAME TO gone")
    database.close()
    assert reasons(control) == ["The store does not work (store_unavailable)."]
    assert str(path) not in control.ask("GET", "/readyz", headers=REMOTE).text


def metrics(control: Alone) -> dict[str, float]:
    reply = control.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(reply.text):
        assert family.documentation.endswith(".")
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_metrics_follow_prometheus_conventions(control: Alone) -> None:
    gateway(control)
    worker(control)
    found = metrics(control)
    call = "protocol=openai-chat,provider=demo,status=ok"
    assert found[f"ultimate_calls_total{{{call}}}"] == 7
    assert found[f"ultimate_tokens_total{{direction=input,{call}}}"] == 700
    assert found[f"ultimate_tokens_total{{direction=output,{call}}}"] == 70
    assert found[f"ultimate_cost_usd_total{{{call}}}"] == 2.5
    assert found[f"ultimate_call_duration_seconds_sum{{{call}}}"] == 3.5
    assert found[f"ultimate_call_duration_seconds_count{{{call}}}"] == 7
    assert found[f"ultimate_call_overhead_seconds_sum{{{call}}}"] == 0.0015
    assert found["ultimate_calls_in_flight{}"] == 2
    assert found["ultimate_connections{}"] == 5
    assert found["ultimate_journal_written_total{}"] == 7
    assert found["ultimate_journal_dropped_total{}"] == 0
    assert found["ultimate_lake_version{}"] == 41
    assert 1 <= found["ultimate_ingest_age_seconds{}"] < 10
    assert found["ultimate_worker_job_failures_total{job=ingest}"] == 2
    assert found["ultimate_ready{}"] == 1
    labels = {part.partition("=")[0] for name in found for part in name.partition("{")[2].strip("}").split(",")}
    assert labels == {"", "provider", "protocol", "status", "direction", "job"}, "no label carries a person"


def test_counters_do_not_fall_when_a_gateway_leaves(control: Alone) -> None:
    gateway(control)
    before = metrics(control)
    snapshot.remove(control.bench.settings.run_dir, 0, "t0")
    gateway(control, token="t9", rows=[Row("demo", "openai-chat", "ok", 1, 1, 1, 1, 1, 1.0)], journal_written=1)
    after = metrics(control)
    for name in before:
        if name.partition("{")[0].endswith(("_total", "_sum", "_count")):
            assert after[name] >= before[name], name
    assert after["ultimate_calls_total{protocol=openai-chat,provider=demo,status=ok}"] == 8


def test_control_keeps_counters_although_nobody_asks(control: Alone) -> None:
    gateway(control)
    path = control.bench.settings.run_dir / "counters.json"
    wait_until(lambda: b"t0" in (path.read_bytes() if path.exists() else b""), 10)
    snapshot.remove(control.bench.settings.run_dir, 0, "t0")
    assert metrics(control)["ultimate_journal_written_total{}"] == 7


def test_metrics_need_a_permission_unless_asked_from_this_computer(control: Alone) -> None:
    assert control.ask("GET", "/metrics").status == 200
    assert control.ask("GET", "/metrics", headers=REMOTE).status == 401
    viewer = control.add_user("val", "viewer")
    assert control.get("/metrics", key=viewer, headers=REMOTE).status == 403
    admin = control.ask("POST", "/api/keys", key=control.key, told={"name": "scraper", "scopes": ["audit:view"]})
    assert control.get("/metrics", key=admin.json["key"], headers=REMOTE).status == 200
    assert control.ask("GET", "/metrics", headers={"Host": "evil.example"}).status == 400


def test_journal_lag_is_the_age_of_what_the_lake_does_not_hold(control: Alone) -> None:
    settings, clock = control.bench.settings, SystemClock()
    writer = JournalWriter(settings.journal_dir, "0", settings.record, clock)
    writer.call(CallRecord(call_id=new_call_id(), started_at=clock.now_us(), status="ok"))
    assert metrics(control)["ultimate_journal_lag_seconds{}"] == 0, "an open segment is not late"
    writer.close()
    segment = next(settings.journal_dir.glob("slot-0/*/*.seg"))
    os.utime(segment, (time.time() - 50, time.time() - 50))
    assert 50 <= metrics(control)["ultimate_journal_lag_seconds{}"] < 60
    from ultimate_lib.lake.ingest import run_once

    assert run_once(control.bench.lake).rows == 1
    assert metrics(control)["ultimate_journal_lag_seconds{}"] == 0


def test_status_tells_each_process_to_those_who_may_know(control: Alone) -> None:
    gateway(control)
    worker(control)
    told = control.get("/api/system/status").json
    assert told["ready"] is True
    assert told["gateways"][0]["in_flight"] == 2
    assert told["gateways"][0]["age_s"] < 5
    assert (told["calls"], told["lake_version"]) == (7, 41)
    assert told["jobs"]["ingest"]["told"]["rows"] == 3
    assert control.get("/api/system/status", key=control.add_user("ann", "analyst")).status == 403
    assert control.ask("GET", "/healthz", headers=REMOTE).json == {"status": "ok"}
