"""Sessions, agents, cells or requests that repeat nearly the same call far more often than this user's others do.

Calls of a unit are counted by the hour. The threshold is that of the user's own units: the middle of the logarithms of
their hours plus six robust deviations (1.4826 times the median absolute deviation), at least four times the middle and
30 calls. Of an hour above it, four of five calls must share model and prefix (without a prefix, the whole request).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from ultimate_lib.analytics.advice import words
from ultimate_lib.analytics.advice.evidence import COUNTED, MODEL, SPENT
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

FEWEST_UNITS = 20
_FEWEST_CALLS = 30
_DEVIATIONS = 6.0
_TIMES = 4.0
_ALIKE = 0.8
_MOST_UNITS = 40
_WORDS = {"agent": "agent", "session": "session", "cell_id": "notebook cell", "request": "request"}


def find(evidence: Evidence) -> Looked:
    """Return units that ran away, a draft a (key, sort of unit)."""
    hours = _hours(evidence)
    drafts, judged = [], 0
    for sort in _WORDS:
        own = hours.filter(pl.col("sort") == sort)
        others = own if sort != "request" else hours
        if others["unit"].n_unique() < FEWEST_UNITS:
            continue
        judged += 1
        threshold = _threshold(own["calls"])
        wild = own.filter(pl.col("calls") > threshold, pl.col("most_alike") >= _ALIKE * pl.col("calls"))
        for _, mine in wild.group_by("key_id", maintain_order=True):
            drafts.append(_draft(evidence, mine.sort("cost", descending=True).head(_MOST_UNITS), sort, threshold))
    few = "" if judged else f"{hours['unit'].n_unique():,} sessions, cells and requests are too few to compare; {FEWEST_UNITS} are needed."
    return Looked(at=evidence.total, found=[one for one in drafts if one.affected], few=few)


def _unit() -> list[pl.Expr]:
    """Return the sort of a call's unit and its name: the first of agent, session, cell that it has, else the request."""
    sort, name = pl.lit("request"), pl.col("request_hash").cast(pl.String)
    for told, column in (("cell_id", "cell_id"), ("session", "session_id"), ("agent", "agent_id")):
        there = pl.col(column).is_not_null()
        sort = pl.when(there).then(pl.lit(told)).otherwise(sort)
        name = pl.when(there).then(pl.col(column)).otherwise(name)
    return [sort.alias("sort"), name.alias("unit")]


def _calls(evidence: Evidence) -> pl.LazyFrame:
    return evidence.calls.filter(COUNTED, SPENT).select(
        "started_at", "key_id", MODEL, "cost_nano_usd", "prefix_hash", "request_hash", "call_id", evidence.block_of,
        *_unit(),
        pl.col("started_at").dt.truncate("1h").alias("hour"),
    )  # fmt: skip


def _hours(evidence: Evidence) -> pl.DataFrame:
    """Return a row a (key, unit, hour): its calls, the most of them that are alike, what they cost."""
    whole = pl.col("sort") == "request"
    alike = pl.when(~whole).then(pl.coalesce("prefix_hash", "request_hash")).otherwise("request_hash").alias("alike")
    return (
        _calls(evidence)
        .filter(pl.col("unit").is_not_null())
        .group_by("key_id", "sort", "unit", "hour", "model", alike)
        .agg(pl.len().alias("calls"), pl.col("cost_nano_usd").sum().alias("cost"))
        .group_by("key_id", "sort", "unit", "hour")
        .agg(pl.col("calls").sum(), pl.col("calls").max().alias("most_alike"), pl.col("cost").sum())
        .collect(engine="streaming")
    )


def _threshold(calls: pl.Series) -> int:
    logs = calls.cast(pl.Float64).log()
    middle = float(logs.median() or 0.0)  # type: ignore[arg-type] # of numbers
    spread = 1.4826 * float((logs - middle).abs().median() or 0.0)  # type: ignore[arg-type] # of numbers
    return max(_FEWEST_CALLS, math.ceil(math.exp(middle + max(_DEVIATIONS * spread, math.log(_TIMES)))))


def _draft(evidence: Evidence, wild: pl.DataFrame, sort: str, threshold: int) -> Draft:
    key = wild["key_id"][0]
    units = wild["unit"].unique(maintain_order=True)
    calls = (
        _calls(evidence)
        .filter(pl.col("key_id").eq_missing(pl.lit(key)), pl.col("sort") == sort)
        .join(wild.lazy().select("unit", "hour"), on=["unit", "hour"], how="semi")
        .collect(engine="streaming")
        .sort("started_at")
    )
    place = pl.int_range(pl.len()).over("unit")
    beyond = calls.filter(place >= threshold)
    middle = words.usd(float(calls["cost_nano_usd"].median() or 0) / words.NANO)  # type: ignore[arg-type] # of numbers
    rate = int(wild["calls"].max() or 0)  # type: ignore[call-overload] # of numbers
    name = _WORDS[sort]
    many = f"{len(units):,} {name}s" if len(units) > 1 else f"One {name}"
    return Draft(
        title=f"{many} of {evidence.name_of(key)} made up to {rate:,} nearly equal calls in an hour, where yours stay "
        f"below {threshold:,}",
        where={"key": (key,), sort: tuple(units)},
        affected=beyond.height,
        condition=pl.col("started_at") >= (beyond["started_at"].min() if beyond.height else evidence.until),
        blocks=evidence.series(beyond, "cost_nano_usd"),
        paid_nano=float(calls["cost_nano_usd"].sum()),
        who={"key": key, sort: units[0] if len(units) == 1 else None, "model": _only(calls["model"])},
        how=[
            f"A limit on steps in the loop that makes these calls: none of your other {name}s needs more than "
            f"{threshold:,} an hour.",
            "A rate limit or a hard budget on this key ends what the loop itself does not.",
            _rise(calls),
        ],
        assumptions=[
            f"The saving is what the calls after the {threshold:,}th cost; if all of them were wanted, nothing is saved.",
            f"A call of these costs {middle} in the middle. {threshold:,} an hour is far out by your own {name}s "
            "(six robust deviations), not by a fixed rule.",
        ],
    )  # fmt: skip


def _rise(calls: pl.DataFrame) -> str:
    third = max(calls.height // 3, 1)
    first, last = (float(part["cost_nano_usd"].mean() or 0) / words.NANO for part in (calls.head(third), calls.tail(third)))  # type: ignore[arg-type] # of numbers
    how = "rose" if last > first else "fell"
    return f"A call's cost {how} from {words.usd(first)} (first third) to {words.usd(last)} (last third) on average."


def _only(values: pl.Series) -> Any:
    found = values.unique()
    return found[0] if len(found) == 1 else None
