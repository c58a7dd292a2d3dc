"""The calls themselves, newest first, a page at a time."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from ultimate_lib.clock import to_datetime, to_us
from ultimate_lib.errors import Corrupt, Invalid
from ultimate_lib.lake import reader, schema
from ultimate_lib.lake.merges import matching
from ultimate_lib.lake.query import check_limit, check_span, check_where, known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ultimate_lib.lake import Lake

MOST_CALLS = 1000
_FIRST_LOOK = timedelta(minutes=15)
_WIDER = 4
_IDS = ("call_id", "upstream_id", "key_id", "session_id", "agent_id", "trace_id", "cell_id", "kernel_id", "end_user")
_AROUND = timedelta(seconds=1)
_ID = re.compile(r"0[0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")  # up to the year 2527


class Page(NamedTuple):
    """Calls, newest first, and where the next page begins."""

    frame: pl.DataFrame
    cursor: str | None  # to be given for the next page; None: these were the last
    missing_files: int  # quarantined files of calls in the span that was read
    missing_rows: int | None


def page(
    lake: Lake,
    start: datetime,
    end: datetime,
    where: Mapping[str, Sequence[str | None]] | None = None,
    *,
    limit: int = 100,
    cursor: str | None = None,
    columns: Sequence[str] | None = None,
    search: str = "",
) -> Page:
    """Return up to `limit` calls that started in [start, end), by (started_at, call_id) descending.

    `columns` of the record, all if not told; `where` as in a query; `search` is the beginning of any of a
    call's ids. Calls that arrive meanwhile shift no page: a
    cursor is a place in time. Raises `Invalid` for unknown names, a bad cursor or limit, an empty span.
    """
    check_span(start, end)
    check_limit(limit, MOST_CALLS)
    check_where(where or {})
    names = list(columns) if columns is not None else list(schema.POLARS)
    for name in names:
        known("column of a call", name, schema.POLARS)
    before = (to_us(end), "") if cursor is None else _read(cursor)
    last = min(end, to_datetime(before[0] + 1))
    first = last
    look = _FIRST_LOOK
    wanted = [*matching(where or {}), *_named(search)]
    oldest = max(start, _oldest(lake, last))
    while True:
        first, look = max(oldest, first - look), look * _WIDER
        newest = _newest(lake, (first, last), wanted, before, names)
        found = newest.head(limit + 1).collect(engine="streaming")
        if found.height > limit or first <= oldest:
            break
    lost = reader.missing(lake, first, last) if first < last else reader.Missing(0, 0)
    shown = found.head(limit)
    more = _write(shown) if found.height > limit else None
    return Page(shown.select(names), more, lost.files, lost.rows)


def one(lake: Lake, call_id: str) -> dict[str, Any] | None:
    """Return every column of one call, or None when the lake has none of that id.

    An id begins with the millisecond in which its call started, ours and imported ones alike, so only the files and
    row groups of that second are read. Raises `Corrupt` when a damaged file may have held the call.
    """
    if not _ID.fullmatch(call_id):
        return None
    started = to_datetime(int(call_id[:8] + call_id[9:13], 16) * 1000)
    span = started - _AROUND, started + _AROUND
    found = reader.scan_calls(lake, *span).filter(pl.col("call_id") == call_id).head(1).collect(engine="streaming")
    if found.height:
        return found.row(0, named=True)
    if reader.missing(lake, *span).files:
        raise Corrupt(
            "A damaged file of the time of this call cannot be read; the call may be in it.",
            hint="`ultimate-proxy doctor` names the file; restore it from a backup.",
            code="lake_file",
        )
    return None


def _named(search: str) -> list[pl.Expr]:
    if not search:
        return []
    return [pl.any_horizontal(pl.col(name).str.starts_with(search) for name in _IDS).fill_null(value=False)]


def _oldest(lake: Lake, last: datetime) -> datetime:
    """Return the instant before which there is no call."""
    snapshot, tail = reader.look(lake)
    starts = [file.first_us for file in snapshot.files]
    if tail.height:
        starts.append(to_us(tail["started_at"].min()))  # type: ignore[arg-type] # the column is never null
    return to_datetime(min(starts)) if starts else last


def _newest(
    lake: Lake,
    span: tuple[datetime, datetime],
    wanted: Sequence[pl.Expr],
    before: tuple[int, str],
    names: Sequence[str],
) -> pl.LazyFrame:
    if span[0] >= span[1]:
        return schema.empty().lazy()
    at, call_id = to_datetime(before[0]), before[1]
    older = (pl.col("started_at") < at) | ((pl.col("started_at") == at) & (pl.col("call_id") < call_id))
    calls = reader.scan_calls(lake, *span).filter(older, *wanted)
    return calls.select(*dict.fromkeys(["started_at", "call_id", *names])).sort(
        "started_at", "call_id", descending=True
    )


def _write(shown: pl.DataFrame) -> str:
    at, call_id = shown.select("started_at", "call_id").row(-1)
    return f"{to_us(at)}.{call_id}"


def _read(cursor: str) -> tuple[int, str]:
    at, _, call_id = cursor.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) < 18 and call_id):  # noqa: PLR2004 - beyond the year 5000
        raise Invalid("The cursor is not one of ours.", hint="Leave it out to begin with the newest.", code="cursor")
    return int(at), call_id
