"""Keeping the rollups: bring them up to the calls, build them anew, compare them with the calls, read them.

    rollup.update(lake)                                   # the worker, every minute
    rollup.scan_rollup(lake, "day_model", start, end)     # LazyFrame

A quarter of an hour is rolled once it is over; it is rolled again, whole, when calls of it come later: long calls,
imports of old logs. A day is rolled an hour after it ended in the billing zone. A day's rows of a rollup are one
file, replaced by one Delta commit; the commit that is the last of a pass carries how far the rollup has got (see
coverage.py). A kill anywhere leaves a rollup that claims less than it has, and the next pass does the rest again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import NotFound
from ultimate_lib.lake import reader, rolling
from ultimate_lib.lake.coverage import AFTER, BEFORE, covered, frozen, standing, table
from ultimate_lib.lake.optimize import maintain
from ultimate_lib.lake.rolled import COLUMNS, ROLLUPS, prepared, roll
from ultimate_lib.lake.rolled_rows import rows
from ultimate_lib.lake.rolling import RolledUp, days_of
from ultimate_lib.lake.spans import intersect, subtract, union

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.coverage import Standing
    from ultimate_lib.lake.spans import Span


class Difference(NamedTuple):
    """A day in which a rollup does not say what the calls say."""

    rollup: str
    start: datetime
    end: datetime
    rows: int  # of the rollup
    expected: int  # rows made of the calls


def update(lake: Lake) -> RolledUp:
    """Roll every closed quarter and day that is not rolled or has gained calls. Idempotent; may be killed anywhere.

    Two at a time do no harm: the later one finds its state taken and leaves the rest to the next pass. Raises
    `Unavailable` when the lake cannot be written, `Corrupt` when the calls' log cannot be trusted.
    """
    done = rolling.run(lake)
    if done.calls or done.quarters or done.days:
        for rollup in ROLLUPS.values():
            maintain(lake, table(lake, rollup))
    return done


def rebuild(lake: Lake, start: datetime | None = None, end: datetime | None = None) -> RolledUp:
    """Roll again all quarters and days that [start, end) touches; without both, all there are.

    A span whose calls were dropped (retention) keeps its rollups: there is nothing left to build them from.
    """
    return rolling.run(lake, [(BEFORE if start is None else to_us(start), AFTER if end is None else to_us(end))])


def scan_rollup(lake: Lake, grain: str, start: datetime, end: datetime) -> pl.LazyFrame:
    """Return the rows of the rollup `grain` (a name in `rolled.ROLLUPS`) whose quarter or day starts in [start, end).

    Columns: `started_at` (UTC), dimensions, and the parts of the metric table, or `measure`, `bucket`, `n`. Only what
    is rolled is there; `numbers` adds what is not. Raises `NotFound` for another name.
    """
    rollup = ROLLUPS.get(grain)
    if rollup is None:
        raise NotFound(f"There is no rollup called '{grain}'.", hint=f"Known: {', '.join(ROLLUPS)}.")
    stand = standing(lake, rollup)
    if stand.state is None:
        return pl.LazyFrame(schema=rollup.polars)
    return rows(lake, stand, [(to_us(start), to_us(end))])


def verify(lake: Lake) -> list[Difference]:
    """Compare every rollup, where it stands in for the calls, with what the calls give now, a day at a time.

    Days whose calls were dropped are passed over. Reads the whole lake once a rollup.
    """
    return [difference for rollup in ROLLUPS.values() for difference in _verify(lake, standing(lake, rollup))]


def _verify(lake: Lake, stand: Standing) -> Iterator[Difference]:
    calls = lake.calls.snapshot()
    present = union((file.first_us, file.last_us + 1) for file in calls.files)
    known = subtract(covered(lake, stand, calls, []), frozen(lake, stand.rollup))
    for day in days_of(lake, present):
        for start, end in intersect([day], known):
            expected = _expected(lake, stand, (start, end), day)
            found = rows(lake, stand, [(start, end)]).collect()
            keys = ["started_at", *stand.rollup.keys]
            if not found.sort(keys).equals(expected.sort(keys)):
                yield Difference(
                    stand.rollup.name, to_datetime(start), to_datetime(end), found.height, expected.height
                )


def _expected(lake: Lake, stand: Standing, span: Span, day: Span) -> pl.DataFrame:
    calls = reader.scan_calls(lake, to_datetime(span[0]), to_datetime(span[1]), COLUMNS)
    return roll(stand.rollup, prepared(calls), [day[0]]).select(list(stand.rollup.polars)).collect()
