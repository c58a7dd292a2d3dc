"""How long forecasts and what stands beside them take over a large lake, asked over REST on a real socket.

    python -m tests.bench.predictive [--rows N] [--data DIR]

With --data the lake in DIR is asked, made there first if DIR holds none, and kept; its clock stands at 90 days after
the generator's first. "cold" is the first question of a process, "warm" the same again, "other" one of another filter
in a process that has answered before, "moved" the same after more calls have come into the lake.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from proxy_server.control import app
from tests.bench import generate
from tests.bench.figures import Figure, emit
from tests.bench.lake import LAST, open_lake
from ultimate_lib.access import local
from ultimate_lib.clock import SystemClock, to_us
from ultimate_lib.compute import LocalPool
from ultimate_lib.lake import optimize, rollup
from ultimate_lib.settings import load
from ultimate_lib.store import Store
from ultimate_lib.workbench import Workbench

_AGAIN = 7
_MORE = 100  # calls that come in between
_WAIT_S = 120


class Question(NamedTuple):
    """A path, a path that asks the same of other calls, and how many ms the warm answer may take."""

    name: str
    path: str
    other: str
    budget: float | None


QUESTIONS = (
    Question(
        "forecast_day", "/api/predictive/forecast?days=30",
        "/api/predictive/forecast?days=30&filter=model:openai-model-1", 300,
    ),
    Question(
        "forecast_hour", "/api/predictive/forecast?days=7&grain=hour",
        "/api/predictive/forecast?days=7&grain=hour&filter=model:openai-model-1", 300,
    ),
    Question("thresholds", "/api/predictive/thresholds?period=month", "/api/predictive/thresholds?period=week", None),
    Question("patterns", "/api/predictive/patterns", "/api/predictive/patterns?filter=model:openai-model-1", None),
    Question(
        "anomalies", "/api/predictive/anomaly-history", "/api/predictive/anomaly-history?metric=requests", None
    ),
)  # fmt: skip


class Then(SystemClock):
    """The clock as it went when the generated lake was new."""

    def __init__(self) -> None:
        self._back = super().now() - (LAST + timedelta(hours=6))

    def now(self) -> datetime:
        """Return the UTC instant."""
        return super().now() - self._back

    def now_us(self) -> int:
        """Return the UTC instant in microseconds since 1970."""
        return to_us(self.now())


@contextmanager
def served(data: Path) -> Iterator[tuple[int, str, Workbench]]:
    """Serve a lake as control does; yield port, key and workbench."""
    settings = load(environ={}, overrides={"data.folder": str(data)})
    store = Store(settings.store_url)
    store.migrate()
    bench = Workbench(settings=settings, store=store, compute=LocalPool(), clock=Then())
    key = _key(bench)
    listener = socket.create_server(("127.0.0.1", 0))
    ready = threading.Event()
    held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        held.append((asyncio.get_running_loop(), end))
        with ThreadPoolExecutor(8) as threads:
            serving = app.Serving(bench, threads, listener)
            ready.set()
            await end.wait()
            await serving.drain(10)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield listener.getsockname()[1], key, bench
    finally:
        loop, end = held[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(30)


def _key(bench: Workbench) -> str:
    path = local.first_start(bench.settings, bench.store, bench.clock).local_json
    if path is None:
        raise SystemExit("The data folder has no key for this machine; choose another folder.")
    return str(json.loads(path.read_text())["key"])


def asked_ms(port: int, key: str, path: str) -> float:
    """Ask once; return the milliseconds until the whole answer is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WAIT_S)
    began = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    body = answer.read()
    took = (time.perf_counter() - began) * 1000
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:300].decode()}")
    return took


def measure(port: int, key: str, bench: Workbench) -> Iterator[Figure]:
    """Ask each question cold, warm, of other calls, and after the lake has moved."""
    for number, one in enumerate(QUESTIONS):
        cold = asked_ms(port, key, one.path)
        warm = statistics.median(asked_ms(port, key, one.path) for _ in range(_AGAIN))
        other = asked_ms(port, key, one.other)
        _move(bench, number)
        moved = asked_ms(port, key, one.path)
        how = f"cold {cold:.0f}, other calls {other:.0f}, after the lake has moved {moved:.0f}"
        yield Figure(f"{one.name}_warm_ms", warm, "ms", one.budget, how=how)


def _move(bench: Workbench, seed: int) -> None:
    lake = bench.lake
    for part in generate.frames(LAST.date(), _MORE, 1000 + seed):
        lake.calls.commit(lake.calls.write(part, modified_ms=bench.clock.now_us() // 1000))
    rollup.update(lake)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="calls of a lake made here (default 1,000,000)")
    parser.add_argument("--data", type=Path, help="data folder to use and keep")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = told.data or Path(temporary) / "data"
        lake = open_lake(data)
        if not lake.calls.snapshot().files:
            generate.fill(lake, told.rows)
        rollup.update(lake)
        optimize.maintain(lake)
        with served(data) as (port, key, bench):
            emit(list(measure(port, key, bench)))


if __name__ == "__main__":
    main()
