"""Which part of a span each rollup can answer, and which has to be read call by call.

Days come from a day rollup where a whole day of the billing zone lies in one step, quarters of an hour from a quarter
rollup, each only where it knows the query's dimensions and stands in for the calls (coverage.py). The rest, and the
open quarter with it, is read from the calls. All of it merges by addition, so the answer does not depend on the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ultimate_lib.clock import to_us
from ultimate_lib.lake import reader
from ultimate_lib.lake.coverage import Standing, covered, day_span, standing
from ultimate_lib.lake.rolled import ROLLUPS
from ultimate_lib.lake.spans import (
    QUARTER_US,
    ceil_quarter,
    floor_quarter,
    intersect,
    subtract,
    touched_quarters,
    union,
    whole_quarters,
)
from ultimate_lib.lake.steps import steps
from ultimate_lib.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import polars as pl

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.query import Query
    from ultimate_lib.lake.rolled import Rollup
    from ultimate_lib.lake.spans import Span

_SUMS = ("day_model", "day_key", "day_use", "day_cube", "quarter_model", "quarter_key")  # the smaller ones first
_BUCKETS = ("day_latency", "quarter_latency")


@dataclass(frozen=True, slots=True)
class Reading:
    """Where sums, or bucket counts, come from."""

    rollups: list[tuple[Standing, list[Span]]] = field(default_factory=list)
    raw: list[Span] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered on one state of the lake."""

    edges: tuple[datetime, ...]  # of the steps; start and end alone without a grain
    sums: Reading
    buckets: Reading

    @property
    def raw(self) -> list[Span]:
        """The spans that are read call by call."""
        return union([*self.sums.raw, *self.buckets.raw])

    @property
    def rolled(self) -> bool:
        """Whether a rollup is asked at all."""
        return bool(self.sums.rollups or self.buckets.rollups)


def zone_of(lake: Lake, query: Query) -> str:
    """Return the time zone of the query's steps."""
    return query.time_zone or lake.settings.billing.time_zone


def edges_of(lake: Lake, query: Query) -> tuple[datetime, ...]:
    """Return the edges of the query's steps; start and end alone without a grain."""
    if query.grain is None:
        return (query.start, query.end)
    return steps(query.start, query.end, query.grain, zone_of(lake, query), lake.settings.billing.week_start)


def make(lake: Lake, query: Query, *, rollups: bool = True) -> Plan:
    """Plan a query that `query.check` has passed; without `rollups` everything is read call by call."""
    edges = edges_of(lake, query)
    measured = any(METRICS[name].measure for name in query.metrics)
    asked = [name for name in _fitting(query, _SUMS) if rollups]
    asked += [name for name in _fitting(query, _BUCKETS) if rollups and measured]
    # first the rollups, then the calls: what is committed in between shows as changed, never as known
    stands = {name: standing(lake, ROLLUPS[name]) for name in asked}
    calls, tail = reader.look(lake)
    late = _touched(tail)
    known = {name: covered(lake, stand, calls, late) for name, stand in stands.items()}
    usable = {name: _usable(lake, query, edges, ROLLUPS[name], spans) for name, spans in known.items()}
    spans = [(to_us(query.start), to_us(query.end))]
    present = union([*((file.first_us, file.last_us + 1) for file in calls.files), *late])
    sums = _reading([stands[name] for name in _SUMS if name in stands], usable, spans, present)
    if not measured:
        return Plan(edges, sums, Reading())
    buckets = _reading([stands[name] for name in _BUCKETS if name in stands], usable, spans, present)
    return Plan(edges, sums, buckets)


def position(lake: Lake) -> tuple[int, int]:
    """Return what an answer depends on: the version of the calls table and the length of the journal's tail."""
    calls, tail = reader.look(lake)
    return calls.version, tail.height


def _fitting(query: Query, names: Sequence[str]) -> list[str]:
    """Return the first rollup of each kind that knows the query's dimensions."""
    found: dict[str, str] = {}
    for name in names:
        rollup = ROLLUPS[name]
        fine = rollup.span == "day" and query.grain in {"minute", "hour"}
        if query.grain != "minute" and not fine and query.dimensions <= set(rollup.dimensions):
            found.setdefault(rollup.span, name)
    return list(found.values())


def _touched(tail: pl.DataFrame) -> list[Span]:
    """Return the quarters in which the journal has calls that the table does not have."""
    starts = tail["started_at"].dt.epoch("us").unique().to_list()
    return touched_quarters((at, at + 1) for at in starts)


def _reading(
    stands: list[Standing], usable: dict[str, list[Span]], spans: list[Span], present: list[Span]
) -> Reading:
    reading = Reading(raw=[])
    left = spans
    for stand in stands:
        mine = intersect(left, usable[stand.rollup.name])  # days go first, and days are whole quarters
        if mine and stand.files:
            reading.rollups.append((stand, mine))
            left = subtract(left, mine)
    reading.raw.extend(intersect(left, present))
    return reading


def _usable(lake: Lake, query: Query, edges: Sequence[datetime], rollup: Rollup, known: list[Span]) -> list[Span]:
    """Return the whole quarters or days among `known` that lie in the query's span, each within one step."""
    spans = intersect([(to_us(query.start), to_us(query.end))], known)
    if rollup.span == "quarter":
        cuts = [to_us(edge) for edge in edges if to_us(edge) % QUARTER_US]
        return whole_quarters(subtract(spans, ((floor_quarter(at), ceil_quarter(at)) for at in cuts)))
    if query.grain is not None and zone_of(lake, query) != lake.settings.billing.time_zone:
        days = {(day_span(lake, to_us(edge)), to_us(edge)) for edge in edges}
        spans = subtract(spans, (day for day, at in days if day[0] != at))
    return [whole for span in spans if (whole := _whole_days(lake, span))[0] < whole[1]]


def _whole_days(lake: Lake, span: Span) -> Span:
    first, last = day_span(lake, span[0]), day_span(lake, span[1])
    return (first[0] if first[0] == span[0] else first[1]), last[0]
