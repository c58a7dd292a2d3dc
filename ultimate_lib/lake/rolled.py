"""The rollups: which there are, and how calls become their rows. Functions of frames; `rollup.py` keeps the tables.

    quarter_model    quarter of an hour x provider x model x endpoint x status
    quarter_key      quarter of an hour x key x user x team
    quarter_latency  quarter of an hour x provider x model x measure x bucket, a count
    day_model        day of the billing zone x provider x model x endpoint x status
    day_key          day of the billing zone x key x user x team
    day_cube         day of the billing zone x provider x model x key x user x team x project x app x notebook
    day_use          day of the billing zone x team x project x app
    day_latency      day of the billing zone x provider x model x measure x bucket, a count

Each row starts at `started_at`, the first instant of its quarter or day, and carries every part of the metric table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl
import pyarrow as pa

from ultimate_lib.clock import to_datetime
from ultimate_lib.metrics import COUNTED, DIMENSIONS, MEASURED, MEASURES, PARTS, bucket, merged, row_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.lake.spans import Span

_FEW = 4
_SORTED = 3  # dimensions that rows are ordered by: files get smaller, and more would cost more than it saves

EDITION = 1
"""To be raised when parts, buckets or dimensions change their meaning: every rollup is then built anew."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """One table of sums (or of bucket counts) over calls."""

    name: str
    span: Literal["quarter", "day"]
    dimensions: tuple[str, ...]
    buckets: bool = False

    @property
    def keys(self) -> list[str]:
        """The columns that tell rows of one `started_at` apart."""
        return [*self.dimensions, "measure", "bucket"] if self.buckets else list(self.dimensions)

    @property
    def sums(self) -> list[str]:
        """The columns that merge by addition."""
        return ["n"] if self.buckets else list(PARTS)

    @property
    def arrow(self) -> pa.Schema:
        """The table's columns."""
        texts = [pa.field(name, pa.string()) for name in self.dimensions]
        if self.buckets:
            texts += [pa.field("measure", pa.string()), pa.field("bucket", pa.int16())]
        counts = [pa.field(name, pa.int64()) for name in self.sums]
        return pa.schema([pa.field("started_at", pa.timestamp("us", "UTC")), *texts, *counts])

    @property
    def polars(self) -> pl.Schema:
        """The columns of a frame of its rows."""
        schema = pl.Schema({"started_at": pl.Datetime("us", "UTC")})
        schema.update(dict.fromkeys(self.dimensions, pl.String()))
        if self.buckets:
            schema.update({"measure": pl.String(), "bucket": pl.Int16()})
        schema.update(dict.fromkeys(self.sums, pl.Int64()))
        return schema


_MODEL = ("provider", "model", "endpoint", "status")
_KEY = ("key", "user", "team")
_CUBE = ("provider", "model", "key", "user", "team", "project", "app", "notebook")

ROLLUPS: dict[str, Rollup] = {
    rollup.name: rollup
    for rollup in (
        Rollup("quarter_model", "quarter", _MODEL),
        Rollup("quarter_key", "quarter", _KEY),
        Rollup("quarter_latency", "quarter", ("provider", "model"), buckets=True),
        Rollup("day_model", "day", _MODEL),
        Rollup("day_key", "day", _KEY),
        Rollup("day_cube", "day", _CUBE),
        Rollup("day_use", "day", ("team", "project", "app")),
        Rollup("day_latency", "day", ("provider", "model"), buckets=True),
    )
}
QUARTERS = [rollup for rollup in ROLLUPS.values() if rollup.span == "quarter"]
DAYS = [rollup for rollup in ROLLUPS.values() if rollup.span == "day"]

_DIMENSIONS = sorted({name for rollup in ROLLUPS.values() for name in rollup.dimensions})
_USED = [
    COUNTED,
    MEASURED,
    *PARTS.values(),
    *(bucket(name) for name in MEASURES),
    *(DIMENSIONS[name].value for name in _DIMENSIONS),
]
COLUMNS = sorted({"started_at", *(column for expression in _USED for column in expression.meta.root_names())})
"""Columns of a call that the rollups are made of."""


def prepared(calls: pl.LazyFrame) -> pl.LazyFrame:
    """Return counted calls (`COLUMNS`) as dimensions, parts, a bucket a measure, `quarter` and `measured`."""
    return calls.filter(COUNTED).select(
        "started_at",
        pl.col("started_at").dt.truncate("15m").alias("quarter"),
        MEASURED.alias("measured"),
        *(DIMENSIONS[name].value for name in _DIMENSIONS),
        *row_parts(PARTS),
        *(bucket(name).alias(f"{name}_bucket") for name in MEASURES),
    )


def roll(rollup: Rollup, calls: pl.LazyFrame, starts: Sequence[int] = ()) -> pl.LazyFrame:
    """Return the rollup's rows of `prepared` calls; for a day rollup `starts` are the days' first instants."""
    start = pl.col("quarter") if rollup.span == "quarter" else start_of(pl.col("quarter"), starts)
    keys = [start.alias("started_at"), *rollup.dimensions]
    if not rollup.buckets:
        return calls.group_by(keys).agg(merged(PARTS)).sort("started_at", *rollup.dimensions[:_SORTED])
    # a run-length code of each group's sorted buckets costs half of grouping by bucket, and leaves the rows in order
    runs = [pl.col(f"{name}_bucket").drop_nulls().sort().rle().alias(name) for name in MEASURES]
    groups = calls.filter("measured").group_by(keys).agg(runs).sort("started_at", *rollup.dimensions)
    counted = [
        groups.select("started_at", *rollup.dimensions, pl.lit(name).alias("measure"), name)
        .filter(pl.col(name).list.len() > 0)
        .explode(name)
        .unnest(name)
        .rename({"value": "bucket", "len": "n"})
        .select("started_at", *rollup.keys, pl.col("n").cast(pl.Int64))
        for name in MEASURES
    ]
    return pl.concat(counted).sort("started_at", maintain_order=True)


def coarsen(rollup: Rollup, rows: pl.LazyFrame, starts: Sequence[int]) -> pl.LazyFrame:
    """Return a day rollup's rows made of the rows of a rollup that knows its dimensions."""
    grouped = rows.group_by(start_of(pl.col("started_at"), starts), *rollup.keys)
    days = grouped.agg(pl.col("n").sum()) if rollup.buckets else grouped.agg(merged(PARTS))
    return days.sort("started_at", *rollup.keys[:_SORTED])


def start_of(at: pl.Expr, starts: Sequence[int]) -> pl.Expr:
    """Return, of each instant, the last of the sorted `starts` at or before it."""
    edges = pl.Series("started_at", starts, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    if len(starts) == 1:
        return pl.lit(edges[0], dtype=pl.Datetime("us", "UTC")).alias("started_at")
    index = pl.lit(edges).search_sorted(at, side="right").cast(pl.Int64) - 1
    return pl.lit(edges).gather(index).alias("started_at")


def within(spans: Sequence[Span], column: str = "started_at") -> pl.Expr:
    """Return the condition that an instant lies in one of the sorted, disjoint spans."""
    if len(spans) > _FEW:  # odd positions among the edges are inside; the cost no longer grows with the spans
        edges = pl.Series([edge for span in spans for edge in span], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
        return pl.lit(edges).search_sorted(pl.col(column), side="right") % 2 == 1
    inside = pl.lit(value=False)
    for start, end in spans:
        inside |= (pl.col(column) >= to_datetime(start)) & (pl.col(column) < to_datetime(end))
    return inside
