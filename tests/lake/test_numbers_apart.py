"""A question that reads many calls one by one is answered beside the process that asks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.lake.random_calls import make_lake, random_frame
from ultimate_lib.compute import LocalPool
from ultimate_lib.errors import Unavailable
from ultimate_lib.lake import delta, numbers
from ultimate_lib.lake.query import Query

START = datetime(2026, 3, 26, 13, 7, tzinfo=UTC)
END = datetime(2026, 3, 31, 9, 52, tzinfo=UTC)


class Counting(LocalPool):
    submitted = 0

    def submit(self, *arguments: Any, **rest: Any) -> Any:
        self.submitted += 1
        return super().submit(*arguments, **rest)


def test_what_reads_many_calls_is_answered_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = make_lake(tmp_path, END, "UTC")
    delta.append(lake, random_frame(1, 2000, START, END))
    query = Query(metrics=("requests", "cost_usd", "latency_p95_ms"), by=("session",), start=START, end=END)
    assert numbers.raw_calls(lake, query) > 1000
    here = numbers._breakdown(lake, query)
    with Counting(workers=1) as pool:
        numbers._kept.clear()
        assert numbers.breakdown(lake, query, pool).frame.equals(here.frame)
        assert pool.submitted == 0, "few enough to be read here"
        numbers._kept.clear()
        monkeypatch.setattr(numbers, "APART_CALLS", 1000)
        for _ in range(2):
            assert numbers.breakdown(lake, query, pool).frame.equals(here.frame)
        assert pool.submitted == 1, "and kept like any other"
        monkeypatch.setattr(numbers, "_LONGEST_S", 0.0)
        with pytest.raises(Unavailable, match="shorter span"):
            numbers.breakdown(lake, msgspec.structs.replace(query, limit=3), pool)
