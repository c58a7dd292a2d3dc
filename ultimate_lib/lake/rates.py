"""How quickly each key usually spends: in a minute, an hour, a day, beside what its hour of the week is like.

Minutes and hours are compared after division by their hour's own share (168 of them, drawn towards 1 where few weeks
are known), days as they are: the last 24 hours at each full hour.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ultimate_lib.baseline import expected_high, learn
from ultimate_lib.clock import to_us
from ultimate_lib.guard.known import WEEK_H, Rate
from ultimate_lib.lake.accepted import odd
from ultimate_lib.lake.baselines import DAYS, STEADY
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.metrics import COUNTED, DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from ultimate_lib.guard.events import Accepted
    from ultimate_lib.lake import Lake

MOST_KEYS = 2_000
"""Those that spend most: each takes some kilobytes of a gateway's memory."""
MARGIN = 3.0
"""How often the most that is usual must be spent: a rate is looked at with each call, and one that is too high is
none of a single call."""

_HOUR_US = 3_600_000_000
_MINUTE_DAYS = 7
_MOST_VALUES = 2_000  # of a key's minutes, the newest
_DRAWN = 2  # weeks that an hour's share of 1 counts like
_LEAST = 0.2  # no hour's share is less
_COLUMNS = ["key_id", "started_at", "cost_nano_usd", "operation", "anomaly_score", "anomaly_action", "status"]
_COLUMNS += [name for name in DIMENSIONS["model"].columns if name not in _COLUMNS]


def rates_of(lake: Lake, until: datetime, accepted: Mapping[tuple[str, str], Accepted] | None = None) -> list[Rate]:
    """Return how quickly keys usually spend, with anomalous calls that are `accepted`. Raises as `scan_calls`."""
    wanted_calls = STEADY | odd(accepted or {})
    hours = _sums(lake, until - timedelta(days=DAYS), until, "1h", wanted_calls)
    largest = hours.group_by("key_id").agg(pl.col("usd").sum()).sort("usd", descending=True).head(MOST_KEYS)
    wanted = largest["key_id"].implode()
    hours = hours.filter(pl.col("key_id").is_in(wanted))
    minutes = _sums(lake, until - timedelta(days=_MINUTE_DAYS), until, "1m", wanted_calls)
    minutes = minutes.filter(pl.col("key_id").is_in(wanted))
    by_minute = {key: frame for (key,), frame in minutes.partition_by("key_id", as_dict=True).items()}
    found = []
    for (key,), frame in sorted(hours.partition_by("key_id", as_dict=True).items()):
        found.append(_rate(str(key), frame, by_minute.get(key), to_us(until)))
    return found


def _sums(lake: Lake, start: datetime, until: datetime, step: str, which: pl.Expr) -> pl.DataFrame:
    """Return what each key has spent in each step in which it has, in dollars."""
    calls = scan_calls(lake, start, until, _COLUMNS).filter(
        COUNTED, which, pl.col("key_id").is_not_null(), pl.col("cost_nano_usd") > 0
    )
    summed = calls.group_by("key_id", pl.col("started_at").dt.truncate(step).dt.epoch("us").alias("at")).agg(
        (pl.col("cost_nano_usd").sum() / 1e9).alias("usd")
    )
    return summed.collect(engine="streaming").sort("key_id", "at")


def _rate(key_id: str, hours: pl.DataFrame, minutes: pl.DataFrame | None, until_us: int) -> Rate:
    at, usd = hours["at"].to_numpy() // _HOUR_US, hours["usd"].to_numpy()
    line = np.zeros(until_us // _HOUR_US - int(at[0]) + 1)
    line[at - at[0]] = usd
    shares = _shares(line, int(at[0]))
    first_s = float(at[0]) * 3600
    rolled = np.convolve(line, np.ones(24))[23 : len(line)] if len(line) >= 24 else np.zeros(0)  # noqa: PLR2004 - hours
    minute = None
    if minutes is not None:
        newest = minutes.tail(_MOST_VALUES)
        within = newest["at"].to_numpy() // _HOUR_US
        minute = _bound(newest["usd"].to_numpy() / shares[_of_week(within)], first_s)
    hour, day = _bound(usd / shares[_of_week(at)], first_s), _bound(rolled, first_s)
    return Rate(key_id=key_id, usual_usd=(minute, hour, day), shares=[round(float(one), 3) for one in shares])


def _of_week(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the hours of the week of hours since 1970, which began on a Thursday."""
    return np.mod(hours + 72, WEEK_H)


def _shares(line: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """Return what each hour of the week is like beside the mean hour."""
    place = _of_week(np.arange(first, first + len(line)))
    seen = np.bincount(place, minlength=WEEK_H).astype(float)
    spent = np.bincount(place, weights=line, minlength=WEEK_H)
    around = [np.roll(one, step) for one in (spent, seen) for step in (-1, 0, 1)]
    spent, seen = (before + 2 * here + after for before, here, after in (around[:3], around[3:]))
    mean = line.mean()
    if not mean > 0:
        return np.ones(WEEK_H)
    weeks = seen / 4
    shares: NDArray[np.float64] = np.maximum((spent / 4 + _DRAWN * mean) / (weeks + _DRAWN) / mean, _LEAST)
    return shares


def _bound(values: NDArray[np.float64], first_s: float) -> float | None:
    known = learn(values.tolist(), first_s)
    return MARGIN * expected_high(known) if known is not None else None
