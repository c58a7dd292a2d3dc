"""One pass over the rollups: what is dirty, in portions of about a million calls, one commit a rollup for each.

A day of which a file of calls is quarantined is held back: its rollups are taken away, readers turn to the calls and
say what is missing, and the day is rolled once the file is whole again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

import polars as pl

from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.lake import reader
from ultimate_lib.lake.changes import changed
from ultimate_lib.lake.coverage import (
    BEFORE,
    Standing,
    State,
    day_span,
    file_days,
    file_span,
    frozen,
    gaps,
    made,
    standing,
    touched,
    utc_day,
)
from ultimate_lib.lake.rolled import COLUMNS, ROLLUPS, coarsen, prepared, roll, within
from ultimate_lib.lake.rolled_rows import rows
from ultimate_lib.lake.spans import QUARTER_US, fewer, floor_quarter, intersect, subtract, union
from ultimate_lib.lake.steps import local_day, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.files import File, Snapshot
    from ultimate_lib.lake.rolled import Rollup
    from ultimate_lib.lake.spans import Span

log = logging.getLogger(__name__)

_SETTLE = timedelta(seconds=60)  # after a quarter's end: most of its calls are committed by then
_DAY_SETTLE = timedelta(hours=1)  # after a day's end
_PORTION_CALLS = 1_000_000  # read at a time, if a single day has not more: about 250 MB
_SCANS = 8
_KEEP_UP_S = 3600.0  # well below the time that the log's files are kept
_told: WeakKeyDictionary[Lake, dict[str, float]] = WeakKeyDictionary()
_FINER = {
    "day_model": "quarter_model",
    "day_key": "quarter_key",
    "day_use": "day_cube",
    "day_latency": "quarter_latency",
}


class RolledUp(NamedTuple):
    """What one pass did."""

    calls: int = 0  # counted calls read
    quarters: int = 0  # quarters of an hour rolled
    days: int = 0  # days rolled
    held: int = 0  # days left out because a file of their calls is quarantined
    lost: int = 0  # rollups left to another process that rolls them now

    def __add__(self, other: object) -> RolledUp:
        """Add up two passes."""
        if not isinstance(other, RolledUp):
            return NotImplemented
        return RolledUp(*(one + another for one, another in zip(self, other, strict=True)))


@dataclass(slots=True)
class _Pass:
    """One rollup during one pass: what is to be rolled, and what it may claim in the end."""

    stand: Standing
    dirty: list[Span]
    gaps: list[Span]  # those of the dirty spans that nothing but a missing file tells
    claim: State
    numbers: dict[str, int]  # of the table as this pass has left it
    held: list[Span] = field(default_factory=list)
    lost: bool = False

    @property
    def rollup(self) -> Rollup:
        return self.stand.rollup


def run(lake: Lake, again: Sequence[Span] = ()) -> RolledUp:
    """Roll what is dirty, and the quarters and days that `again` touches."""
    stands = [standing(lake, rollup) for rollup in ROLLUPS.values()]  # before the calls: see coverage.py
    calls = lake.calls.snapshot()
    if calls.version < 0:
        return RolledUp()
    passes = [_plan(lake, stand, calls, again) for stand in stands if stand.numbers]
    for one in passes:
        _hold_back(lake, one, calls)
    held = union(span for one in passes for span in one.held)
    if held:
        log.error("lake: %d days are not rolled up: a file of their calls is quarantined.", len(held))
    _keep_up(lake, [one for one in passes if not one.dirty and not one.held and not one.lost])
    passes = [one for one in passes if one.dirty and not one.lost]
    done = RolledUp(held=len(held))
    portions = list(_portions(lake, passes, calls))
    for number, days in enumerate(portions, start=1):
        done += _roll(lake, passes, days, last=number == len(portions))
    return done._replace(lost=sum(one.lost for one in passes))


# -- what is to be rolled ------------------------------------------------------------------------------------------


def _plan(lake: Lake, stand: Standing, calls: Snapshot, again: Sequence[Span]) -> _Pass:
    until = _closed_until(lake, stand.rollup)
    state = stand.state
    news = None if state is None else changed(lake, state.version)
    spans = present = union((file.first_us, file.last_us + 1) for file in calls.files)
    holes: list[Span] = []
    if state is not None and news is not None:
        until = max(until, state.until)  # the clock may have been set back
        holes = touched(lake, stand.rollup, gaps(lake, stand, calls))
        spans = [*intersect(present, [*news, (state.until, until), *again]), *holes]
    dirty = intersect(touched(lake, stand.rollup, spans), [(BEFORE, until)])
    if state is not None:
        dirty = subtract(dirty, frozen(lake, stand.rollup))
    return _Pass(stand, dirty, holes, State(calls.version, until), dict(stand.numbers))


def _keep_up(lake: Lake, passes: Sequence[_Pass]) -> None:
    """Let rollups with nothing to roll (days, until midnight) tell each hour that they have seen the calls' commits.

    The log's files go after some hours; one that claims an older version would have to be built anew.
    """
    now = lake.clock.monotonic()
    told = _told.setdefault(lake, {})
    for one in passes:
        behind = one.stand.state is not None and one.stand.state.version < one.claim.version
        if behind and now - told.setdefault(one.rollup.name, now) >= _KEEP_UP_S:
            told[one.rollup.name] = now
            _commit(one, [], [], {"calls": one.claim.version + 1, "until": one.claim.until // QUARTER_US})


def _hold_back(lake: Lake, one: _Pass, calls: Snapshot) -> None:
    """Take away, before anything is added, rows that are worthless or of days that cannot be rolled.

    A missing file says that a day is not rolled. It will be there as soon as a part of the day is, so the claim is
    drawn back behind it first.
    """
    stand = one.stand
    bad = touched(lake, stand.rollup, _quarantined(lake, one.dirty, calls))
    one.held = file_days(lake, stand.rollup, intersect(one.dirty, bad))
    one.dirty = subtract(one.dirty, one.held)
    holes = intersect(one.gaps, one.dirty)
    files = [*stand.files, *stand.bad]
    claims: dict[str, int] = {}
    if stand.state is None:
        claims = {"made": 0} if files else {}
    else:
        files = [file for file in files if intersect([file_span(lake, stand.rollup, file)], one.held)]
        if holes:
            claims = {"until": min(stand.state.until, holes[0][0]) // QUARTER_US}
    if files or claims:
        _commit(one, [], files, claims)


def _closed_until(lake: Lake, rollup: Rollup) -> int:
    now = lake.clock.now()
    if rollup.span == "quarter":
        return floor_quarter(to_us(now - _SETTLE))
    zone = ZoneInfo(lake.settings.billing.time_zone)
    return to_us(midnight(local_day(now - _DAY_SETTLE, zone), zone))


def _portions(lake: Lake, passes: Sequence[_Pass], calls: Snapshot) -> Iterator[list[Span]]:
    """Yield sets of whole days that together hold everything dirty."""
    portion: list[Span] = []
    count = 0.0
    for day in days_of(lake, union(span for one in passes for span in one.dirty)):
        portion.append(day)
        count += sum(_share(file, day) for file in calls.files)
        if count >= _PORTION_CALLS:
            yield portion
            portion, count = [], 0.0
    if portion:
        yield portion


def days_of(lake: Lake, spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the days of the billing zone that spans touch."""
    after = BEFORE
    for start, end in union(spans):
        at = max(start, after)
        while at < end:
            day = day_span(lake, at)
            yield day
            at = after = day[1]


