"""What is usual of a key and model whose anomalous calls somebody has accepted: the new level, with all its calls.

Of each the newest calls are read, day by day backwards: those that were usual, and the anomalous ones between the two
instants of the acceptance. Anomalous calls after it are as such again, so that a further rise does not become usual.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib.baseline import FEWEST, Baseline, at_least, learn
from ultimate_lib.clock import to_datetime
from ultimate_lib.lake import baselines
from ultimate_lib.lake.baselines import USUAL, Usual
from ultimate_lib.lake.merges import matching
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.metrics import COUNTED, DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.guard.events import Accepted
    from ultimate_lib.lake import Lake

    Pair = tuple[str, str]

MARGIN = 3.0
"""While few anomalous calls were accepted, how often their median a call may cost at least before it is anomalous."""

_GROUP = ["key", "model"]
_DAY = timedelta(days=1)


class Level(NamedTuple):
    """What is usual of one key and model."""

    usual: Usual
    alone: bool  # learnt from calls since the acceptance's first instant alone; False: there are too few of them


def levels(
    lake: Lake, until: datetime, accepted: Mapping[Pair, Accepted], *, days: int = baselines.DAYS
) -> dict[Pair, Level]:
    """Learn what is usual of the keys and models that are accepted, so far as they were called.

    `enough_us` is not told. Raises as `scan_calls`.
    """
    if not accepted:
        return {}
    frame = _newest(lake, until, accepted, days)
    return {
        (key, model): _level(key, model, group, accepted[key, model])
        for (key, model), group in frame.partition_by(_GROUP, as_dict=True).items()
    }


def with_levels(found: Iterable[Usual], levels: Mapping[Pair, Level]) -> list[Usual]:
    """Return what is usual of each, by its new level where there is one."""
    told = {(one.key_id, one.model): one for one in found}
    for pair, level in levels.items():
        before = told.get(pair, level.usual)
        told[pair] = before._replace(
            cost=level.usual.cost, tokens=level.usual.tokens, last_us=max(before.last_us, level.usual.last_us)
        )
    return [told[pair] for pair in sorted(told)]


def odd(accepted: Mapping[Pair, Accepted]) -> pl.Expr:
    """Return which calls are accepted though they were anomalous."""
    spans = [
        (DIMENSIONS["key"].value == key)
        & (DIMENSIONS["model"].value == model)
        & pl.col("started_at").is_between(to_datetime(one.since_us), to_datetime(one.at_us))
        for (key, model), one in accepted.items()
    ]
    return pl.any_horizontal(spans).fill_null(value=False) if spans else pl.lit(value=False)


def _newest(lake: Lake, until: datetime, accepted: Mapping[Pair, Accepted], days: int) -> pl.DataFrame:
    """Return the newest calls of each: key, model, started, cost, input, and whether they were anomalous."""
    pieces: list[pl.DataFrame] = []
    counts, wanted = dict.fromkeys(accepted, 0), dict(accepted)
    first, end = until - timedelta(days=days), until
    while end > first and wanted:
        begin = max(first, datetime.combine((end - timedelta(microseconds=1)).date(), time(), UTC))
        piece = _calls(lake, begin, end, wanted)
        pieces.append(piece)
        for (key, model), group in piece.partition_by(_GROUP, as_dict=True).items():
            counts[key, model] += group.height
        wanted = {pair: one for pair, one in wanted.items() if counts[pair] < baselines.MOST_CALLS}
        end = begin
    return pl.concat(pieces).sort("started", descending=True).group_by(_GROUP).head(baselines.MOST_CALLS)


def _calls(lake: Lake, start: datetime, until: datetime, accepted: Mapping[Pair, Accepted]) -> pl.DataFrame:
    dimensions = [DIMENSIONS[name] for name in _GROUP]
    columns = dict.fromkeys([*baselines.COLUMNS, *(name for one in dimensions for name in one.columns)])
    where = {"key": sorted({pair[0] for pair in accepted}), "model": sorted({pair[1] for pair in accepted})}
    calls = scan_calls(lake, start, until, list(columns)).filter(COUNTED, USUAL | odd(accepted), *matching(where))
    found = calls.select(
        *(DIMENSIONS[name].value for name in _GROUP), pl.col("started_at").dt.epoch("us").alias("started"),
        *(value.alias(name) for name, value in baselines.MEASURES.items()), (~USUAL).alias("odd"),
    )  # fmt: skip
    pairs = pl.DataFrame(list(accepted), schema=dict.fromkeys(_GROUP, pl.String), orient="row")
    return (
        found.filter(pl.any_horizontal(pl.col(*baselines.MEASURES) > 0))
        .collect(engine="streaming")
        .join(pairs, on=_GROUP, how="semi")
    )


def _level(key: str, model: str, calls: pl.DataFrame, accepted: Accepted) -> Level:
    since = calls.filter(pl.col("started") >= accepted.since_us)
    alone = max(_usable(since, name) for name in baselines.MEASURES) >= FEWEST
    first_us, last_us = int(calls["started"].min()), int(calls["started"].max())  # type: ignore[arg-type] # there are some
    usual = Usual(
        key_id=key, model=model, priced_calls=_usable(calls, "cost"), calls=_usable(calls, "input"),
        first_us=first_us, last_us=last_us, enough_us=None, cost=_learnt(calls, since, "cost"),
        tokens=_learnt(calls, since, "input"),
    )  # fmt: skip
    return Level(usual, alone)


def _usable(calls: pl.DataFrame, name: str) -> int:
    return calls.filter(pl.col(name) > 0).height


def _learnt(calls: pl.DataFrame, since: pl.DataFrame, name: str) -> Baseline | None:
    chosen = (since if _usable(since, name) >= FEWEST else calls).filter(pl.col(name) > 0)
    made = learn(chosen[name].to_list(), float(chosen["started"].min() or 0) / 1e6)  # type: ignore[arg-type] # µs
    dear = chosen.filter("odd")[name].to_list()
    if made is None or not dear or len(dear) >= FEWEST:
        return made
    return at_least(made, MARGIN * median(dear))
