"""What is usual of each key and model, learnt from the lake: `baseline` for as many calls as there are.

Days are read one by one, of each key and model the newest 20,000 calls. What is kept of a day is how often each value
came, in steps of half a hundredth of its logarithm: memory for the calls of a day, and some bytes a step.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from ultimate_lib.baseline import ANOMALOUS, Baseline, drawn_in, highest_of, learned
from ultimate_lib.lake.merges import matching
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.metrics import COUNTED, DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ultimate_lib.lake import Lake

DAYS = 30
"""How far back is learnt from."""
MOST_CALLS = 20_000
"""Of one key and model, the newest."""
STEADY = ~(
    pl.col("anomaly_action").is_in(("warn", "block")).fill_null(value=False)
    | (pl.col("anomaly_score") >= ANOMALOUS).fill_null(value=False)
)
"""Which calls are nothing that anybody was told of."""
USUAL = STEADY | ((pl.col("anomaly_action") == "warn") & (pl.col("anomaly_score") < ANOMALOUS)).fill_null(value=False)
"""Which calls are learnt from: an anomaly must not become what is usual. A call that was told of for how quickly its
key spent alone is none of itself."""

_GROUP = ["key", "model"]
_DAY = timedelta(days=1)
_STEP = 0.005  # of a logarithm
COLUMNS = ("started_at", "operation", "anomaly_score", "anomaly_action", "cost_nano_usd", "input_tokens")
MEASURES = {"cost": pl.col("cost_nano_usd") / 1e9, "input": pl.col("input_tokens").cast(pl.Float64)}


class Usual(NamedTuple):
    """What is usual of a key and model; instants in µs since 1970. A baseline is null with too few calls."""

    key_id: str
    model: str
    priced_calls: int  # with a cost, in all the days
    calls: int  # with input, in all the days
    first_us: int  # start of the first call, in these days
    last_us: int
    enough_us: int | None  # start of the call that made `enough` with a cost; null: not yet
    cost: Baseline | None  # dollars a call
    tokens: Baseline | None  # input tokens a call


def baselines_of(
    lake: Lake,
    until: datetime,
    *,
    where: Mapping[str, Sequence[str | None]] | None = None,
    enough: int = 500,
    days: int = DAYS,
) -> list[Usual]:
    """Learn what is usual of each key and model called in the days before `until`, in the order of their names.

    Calls without a key or a model, those that metrics do not count, and anomalous ones are left out. `where` is a
    query's. Raises as `scan_calls`.
    """
    start, where = until - timedelta(days=days), where or {}
    counts = _counts(_calls(lake, start, until, where), enough)
    binned: dict[str, list[pl.DataFrame]] = {name: [] for name in MEASURES}
    reached = []
    read = counts.filter((pl.col("keep") > 0) | pl.col("enough_here"))
    for (day,), groups in sorted(read.partition_by("day", as_dict=True).items()):
        begin = datetime.combine(day, datetime.min.time(), UTC)
        calls = _calls(lake, max(start, begin), min(until, begin + _DAY), where)
        frame = calls.collect(engine="streaming").join(groups, on=_GROUP)
        reached.append(_reached(frame, enough))
        newest = _newest(frame)
        for name, frames in binned.items():
            frames.append(_bins(newest, name))
    if not reached:
        return []
    told = counts.group_by("group", *_GROUP).agg(
        pl.col("priced", "inputs").sum(), pl.col("first").min(), pl.col("last").max()
    )
    told = told.join(pl.concat(reached), on="group", how="left").sort(_GROUP)
    since = dict(told.select("group", pl.col("first") / 1e6).iter_rows())
    learnt = {name: _learnt(pl.concat(binned.pop(name)), since) for name in MEASURES}
    return [
        Usual(
            key_id=row["key"], model=row["model"], priced_calls=row["priced"], calls=row["inputs"],
            first_us=row["first"], last_us=row["last"], enough_us=row["enough"],
            cost=learnt["cost"].get(row["group"]), tokens=learnt["input"].get(row["group"]),
        )
        for row in told.iter_rows(named=True)
    ]  # fmt: skip


def _calls(lake: Lake, start: datetime, until: datetime, where: Mapping[str, Sequence[str | None]]) -> pl.LazyFrame:
    """Return the calls to learn from: key, model, started_at, and each measure where it is above 0."""
    dimensions = [DIMENSIONS[name] for name in (*_GROUP, *where)]
    columns = dict.fromkeys([*COLUMNS, *(name for one in dimensions for name in one.columns)])
    calls = scan_calls(lake, start, until, list(columns)).filter(COUNTED, USUAL, *matching(where))
    measured = [pl.when(value > 0).then(value).alias(name) for name, value in MEASURES.items()]
    found = calls.select(*(DIMENSIONS[name].value for name in _GROUP), "started_at", *measured)
    return found.filter(
        pl.all_horizontal(pl.col(_GROUP).is_not_null()), pl.any_horizontal(pl.col(*MEASURES).is_not_null())
    )


def _counts(calls: pl.LazyFrame, enough: int) -> pl.DataFrame:
    """Return a row a key, model and day: how many calls, which of them are read, and whether `enough` lies there."""
    days = calls.group_by(*_GROUP, pl.col("started_at").dt.date().alias("day")).agg(
        pl.len().cast(pl.Int64).alias("calls"),
        pl.col("cost").count().cast(pl.Int64).alias("priced"),
        pl.col("input").count().cast(pl.Int64).alias("inputs"),
        pl.col("started_at").min().dt.epoch("us").alias("first"),
        pl.col("started_at").max().dt.epoch("us").alias("last"),
    )
    counts = days.collect(engine="streaming").sort(*_GROUP, "day")
    counts = counts.with_columns((pl.struct(_GROUP).rle_id()).alias("group"))
    newer = pl.col("calls").cum_sum(reverse=True).over(_GROUP) - pl.col("calls")
    older = pl.col("priced").cum_sum().over(_GROUP) - pl.col("priced")
    return counts.with_columns((MOST_CALLS - newer).alias("keep"), older.alias("older")).with_columns(
        ((pl.col("older") < enough) & (pl.col("older") + pl.col("priced") >= enough)).alias("enough_here")
    )


def _reached(frame: pl.DataFrame, enough: int) -> pl.DataFrame:
    """Return when the call that made `enough` with a cost started, of the keys and models where it is of this day."""
    priced = frame.filter(pl.col("enough_here"), pl.col("cost").is_not_null())
    nth = pl.col("started_at").rank("ordinal").over("group").cast(pl.Int64) + pl.col("older")
    return priced.filter(nth == enough).select("group", pl.col("started_at").dt.epoch("us").alias("enough"))


def _newest(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the calls of a day that are among the newest of their key and model."""
    partly = frame.filter(pl.col("keep") > 0, pl.col("keep") < pl.col("calls"))
    nth = pl.col("started_at").rank("ordinal", descending=True).over("group")
    return pl.concat([frame.filter(pl.col("keep") >= pl.col("calls")), partly.filter(nth <= pl.col("keep"))])


