"""What the guard has seen, done and would have done: its rule replayed over the scores that calls were recorded with.

Read are the calls that it scored high or refused, few among many; then, within the cool-downs that the rule makes of
them, all calls of those keys and models, for those are what it would have refused.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib.baseline import ANOMALOUS
from ultimate_lib.clock import to_datetime
from ultimate_lib.guard import rule as rules
from ultimate_lib.lake.merges import matching
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.metrics import COUNTED, DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ultimate_lib.guard.events import Accepted
    from ultimate_lib.guard.rule import Cooldown, Rule
    from ultimate_lib.lake import Lake

DAYS = 30
WEEK = timedelta(days=7)

_LEARNING_US = 120_000_000  # after an acceptance, until it has been learnt from
_PAIR = ["key", "model"]
_COLUMNS = (
    "call_id", "started_at", "duration_ms", "cost_nano_usd", "anomaly_score", "anomaly_action", "status", "operation",
)  # fmt: skip


class Past(NamedTuple):
    """One key and model over the last `DAYS` days."""

    anomalies_week: int = 0
    anomalies: int = 0
    blocked: int = 0  # calls that were refused
    marked: int = 0  # calls that were let through and marked at the time as to be refused
    marked_outside: int = 0  # those of them that are not accepted and began in no cool-down by the present rule
    marked_rate: int = 0  # calls that were told of for how quickly their key spent alone
    cooldowns: int = 0  # by the present rule
    would_block: int = 0  # calls that were made in them
    would_block_nano_usd: int = 0  # what those cost, so far as it is known
    would_block_unpriced: int = 0  # those whose cost is not known


def past(
    lake: Lake,
    rule: Rule,
    ripe: Mapping[tuple[str, str], int | None],
    until: datetime,
    where: Mapping[str, Sequence[str | None]] | None = None,
    *,
    accepted: Mapping[tuple[str, str], Accepted] | None = None,
) -> dict[tuple[str, str], Past]:
    """Return what there is of each key and model that had an anomaly or a refusal in the days before `until`.

    `ripe` says from when on each can be blocked; one that it does not name cannot. Anomalies that are `accepted`
    begin no cool-down. Raises as `scan_calls`.
    """
    start = until - timedelta(days=DAYS)
    seen = _calls(lake, start, until, where or {}).filter(
        (pl.col("anomaly_score") >= ANOMALOUS)
        | pl.col("anomaly_action").is_in(("warn", "block"))
        | (pl.col("status") == "blocked")
    )
    frame = seen.collect(engine="streaming")
    high = (pl.col("anomaly_score") >= ANOMALOUS).fill_null(value=False)
    refused = (pl.col("status") == "blocked").fill_null(value=False)
    marked = ((pl.col("anomaly_action") == "block") & ~refused).sum()
    counted = frame.group_by(_PAIR).agg(
        (high & (pl.col("started_at") >= until - WEEK)).sum().alias("anomalies_week"),
        high.sum().alias("anomalies"),
        refused.sum().alias("blocked"),
        marked.alias("marked"),
        ((pl.col("anomaly_action") == "block") & ~refused & ~_taken(accepted or {})).sum().alias("marked_outside"),
        ((pl.col("anomaly_action") == "warn") & (pl.col("anomaly_score") < ANOMALOUS).fill_null(value=True))
        .sum()
        .alias("marked_rate"),
    )
    found = {(row.pop("key"), row.pop("model")): Past(**row) for row in counted.to_dicts()}
    cooldowns = _cooldowns(rule, ripe, frame.filter(high & ~refused), accepted or {})
    for pair, told in _within(lake, cooldowns, until, where or {}, accepted or {}).items():
        outside = max(found[pair].marked_outside - told.pop("marked_inside"), 0)
        found[pair] = found[pair]._replace(cooldowns=len(cooldowns[pair]), marked_outside=outside, **told)
    return found


def _calls(lake: Lake, start: datetime, until: datetime, where: Mapping[str, Sequence[str | None]]) -> pl.LazyFrame:
    dimensions = [DIMENSIONS[name] for name in (*_PAIR, *where)]
    columns = dict.fromkeys([*_COLUMNS, *(name for one in dimensions for name in one.columns)])
    calls = scan_calls(lake, start, until, list(columns)).filter(COUNTED, *matching(where))
    named = calls.select(*(DIMENSIONS[name].value for name in _PAIR), *_COLUMNS)
    return named.filter(pl.all_horizontal(pl.col(_PAIR).is_not_null()))


def _cooldowns(
    rule: Rule,
    ripe: Mapping[tuple[str, str], int | None],
    frame: pl.DataFrame,
    accepted: Mapping[tuple[str, str], Accepted],
) -> dict[tuple[str, str], list[Cooldown]]:
    wanted = frame.filter(pl.col("cost_nano_usd") > rule.floor_nano_usd).select(
        *_PAIR, "call_id", pl.col("started_at").dt.epoch("us").alias("started"), "duration_ms", "cost_nano_usd",
        "anomaly_score",
    )  # fmt: skip
    found = {}
    for (key, model), group in wanted.partition_by(_PAIR, as_dict=True).items():
        calls = [
            rules.Call(call_id, started, started + (duration or 0) * 1000, cost, score)
            for _, _, call_id, started, duration, cost, score in group.iter_rows()
            if not _is_accepted(accepted.get((key, model)), started)
        ]
        made = rules.cooldowns(rule, ripe.get((key, model)), calls)
        if made:
            found[key, model] = made
    return found


def _taken(accepted: Mapping[tuple[str, str], Accepted]) -> pl.Expr:
    """Return which calls lie in an acceptance, whatever they were marked for."""
    spans = [
        (pl.col("key") == key)
        & (pl.col("model") == model)
        & pl.col("started_at").is_between(to_datetime(one.since_us), to_datetime(one.at_us + _LEARNING_US))
        for (key, model), one in accepted.items()
    ]
    return pl.any_horizontal(spans) if spans else pl.lit(value=False)


def _is_accepted(one: Accepted | None, started_us: int) -> bool:
    return one is not None and one.since_us <= started_us <= one.at_us + _LEARNING_US


def _within(
    lake: Lake,
    cooldowns: Mapping[tuple[str, str], list[Cooldown]],
    until: datetime,
    where: Mapping[str, Sequence[str | None]],
    accepted: Mapping[tuple[str, str], Accepted],
) -> dict[tuple[str, str], dict[str, int]]:
    """Return, by key and model, how many calls began in their cool-downs, and what they cost."""
    names = ("would_block", "would_block_nano_usd", "would_block_unpriced", "marked_inside")
    found = {pair: dict.fromkeys(names, 0) for pair in cooldowns}
    rows = [(*pair, one.since_us, one.until_us) for pair, spans in cooldowns.items() for one in spans]
    if not rows:
        return found
    spans = pl.DataFrame(rows, schema=[*_PAIR, "since", "until"], orient="row").sort("since")
    first, last = to_datetime(min(row[2] for row in rows)), min(until, to_datetime(max(row[3] for row in rows)))
    if first >= last:
        return found
    calls = (
        _calls(lake, first, last, {**where, "key": sorted({pair[0] for pair in cooldowns})})
        .filter((pl.col("status") != "blocked").fill_null(value=True))
        .select(
            *_PAIR,
            pl.col("started_at").dt.epoch("us").alias("started"),
            "cost_nano_usd",
            ((pl.col("anomaly_action") == "block") & ~_taken(accepted)).alias("marked"),
        )
        .collect(engine="streaming")
        .sort("started")
    )
    joined = calls.join_asof(
        spans, left_on="started", right_on="since", by=_PAIR, strategy="backward", check_sortedness=False
    ).filter(pl.col("started") < pl.col("until"))
    told = joined.group_by(_PAIR).agg(
        pl.len().alias("would_block"),
        pl.col("cost_nano_usd").sum().alias("would_block_nano_usd"),
        pl.col("cost_nano_usd").is_null().sum().alias("would_block_unpriced"),
        pl.col("marked").sum().alias("marked_inside"),
    )
    found.update({(row.pop("key"), row.pop("model")): row for row in told.to_dicts()})
    return found
