"""Forecasts that take their time: no page waits for them, and what was judged once is kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from proxy_server.control.api import anomalies
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.harness import wait_until
from ultimate_lib.analytics.anomalies import batch

if TYPE_CHECKING:
    from pathlib import Path

SLOW = [
    f"/{page}" for page in ("forecast", "anomalies", "recommendations")
] + [
    f"/api/predictive/{name}"
    for name in ("forecast", "thresholds", "patterns", "anomaly-history", "analyze-cost", "trend-analysis",
                 "recommendations")
]  # fmt: skip


def test_pages_do_not_wait_for_forecasts(tmp_path: Path) -> None:
    go_on, lock, running = threading.Event(), threading.Lock(), [0, 0]  # now, and the most at once

    def held(*_: Any) -> dict[str, bool]:
        with lock:
            running[0] += 1
            running[1] = max(running)
        go_on.wait(100)  # who waited for it would be given up
        with lock:
            running[0] -= 1
        return {"done": True}

    table = [row._replace(function=held) if row.path in SLOW else row for row in TABLE]
    with alone.start(tmp_path, table=table) as control, ThreadPoolExecutor(3 * len(SLOW)) as clients:
        asked = [clients.submit(control.get, path) for path in 3 * SLOW]
        try:
            wait_until(lambda: running[0] == 2, 10)
            for other in ("/", "/api/analytics/aggregate?metrics=requests", "/api/keys", "/account"):
                assert control.get(other).status == 200, other
            assert running[0] == 2
        finally:
            go_on.set()
        assert {one.result().status for one in asked} == {200}
        assert running[1] == 2


def test_a_series_that_was_judged_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    judged, real = [], batch.detect
    monkeypatch.setattr(batch, "detect", lambda *told, **more: judged.append(more) or real(*told, **more))
    times = tuple(float(hour * 3600) for hour in range(48))
    values = batch.np.array([1.0] * 40 + [90.0] * 8)
    first = anomalies.judged_of(times, values.tobytes(), "mad", 30)
    assert anomalies.judged_of(times, values.tobytes(), "mad", 30) is first
    assert len(judged) == 1
    anomalies.judged_of(times, (values + 1).tobytes(), "mad", 30)
    anomalies.judged_of(times, values.tobytes(), "zscore", 30)
    assert len(judged) == 3
