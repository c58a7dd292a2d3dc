"""Numbers from the calls: one row, a time series, or a breakdown; from rollups where they do, else call by call.

    query = Query(metrics=("cost_usd", "latency_p95_ms"), by=("model",), start=start, end=end)
    breakdown(lake, query).frame

Answers are kept in the process by query and state of the lake, so asking again costs a look at the lake. With a
`compute`, a question that has to read many calls one by one is answered in a process of its own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec
import polars as pl

from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import Invalid, Unavailable
from ultimate_lib.lake import Lake
from ultimate_lib.lake import plan as planning
from ultimate_lib.lake.calls import Page
from ultimate_lib.lake.calls import page as calls
from ultimate_lib.lake.merges import STEP, Merges
from ultimate_lib.lake.query import Answer, Query, check
from ultimate_lib.metrics import COUNTS, METRICS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.compute import Compute
    from ultimate_lib.lake.spans import Span
    from ultimate_lib.settings import Settings

__all__ = ["Answer", "Page", "Query", "aggregate", "breakdown", "calls", "raw_calls", "timeseries"]

APART_CALLS = 2_000_000  # to be read one by one: some seconds, and hundreds of MB for a while
_LONGEST_S = 300.0
MOST_ROWS = 1_000_000  # of a time series
_GROUPS = 100  # of a breakdown, without a limit
_KEPT = 256
_KEPT_BYTES = 64 * 1024 * 1024
_LARGEST_BYTES = _KEPT_BYTES // 8  # an answer that is larger is made anew each time
_guard = threading.Lock()
_kept: WeakKeyDictionary[Lake, OrderedDict[bytes, Answer]] = WeakKeyDictionary()


def aggregate(lake: Lake, query: Query, compute: Compute | None = None) -> Answer:
    """Return one row: each metric over all calls of the span.

    Raises `Invalid` with `by` or a `grain`, and as `query.check`.
    """
    check(query)
    if query.by or query.grain:
        raise Invalid("An aggregate is one row.", hint="Ask for a breakdown by dimensions, or a time series.")
    return _kept_answer(lake, query, _aggregate, compute)


def breakdown(lake: Lake, query: Query, compute: Compute | None = None) -> Answer:
    """Return a row a group, ordered by a metric (nulls last); the first `limit`, 100 if not told.

    Raises `Invalid` without `by`, with a `grain`, and as `query.check`.
    """
    check(query)
    if not query.by or query.grain:
        raise Invalid("A breakdown has dimensions and no grain.", hint="Give `by`, or ask for a time series.")
    return _kept_answer(lake, query, _breakdown, compute)


def timeseries(lake: Lake, query: Query, compute: Compute | None = None) -> Answer:
    """Return a row a step and, with `by`, a group: the first `limit` groups over the whole span, all if not told.

    Every step of the span is there: one without calls has 0 requests and null for what is not known. The first and
    last step may reach over the span; only calls inside it count. Raises `Invalid` without a grain, for more than
    10,000 steps or a million rows, and as `query.check`.
    """
    check(query)
    if query.grain is None:
        raise Invalid("A time series needs a grain.", hint="Give minute, hour, day, week or month.")
    return _kept_answer(lake, query, _timeseries, compute)


def raw_calls(lake: Lake, query: Query) -> int:
    """Estimate how many calls the query has to read one by one: what to run through `compute` and what at once."""
    check(query)
    spans = planning.make(lake, query).raw
    return round(
        sum(_inside(file.first_us, file.last_us + 1, file.rows, spans) for file in lake.calls.snapshot().files)
    )


def _apart(lake: Lake, query: Query, make: Callable[[Lake, Query], Answer], compute: Compute) -> Answer:
    task = compute.submit(_made, lake.settings, make, query)
    try:
        return compute.gather([task], timeout_s=_LONGEST_S)[0]
    except TimeoutError as error:
        raise Unavailable(
            f"This question reads many calls one by one and takes longer than {_LONGEST_S:g} s.",
            hint="Ask for a shorter span, or for dimensions that rollups have.",
            code="question_long",
        ) from error


def _made(settings: Settings, make: Callable[[Lake, Query], Answer], query: Query) -> Answer:
    """Answer in a process of the pool."""
    return make(Lake.open(settings, SystemClock()), query)


def _inside(start: int, end: int, count: int, spans: list[Span]) -> float:
    inside = sum(max(0, min(end, last) - max(start, first)) for first, last in spans)
    return count * inside / (end - start)


def _kept_answer(lake: Lake, query: Query, make: Callable[[Lake, Query], Answer], compute: Compute | None) -> Answer:
    key = msgspec.msgpack.encode((make.__name__, *planning.position(lake), query))
    with _guard:
        kept = _kept.setdefault(lake, OrderedDict())
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
    if compute is None or raw_calls(lake, query) < APART_CALLS:
        answer = make(lake, query)
    else:
        answer = _apart(lake, query, make, compute)
    if (
        not answer.missing_files and answer.frame.estimated_size() <= _LARGEST_BYTES
    ):  # a file put back is seen at once
        with _guard:
            kept[key] = answer
            while len(kept) > _KEPT or sum(one.frame.estimated_size() for one in kept.values()) > _KEPT_BYTES:
                kept.popitem(last=False)
    return answer


# -- the three shapes ----------------------------------------------------------------------------------------------


def _aggregate(lake: Lake, query: Query) -> Answer:
    plan = planning.make(lake, query)
    merges = Merges(lake, query, plan)
    return merges.answer(merges.evaluate([]))


def _breakdown(lake: Lake, query: Query) -> Answer:
    plan = planning.make(lake, query)
    merges = Merges(lake, query, plan)
    groups = merges.ordered(merges.evaluate(list(query.by)))
    return merges.answer(groups.head(query.limit or _GROUPS))


def _timeseries(lake: Lake, query: Query) -> Answer:
    plan = planning.make(lake, query)
    merges = Merges(lake, query, plan)
    zone = planning.zone_of(lake, query)
    starts = pl.Series(STEP, list(plan.edges[:-1]), dtype=pl.Datetime("us", "UTC")).to_frame()
    keys = [STEP, *query.by]
    found = merges.evaluate(keys)
    grid = starts
    if query.by:
        groups = merges.ordered(merges.evaluate(list(query.by))).select(query.by)
        groups = groups.head(query.limit) if query.limit else groups
        if groups.height * starts.height > MOST_ROWS:
            raise Invalid(
                f"{starts.height:,} steps of {groups.height:,} groups are more than {MOST_ROWS:,} rows.",
                hint="Give a limit, a coarser grain or a shorter span.",
                code="too_many_rows",
            )
        grid = starts.join(groups, how="cross")
    series = grid.join(found, on=keys, how="left", nulls_equal=True, maintain_order="left")
    counts = [name for name in query.metrics if METRICS[name].parts == (name,) and name in COUNTS]
    return merges.answer(series.with_columns(pl.col(STEP).dt.convert_time_zone(zone), pl.col(counts).fill_null(0)))
