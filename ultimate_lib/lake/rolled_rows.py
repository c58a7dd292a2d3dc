"""Rows of the rollups, kept in memory by file and columns: no file ever changes, so what was read stays right."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import polars as pl

from ultimate_lib.lake.rolled import within
from ultimate_lib.lake.spans import union

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.coverage import Standing
    from ultimate_lib.lake.files import File
    from ultimate_lib.lake.spans import Span

KEPT_BYTES = 192 * 1024 * 1024
_AT_ONCE = KEPT_BYTES // 3  # what one query may bring in
_CELL_BYTES = 12  # of a column's value in memory, about
_guard = threading.Lock()
_kept: WeakKeyDictionary[Lake, _Kept] = WeakKeyDictionary()


class _Kept:
    """Frames by file and columns; the longest unused goes first."""

    def __init__(self) -> None:
        self._frames: OrderedDict[tuple[str, ...], tuple[pl.DataFrame, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple[str, ...]) -> pl.DataFrame | None:
        found = self._frames.get(key)
        if found is None:
            return None
        self._frames.move_to_end(key)
        return found[0]

    def put(self, key: tuple[str, ...], frame: pl.DataFrame) -> None:
        size = int(frame.estimated_size()) + 1000
        replaced = self._frames.pop(key, None)
        self._frames[key] = frame, size
        self._bytes += size - (replaced[1] if replaced else 0)
        while self._bytes > KEPT_BYTES:
            _, (_, gone) = self._frames.popitem(last=False)
            self._bytes -= gone


def rows(lake: Lake, stand: Standing, spans: Iterable[Span], columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """Return the rollup's rows that start in one of the spans; rows that count nothing only mark a rolled day."""
    spans = union(spans)
    count = "n" if stand.rollup.buckets else "requests"
    names = list(stand.rollup.polars) if columns is None else list(dict.fromkeys(["started_at", count, *columns]))
    files = [
        file for file in stand.files if any(file.last_us >= start and file.first_us < end for start, end in spans)
    ]
    if not files:
        return pl.LazyFrame(schema={name: stand.rollup.polars[name] for name in names})
    if columns is None or sum(file.rows for file in files) * len(names) * _CELL_BYTES > _AT_ONCE:
        found = _scan(lake, stand, files).select(names)
    else:
        found = _remembered(lake, stand, files, names).lazy()
    return found.filter(within(spans), pl.col(count) > 0)


def _remembered(lake: Lake, stand: Standing, files: list[File], names: list[str]) -> pl.DataFrame:
    keys = {file.path: (stand.table.path(file), *names) for file in files}
    with _guard:
        kept = _kept.setdefault(lake, _Kept())
        frames = {file.path: kept.get(keys[file.path]) for file in files}
    unread = [file for file in files if frames[file.path] is None]
    if unread:
        scans = [_scan(lake, stand, [file]).select(names) for file in unread]
        for file, frame in zip(unread, pl.collect_all(scans), strict=True):
            frames[file.path] = frame
            with _guard:
                kept.put(keys[file.path], frame)
    return pl.concat([frame for frame in frames.values() if frame is not None], rechunk=False)


def _scan(lake: Lake, stand: Standing, files: list[File]) -> pl.LazyFrame:
    return pl.scan_parquet(
        [stand.table.url(file) for file in files],
        schema=stand.rollup.polars,
        hive_partitioning=False,
        glob=False,
        storage_options=lake.storage.options or None,
    )
