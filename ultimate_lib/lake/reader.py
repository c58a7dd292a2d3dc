"""The only way in: calls as a LazyFrame over the table's checked files and the journal's tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib import journal
from ultimate_lib.clock import to_us
from ultimate_lib.errors import Invalid, Unavailable
from ultimate_lib.lake import schema
from ultimate_lib.lake.tail import Gone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.files import File, Snapshot

_LOOKS = 5


class Missing(NamedTuple):
    """Quarantined files of a span; `rows` counts all their rows, those outside the span too. None: not known."""

    files: int
    rows: int | None


def scan_calls(lake: Lake, start: datetime, end: datetime, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """Return the calls that started in [start, end), each once, in no order; `columns` of the record, or all.

    Committed rows and the journal's tail alike; a file that fails its checksum is left out and told by `missing`.
    Raises `Invalid` for instants without a time zone or an unknown column, `Corrupt` when the table's log cannot be
    trusted.

    >>> scan_calls(lake, start, end, ["model_served", "cost_nano_usd"]).collect()  # doctest: +SKIP
    """
    names = _known(columns)
    first, last = _span(start, end)
    snapshot, tail = look(lake)
    files = [file for file, good in _checked(lake, snapshot, first, last) if good]
    wanted = (pl.col("started_at") >= start) & (pl.col("started_at") < end)
    frames = [tail.lazy().filter(wanted)]
    if files:
        frames.insert(0, _scan(lake, files).filter(wanted))
    return pl.concat(frames).select(names)


def committed(lake: Lake, start: datetime, columns: Sequence[str]) -> tuple[pl.LazyFrame, dict[str, int]]:
    """Return the committed calls since an instant, and for each writer of the journal its last segment among them."""
    names = _known(columns)
    writers = [folder.writer for folder in journal.writer_folders(lake.journal_dir)]
    with lake.calls.lock:
        snapshot = lake.calls.snapshot()
        numbers = {writer: lake.calls.transaction(writer) for writer in writers}
    files = [file for file, good in _checked(lake, snapshot, to_us(start), 1 << 62) if good]
    frame = schema.empty().lazy()
    if files:
        frame = _scan(lake, files)
    frame = frame.filter(pl.col("started_at") >= start).select(names)
    return frame, {writer: number for writer, number in numbers.items() if number}


def missing(lake: Lake, start: datetime, end: datetime) -> Missing:
    """Say how many files of a span are quarantined, and how many rows they hold."""
    first, last = _span(start, end)
    bad = [file for file, good in _checked(lake, lake.calls.snapshot(), first, last) if not good]
    return Missing(len(bad), sum(file.rows for file in bad) if all(file.rows for file in bad) else None)


def look(lake: Lake) -> tuple[Snapshot, pl.DataFrame]:
    """Take a snapshot and the tail that goes with it."""
    for _ in range(_LOOKS):
        with lake.calls.lock:
            snapshot = lake.calls.snapshot()
            try:
                return snapshot, lake.tail.frame(lake.calls.transaction)
            except Gone:
                continue
    raise Unavailable("The journal's segments vanish while they are read.", hint="Try again.", code="journal_gone")


def _scan(lake: Lake, files: Sequence[File]) -> pl.LazyFrame:
    return pl.scan_parquet(
        [lake.calls.url(file) for file in files],
        schema=schema.POLARS,
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=False,
        glob=False,
        storage_options=lake.storage.options or None,
    )


def _checked(lake: Lake, snapshot: Snapshot, first: int, last: int) -> list[tuple[File, bool]]:
    files = [file for file in snapshot.files if file.last_us >= first and file.first_us < last]
    return list(zip(files, lake.manifest.good([lake.calls.path(file) for file in files]), strict=True))


def _known(columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return list(schema.POLARS)
    unknown = [name for name in columns if name not in schema.POLARS]
    if unknown:
        raise Invalid(f"A call has no column '{unknown[0]}'.", hint="See records.py for the columns.", code="column")
    return list(columns)


def _span(start: datetime, end: datetime) -> tuple[int, int]:
    if start.tzinfo is None or end.tzinfo is None:
        raise Invalid("A span needs instants with a time zone.", hint="Give aware datetimes, in UTC say.")
    return to_us(start), to_us(end)
