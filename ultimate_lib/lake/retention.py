"""Retention: whole days leave the table, nothing else does. The default is to keep calls for ever."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.errors import Invalid
from ultimate_lib.lake.coverage import DROPPED

if TYPE_CHECKING:
    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.delta import Table


class Dropped(NamedTuple):
    """What a retention took out; the files are deleted by `optimize.maintain` an hour later or more."""

    days: int
    files: int
    rows: int


def drop(lake: Lake, keep_days: int | None, table: Table | None = None) -> Dropped:
    """Take out of a table (default: the calls) the days that ended more than `keep_days` days ago; None keeps all.

    Raises `Invalid` below one day. Idempotent; a row that comes late for such a day goes with the next pass.
    """
    if keep_days is None:
        return Dropped(0, 0, 0)
    if keep_days < 1:
        raise Invalid(f"Calls cannot be kept for {keep_days} days.", hint="Give 1 or more, or nothing to keep all.")
    table = table or lake.calls
    first = lake.clock.now().astimezone(UTC).date() - timedelta(days=keep_days)
    with table.lock:
        old = [file for file in table.snapshot().files if file.date < first]
        before = {DROPPED: table.transaction(DROPPED)}
    mark = {DROPPED: max(before[DROPPED], first.toordinal())}
    if not old or table.commit([], old, transactions=mark, expected=before) is None:
        return Dropped(0, 0, 0)
    return Dropped(len({file.date for file in old}), len(old), sum(file.rows for file in old))