def _share(file: File, day: Span) -> float:
    """Estimate how many of a file's rows lie in a day."""
    inside = min(file.last_us + 1, day[1]) - max(file.first_us, day[0])
    return file.rows * inside / (file.last_us + 1 - file.first_us) if inside > 0 else 0.0


# -- rolling it ----------------------------------------------------------------------------------------------------


def _roll(lake: Lake, passes: Sequence[_Pass], days: list[Span], *, last: bool) -> RolledUp:
    asked = {one.rollup.name: intersect(one.dirty, days) for one in passes if not one.lost}
    read = union(span for spans in asked.values() for span in spans)
    calls = _read(lake, read)
    frames: dict[str, pl.DataFrame] = {}
    for one in passes:
        if one.lost:
            continue
        spans = asked[one.rollup.name]
        finer = _FINER.get(one.rollup.name, "")
        if finer in frames and not subtract(spans, asked[finer]):
            frame = _coarser(lake, one.rollup, frames[finer], spans)
        else:
            frame = _rolled(lake, one.rollup, calls, spans, whole=spans == read)
        frames[one.rollup.name] = frame
        _replace(lake, one, frame, spans, last=last)
    return RolledUp(
        calls=calls.height,
        quarters=sum(end - start for start, end in asked.get("quarter_model", [])) // QUARTER_US,
        days=sum(1 for _ in days_of(lake, asked.get("day_cube", []))),
    )


