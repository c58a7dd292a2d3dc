"""Numbers of the lake over REST: aggregate, timeseries, breakdown, calls.

The arithmetic is in `ultimate_lib.lake.numbers`; here a request becomes its query, narrowed to what the caller may
see, and its frame becomes rows. Nulls stay null: unknown is not zero.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from proxy_server.control.api import span
from proxy_server.control.params import Names
from ultimate_lib.access import views
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from proxy_server.control.answers import Caller
    from ultimate_lib.lake.query import Answer, Query
    from ultimate_lib.workbench import Workbench

ALIASES = {
    "cost": "cost_usd",
    "tokens": "total_tokens",
    "error_rate": "error_ratio",
    "latency": "latency_p95_ms",
}
"""Shorter names that clients of the public system use."""
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_GRAIN_UP_TO = ((timedelta(hours=3), "minute"), (timedelta(days=4), "hour"), (timedelta(days=120), "day"))

Metrics = Annotated[Names, Meta(description="Names of metrics between commas.")]
Groups = Annotated[Names, Meta(description="Dimensions between commas.")]
Limit = Annotated[int, Meta(ge=1, le=10_000, description="Most rows.")]
Start = Annotated[str, Meta(description="First day, or an instant; inclusive.")]
End = Annotated[str, Meta(description="Last day, inclusive, or an instant, exclusive; default: now.")]
Filter = Annotated[
    tuple[str, ...],
    Meta(
        description="dimension:value; 'dimension:' stands for calls without one. "
        "Repeat it: the same dimension means or, another means and."
    ),
]
Zone = Annotated[str, Meta(description="IANA time zone that cuts days; default: the billing zone.")]


class Spanned(Struct, kw_only=True):
    """What every question has."""

    start: Start = ""
    end: End = ""
    time_zone: Zone = ""
    filter: Filter = ()


class Aggregate(Spanned, kw_only=True):
    """One row, or one a group. Default: the last 24 hours."""

    metrics: Metrics = ("requests", "errors", "total_tokens", "cost_usd", "unpriced_requests")
    by: Groups = ()
    order_by: Annotated[str, Meta(description="One of the metrics; with '-' in front, ascending.")] = ""
    limit: Limit = 1000


class Timeseries(Spanned, kw_only=True):
    """One row a step of time, and a group. Default: the last 7 days."""

    metrics: Metrics = ("requests", "cost_usd")
    by: Groups = ()
    grain: Annotated[str, Meta(description="minute, hour, day, week or month; default: by the span's length.")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="Most groups, the largest first.")] = 100


class Breakdown(Spanned, kw_only=True):
    """The largest groups. Default: the last 7 days."""

    by: Groups
    metrics: Metrics = ("cost_usd", "requests", "total_tokens")
    order_by: Annotated[
        str, Meta(description="One of the metrics; with '-' in front, ascending; default: the first.")
    ] = ""
    limit: Limit = 20


class Calls(Spanned, kw_only=True):
    """Single calls, newest first. Default: the last 24 hours."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Most calls on a page.")] = 50
    cursor: Annotated[str, Meta(description="`next_cursor` of the page before.")] = ""


class Missing(Struct):
    """What could not be read and is therefore not in the numbers."""

    files: int
    rows: int | None


class Rows(Struct, kw_only=True):
    """Rows of numbers, and what they are about."""

    rows: list[dict[str, Any]]
    start: datetime
    end: datetime
    time_zone: str
    grain: str | None  # each row then has `step_at`, the step's start in the time zone
    source: str
    missing: Missing
    unpriced_requests: int  # calls in the rows whose cost is not known
    units: dict[str, str]


class CallPage(Struct, kw_only=True):
    """A page of calls."""

    rows: list[dict[str, Any]]
    start: datetime
    end: datetime
    time_zone: str
    missing: Missing
    next_cursor: str | None


