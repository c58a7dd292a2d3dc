"""Rows as data frames, when polars or pandas is installed: neither is asked for until a frame is."""

from __future__ import annotations

import importlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

_WHOLE_UNITS = {"calls", "tokens"}
# A column of a call in which nothing is known has no value to tell its type by; its name tells, for a column carries
# its unit in its name. The names that say nothing are texts.
_WHOLE_ENDS = ("_nano_usd", "_tokens", "_ms", "_bytes", "_count", "_hash", "_requests", "_status", "attempts")
_REAL = {"overhead_ms", "anomaly_score"}
_FLAGS = {"stream", "cache_hit"}


def need(package: str) -> Any:
    """Return a package. Raises `ImportError` that says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"This needs {package}, which is not installed. Install it: pip install {package}", name=package
        ) from error


def to_polars(
    rows: Sequence[Mapping[str, Any]], *, units: Mapping[str, str] | None = None, time_zone: str | None = None
) -> pl.DataFrame:
    """Return rows as a frame: counts and nano-dollars whole, `…_at` as instants of `time_zone` (default UTC).

    Columns whose every value is unknown have the type that their unit or name tells. Raises `ImportError`.
    """
    library: Any = need("polars")
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(units or ())
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        kind = _kind(name, values, units or {})
        if kind == "Datetime":
            instants = [instant(value) if value is not None else None for value in values]
            told = library.Series(name, instants, dtype=library.Datetime("us", "UTC"))
            columns.append(told.dt.convert_time_zone(time_zone) if time_zone else told)
        elif kind:
            columns.append(library.Series(name, values, dtype=getattr(library, kind), strict=False))
        else:
            columns.append(library.Series(name, values))
    frame: pl.DataFrame = library.DataFrame(columns)
    return frame


def to_pandas(
    rows: Sequence[Mapping[str, Any]], *, units: Mapping[str, str] | None = None, time_zone: str | None = None
) -> Any:
    """Return rows as a pandas frame: whole numbers that may be unknown are `Int64`. Raises `ImportError`."""
    pd = need("pandas")
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(units or ())
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        kind = _kind(name, values, units or {})
        if kind == "Datetime":
            instants = [instant(value) if value is not None else None for value in values]
            told = pd.to_datetime(pd.Series(instants, dtype="object"), utc=True)
            columns[name] = told.dt.tz_convert(time_zone) if time_zone else told
        elif kind in {"Int64", "Float64", "Boolean"}:
            columns[name] = pd.Series(values, dtype="boolean" if kind == "Boolean" else kind)
        else:
            columns[name] = pd.Series(values, dtype="object")
    return pd.DataFrame(columns)


def instant(text: str) -> datetime:
    """Return the instant that an answer writes as `2026-11-24T08:00:00.123456Z`, in UTC."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 reads no Z
    return at.astimezone(timezone.utc)


def _kind(name: str, values: Sequence[Any], units: Mapping[str, str]) -> str:
    """Return the name of a column's polars type; empty: texts or lists, as the values say."""
    if name in units:
        return "Int64" if units[name] in _WHOLE_UNITS else "Float64"
    if name.endswith("_at"):
        return "Datetime"
    known = {type(value) for value in values if value is not None}
    if known:
        return next((kind for types, kind in _BY_TYPE if known <= types), "")
    return _by_name(name)


def _by_name(name: str) -> str:
    if name in _REAL:
        return "Float64"
    if name.endswith(_WHOLE_ENDS):
        return "Int64"
    return "Boolean" if name in _FLAGS or name.startswith("has_") else "String"


_BY_TYPE: tuple[tuple[set[type], str], ...] = (
    ({bool}, "Boolean"),
    ({int}, "Int64"),
    ({int, float}, "Float64"),
    ({str}, "String"),
)
