"""A lake of made-up calls in a folder, filled as of a known instant: a Tuesday evening."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from ultimate_lib.clock import SteppedClock
from ultimate_lib.demo import cast
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.settings import load

NOW = datetime(2026, 11, 24, 18, 7, 31, tzinfo=UTC)
EVER = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))


@lru_cache
def book() -> PriceBook:
    return PriceBook(pricelist.load())


def shorten() -> dict[str, Any]:
    """Return what makes `cast` a history of three weeks, four commits, with a tenth of the calls."""
    few = tuple(one._replace(a_day=one.a_day / 10) for one in cast.WORKLOADS)
    return {"DAYS": 21, "WORKLOADS": few}


def open_lake(folder: Path, now: datetime = NOW) -> Lake:
    return Lake.open(load(environ={}, overrides={"data.folder": str(folder)}), SteppedClock(now))


def rows(lake: Lake) -> pl.DataFrame:
    """Return every call in the lake, in the order of time."""
    return scan_calls(lake, *EVER).collect().sort("started_at", "call_id")
