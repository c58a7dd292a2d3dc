"""What rollups cost to build, and how fast the questions of a dashboard are answered from them.

    bench_rollup(lake)       builds every rollup anew and gives rollup_us
    bench_queries(lake)      gives query_warm_p95_ms and query_cold_ms, the worst of the queries served by rollups

Answers that the process keeps are passed by: each repetition plans, reads and merges. Cold = a process of its own
that has opened nothing yet, its first answer; the operating system's file cache stays (dropping it needs root).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench.figures import Figure
from ultimate_lib.clock import SystemClock, to_datetime
from ultimate_lib.lake import Lake, numbers, rollup
from ultimate_lib.lake.calls import page
from ultimate_lib.lake.coverage import table
from ultimate_lib.lake.query import Query
from ultimate_lib.lake.rolled import ROLLUPS
from ultimate_lib.settings import load

_REPEATS = 12
_WARM_MS, _COLD_MS, _PAGE_MS, _ROLLUP_US = 100, 250, 300, 1.5

_COLD = """
import sys, time
from pathlib import Path
from tests.bench.lake_queries import open_lake, queries
lake = open_lake(Path(sys.argv[1]))
ask = queries(lake)[sys.argv[2]]
began = time.perf_counter()
ask()
print((time.perf_counter() - began) * 1000)
"""


def open_lake(data: Path) -> Lake:
    """Return the lake of a data folder as a process sees it that has opened nothing yet."""
    return Lake.open(load(environ={}, overrides={"data.folder": str(data)}), SystemClock())


def queries(lake: Lake) -> dict[str, Callable[[], numbers.Answer]]:
    """Return what a dashboard over the last 90, 30, 7 and 1 days asks for, every one served by rollups."""
    last = to_datetime(max(file.last_us for file in lake.calls.snapshot().files) + 1)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)

    def over(days: int, **asked: object) -> Query:
        return Query(start=end - timedelta(days=days), end=end, **asked)  # type: ignore[arg-type]

    cost, latency = ("cost_usd",), ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
    main = ("requests", "cost_usd", "error_ratio", "total_tokens", "cache_hit_ratio")
    made = {
        "90 d totals": (numbers._aggregate, over(90, metrics=(*main, "latency_p95_ms", "ttft_p95_ms"))),
        "90 d daily cost by model": (numbers._timeseries, over(90, metrics=cost, by=("model",), grain="day")),
        "90 d quantiles by model": (numbers._breakdown, over(90, metrics=latency, by=("model",))),
        "30 d top 20 keys": (numbers._breakdown, over(30, metrics=main, by=("key",), limit=20)),
        "30 d one key by day and model": (
            numbers._timeseries,
            over(30, metrics=main, by=("model",), grain="day", where={"key": ("key_0007",)}),
        ),
        "30 d by team and app": (numbers._breakdown, over(30, metrics=main, by=("team", "app"))),
        "7 d hourly errors by provider": (
            numbers._timeseries,
            over(7, metrics=("requests", "errors", "error_ratio"), by=("provider",), grain="hour"),
        ),
        "7 d hourly p95": (numbers._timeseries, over(7, metrics=("latency_p95_ms", "ttft_p95_ms"), grain="hour")),
        "7 d hourly cost by user, +5:30": (
            numbers._timeseries,
            over(7, metrics=cost, by=("user",), grain="hour", time_zone="Asia/Kolkata", limit=10),
        ),
        "24 h hourly all": (numbers._timeseries, over(1, metrics=(*main, *latency), grain="hour")),
    }
    return {name: lambda ask=ask, query=query: ask(lake, query) for name, (ask, query) in made.items()}  # type: ignore[misc]


def bench_rollup(lake: Lake) -> list[Figure]:
    """Build all rollups anew and give the CPU of all threads for each call of the table."""
    rows = sum(file.rows for file in lake.calls.snapshot().files)
    began = time.process_time()
    done = rollup.rebuild(lake)
    spent = time.process_time() - began
    tables = [table(lake, one) for one in ROLLUPS.values()]
    size = sum(file.size for one in tables for file in one.snapshot().files)
    how = f"{rows:,} calls, {done.quarters:,} quarters, {done.days} days, {len(ROLLUPS)} tables"
    how += f", {size / rows:.1f} bytes a call"
    return [Figure("rollup_us", spent / rows * 1e6, "us", _ROLLUP_US, how=how)]


def bench_queries(lake: Lake) -> list[Figure]:
    """Ask each question several times warm and once in a new process, and the newest page of calls."""
    rollup.update(lake)
    rows = sum(file.rows for file in lake.calls.snapshot().files)
    warm: dict[str, float] = {}
    cold: dict[str, float] = {}
    for name, ask in queries(lake).items():
        source = ask().source
        if source == "raw":
            raise SystemExit(f"'{name}' is not served by rollups.")
        warm[name] = max(_timed(ask) for _ in range(_REPEATS))
        ran = subprocess.run(
            [sys.executable, "-c", _COLD, str(lake.settings.data_dir), name],
            capture_output=True,
            text=True,
            check=True,
        )
        cold[name] = float(ran.stdout)
    slow, slowest = max(warm, key=warm.__getitem__), max(cold, key=cold.__getitem__)
    end = to_datetime(max(file.last_us for file in lake.calls.snapshot().files) + 1)
    first = sorted(_timed(lambda: page(lake, end - timedelta(days=90), end, limit=100)) for _ in range(_REPEATS))
    each = ", ".join(f"{name} {value:.0f}" for name, value in warm.items())
    return [
        Figure("query_warm_p95_ms", warm[slow], "ms", _WARM_MS, how=f"{rows:,} calls; worst of {_REPEATS}: {each}"),
        Figure("query_cold_ms", cold[slowest], "ms", _COLD_MS, how=f"new process, imports aside; worst: {slowest}"),
        Figure("page_warm_p95_ms", first[-1], "ms", _PAGE_MS, how="newest 100 calls of 90 days, all columns"),
    ]


def _timed(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000