def _quarantined(lake: Lake, spans: list[Span], calls: Snapshot) -> list[Span]:
    """Return the spans of the files of calls that fail their checksum."""
    files = [file for file in calls.files if intersect([(file.first_us, file.last_us + 1)], spans)]
    good = lake.manifest.good([lake.calls.path(file) for file in files])
    return [(file.first_us, file.last_us + 1) for file, fine in zip(files, good, strict=True) if not fine]


def _read(lake: Lake, spans: list[Span]) -> pl.DataFrame:
    scans = [
        reader.scan_calls(lake, to_datetime(start), to_datetime(end), COLUMNS) for start, end in fewer(spans, _SCANS)
    ] or [reader.scan_calls(lake, to_datetime(0), to_datetime(0), COLUMNS)]
    return prepared(pl.concat(scans).filter(within(spans))).collect(engine="streaming")


def _rolled(lake: Lake, rollup: Rollup, calls: pl.DataFrame, spans: list[Span], *, whole: bool) -> pl.DataFrame:
    if not spans:
        return pl.DataFrame(schema=rollup.polars)
    wanted = calls.lazy() if whole else calls.lazy().filter(within(spans))
    starts = [start for start, _ in days_of(lake, spans)]
    return roll(rollup, wanted, starts).collect(engine="streaming")


def _coarser(lake: Lake, rollup: Rollup, quarters: pl.DataFrame, spans: list[Span]) -> pl.DataFrame:
    if not spans:
        return pl.DataFrame(schema=rollup.polars)
    starts = [start for start, _ in days_of(lake, spans)]
    return coarsen(rollup, quarters.lazy().filter(within(spans)), starts).collect(engine="streaming")


def _replace(lake: Lake, one: _Pass, frame: pl.DataFrame, spans: list[Span], *, last: bool) -> None:
    """Put the new rows in the place of those of `spans`; with the last ones goes what the rollup may claim."""
    rollup, table = one.rollup, one.stand.table
    old = [file for file in table.snapshot().files if intersect([file_span(lake, rollup, file)], spans)]
    good = lake.manifest.good([table.path(file) for file in old])
    now = Standing(rollup, table, tuple(file for file, fine in zip(old, good, strict=True) if fine))
    kept = rows(lake, now, subtract((file_span(lake, rollup, file) for file in now.files), spans)).collect()
    days = file_days(lake, rollup, spans)
    whole = pl.concat([kept, frame])
    whole = pl.concat([whole, _nothing(lake, rollup, days, whole)]).sort("started_at", maintain_order=True)
    claims: dict[str, int] = {}
    if last:
        claims = {"made": made(lake, rollup), "calls": one.claim.version + 1, "until": one.claim.until // QUARTER_US}
    if old or whole.height or claims:
        _commit(one, table.write(whole), old, claims)


def _nothing(lake: Lake, rollup: Rollup, spans: list[Span], found: pl.DataFrame) -> pl.DataFrame:
    """Return a row that counts nothing for each day without rows, so that its file says that the day is rolled."""
    day = utc_day if rollup.span == "quarter" else partial(day_span, lake)
    rolled = {day(at) for at in found["started_at"].dt.epoch("us").unique()}
    empty: list[int] = []
    for start, end in spans:
        at = start
        while at < end:
            if day(at) not in rolled:
                empty.append(at)
            at = day(at)[1]
    counts = pl.lit(0, dtype=pl.Int64).alias("n" if rollup.buckets else "requests")
    started = pl.from_epoch("started_at", "us").dt.replace_time_zone("UTC")
    nothing = pl.DataFrame({"started_at": empty}, schema={"started_at": pl.Int64}).select(started, counts)
    others = [pl.lit(None, dtype=kind).alias(name) for name, kind in rollup.polars.items() if name not in nothing]
    return nothing.with_columns(others).select(list(rollup.polars))


def _commit(one: _Pass, adds: list[File], removes: list[File], claims: dict[str, int]) -> None:
    numbers = {**one.numbers, **claims, "step": one.numbers["step"] + 1}
    version = one.stand.table.commit(adds, removes, transactions=numbers, expected=one.numbers)
    if version is None:
        log.info("lake: another process rolls up %s now.", one.rollup.name)
        one.lost = True
    one.numbers = numbers
