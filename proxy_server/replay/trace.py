"""Reading a public trace: when calls arrived and how many tokens they had."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.errors import Invalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

NEEDED = "A trace is a Parquet file with the columns timestamp (or timestamp_ms), input_tokens and output_tokens."
_TOKENS = ("input_tokens", "output_tokens")
_MOST_TOKENS = 10_000_000  # what the scripted provider can be asked for


class Trace(NamedTuple):
    """Calls in order of arrival: seconds since the first one, input and output tokens."""

    due_s: list[float]
    input_tokens: list[int]
    output_tokens: list[int]


def read_trace(path: Path, limit: int | None = None) -> Trace:
    """Read a trace, the first `limit` arrivals of it.

    Raises `NotFound` without the file, and `Invalid`, which names what is wrong and where, for anything that is not
    a trace: no Parquet, a column missing or of another type, nulls, negative counts, no rows.
    """
    import polars as pl  # noqa: PLC0415 - no other command pays for it

    if not path.is_file():
        raise NotFound(f"There is no file {path}.", hint=NEEDED)
    try:
        schema = pl.read_parquet_schema(path)
        clock = next((name for name in ("timestamp_ms", "timestamp") if name in schema), None)
        missing = [name for name in _TOKENS if name not in schema]
        if clock is None:
            missing.insert(0, "timestamp")
        if clock is None or missing:
            raise Invalid(
                f"{path} lacks {_listed(missing)}; it has {_listed(sorted(schema)) or 'no column'}.", hint=NEEDED
            )
        frame = pl.read_parquet(path, columns=[clock, *_TOKENS])
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise Invalid(f"{path} cannot be read as Parquet ({reason}).", hint=NEEDED) from error
    if frame.is_empty():
        raise Invalid(f"{path} has no rows.", hint=NEEDED)
    for name in (clock, *_TOKENS):
        _check(frame[name], name, path)
    seconds = _seconds(frame[clock], clock, path)
    frame = frame.select(_TOKENS).with_columns(due_s=seconds - seconds.min()).sort("due_s", maintain_order=True)
    if limit is not None:
        frame = frame.head(limit)
    return Trace(*(frame[name].to_list() for name in ("due_s", *_TOKENS)))


def _check(column: pl.Series, name: str, path: Path) -> None:
    nulls = column.null_count()
    if nulls:
        row = column.is_null().arg_true()[0]
        raise Invalid(f"{path}: {name} is null in {nulls} of {len(column)} rows, first in row {row}.", hint=NEEDED)
    if name not in _TOKENS:
        return
    if not column.dtype.is_integer():
        raise Invalid(f"{path}: {name} is {column.dtype}, not whole numbers.", hint=NEEDED)
    wrong = ((column < 0) | (column > _MOST_TOKENS)).arg_true()
    if len(wrong):
        row = wrong[0]
        raise Invalid(
            f"{path}: {name} is {column[row]} in row {row}; counts lie between 0 and {_MOST_TOKENS:,}.", hint=NEEDED
        )


def _seconds(column: pl.Series, name: str, path: Path) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - see read_trace

    if name == "timestamp" and column.dtype.is_temporal() and column.dtype != pl.Time:
        return column.cast(pl.Datetime("us")).cast(pl.Int64) / 1e6
    if not column.dtype.is_numeric():
        raise Invalid(f"{path}: {name} is {column.dtype}, neither instants nor numbers.", hint=NEEDED)
    seconds = column.cast(pl.Float64) / (1e3 if name == "timestamp_ms" else 1)
    if not seconds.is_finite().all():
        raise Invalid(f"{path}: {name} has values that are not numbers (NaN, infinity).", hint=NEEDED)
    return seconds


def _listed(names: list[str]) -> str:
    return ", ".join(names)
