"""The made-up calls into a lake, each once: at the first start eleven weeks, later what has passed since.

    fill(lake, book)                # run again and again; a kill anywhere loses nothing and doubles nothing

How far the lake is filled, and since which first start, stand in the Delta commits that carry the rows, as numbers of
two writers. So there is no marker that could disagree with the rows, and two at a time do the work once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.clock import EPOCH
from ultimate_lib.demo import cast, history
from ultimate_lib.errors import Unavailable
from ultimate_lib.lake import rollup

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.lake import Lake
    from ultimate_lib.pricing import PriceBook

FILLED, FIRST = "demo-filled", "demo-first"
"""Writers whose numbers are: minutes since 1970 up to which calls are there; ordinal of the first start's day."""
_MINUTE = timedelta(minutes=1)
_TRIES = 40


class Filled(NamedTuple):
    """What a pass did, and what there is now."""

    rows: int  # added
    first_start: date  # the planted anomalies lie before it
    until: datetime


def first_start(lake: Lake) -> date | None:
    """Return the day of the demo's first start (UTC); None when no made-up call was ever written."""
    with lake.calls.lock:
        lake.calls.snapshot()
        ordinal = lake.calls.transaction(FIRST)
    return date.fromordinal(ordinal) if ordinal else None


def fill(
    lake: Lake,
    book: PriceBook,
    *,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - nobody asks
    stop: Callable[[], bool] = lambda: False,
) -> Filled:
    """Write the calls up to this minute that are not there yet, a week a commit, then roll up the first filling.

    A gap longer than the history itself is not filled. `progress` learns days done and days to do; `stop` is asked
    before each week. Raises `Unavailable` when it is to stop, or the lake cannot be written.
    """
    rows = 0
    began: datetime | None = None
    for _ in range(_TRIES + cast.DAYS):
        now = EPOCH + (lake.clock.now() - EPOCH) // _MINUTE * _MINUTE
        opened, filled, at = _standing(lake, now)
        began = began or at
        progress((at - began).days, max((now - began).days, 1))
        if at >= now:
            if rows and began < now - timedelta(days=1):
                rollup.update(lake)  # later pieces are small, and the worker's own pass takes them
            return Filled(rows, opened, at)
        if stop():
            raise Unavailable("Stopped in the middle of the demo data; the next start goes on.", code="stopped")
        at, until = next(history.blocks(opened, at, now))
        frame = history.calls(opened, at, until, book, seed=seed)
        numbers = {FILLED: (until - EPOCH) // _MINUTE, FIRST: opened.toordinal()}
        files = lake.calls.write(frame) if frame.height else []
        if lake.calls.commit(files, transactions=numbers, expected=filled) is not None:
            rows += frame.height
    raise Unavailable("Others write to the demo's lake all the time.", hint="Try again.", code="lake_busy")


def _standing(lake: Lake, now: datetime) -> tuple[date, dict[str, int], datetime]:
    """Return the first start, the two writers' numbers, and from when on calls are missing."""
    with lake.calls.lock:
        lake.calls.snapshot()
        numbers = {name: lake.calls.transaction(name) for name in (FILLED, FIRST)}
    if not numbers[FIRST]:
        today = now.date()
        return today, numbers, datetime.combine(history.first_day(today), time(), UTC)
    at = max(EPOCH + numbers[FILLED] * _MINUTE, now - timedelta(days=cast.DAYS))
    return date.fromordinal(numbers[FIRST]), numbers, at
