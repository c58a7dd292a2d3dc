"""What the table's log says of a data file, read from and written as Delta's actions."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from ultimate_lib.clock import to_datetime, to_us

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deltalake import DeltaTable

_DAY_US = 86_400_000_000


class File(NamedTuple):
    """One data file of a table. `first_us` and `last_us` bound its order column, µs since 1970."""

    path: str  # relative to the table
    date: date
    rows: int
    size: int
    first_us: int
    last_us: int
    modified_ms: int


class Snapshot(NamedTuple):
    """A table at one version; -1 when it does not exist yet."""

    version: int
    files: tuple[File, ...]


def from_handle(handle: DeltaTable, order: str) -> list[File]:
    """Return the live files at a handle's version."""
    rows = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
    return [_file(row, order) for row in rows]


def _file(row: Mapping[str, Any], order: str) -> File:
    """Read an add action; one without statistics may hold anything of its day."""
    day: date = row["partition.date"]
    start = to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))
    first, last = row.get(f"min.{order}"), row.get(f"max.{order}")
    return File(
        path=row["path"],
        date=day,
        rows=row["num_records"] or 0,
        size=row["size_bytes"],
        first_us=start if first is None else to_us(first),
        last_us=start + _DAY_US - 1 if last is None else to_us(last),
        modified_ms=row["modification_time"],
    )


def from_log(add: Mapping[str, Any], order: str) -> File:
    """Read an add action as it stands in the log."""
    stats = json.loads(add.get("stats") or "{}")
    bounds = [stats.get(name, {}).get(order) for name in ("minValues", "maxValues")]
    first, last = (None if text is None else datetime.fromisoformat(text) for text in bounds)
    return _file(
        {
            "path": add["path"],
            "partition.date": date.fromisoformat(add["partitionValues"]["date"]),
            f"min.{order}": first,
            f"max.{order}": last,
            "num_records": stats.get("numRecords"),
            "size_bytes": add["size"],
            "modification_time": add["modificationTime"],
        },
        order,
    )


def add_action(file: File, order: str, *, rearranged: bool) -> AddAction:
    """Return the action that adds a file, with the bounds of its order column and of no other."""
    stats = {
        "numRecords": file.rows,
        "minValues": {order: _text(file.first_us)},
        "maxValues": {order: _text(file.last_us)},
        "nullCount": {order: 0},
    }
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={"date": file.date.isoformat()},
        modification_time=file.modified_ms,
        data_change=not rearranged,
        stats=json.dumps(stats),
    )


def remove_action(file: File, *, rearranged: bool) -> RemoveAction:
    """Return the action that takes a file out."""
    return RemoveAction(
        file.path, not rearranged, time.time_ns() // 1_000_000, file.size, {"date": file.date.isoformat()}
    )


def _text(us: int) -> str:
    return to_datetime(us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
