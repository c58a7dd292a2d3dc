"""What the guard adds to a call in a gateway's process: shown at the door and scored at its end, and when idle.

    python -m tests.bench.guard_gateway [--quick]

In this process, as the exchange and the relay call it; what stands beside is the same loop without the guard. The
lowest of several windows: noise of a shared machine only adds.
"""

from __future__ import annotations

import argparse
import tempfile
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proxy_server.gateway.guard import Guard
from proxy_server.gateway.surfaces import OPENAI, Surface
from tests.bench.figures import Figure, emit
from tests.bench.limits import cpu_us
from tests.gateway.guarded import teach, usual
from ultimate_lib.clock import SystemClock
from ultimate_lib.guard import known
from ultimate_lib.protocols import RequestFacts
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load

BUDGET_US = 3.0
PAIRS = 10_000
_SURFACE = Surface(OPENAI, "chat", generates=True, bills=True)
_FACTS = RequestFacts(model="m", input_estimate=20)


def guard_of(folder: Path, **overrides: object) -> Guard:
    """Return a guard over what a folder knows."""
    told = load(environ={}, overrides={"data.folder": str(folder), **overrides})
    state: Any = SimpleNamespace(settings=told, clock=SystemClock(), book=None, slot=0)
    return Guard(state)


def one_call(guard: Guard | None) -> Callable[[], None]:
    """Return a call's part in it."""
    exchange: Any = SimpleNamespace(
        principal=SimpleNamespace(guard="block", permissions=frozenset()), warning="", state=guard
    )
    route: Any = SimpleNamespace(model="m")
    record = CallRecord(
        call_id="018f0000-0000-7000-8000-000000000000", started_at=SystemClock().now_us(), key_id="k",
        model_routed="m", operation="chat", duration_ms=800, cost_nano_usd=63_000,
    )  # fmt: skip

    def call() -> None:
        record.anomaly_action = None
        if guard is not None:
            if not guard.idle:
                guard.enter(exchange, _SURFACE, _FACTS, route, record, "")
            if not guard.idle:
                guard.settle(exchange, record)

    return call


def memory_of(folder: Path) -> float:
    """Return the bytes that a key and model takes."""
    tracemalloc.start()
    told = known.read(folder / "run")
    assert told is not None
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(told.known)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    calls, windows = (20_000, 6) if quick else (100_000, 15)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        idle = guard_of(folder / "idle")
        assert idle.idle
        teach(
            folder / "data",
            usual("k", model="m"),
            *(usual(f"k{number}", model="m") for number in range(PAIRS // 100)),
        )
        watching = guard_of(folder / "data")
        capped = guard_of(folder / "data", **{"guard.max_input_tokens": 10**9, "guard.max_usd_per_hour": 10**6})
        without = cpu_us(one_call(None), calls, windows)
        found = {
            kind: cpu_us(one_call(guard), calls, windows) - without
            for kind, guard in {"idle": idle, "watching": watching, "with caps": capped}.items()
        }
        each = memory_of(folder / "data")
    how = f"{calls} calls a window, lowest of {windows}; {datetime.now(UTC):%Y-%m-%d}"
    emit([
        Figure("guard_added_us", found["watching"], "us", BUDGET_US, None, how),
        Figure("guard_with_caps_added_us", found["with caps"], "us", None, None, how),
        Figure("guard_idle_added_us", found["idle"], "us", None, None, how),
        Figure("guard_bytes_a_pair", each, "bytes", None, None, "a key and model in a gateway's memory"),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