def _bins(calls: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return how often each step of a measure's logarithm came."""
    step = (pl.col(name).log() / _STEP).floor().cast(pl.Int16).alias("step")
    return calls.drop_nulls(name).group_by("group", step).agg(pl.len().alias("n"))


def _learnt(binned: pl.DataFrame, since: Mapping[int, float]) -> dict[int, Baseline]:
    """Return the baselines of a measure by group."""
    whole = binned.group_by("group", "step").agg(pl.col("n").sum()).sort("group", "step")
    groups, values = whole["group"].to_numpy(), (whole["step"].to_numpy() + 0.5) * _STEP
    counts = whole["n"].to_numpy()
    cuts = np.flatnonzero(np.diff(groups)) + 1
    found = {}
    for group, logs, times in zip(
        groups[np.concatenate(([0], cuts))] if len(groups) else [], np.split(values, cuts), np.split(counts, cuts),
        strict=False,  # of nothing there is one empty piece
    ):  # fmt: skip
        made = _baseline(logs, times, since[int(group)])
        if made is not None:
            found[int(group)] = made
    return found


def _baseline(logs: NDArray[np.float64], times: NDArray[np.uint32], since_s: float) -> Baseline | None:
    """Return the baseline of ascending logarithms that came so many times each."""
    upto = times.cumsum(dtype=np.int64)
    n = int(upto[-1])
    ends, top = drawn_in(n), highest_of(n)
    if n <= 2 * ends:
        return None
    low, high = logs[np.searchsorted(upto, [ends, n - ends - 1], side="right")]
    drawn = logs.clip(low, high)
    mean = float((drawn * times).sum() / n)
    deviation = float(np.sqrt((times * (drawn - mean) ** 2).sum() / (n - 1)))
    highest = np.repeat(logs[-top:], times[-top:])[-top:]
    return learned(n, mean, deviation, highest.tolist(), since_s)
