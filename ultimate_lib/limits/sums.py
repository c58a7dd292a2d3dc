"""The worker's part: what each budget has spent, in the store, so that it outlives the journal.

1 A budget's first sum begins with what the lake holds of its period, once, together with the number of each writer's
  last segment that the lake had then (`begin`): by whoever makes the budget. At a period's turn the worker begins
  with nothing: all of it is still in the journal (4), and the lake knows costs, not what was charged instead.
2 `update` adds, for each writer in ascending order, its sealed segments behind its mark; the mark moves in the same
  statement and only from where it was, so that two workers, or one that is killed and comes again, add nothing twice.
3 The end of a dead writer is the number after its last segment: its unfinished calls, charged what they held. A call
  line's `charge` goes before its cost, so that what was unknown is charged as it was held.
4 The journal is tidied only after a pass of this went through, so that nothing goes that is not summed.
5 Sums need not be prompt: a gateway adds what is behind the marks from the journal itself (spent.py).
6 Marks of segments in which nothing counted stay in memory; whoever has none reads them again and finds nothing.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib import journal
from ultimate_lib.clock import to_datetime
from ultimate_lib.lake import reader
from ultimate_lib.limits import spent as elsewhere
from ultimate_lib.limits.calendar import span
from ultimate_lib.limits.calls import Index, charged, counted, counts
from ultimate_lib.store import limits as rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from ultimate_lib.journal import WriterFolder
    from ultimate_lib.lake import Lake
    from ultimate_lib.limits.calls import Budget, Counted
    from ultimate_lib.store import Store

_FOLD_AFTER = timedelta(days=40)
_COLUMNS = {"key": "key_id", "user": "user_id", "team": "team", "project": "project"}


class Base(NamedTuple):
    """What the lake holds of a budget's period, and which segments of each writer are in it."""

    budget: Budget
    start_us: int
    spent: int
    marks: dict[str, int]


class Done(NamedTuple):
    """What one pass did."""

    begun: int  # periods
    segments: int
    rows: int  # sums changed
    folded: int


def from_lake(lake: Lake, budgets: list[Budget]) -> list[Base]:
    """Return the bases of budgets in their present periods, all of one state of the lake."""
    if not budgets:
        return []
    now_us = lake.clock.now_us()
    starts = {one.id: span(one.period, now_us, lake.settings.billing).start_us for one in budgets}
    frame, marks = reader.committed(lake, to_datetime(min(starts.values())), [*_NEEDED])
    counting = frame.filter(
        (pl.col("source") == "proxy") & (pl.col("billing").is_null() | (pl.col("billing") != "subscription"))
    )
    sums = []
    for one in budgets:
        since = pl.col("started_at") >= to_datetime(starts[one.id])
        sums.append(counting.filter(since & _concerned(one)).select(_amount(one.unit).sum()))
    found = [int(sum_.item() or 0) for sum_ in pl.collect_all(sums)]
    return [Base(one, starts[one.id], value, marks) for one, value in zip(budgets, found, strict=True)]


_NEEDED = (
    "started_at", "source", "billing", "key_id", "user_id", "team", "project", "tags", "cost_nano_usd",
    "input_tokens", "output_tokens", "usage_source",
)  # fmt: skip


def _concerned(budget: Budget) -> pl.Expr:
    if budget.subject == "global":
        return pl.lit(True)
    if budget.subject == "tag":
        return pl.col("tags").list.contains(budget.subject_id).fill_null(False)
    return pl.col(_COLUMNS[budget.subject]) == budget.subject_id


def _amount(unit: str) -> pl.Expr:
    if unit == "nano_usd":
        return pl.col("cost_nano_usd")
    tokens = pl.col("input_tokens").fill_null(0) + pl.col("output_tokens").fill_null(0)
    return pl.when(pl.col("usage_source").is_null() | (pl.col("usage_source") != "none")).then(tokens).otherwise(0)


def begin(connection: Connection, base: Base) -> bool:
    """Write a base, unless the period's sum has begun already."""
    return rows.base(connection, base.budget.id, to_datetime(base.start_us), base.spent, base.marks)


