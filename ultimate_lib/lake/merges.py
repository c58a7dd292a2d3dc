"""The parts and bucket counts of a query, taken from rollups and calls as its plan says, and merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.lake import reader
from ultimate_lib.lake.query import Answer
from ultimate_lib.lake.rolled import start_of, within
from ultimate_lib.lake.rolled_rows import rows
from ultimate_lib.lake.spans import fewer
from ultimate_lib.metrics import COUNTED, DIMENSIONS, MEASURED, METRICS, bucket, merged, quantiles, row_parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.plan import Plan
    from ultimate_lib.lake.query import Query, Source
    from ultimate_lib.lake.spans import Span

STEP = "step_at"
_ALL = "_all"  # a key that all rows share
_NTH = "_nth"  # of the rows that a call with several values of a dimension gives
_ONCE = "_unpriced"
_SCANS = 8


class Merges:
    """A query's sums and bucket counts by step and group; small, read once."""

    def __init__(self, lake: Lake, query: Query, plan: Plan) -> None:
        self._lake, self._query, self._plan = lake, query, plan
        self._keys = [_ALL, *([STEP] if query.grain else []), *query.by]
        asked = [METRICS[name] for name in query.metrics]
        self._parts = sorted({"requests", "unpriced_requests"} | {part for metric in asked for part in metric.parts})
        self._measures = sorted({metric.measure for metric in asked if metric.measure})
        plans = [self._sums(), *([self._counts()] if self._measures else [])]
        self._sums_frame, *counts = pl.collect_all(plans, engine="streaming")
        self._counts_frame = counts[0] if counts else pl.DataFrame()

    def evaluate(self, keys: Sequence[str]) -> pl.DataFrame:
        """Return the metrics by some of the keys that were merged by; without keys one row, whatever there is."""
        query = self._query
        if keys:
            parts = self._sums_frame.group_by(keys).agg(merged(self._parts))
        else:
            keys = [_ALL]
            parts = self._sums_frame.select(pl.lit(0, dtype=pl.Int32).alias(_ALL), *merged(self._parts))
        values = [value.alias(name) for name in query.metrics if (value := METRICS[name].value) is not None]
        frame = parts.select(*keys, *values)
        for measure in self._measures:
            asked = {
                name: METRICS[name].quantile or 0.0 for name in query.metrics if METRICS[name].measure == measure
            }
            counts = self._counts_frame.lazy().filter(pl.col("measure") == measure)
            counts = counts.group_by(*keys, "bucket").agg(pl.col("n").sum())
            found = quantiles(counts, list(keys), asked).collect()
            frame = frame.join(found, on=list(keys), how="left", nulls_equal=True)
        return frame

    def ordered(self, groups: pl.DataFrame) -> pl.DataFrame:
        """Sort groups by the metric asked for, nulls last, and equals by name."""
        by = self._query.order_by or self._query.metrics[0]
        descending = [self._query.descending, *([False] * len(self._query.by))]
        return groups.sort(by, *self._query.by, descending=descending, nulls_last=True)

    def answer(self, frame: pl.DataFrame) -> Answer:
        """Return the frame with what is to be said about it."""
        missing = [reader.missing(self._lake, to_datetime(start), to_datetime(end)) for start, end in self._plan.raw]
        lost = [one.rows for one in missing if one.files]
        source: Source = "raw"
        if self._plan.rolled:
            source = "both" if self._plan.raw else "rollup"
        return Answer(
            frame.select([*([STEP] if self._query.grain else []), *self._query.by, *self._query.metrics]),
            source,
            missing_files=sum(one.files for one in missing),
            missing_rows=None if None in lost else sum(count for count in lost if count is not None),
            unpriced_requests=int(self._sums_frame[_ONCE].sum()),
        )

    # -- reading ---------------------------------------------------------------------------------------------------

    def _sums(self) -> pl.LazyFrame:
        reading, dimensions = self._plan.sums, sorted(self._query.dimensions)
        frames = [
            self._rolled(rows(self._lake, stand, spans, [*dimensions, *self._parts])).with_columns(
                pl.lit(0).alias(_NTH)
            )
            for stand, spans in reading.rollups
        ]
        if reading.raw or not frames:
            frames.append(self._calls(reading.raw, row_parts(self._parts)))
        once = pl.when(pl.col(_NTH) == 0).then("unpriced_requests").sum().alias(_ONCE)
        return pl.concat(frame.group_by(self._keys).agg(*merged(self._parts), once) for frame in frames)

    def _counts(self) -> pl.LazyFrame:
        reading, dimensions = self._plan.buckets, sorted(self._query.dimensions)
        frames = []
        for stand, spans in reading.rollups:
            found = rows(self._lake, stand, spans, [*dimensions, "measure", "bucket"])
            counted = self._rolled(found).filter(pl.col("measure").is_in(self._measures))
            frames.append(counted.group_by(*self._keys, "measure", "bucket").agg(pl.col("n").sum()))
        if reading.raw or not frames:
            buckets = [pl.when(MEASURED).then(bucket(name)).alias(name) for name in self._measures]
            calls = self._calls(reading.raw, buckets)
            for name in self._measures:
                groups = calls.filter(pl.col(name).is_not_null()).group_by(*self._keys, pl.col(name).alias("bucket"))
                counted = groups.agg(pl.len().cast(pl.Int64).alias("n")).with_columns(pl.lit(name).alias("measure"))
                frames.append(counted.select(*self._keys, "measure", "bucket", "n"))
        return pl.concat(frames)

    def _rolled(self, rollup: pl.LazyFrame) -> pl.LazyFrame:
        for name, values in self._query.where.items():
            rollup = rollup.filter(_one_of(pl.col(name), values))
        return rollup.with_columns(self._marks())

    def _calls(self, spans: list[Span], values: Sequence[pl.Expr]) -> pl.LazyFrame:
        """Return counted calls of the spans that pass the filters, as keys and values."""
        scans = [reader.scan_calls(self._lake, to_datetime(a), to_datetime(b)) for a, b in fewer(spans, _SCANS)]
        if not scans:
            scans = [reader.scan_calls(self._lake, to_datetime(0), to_datetime(0))]
        calls = pl.concat(scans).filter(within(spans), COUNTED, *matching(self._query.where))
        groups = [DIMENSIONS[name].value for name in self._query.by]
        found = calls.select(*groups, *self._marks(), *values, pl.lit(0, dtype=pl.Int64).alias(_NTH))
        if _is_multiple(self._query):
            (name,) = (name for name in self._query.by if DIMENSIONS[name].multiple)
            several = pl.int_ranges(pl.max_horizontal(pl.col(name).list.len().fill_null(0).cast(pl.Int64), 1))
            named = (
                pl.when(pl.col(name).list.len() > 0).then(name).otherwise(pl.lit([None], dtype=pl.List(pl.String)))
            )
            found = found.with_columns(named.alias(name), several.alias(_NTH)).explode(name, _NTH)
        return found

    def _marks(self) -> list[pl.Expr]:
        marks = [pl.lit(0, dtype=pl.Int32).alias(_ALL)]
        if self._query.grain:
            starts = [to_us(edge) for edge in self._plan.edges[:-1]]
            marks.append(start_of(pl.col("started_at"), starts).alias(STEP))
        return marks


def matching(where: Mapping[str, Sequence[str | None]]) -> list[pl.Expr]:
    """Return the conditions on a call that a query's filters stand for."""
    return [
        _has_one_of(pl.col(*DIMENSIONS[name].columns), wanted)
        if DIMENSIONS[name].multiple
        else _one_of(DIMENSIONS[name].value, wanted)
        for name, wanted in where.items()
    ]


def _one_of(value: pl.Expr, wanted: Sequence[str | None]) -> pl.Expr:
    return value.is_in(pl.Series(wanted, dtype=pl.String).implode(), nulls_equal=True)


def _has_one_of(values: pl.Expr, wanted: Sequence[str | None]) -> pl.Expr:
    found = pl.lit(value=False)
    for one in wanted:
        found |= (values.list.len().fill_null(0) == 0) if one is None else values.list.contains(one).fill_null(False)
    return found


def _is_multiple(query: Query) -> bool:
    return any(DIMENSIONS[name].multiple for name in query.by)
