"""Sessions, agents, cells or requests that repeat the same calls far more often than this user's others do.

Calls of a unit are counted by the hour. The threshold is that of the user's own units: the middle of the logarithms
of their hours plus six robust deviations (1.4826 times the median absolute deviation), at least four times the middle
and 30 calls. A call without agent, session and cell is judged by its request, which nearly all are sent once: there
it is 30. Of an hour above it four of five calls must be repeats: requests that are sent, byte for byte, at least five
times in it, again and again after an answer. A prefix tells nothing: an agent's calls and a batch's all share one.
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
_AGAIN = 5  # so often in an hour a request is sent, the first time included
_MOST_HOURS = 40
_COLUMNS = {"agent": "agent_id", "session": "session_id", "cell_id": "cell_id", "request": "request_hash"}
_WORDS = {"agent": "agent", "session": "session", "cell_id": "notebook cell", "request": "request"}


def find(evidence: Evidence) -> Looked:
    """Return units that ran away, a draft a (key, sort of unit)."""
    drafts, judged, seen = [], False, 0
    for sort in _WORDS:
        hours = _asked_again(evidence) if sort == "request" else _hours(_calls(evidence, sort))
        units = hours["whose"].n_unique()
        seen += units
        if sort != "request" and units < FEWEST_UNITS:
            continue
        judged = judged or units > 0
        threshold = _FEWEST_CALLS if sort == "request" else _threshold(hours["calls"])
        wild = hours.filter(pl.col("calls") > threshold, pl.col("repeats") >= _ALIKE * pl.col("calls"))
        wild = wild.sort("cost", descending=True).head(_MOST_HOURS)
        if wild.height:
            calls = _calls(evidence, sort).join(wild.lazy().select("whose", "hour"), on=["whose", "hour"], how="semi")
            ran = calls.collect(engine="streaming").sort("started_at")
            drafts += [
                _draft(evidence, mine, sort, threshold) for _, mine in ran.group_by("key_id", maintain_order=True)
            ]
    few = f"{seen:,} sessions, agents and cells are too few to compare; {FEWEST_UNITS} are needed."
    return Looked(at=evidence.total, found=drafts, few="" if judged else few)


def _calls(evidence: Evidence, sort: str) -> pl.LazyFrame:
    """Return the calls of one sort of unit: a call counts under the first of `_COLUMNS` that it has."""
    before = [pl.col(column).is_null() for name, column in list(_COLUMNS.items())[: list(_COLUMNS).index(sort)]]
    unit = pl.col(_COLUMNS[sort])
    return evidence.calls.filter(COUNTED, SPENT, unit.is_not_null(), *before).select(
        "started_at",
        "key_id",
        MODEL,
        "cost_nano_usd",
        evidence.block_of,
        unit.cast(pl.String).alias("unit"),
        "request_hash",
        (pl.col("started_at") + pl.duration(milliseconds=pl.col("duration_ms").fill_null(0))).alias("ended"),
        pl.struct("key_id", unit).hash(1).alias("whose"),
        pl.col("started_at").dt.truncate("1h").alias("hour"),
    )


def _hours(calls: pl.LazyFrame) -> pl.DataFrame:
    """Return a row a (unit, hour): its calls, those of them that are repeats, what they cost."""
    answered = pl.col("started_at") >= pl.col("ended").min()  # of equal calls: not sent at once
    is_again = pl.col("request_hash").is_not_null() & (pl.col("answered") + 1 >= _AGAIN)
    return (
        calls.group_by("whose", "hour", "model", "request_hash")
        .agg(pl.len().alias("calls"), answered.sum().alias("answered"), pl.col("cost_nano_usd").sum().alias("cost"))
        .group_by("whose", "hour")
        .agg(pl.col("calls").sum(), pl.col("calls").filter(is_again).sum().alias("repeats"), pl.col("cost").sum())
        .collect(engine="streaming")
    )


def _asked_again(evidence: Evidence) -> pl.DataFrame:
    """Return the hours of requests that were sent often enough to be looked at: nearly all are sent once."""
    calls = _calls(evidence, "request")
    sent = calls.select("whose").collect(engine="streaming")["whose"]
    twice = sent.filter(sent.is_duplicated()).value_counts()
    often = twice.filter(pl.col("count") >= _FEWEST_CALLS).lazy()
    return _hours(calls.join(often, on="whose", how="semi"))


def _threshold(calls: pl.Series) -> int:
    logs = calls.cast(pl.Float64).log()
    middle = float(logs.median() or 0.0)  # type: ignore[arg-type] # of numbers
    spread = 1.4826 * float((logs - middle).abs().median() or 0.0)  # type: ignore[arg-type] # of numbers
    return max(_FEWEST_CALLS, math.ceil(math.exp(middle + max(_DEVIATIONS * spread, math.log(_TIMES)))))


def _draft(evidence: Evidence, calls: pl.DataFrame, sort: str, threshold: int) -> Draft:
    key = calls["key_id"][0]
    units = calls["unit"].unique(maintain_order=True)
    place = pl.int_range(pl.len()).over("whose")
    beyond = calls.filter(place >= threshold)
    middle = words.usd(float(calls["cost_nano_usd"].median() or 0) / words.NANO)  # type: ignore[arg-type] # of numbers
    rate = calls.group_by("whose", "hour").len()["len"].to_list()
    name = _WORDS[sort]
    many = f"{len(units):,} {name}s" if len(units) > 1 else f"One {name}"
    return Draft(
        title=f"{many} of {evidence.name_of(key)} repeated the same up to {max(rate):,} times in an hour; "
        f"{threshold:,} is already far out among yours",
        where={"key": (key,), sort: tuple(units)},
        affected=beyond.height,
        condition=pl.col("started_at") >= (beyond["started_at"].min() if beyond.height else evidence.until),
        blocks=evidence.series(beyond, "cost_nano_usd"),
        paid_nano=float(calls["cost_nano_usd"].sum()),
        who={"key": key, sort: units[0] if len(units) == 1 else None, "model": _only(calls["model"])},
        how=[
            f"Put a limit on steps into the loop that makes these calls: {threshold:,} in an hour, say.",
            "A rate limit or a hard budget on this key ends what the loop itself does not.",
            _rise(calls),
        ],
        assumptions=[
            (
                f"The saving is what the calls after the {threshold:,}th cost; if all of them were wanted, "
                f"nothing is saved."
            ),
            (
                f"A call of these costs {middle} in the middle. {threshold:,} an hour is far out by your own {name}s "
                "(six robust deviations), not by a fixed rule."
            ),
        ],
    )


def _rise(calls: pl.DataFrame) -> str:
    third = max(calls.height // 3, 1)
    costs = calls["cost_nano_usd"].to_numpy() / words.NANO
    first, last = float(costs[:third].mean()), float(costs[-third:].mean())
    if words.usd(first) == words.usd(last):
        return f"A call's cost stayed at {words.usd(last)} on average."
    how = "rose" if last > first else "fell"
    return f"A call's cost {how} from {words.usd(first)} (first third) to {words.usd(last)} (last third) on average."


def _only(values: pl.Series) -> Any:
    found = values.unique()
    return found[0] if len(found) == 1 else None