class Sums:
    """Keeps the sums of one journal's calls."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int, str], int] = {}  # (budget, period, writer) → segment read, nothing in it

    def update(self, lake: Lake, store: Store) -> Done:
        """Add what was sealed since the last pass. Raises `Unavailable` when the store or the lake is away."""
        limits = elsewhere.read(store)
        assert limits is not None  # noqa: S101 - no mark is given that could be the same
        if not limits.budgets:
            return Done(0, 0, 0, 0)
        now_us = lake.clock.now_us()
        starts = {one.id: span(one.period, now_us, lake.settings.billing).start_us for one in limits.budgets}
        with store.begin() as connection:
            marks = rows.sums(connection, {name: to_datetime(at) for name, at in starts.items()})
        without = [one for one in limits.budgets if rows.LAKE not in marks.get(one.id, {})]
        begun = self._begin(lake, store, without, starts)
        with store.begin() as connection:
            marks = rows.sums(connection, {name: to_datetime(at) for name, at in starts.items()})
        ready = [one for one in limits.budgets if rows.LAKE in marks.get(one.id, {})]
        segments = changed = 0
        for folder in journal.writer_folders(lake.journal_dir):
            read, more = self._writer(lake, store, folder, ready, starts, marks)
            segments += read
            changed += more
        with store.begin() as connection:
            folded = rows.fold(connection, lake.clock.now() - _FOLD_AFTER)
        return Done(begun, segments, changed, folded)

    @staticmethod
    def _begin(lake: Lake, store: Store, budgets: list[Budget], starts: dict[str, int]) -> int:
        if not budgets:
            return 0
        with store.begin() as connection:
            last = rows.last_periods(connection)
        turned = {
            one.id
            for one in budgets
            if one.id in last and elsewhere.turned(one, last[one.id], starts[one.id], lake.settings.billing)
        }
        bases = from_lake(lake, [one for one in budgets if one.id not in turned])
        bases += [Base(one, starts[one.id], 0, {}) for one in budgets if one.id in turned]
        with store.begin() as connection:
            return sum(begin(connection, base) for base in bases)

    def _writer(  # noqa: PLR0917 - one pass's state
        self, lake: Lake, store: Store, folder: WriterFolder, budgets: list[Budget], starts: dict[str, int],
        marks: dict[str, dict[str, rows.Mark]],
    ) -> tuple[int, int]:  # fmt: skip
        """Add one writer's segments; return how many were read and how many sums changed."""
        writer = folder.writer
        stored = {one.id: marks[one.id][writer].segment if writer in marks[one.id] else 0 for one in budgets}
        behind = {one.id: max(stored[one.id], self._seen.get((one.id, starts[one.id], writer), 0)) for one in budgets}
        found: dict[str, int] = defaultdict(int)
        first, last, read = min(behind.values(), default=0), 0, 0
        index = Index.of((one.subject, one.subject_id, one) for one in budgets)
        for number, calls in _sealed(folder, first):
            last = number
            read += 1
            for call in calls:
                for budget in index.of_call(call) if counts(call) else ():
                    start = span(budget.period, call.started_at, lake.settings.billing).start_us
                    if number > behind[budget.id] and start == starts[budget.id]:
                        found[budget.id] += charged(call, budget)
        if not read:
            return 0, 0
        lost: set[str] = set()  # to another worker; the next pass looks again
        values = {name: value for name, value in found.items() if value}
        with store.begin() as connection:
            for name, value in values.items():
                at = to_datetime(starts[name])
                if not rows.advance(connection, name, at, writer, stored[name], last, value):
                    lost.add(name)
        for one in budgets:
            if one.id not in lost:
                self._seen[one.id, starts[one.id], writer] = max(last, behind[one.id])
        self._seen = {key: segment for key, segment in self._seen.items() if starts.get(key[0]) == key[1]}
        return read, len(values) - len(lost)


def _sealed(folder: WriterFolder, behind: int) -> Iterator[tuple[int, list[Counted]]]:
    """Yield the sealed segments of a writer behind a number, and after its last one what it left unfinished."""
    last = 0
    for segment in journal.segments(folder):
        if not segment.sealed:
            return
        last = segment.number
        if segment.number > behind:
            lines = journal.read_segment(segment.path).calls
            yield segment.number, _parsed(lines.split(b"\n"))
    if last and not folder.alive and behind <= last:
        yield last + 1, _parsed(journal.open_intents(folder))


def _parsed(lines: list[bytes]) -> list[Counted]:
    return [call for line in lines if line and (call := counted(line)) is not None]
