"""Recommendations over REST: what `ultimate_lib.analytics.advice` finds in what the caller may see.

What was found is kept while the lake stands still, and beyond that for twenty times as long as it took to find, so
that a large lake is not read again for every look.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Meta, Struct

from proxy_server import prices
from proxy_server.control.api import advised
from proxy_server.control.api.analytics import Filter, Missing, where
from proxy_server.control.params import Names
from ultimate_lib.analytics.advice.told import Advice, Kind
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy_server.control.answers import Caller
    from ultimate_lib.analytics.advice.advise import Found
    from ultimate_lib.lake import Lake
    from ultimate_lib.settings import Settings
    from ultimate_lib.workbench import Workbench

APART_CALLS = 200_000  # to be read: beside the other requests from about a second on
_LONGEST_S = 300.0
_WORTH_KEEPING = 20.0  # times what it took
_LONGEST_KEPT_S = 3600.0  # the span moves on, also where no call comes
_KEPT = 64


class AskedRecommendations(Struct, kw_only=True):
    """What to look for, and where."""

    days: Annotated[int, Meta(ge=1, le=365, description="How many days back the calls are looked at.")] = 30
    kinds: Annotated[Names, Meta(description="Names of kinds between commas; default: all nine.")] = ()
    limit: Annotated[int, Meta(ge=1, le=100, description="At most so many, the largest saving first.")] = 50
    filter: Filter = ()


class Recommendations(Struct, kw_only=True):
    """What would save money or risk, the largest saving first, and how each kind was looked for.

    `total_usd` is what all of it saves in 30 days if no call is counted twice; `surely_usd` if overlaps are whole,
    and without runaway loops.
    """

    recommendations: list[Advice]
    kinds: list[Kind]
    calls: int  # looked at
    days: float  # from the first of them on
    since: datetime
    until: datetime
    total_usd: float | None
    surely_usd: float | None
    left_out: int  # beyond the limit
    too_few: str  # why there are too few calls to judge; empty: there are enough
    missing: Missing


class _Question(Struct, frozen=True, kw_only=True):
    """Everything that the answer depends on beside the calls and the time."""

    where: dict[str, tuple[str | None, ...]]
    days: int
    kinds: tuple[str, ...]
    limit: int
    keys: list[dict[str, Any]] | None
    budgets: list[dict[str, Any]] | None
    routes: list[tuple[str, str, str]]
    why_not: str


class _Kept(NamedTuple):
    position: tuple[int, int]
    until: datetime
    made_s: float
    took_s: float
    found: Found


class _Answers:
    """Answers of one lake by question, the latest made last, and who makes one."""

    def __init__(self) -> None:
        self.kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self.making: dict[bytes, threading.Lock] = {}

    def keep(self, key: bytes, made: _Kept) -> None:
        """Keep an answer; the oldest goes where there are too many."""
        self.kept[key] = made
        self.kept.move_to_end(key)
        while len(self.kept) > _KEPT:
            self.kept.popitem(last=False)
        if len(self.making) > 2 * _KEPT:
            self.making = {name: lock for name, lock in self.making.items() if lock.locked() or name in self.kept}


_guard = threading.Lock()
_kept: WeakKeyDictionary[Lake, _Answers] = WeakKeyDictionary()


def recommendations(bench: Workbench, caller: Caller, asked: AskedRecommendations) -> Recommendations:
    """Return what would save money or risk. Raises `Invalid`, `Denied`."""
    from ultimate_lib.lake import query, reader  # noqa: PLC0415 - the lake's libraries load with the first question

    wanted = where(caller, asked.filter)
    query.check_where(wanted)
    now = bench.clock.now()
    kept_days = bench.settings.record.keep_days
    days = min(asked.days, kept_days or asked.days)  # of what is gone nobody can say that it was not used
    keys, budgets, why_not = advised.keys_and_budgets(bench, caller, asked.filter, wanted, now, days)
    question = _Question(
        where=wanted, days=days, kinds=tuple(asked.kinds), limit=asked.limit, keys=keys, budgets=budgets,
        routes=advised.routes(bench), why_not=why_not,
    )  # fmt: skip
    kept = _answer(bench, question, now)
    since = kept.until - timedelta(days=days)
    lost = reader.missing(bench.lake, since, kept.until)
    found = kept.found
    return Recommendations(
        recommendations=[_narrowed(one, asked.filter) for one in found.advice],
        kinds=found.kinds,
        calls=found.calls,
        days=found.days,
        since=since,
        until=kept.until,
        total_usd=found.total_usd,
        surely_usd=found.surely_usd,
        left_out=found.left_out,
        too_few=found.few,
        missing=Missing(lost.files, lost.rows),
    )


def _narrowed(one: Advice, filters: tuple[str, ...]) -> Advice:
    """Return an advice whose filters show its calls of those that were asked for."""
    if one.calls is None:
        return one
    own = {told.partition(":")[0] for told in one.calls.filters}
    more = [told for told in filters if told.partition(":")[0] not in own]
    calls = msgspec.structs.replace(one.calls, filters=[*one.calls.filters, *more])
    return msgspec.structs.replace(one, calls=calls)


def _answer(bench: Workbench, question: _Question, now: datetime) -> _Kept:
    from ultimate_lib.lake import plan  # noqa: PLC0415 - the lake's libraries load with the first question

    key = msgspec.msgpack.encode(question)
    position = plan.position(bench.lake)
    with _guard:
        own = _kept.setdefault(bench.lake, _Answers())
        making = own.making.setdefault(key, threading.Lock())
    with making:  # who asks the same meanwhile waits for the answer
        kept = own.kept.get(key)
        if kept is not None and _is_fresh(kept, position, bench.clock.monotonic()):
            return kept
        begun = bench.clock.monotonic()
        found = _found(bench, question, now)
        ended = bench.clock.monotonic()
        kept = _Kept(position, now, ended, ended - begun, found)
        with _guard:
            own.keep(key, kept)
    return kept


def _is_fresh(kept: _Kept, position: tuple[int, int], at_s: float) -> bool:
    age = at_s - kept.made_s
    return age < _WORTH_KEEPING * kept.took_s or (kept.position == position and age < _LONGEST_KEPT_S)


def _found(bench: Workbench, question: _Question, now: datetime) -> Found:
    if _calls(bench.lake, now - timedelta(days=question.days)) < APART_CALLS:
        return advise(bench.lake, bench.settings, question, now)
    task = bench.compute.submit(_apart, bench.settings, question, now)
    try:
        return bench.compute.gather([task], timeout_s=_LONGEST_S)[0]
    except TimeoutError as error:
        raise Unavailable(
            f"Looking at all calls of {question.days} days takes longer than {_LONGEST_S:g} s.",
            hint="Ask for fewer days, or with a filter.",
            code="question_long",
        ) from error


def _calls(lake: Lake, since: datetime) -> int:
    """Return how many calls the files of a span hold at most."""
    from ultimate_lib.clock import to_us  # noqa: PLC0415 - the lake's libraries load with the first question

    first = to_us(since)
    return sum(file.rows for file in lake.calls.snapshot().files if file.last_us >= first)


def _apart(settings: Settings, question: _Question, now: datetime) -> Found:
    """Answer in a process of the pool."""
    from ultimate_lib.clock import SystemClock  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake import Lake  # noqa: PLC0415 - the lake's libraries load with the first question

    return advise(Lake.open(settings, SystemClock()), settings, question, now)


def advise(lake: Lake, settings: Settings, question: _Question, now: datetime) -> Found:
    """Read the calls of a question and return what they advise."""
    from ultimate_lib.analytics.advice.advise import advise as found  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.analytics.advice.evidence import Evidence  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.analytics.advice.prices import Prices  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.merges import matching  # noqa: PLC0415 - the lake's libraries load with the first question
    from ultimate_lib.lake.reader import scan_calls  # noqa: PLC0415 - the lake's libraries load with the first question

    since = now - timedelta(days=question.days)
    evidence = Evidence(
        calls=scan_calls(lake, since, now).filter(*matching(question.where)),
        prices=Prices(prices.whole_table(settings.run_dir)),
        since=since,
        until=now,
        keys=_frame(question.keys, advised.KEYS),
        budgets=_frame(question.budgets, advised.BUDGETS),
        routes=[(provider, owner, model) for provider, owner, model in question.routes],
        why_not=question.why_not,
    )
    return found(evidence, question.kinds, question.limit)


def _frame(rows: list[dict[str, Any]] | None, columns: Mapping[str, str]) -> Any:
    import polars as pl  # noqa: PLC0415 - the lake's libraries load with the first question

    if rows is None:
        return None
    types: dict[str, Any] = {
        "text": pl.String, "flag": pl.Boolean, "whole": pl.Int64, "instant": pl.Datetime("us", "UTC"),
        "numbers": pl.List(pl.Float64),
    }  # fmt: skip
    return pl.DataFrame(rows, schema={name: types[kind] for name, kind in columns.items()})
