"""What the rollups know: their tables, how far each has got, and for which instants it stands in for the calls.

A rollup's commit carries, as Delta transaction numbers in the same atomic log entry as its rows,
* `made`: a fingerprint of how its rows are made (edition, columns, for days the billing zone); another is worthless,
* `calls`: the version of the calls table it has seen, plus one,
* `until`: the instant (quarters of an hour since 1970) before which everything in that version is rolled.
* `step`: a count of commits, by which two processes that roll at the same time notice each other.
So it stands in for the calls before `until`, less what the calls table has gained since, less what is still in the
journal, less the days whose rollup file is not there or fails its checksum. All else is read from the calls.
"""

from __future__ import annotations

import logging
import threading
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import Corrupt
from ultimate_lib.lake.changes import changed
from ultimate_lib.lake.delta import Table
from ultimate_lib.lake.rolled import EDITION
from ultimate_lib.lake.spans import QUARTER_US, intersect, subtract, touched_quarters, union
from ultimate_lib.lake.steps import local_day, midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.files import File, Snapshot
    from ultimate_lib.lake.rolled import Rollup
    from ultimate_lib.lake.spans import Span

log = logging.getLogger(__name__)

NUMBERS = ("made", "calls", "until", "step")
DROPPED = "dropped"
"""Under this number of the calls table: the UTC day (its ordinal) before which retention has taken calls out."""
BEFORE, AFTER = -(1 << 62), 1 << 62
_DAY_US = 86_400_000_000
_EPOCH_DAY = 719_163  # date(1970, 1, 1).toordinal()
_guard = threading.Lock()
_found: WeakKeyDictionary[Lake, dict[str, tuple[int, dict[str, int]]]] = WeakKeyDictionary()
_tables: WeakKeyDictionary[Lake, dict[str, Table]] = WeakKeyDictionary()


class State(NamedTuple):
    """How far a rollup has got: the calls' version it has seen and the instant (µs) before which it is complete."""

    version: int
    until: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A rollup at one version: its readable files and its state; no state, no use."""

    rollup: Rollup
    table: Table
    files: tuple[File, ...] = ()
    bad: tuple[File, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    state: State | None = None


def table(lake: Lake, rollup: Rollup) -> Table:
    """Return the rollup's table."""
    with _guard:
        tables = _tables.setdefault(lake, {})
        if rollup.name not in tables:
            name = f"rollup_{rollup.name}"
            tables[rollup.name] = Table(lake.storage, lake.manifest, name, rollup.arrow, order="started_at")
        return tables[rollup.name]


def made(lake: Lake, rollup: Rollup) -> int:
    """Return the fingerprint of how the rollup's rows are made; never 0."""
    zone = lake.settings.billing.time_zone if rollup.span == "day" else ""
    return zlib.crc32(repr((EDITION, rollup.keys, rollup.sums, zone)).encode()) or 1


def standing(lake: Lake, rollup: Rollup) -> Standing:
    """Look at a rollup; to be asked before the calls' snapshot is taken, so that `changed` tells what is between."""
    place = table(lake, rollup)
    try:
        with place.lock:
            version, files = place.snapshot()
            numbers = _numbers(lake, place, version)
    except Corrupt as error:
        log.error("lake: the rollup %s is not used (%s); delete its folder to have it built anew.", place.name, error)  # noqa: TRY400 - the sentence says all
        return Standing(rollup, place)
    good = lake.manifest.good([place.path(file) for file in files])
    known = numbers["made"] == made(lake, rollup)
    return Standing(
        rollup,
        place,
        tuple(file for file, fine in zip(files, good, strict=True) if fine),
        tuple(file for file, fine in zip(files, good, strict=True) if not fine),
        numbers,
        State(numbers["calls"] - 1, numbers["until"] * QUARTER_US) if known else None,
    )


def _numbers(lake: Lake, place: Table, version: int) -> dict[str, int]:
    """Return the table's transaction numbers, read once a version: half a millisecond each."""
    with _guard:
        kept = _found.setdefault(lake, {})
        if place.name not in kept or kept[place.name][0] != version:
            kept[place.name] = version, {name: place.transaction(name) for name in NUMBERS}
        return kept[place.name][1]


def gaps(lake: Lake, stand: Standing, calls: Snapshot) -> list[Span]:
    """Return the spans that may hold calls, before `until`, and for which a day's file of the rollup is not there."""
    if stand.state is None:
        return []
    there = [file_span(lake, stand.rollup, file) for file in stand.files]
    present = [(file.first_us, file.last_us + 1) for file in calls.files]
    return subtract(present, [*there, (stand.state.until, AFTER)])


def covered(lake: Lake, stand: Standing, calls: Snapshot, tail: Iterable[Span]) -> list[Span]:
    """Return the spans in which the rollup's rows equal the calls of this snapshot and this journal tail."""
    if stand.state is None:
        return []
    news = changed(lake, stand.state.version)
    if news is None:
        return intersect(frozen(lake, stand.rollup), [(BEFORE, stand.state.until)])
    unsure = touched(lake, stand.rollup, [*news, *tail, *gaps(lake, stand, calls)])
    unsure = subtract(unsure, frozen(lake, stand.rollup))
    return subtract([(BEFORE, stand.state.until)], unsure)


def frozen(lake: Lake, rollup: Rollup) -> list[Span]:
    """Return the span whose calls retention has taken out, in whole or in part: its sums can never be made again.

    A call that comes for it later must not take their place; it goes with the next retention.
    """
    with lake.calls.lock:
        lake.calls.snapshot()
        day = lake.calls.transaction(DROPPED)
    if not day:
        return []
    until = (day - _EPOCH_DAY) * _DAY_US
    return [(BEFORE, until if rollup.span == "quarter" else day_span(lake, until - 1)[1])]


def touched(lake: Lake, rollup: Rollup, spans: Iterable[Span]) -> list[Span]:
    """Return the rollup's whole quarters or days of which `spans` touch any part."""
    quarters = touched_quarters(spans)
    if rollup.span == "quarter":
        return quarters
    return union((day_span(lake, start)[0], day_span(lake, end - 1)[1]) for start, end in quarters)


def day_span(lake: Lake, us: int) -> Span:
    """Return the day of the billing zone in which an instant lies."""
    zone = ZoneInfo(lake.settings.billing.time_zone)
    day = local_day(to_datetime(us), zone)
    return to_us(midnight(day, zone)), to_us(midnight(day.fromordinal(day.toordinal() + 1), zone))


def file_span(lake: Lake, rollup: Rollup, file: File) -> Span:
    """Return the day that a file of the rollup stands for: of UTC (its partition), or of the billing zone."""
    return utc_day(file.first_us) if rollup.span == "quarter" else day_span(lake, file.first_us)


def file_days(lake: Lake, rollup: Rollup, spans: Iterable[Span]) -> list[Span]:
    """Return the days, as the rollup's files are cut, that spans touch."""
    day = utc_day if rollup.span == "quarter" else partial(day_span, lake)
    return union((day(start)[0], day(end - 1)[1]) for start, end in union(spans))


def utc_day(us: int) -> Span:
    """Return the day of UTC in which an instant lies."""
    start = us - us % _DAY_US
    return start, start + _DAY_US