def aggregate(bench: Workbench, caller: Caller, asked: Aggregate) -> Rows:
    """Return metrics over a span."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

    query = _query(bench, caller, asked, default=_DAY, order_by=asked.order_by)
    answer = numbers.breakdown if query.by else numbers.aggregate
    return _rows(query, answer(bench.lake, query, bench.compute))


def timeseries(bench: Workbench, caller: Caller, asked: Timeseries) -> Rows:
    """Return metrics over a span, step by step."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

    query = _query(bench, caller, asked, default=_WEEK, order_by="", grain=asked.grain)
    return _rows(query, numbers.timeseries(bench.lake, query, bench.compute))


def breakdown(bench: Workbench, caller: Caller, asked: Breakdown) -> Rows:
    """Return the largest groups of a span."""
    from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

    if not asked.by:
        raise Invalid("A breakdown needs 'by'.", hint="Give by=model, say.", code="parameter_missing")
    query = _query(bench, caller, asked, default=_WEEK, order_by=asked.order_by)
    return _rows(query, numbers.breakdown(bench.lake, query, bench.compute))


def calls(bench: Workbench, caller: Caller, asked: Calls) -> CallPage:
    """Return a page of single calls."""
    from ultimate_lib.lake.calls import page  # noqa: PLC0415 - the lake's libraries load with the first question

    zone = asked.time_zone or bench.settings.billing.time_zone
    within = span.read(asked.start, asked.end, zone, clock=bench.clock, default=_DAY)
    wanted = where(caller, asked.filter)
    found = page(bench.lake, within.start, within.end, wanted, limit=asked.limit, cursor=asked.cursor or None)
    return CallPage(
        rows=rows_of(found.frame),
        start=within.start,
        end=within.end,
        time_zone=zone,
        missing=Missing(found.missing_files, found.missing_rows),
        next_cursor=found.cursor,
    )


def _query(  # noqa: PLR0917 - the parts of a question
    bench: Workbench,
    caller: Caller,
    asked: Aggregate | Timeseries | Breakdown,
    default: timedelta,
    order_by: str,
    grain: str | None = None,
) -> Query:
    from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above

    zone = asked.time_zone or bench.settings.billing.time_zone
    within = span.read(asked.start, asked.end, zone, clock=bench.clock, default=default)
    ordered = order_by.removeprefix("-")
    if grain is not None:
        length = within.end - within.start
        grain = grain or next((name for most, name in _GRAIN_UP_TO if length <= most), "week")
    return Query(
        metrics=tuple(dict.fromkeys(ALIASES.get(name, name) for name in asked.metrics)),
        start=within.start,
        end=within.end,
        by=tuple(dict.fromkeys(asked.by)),
        grain=grain,
        where=where(caller, asked.filter),
        time_zone=zone,
        order_by=ALIASES.get(ordered, ordered) or None,
        descending=ordered == order_by,
        limit=asked.limit,
    )


def where(caller: Caller, filters: Iterable[str]) -> dict[str, tuple[str | None, ...]]:
    """Return the filters, narrowed to what the caller may see. Raises `Invalid`, `Denied`."""
    found: dict[str, tuple[str | None, ...]] = {}
    for text in filters:
        name, colon, value = text.partition(":")
        if not colon:
            raise Invalid(
                f"The filter '{text[:60]}' is no dimension:value.", hint="Write project:search.", code="filter"
            )
        found[name] = (*found.get(name, ()), value or None)
    return views.narrowed(caller.known, found)


def _rows(query: Query, answer: Answer) -> Rows:
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    return Rows(
        rows=rows_of(answer.frame),
        start=query.start,
        end=query.end,
        time_zone=query.time_zone or "UTC",  # `_query` always names one
        grain=query.grain,
        source=answer.source,
        missing=Missing(answer.missing_files, answer.missing_rows),
        unpriced_requests=answer.unpriced_requests,
        units={name: METRICS[name].unit for name in query.metrics},
    )


def rows_of(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows as JSON can say them: what is not a finite number is null."""
    return [{name: plain(value) for name, value in row.items()} for row in frame.iter_rows(named=True)]


def plain(value: Any) -> Any:
    """Return a value as JSON can say it."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
