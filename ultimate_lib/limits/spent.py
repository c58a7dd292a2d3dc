"""What was spent and is held elsewhere: by processes before this one, beside it, and before a budget was made.

1 The sum of a budget's period in the store is complete up to a segment of each writer: the lake's own sum (writer
  ''), made once with the segments that were in it, and what the worker has added since, segment by segment.
2 A gateway that learns of a budget takes that sum and adds the call lines of all segments behind the writers' marks:
  those of the journal at its start, its own up to the instant at which it learnt of a budget made later. What is in
  the sum is not read again, but for what was written behind the period's end, by a clock that was put back since: it
  may be of a period to come, whose sum has not begun.
3 From then on it reads each second what other writers add: a predecessor that drains, until its end.
4 An intent of another writer without its call line is held at its `charge`; of a dead writer for ever, for the worker
  charges just that when it replays the writer's end (unless it already has: the mark is behind the last segment).
5 Segments stay until the worker has summed them, so that what is not in the sum is in the journal.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ultimate_lib import journal
from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.limits.calendar import Span, span
from ultimate_lib.limits.calls import Budget, Index, RateLimit, charged, counted, counts
from ultimate_lib.store import limits as rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from ultimate_lib.clock import Clock
    from ultimate_lib.journal import Segment
    from ultimate_lib.limits.calls import Counted
    from ultimate_lib.settings import Billing, Settings
    from ultimate_lib.store import Store
    from ultimate_lib.store.limits import Mark

_Limit = TypeVar("_Limit", Budget, RateLimit)
Amounts = dict[tuple[str, int], int]
"""(budget's id, start of the period) → amount."""


class Limits(NamedTuple):
    """All limits as the store has them, and a mark that changes with them."""

    mark: tuple[object, ...]
    budgets: list[Budget]
    rates: list[RateLimit]


def read(store: Store, known: tuple[object, ...] | None = None) -> Limits | None:
    """Return the limits, or None when they still have the known mark. Raises `Unavailable`."""
    with store.begin() as connection:
        mark = rows.mark(connection)
        if mark == known:
            return None
        names = rows.names(connection)
        budgets = [_limit(Budget, row, names) for row in rows.rows(connection, "budget")]
        rates = [_limit(RateLimit, row, names) for row in rows.rows(connection, "rate_limit")]
    return Limits(mark, budgets, rates)


def _limit(kind: type[_Limit], row: Mapping[Any, Any], names: Mapping[tuple[str, str], str]) -> _Limit:
    told = {name: row[name] for name in kind.__struct_fields__ if name in row}
    subject_id = row["subject_id"] or ""
    return kind(**{**told, "subject_id": subject_id, "subject_name": names.get((row["subject"], subject_id), "")})


class Seen(NamedTuple):
    """What a look found: to be added to what is spent, and all that other processes hold now.

    `begun` are the budgets of which all that was spent before is in it; `late` those whose past nobody knows yet,
    for the billing calendar has changed: the worker reads it from the lake, within seconds.
    """

    spent: Amounts
    held: Amounts
    begun: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


class Elsewhere:
    """Reads other writers' segments as they grow. For one thread at a time, and never that of the event loop."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, own: str) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._own = own  # this process's writer; empty: none
        self._offsets: dict[tuple[str, int], int] = {}
        self._open: dict[str, dict[str, Counted]] = {}
        self._known: dict[str, Budget] = {}
        self._marks: dict[tuple[str, int], dict[str, Mark]] = {}
        self._begun: dict[str, Span] = {}  # budget's id → the period whose sum was taken last

    def look(
        self, budgets: Iterable[Budget], own_until: tuple[int, int] = (0, 0), anew: frozenset[str] = frozenset()
    ) -> Seen:
        """Read on; `own_until` is where this process's journal stood when it learnt of the newest of these budgets.

        For a budget seen for the first time, or whose past is asked for `anew`, everything is added that was spent
        before. A look that fails leaves nothing behind: the next one finds the same again.
        """
        before = dict(self._offsets), {writer: dict(calls) for writer, calls in self._open.items()}, self._known
        try:
            return self._look(budgets, own_until, anew)
        except BaseException:
            self._offsets, self._open, self._known = before
            raise

    def _look(self, budgets: Iterable[Budget], own_until: tuple[int, int], anew: frozenset[str]) -> Seen:
        wanted = {budget.id: budget for budget in budgets}
        fresh = [budget for budget in wanted.values() if budget.id not in self._known or budget.id in anew]
        spent: Amounts = defaultdict(int)
        late = self._begin(fresh, spent) if fresh else frozenset()
        if late:
            fresh = [budget for budget in fresh if budget.id not in late]
            wanted = {name: budget for name, budget in wanted.items() if name not in late}
        self._known = wanted
        before = dict(self._offsets)
        lowest: dict[str, int] = {}  # what is gone need not be remembered
        for folder in journal.writer_folders(self._settings.journal_dir):
            segments = journal.segments(folder)
            last = max((segment.number for segment in segments), default=0)
            for segment in segments:
                if folder.writer == self._own:
                    number, size = own_until
                    if fresh and segment.number <= number and not self._is_summed(segment, fresh):
                        self._add(segment, fresh, spent, until=size if segment.number == number else None)
                    continue
                known = before.get((segment.writer, segment.number), 0)
                if fresh and known and not self._is_summed(segment, fresh):
                    self._add(segment, fresh, spent, until=known)
                self._follow(segment, wanted.values(), spent)
            if not folder.alive and folder.writer in self._open:
                self._drop_replayed(folder.writer, last)
            lowest[folder.writer] = min((segment.number for segment in segments), default=0)
        self._offsets = {key: at for key, at in self._offsets.items() if key[1] >= lowest.get(key[0], key[1] + 1)}
        return Seen(spent, self._held(wanted), frozenset(budget.id for budget in fresh), late)

    def _begin(self, fresh: list[Budget], spent: Amounts) -> frozenset[str]:
        """Take the stored sums of budgets that are new here; return those that have none yet, and must have one.

        A hard budget whose calendar has changed, or to whose earlier period the clock went back, waits until the
        worker has read that period's past from the lake: the journal alone does not know it.
        """
        now_us = self._clock.now_us()
        periods = {one.id: span(one.period, now_us, self._settings.billing) for one in fresh}
        starts = {name: period.start_us for name, period in periods.items()}
        with self._store.begin() as connection:
            sums = rows.sums(connection, {name: to_datetime(start) for name, start in starts.items()})
            last = rows.last_periods(connection)
        late = set()
        for one in fresh:
            begun = rows.LAKE in sums.get(one.id, {}) or one.id not in last
            if not begun and not turned(one, last[one.id], starts[one.id], self._settings.billing):
                late.add(one.id)
        for name, start in starts.items():
            if name not in late:
                marks = sums.get(name, {})
                self._marks[name, start] = marks
                self._begun[name] = periods[name]
                spent[name, start] += sum(mark.spent for mark in marks.values())
        return frozenset(late)

    def _is_summed(self, segment: Segment, fresh: list[Budget]) -> bool:
        """Say whether a segment is in the sums that these budgets begin with, so that nobody need read it again."""
        ends_us = []
        for one in fresh:
            start_us, end_us = self._begun[one.id]
            mark = self._marks[one.id, start_us].get(segment.writer)
            if mark is None or mark.segment < segment.number:
                return False
            ends_us.append(end_us)
        return _written_us(segment) < min(ends_us)

    def _follow(self, segment: Segment, budgets: Iterable[Budget], spent: Amounts) -> None:
        key = (segment.writer, segment.number)
        opened = self._open.setdefault(segment.writer, {})
        lines = _read(segment, self._offsets.get(key, 0))
        if lines is None:
            return
        self._offsets[key] = lines.end
        for line in lines.intents:
            call = counted(line)
            if call is not None and call.charge:
                opened[call.call_id] = call
        index = Index.of((one.subject, one.subject_id, one) for one in budgets)
        for line in lines.calls.split(b"\n") if lines.calls else ():
            call = counted(line)
            if call is not None:
                opened.pop(call.call_id, None)
                self._count(call, segment, index, spent)

    def _add(self, segment: Segment, budgets: list[Budget], spent: Amounts, *, until: int | None) -> None:
        """Add what was read, or written by this process, before these budgets were known."""
        lines = _read(segment, 0, 1 << 62 if until is None else until)
        if lines is None:
            return
        index = Index.of((one.subject, one.subject_id, one) for one in budgets)
        for line in lines.calls.split(b"\n") if lines.calls else ():
            call = counted(line)
            if call is not None:
                self._count(call, segment, index, spent)

    def _count(self, call: Counted, segment: Segment, index: Index[Budget], spent: Amounts) -> None:
        if not counts(call):
            return
        for budget in index.of_call(call):
            start = self._start(budget, call)
            mark = self._marks.get((budget.id, start), {}).get(segment.writer)
            if mark is None or mark.segment < segment.number:
                spent[budget.id, start] += charged(call, budget)

    def _start(self, budget: Budget, call: Counted) -> int:
        return span(budget.period, call.started_at, self._settings.billing).start_us

    def _drop_replayed(self, writer: str, last: int) -> None:
        """Forget what a dead writer held when its replay is in the sum of the budget already."""
        for call in self._open[writer].values():
            for name in list(call.charge):
                budget = self._known.get(name)
                if budget is not None:
                    mark = self._marks.get((name, self._start(budget, call)), {}).get(writer)
                    if mark is not None and mark.segment > last:
                        del call.charge[name]

    def _held(self, budgets: dict[str, Budget]) -> Amounts:
        held: Amounts = defaultdict(int)
        for opened in self._open.values():
            for call in opened.values():
                for name, value in call.charge.items():
                    budget = budgets.get(name)
                    if budget is not None:
                        held[name, self._start(budget, call)] += value
        return held


def turned(budget: Budget, last: datetime, start_us: int, billing: Billing) -> bool:
    """Say whether a period simply follows the last one that has a sum, so that it begins with nothing.

    Not when the billing calendar has changed since, and not when the clock has gone back.
    """
    last_us = to_us(last)
    return last_us <= start_us and span(budget.period, last_us, billing).start_us == last_us


def _written_us(segment: Segment) -> int:
    """Return when the last line of a sealed segment was written, by the clock of then; 0: it is gone."""
    try:
        return segment.path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return 0


def _read(segment: Segment, offset: int, until: int = 1 << 62) -> journal.Lines | None:
    """Read on in a segment, also when it is sealed at this moment; None: it is gone, or there is nothing new."""
    for path in (segment.path, segment.path.with_suffix(".seg")):
        try:
            if path.stat().st_size <= offset:
                return None
            return journal.read_segment(path, offset, until)
        except FileNotFoundError:
            continue
    return None
