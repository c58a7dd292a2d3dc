"""The lake's columns as Arrow and polars know them, and frames made of journal lines or records.

Everything comes from `records.COLUMNS`; nothing here names a column but `started_at`, by which rows are ordered
and from whose UTC date the partition `date` is made.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl
import pyarrow as pa

from ultimate_lib import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.records import CallRecord, LakeType

_ARROW: dict[LakeType, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int16": pa.int16(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "strings": pa.list_(pa.string()),
}
_POLARS: dict[LakeType, pl.DataType] = {
    "string": pl.String(),
    "int64": pl.Int64(),
    "int32": pl.Int32(),
    "int16": pl.Int16(),
    "float32": pl.Float32(),
    "bool": pl.Boolean(),
    "timestamp": pl.Datetime("us", "UTC"),
    "strings": pl.List(pl.String()),
}
_WIDE: dict[LakeType, pl.DataType] = {  # polars' JSON reader panics with narrow numbers: read wide, then cast
    **_POLARS,
    "int32": pl.Int64(),
    "int16": pl.Int64(),
    "float32": pl.Float64(),
    "timestamp": pl.Int64(),
}

ARROW: pa.Schema = pa.schema([(column.name, _ARROW[column.type]) for column in records.COLUMNS])
"""The columns of a data file, in order; the partition `date` stands in its path."""

POLARS: pl.Schema = pl.Schema({column.name: _POLARS[column.type] for column in records.COLUMNS})
"""The columns of every frame that a reader gets."""

IDENTITIES: frozenset[str] = frozenset(column.name for column in records.COLUMNS if column.identity)
"""Columns that name a person or a thing: no statistics are kept of them, so that a purge leaves nothing behind."""

_NEVER_REPEAT = {"call_id": "DELTA_BYTE_ARRAY", "upstream_id": "PLAIN", "request_hash": "PLAIN"}
_HARDLY_REPEAT = (
    "duration_ms", "ttft_ms", "upstream_ms", "input_tokens", "output_tokens", "prefix_tokens",
    "cost_nano_usd", "input_cost_nano_usd", "list_cost_nano_usd", "request_bytes", "response_bytes",
)  # fmt: skip
_DICTIONARY_ROWS = 100_000

_LINE = pl.Schema({column.name: _WIDE[column.type] for column in records.COLUMNS})


def encodings(rows: int) -> dict[str, str]:
    """Return the Parquet encodings, dictionary where none is named, for a file of so many rows.

    In small files a dictionary of measures costs up to 8 bytes a call; in large ones it costs nothing and reads
    twice as fast.
    """
    measures = dict.fromkeys(_HARDLY_REPEAT, "BYTE_STREAM_SPLIT") if rows < _DICTIONARY_ROWS else {}
    return {**_NEVER_REPEAT, **measures}


class Parsed(NamedTuple):
    """The rows of journal lines, and the lines that are no rows (a value of the wrong type or out of range)."""

    frame: pl.DataFrame
    rejected: list[bytes]


def empty() -> pl.DataFrame:
    """Return a frame of the lake's schema without rows."""
    return pl.DataFrame(schema=POLARS)


def frame_from_lines(lines: bytes) -> pl.DataFrame:
    """Return the rows of `call` lines joined by newlines, in their order; lines that are no rows are left out."""
    return parse_lines(lines).frame


def parse_lines(lines: bytes) -> Parsed:
    """Return the rows of `call` lines and what was rejected; about 7 µs a line, some 2 ms at least."""
    if not lines:
        return Parsed(empty(), [])
    try:
        frame = pl.read_ndjson(io.BytesIO(lines), schema=_LINE).cast(POLARS)
    except pl.exceptions.PolarsError:
        return _parse_singly(lines)
    if frame["call_id"].null_count() or frame["started_at"].null_count():
        return _parse_singly(lines)
    return Parsed(frame, [])


def _parse_singly(lines: bytes) -> Parsed:
    """Take each line by itself, so that one that is wrong takes no other with it."""
    rows: list[CallRecord] = []
    rejected: list[bytes] = []
    for line in lines.split(b"\n"):
        if not line:
            continue
        try:
            record = records.decode(line)
            frame_from_records([record])
        except (msgspec.DecodeError, UnicodeDecodeError, pl.exceptions.PolarsError, OverflowError, TypeError):
            rejected.append(line)
        else:
            rows.append(record)
    return Parsed(frame_from_records(rows), rejected)


def frame_from_records(rows: Sequence[CallRecord]) -> pl.DataFrame:
    """Return records as a frame. Raises polars' errors for a number that its column cannot hold."""
    columns = {name: [getattr(row, name) for row in rows] for name in POLARS}
    return pl.DataFrame(columns, schema=_LINE).cast(POLARS)
