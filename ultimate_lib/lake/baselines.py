"""What is usual of each key and model, learnt from the lake: `baseline` for as many calls as there are.

Days are read one by one, of each key and model the newest 20,000 calls: what is kept of a day is how often each value
came, in steps of a hundredth of its logarithm, and the few highest values as they are.
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
USUAL = ~(
    pl.col("anomaly_action").is_in(("warn", "block")).fill_null(value=False)
    | (pl.col("anomaly_score") >= ANOMALOUS).fill_null(value=False)
)
"""Which calls are learnt from: an anomaly must not become what is usual."""

_GROUP = ["key", "model"]
_EACH = [*_GROUP, "measure"]
_DAY = timedelta(days=1)
_STEP = 0.01  # of a logarithm
_COLUMNS = ("started_at", "operation", "anomaly_score", "anomaly_action", "cost_nano_usd", "input_tokens")
_MEASURES = {"cost": pl.col("cost_nano_usd") / 1e9, "input": pl.col("input_tokens").cast(pl.Float64)}


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
    days_read = counts.filter((pl.col("keep") > 0) | pl.col("enough_here")).partition_by("day", as_dict=True)
    binned, highest, reached = [], [], []
    for (day,), groups in sorted(days_read.items()):
        begin = datetime.combine(day, datetime.min.time(), UTC)
        calls = _calls(lake, max(start, begin), min(until, begin + _DAY), where)
        frame = calls.collect(engine="streaming").join(groups, on=_GROUP)
        reached.append(_reached(frame, enough))
        values = _values(frame)
        binned.append(values.group_by(*_EACH, (pl.col("log") / _STEP).floor().alias("bin")).agg(pl.len().alias("n")))
        highest.append(_highest(values))
    if not binned:
        return []
    learnt = _learnt(pl.concat(binned), _highest(pl.concat(highest)), counts)
    told = counts.group_by(_GROUP).agg(pl.col("priced", "inputs").sum(), pl.col("first").min(), pl.col("last").max())
    told = told.join(pl.concat(reached), on=_GROUP, how="left").sort(_GROUP)
    return [
        Usual(
            key_id=row["key"], model=row["model"], priced_calls=row["priced"], calls=row["inputs"],
            first_us=row["first"], last_us=row["last"], enough_us=row["enough"],
            cost=learnt.get((row["key"], row["model"], "cost")), tokens=learnt.get((row["key"], row["model"], "input")),
        )
        for row in told.iter_rows(named=True)
    ]  # fmt: skip


def _calls(lake: Lake, start: datetime, until: datetime, where: Mapping[str, Sequence[str | None]]) -> pl.LazyFrame:
    """Return the calls to learn from: key, model, started_at, and each measure where it is above 0."""
    dimensions = [DIMENSIONS[name] for name in (*_GROUP, *where)]
    columns = dict.fromkeys([*_COLUMNS, *(name for one in dimensions for name in one.columns)])
    calls = scan_calls(lake, start, until, list(columns)).filter(COUNTED, USUAL, *matching(where))
    measured = [pl.when(value > 0).then(value).alias(name) for name, value in _MEASURES.items()]
    found = calls.select(*(DIMENSIONS[name].value for name in _GROUP), "started_at", *measured)
    return found.filter(
        pl.all_horizontal(pl.col(_GROUP).is_not_null()), pl.any_horizontal(pl.col(*_MEASURES).is_not_null())
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
    newer = pl.col("calls").cum_sum(reverse=True).over(_GROUP) - pl.col("calls")
    older = pl.col("priced").cum_sum().over(_GROUP) - pl.col("priced")
    return counts.with_columns((MOST_CALLS - newer).alias("keep"), older.alias("older")).with_columns(
        ((pl.col("older") < enough) & (pl.col("older") + pl.col("priced") >= enough)).alias("enough_here")
    )


def _reached(frame: pl.DataFrame, enough: int) -> pl.DataFrame:
    """Return when the call that made `enough` with a cost started, of the keys and models where it is of this day."""
    priced = frame.filter(pl.col("enough_here"), pl.col("cost").is_not_null())
    nth = pl.col("started_at").rank("ordinal").over(_GROUP).cast(pl.Int64) + pl.col("older")
    return priced.filter(nth == enough).select(*_GROUP, pl.col("started_at").dt.epoch("us").alias("enough"))


def _values(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the logarithm of each measure of the newest calls."""
    nth = pl.col("started_at").rank("ordinal", descending=True).over(_GROUP)
    read = frame.filter(nth <= pl.col("keep"))
    values = read.unpivot(list(_MEASURES), index=_GROUP, variable_name="measure", value_name="log")
    return values.drop_nulls("log").with_columns(pl.col("log").log())


def _highest(values: pl.DataFrame) -> pl.DataFrame:
    """Return the highest values of each measure, as many as any baseline is made of."""
    return values.group_by(_EACH).agg(pl.col("log").top_k(highest_of(MOST_CALLS))).explode("log")


def _learnt(binned: pl.DataFrame, highest: pl.DataFrame, counts: pl.DataFrame) -> dict[tuple[str, ...], Baseline]:
    """Return the baselines by key, model and measure."""
    since = {
        (key, model): us / 1e6 for key, model, us in counts.group_by(_GROUP).agg(pl.col("first").min()).iter_rows()
    }
    bins = binned.group_by(*_EACH, "bin").agg(pl.col("n").sum()).sort("bin").partition_by(_EACH, as_dict=True)
    tops = highest.sort("log").partition_by(_EACH, as_dict=True)
    found = {}
    for each, group in bins.items():
        n, mean, deviation = _middle(group["bin"].to_numpy(), group["n"].to_numpy())
        top = tops[each]["log"].to_list()[-highest_of(n) :]
        made = learned(n, mean, deviation, top, since[each[:2]])
        if made is not None:
            found[each] = made
    return found


def _middle(bins: NDArray[np.float64], counts: NDArray[np.uint32]) -> tuple[int, float, float]:
    """Return how many values there are, and mean and deviation with either end drawn in."""
    upto = counts.cumsum()
    n = int(upto[-1])
    ends = drawn_in(n)
    low, high = bins[np.searchsorted(upto, [ends, n - ends - 1], side="right")]
    values = (bins.clip(low, high) + 0.5) * _STEP
    mean = float((values * counts).sum() / n)
    return n, mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / max(n - 1, 1)))
