"""A trace through a whole proxy: N calls, N rows, equal sums; nothing acknowledged lost when its parts are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from proxy_server.replay.ledger import Line, read_ledger
from tests.harness import Running, start_proxy, wait_until
from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.settings import load

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = 600


def save(path: Path, calls: int) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "timestamp_ms": [number * 10 for number in range(calls)],
            "input_tokens": [100 + number % 37 for number in range(calls)],
            "output_tokens": [1 + number % 11 for number in range(calls)],
        }
    )
    frame.write_parquet(path)
    return frame


def replaying(folder: Path, running: Running, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "proxy_server", "replay", str(folder / "t.parquet"), "--speed", "max"]
    command += ["--data", str(running.data_dir), "--ledger", str(folder / "ledger.jsonl"), *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip


def rows(running: Running) -> pl.DataFrame:
    lake = Lake.open(load(environ={}, overrides={"data.folder": str(running.data_dir)}), SystemClock())
    now = datetime.now(UTC)
    return scan_calls(lake, now - timedelta(hours=1), now + timedelta(hours=1)).collect()


def unlike(lines: list[Line], found: pl.DataFrame) -> list[str]:
    """Return what is wrong between a ledger and the lake: acknowledged calls missing or doubled, rows invented."""
    wrong = []
    count = Counter(found["trace_id"].to_list())
    status = dict(found.select("trace_id", "status").iter_rows())
    for line in lines:
        if line.outcome == "ok" and count[line.trace_id] != 1:
            wrong.append(f"{line.trace_id} acknowledged, {count[line.trace_id]} rows")
        elif line.outcome == "ok" and status[line.trace_id] != "ok":
            wrong.append(f"{line.trace_id} acknowledged, its row says {status[line.trace_id]}")
        elif line.outcome == "cut" and count[line.trace_id] != 1:
            wrong.append(f"{line.trace_id} began and broke off, {count[line.trace_id]} rows")
    sent = {line.trace_id for line in lines}
    wrong += [f"{trace_id} was never sent" for trace_id in count if trace_id not in sent]
    return wrong + [f"{trace_id} has {times} rows" for trace_id, times in count.items() if times > 1]


@pytest.mark.parametrize("protocol", ["openai-chat", "anthropic-messages"])
def test_every_call_of_a_trace_is_one_row_and_the_sums_are_equal(tmp_path: Path, protocol: str) -> None:
    trace = save(tmp_path / "t.parquet", CALLS)
    with start_proxy(tmp_path / "proxy") as running:
        process = replaying(tmp_path, running, "--protocol", protocol)
        told, _ = process.communicate(timeout=90)
        assert process.returncode == 0, told
        found = rows(running)
    assert found.height == found["call_id"].n_unique() == CALLS
    for name in ("input_tokens", "output_tokens"):
        assert found[name].sum() == trace[name].sum()
    assert set(found["status"]) == {"ok"}
    assert set(found["usage_source"]) == {"provider"}
    assert found["cost_nano_usd"].null_count() == 0
    assert set(found["protocol_in"]) == {protocol}
    assert set(found["app"]) == {"replay"}
    run_id = found["trace_id"][0][:16]
    assert found["tags"].to_list() == [[f"replay={run_id}"]] * CALLS
    lines = read_ledger(tmp_path / "ledger.jsonl")
    assert {line.call_id for line in lines} == set(found["call_id"])
    assert unlike(lines, found) == []


@pytest.mark.slow
def test_gateway_and_worker_killed_in_the_middle_lose_nothing_acknowledged(tmp_path: Path) -> None:
    save(tmp_path / "t.parquet", 1500)
    ledger = tmp_path / "ledger.jsonl"
    with start_proxy(tmp_path / "proxy") as running:
        with replaying(tmp_path, running, "--delay-ms", "15", "--retry") as process:
            for role, after in (("gateway", 100), ("worker", 400), ("gateway", 700)):
                wait_until(lambda: _ended(ledger) > after, 60, running)  # noqa: B023 - it is called at once
                old = running.pids(role)[0]
                os.kill(old, signal.SIGKILL)
                wait_until(lambda: running.pids(role) not in ([], [old]), 30, running)  # noqa: B023 - as above
            told, _ = process.communicate(timeout=90)
        lines = read_ledger(ledger)
        outcomes = Counter(line.outcome for line in lines)
        assert outcomes["cut"] > 0, "the kills hit nothing: the test proves nothing"
        assert len({line.call for line in lines}) == 1500, told
        until = time.monotonic() + 30
        while (wrong := unlike(lines, found := rows(running))) and time.monotonic() < until:
            time.sleep(0.5)  # the cut calls' rows come with the worker's replay of the dead writer's journal
    assert wrong == []
    assert found.filter(pl.col("status") == "cut").height >= outcomes["cut"]
    assert unlike(lines[:-1], found) != [], "the check would see a row that nobody sent"
    assert unlike(lines, found.filter(pl.col("trace_id") != _acknowledged(lines))) != [], "and one that is lost"
    assert unlike(lines, pl.concat([found, found.head(1)])) != [], "and one that is doubled"


def _ended(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def _acknowledged(lines: list[Line]) -> str:
    return next(line.trace_id for line in lines if line.outcome == "ok")
