"""What can be asked of the calls, and what an answer says about itself."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import polars as pl

from ultimate_lib.errors import Invalid
from ultimate_lib.metrics import DIMENSIONS, GRAINS, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_GROUPS = 10_000
_FIRST_YEAR, _LAST_YEAR = 1970, 9000

Source = Literal["rollup", "raw", "both"]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Metrics of the calls that started in [start, end), by dimensions, in steps of a grain.

    `where` keeps the calls whose dimension has one of the values; None among them stands for calls without any.
    """

    metrics: tuple[str, ...]
    start: datetime
    end: datetime
    by: tuple[str, ...] = ()
    grain: str | None = None
    where: dict[str, tuple[str | None, ...]] = {}
    time_zone: str | None = None  # IANA name; the billing zone when not given
    order_by: str | None = None  # a metric; the first one when not given
    descending: bool = True
    limit: int | None = None  # groups

    @property
    def dimensions(self) -> set[str]:
        """Everything that calls are told apart by."""
        return {*self.by, *self.where}


class Answer(NamedTuple):
    """A small frame and how far it can be trusted.

    Columns of `frame`: `step_at` (the step's start, in the query's time zone; with a grain), the dimensions of `by`,
    and one a metric; null where nothing is known.
    """

    frame: pl.DataFrame
    source: Source  # what it was made of
    missing_files: int  # quarantined files of calls that had to be left out
    missing_rows: int | None  # all their rows; None when not known
    unpriced_requests: int  # calls in it whose cost is not known


def check(query: Query) -> None:
    """Raise `Invalid`, naming what is known, unless the query can be answered."""
    if not query.metrics:
        raise Invalid("The query asks for no metric.", hint=f"Known: {', '.join(METRICS)}.", code="no_metric")
    for name in query.metrics:
        known("metric", name, METRICS)
    for name in query.by:
        known("dimension", name, DIMENSIONS)
    if query.grain is not None:
        known("grain", query.grain, GRAINS)
    if query.order_by is not None:
        known("metric of this query", query.order_by, query.metrics)
    for names in (query.metrics, query.by):
        if len(set(names)) < len(names):
            raise Invalid("A name stands twice in the query.", hint="Give each once.", code="twice")
    check_limit(query.limit, MOST_GROUPS)
    check_where(query.where)
    check_span(query.start, query.end)
    check_zone(query.time_zone)


def check_where(where: Mapping[str, Sequence[str | None]]) -> None:
    """Raise `Invalid` unless each filter is on a known dimension and lists a value."""
    for name, values in where.items():
        known("dimension", name, DIMENSIONS)
        if not values:
            raise Invalid(f"The filter on '{name}' lists no value.", hint="Give one, or leave the filter out.")


def check_limit(limit: int | None, most: int) -> None:
    """Raise `Invalid` for a limit that is not between 1 and `most`."""
    if limit is not None and not 1 <= limit <= most:
        raise Invalid(f"limit = {limit} is not between 1 and {most:,}.", code="limit")


def check_zone(name: str | None) -> None:
    """Raise `Invalid` for a time zone that does not exist."""
    if name is not None:
        try:
            ZoneInfo(name)
            pl.Series([], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(
                name
            )  # 'localtime' is known to one only
        except (KeyError, ValueError, OSError, pl.exceptions.PolarsError) as error:
            raise Invalid(
                f"There is no time zone '{name}'.", hint="Use an IANA name such as 'Europe/Berlin'.", code="time_zone"
            ) from error


def check_span(start: datetime, end: datetime) -> None:
    """Raise `Invalid` unless both are instants and the end is after the start."""
    if start.tzinfo is None or end.tzinfo is None:
        raise Invalid(
            "A span needs instants with a time zone.", hint="Write 2026-03-01T00:00:00Z, say.", code="naive"
        )
    if start.year < _FIRST_YEAR or end.year > _LAST_YEAR:
        raise Invalid(f"A span lies between the years {_FIRST_YEAR} and {_LAST_YEAR}.", code="span")
    if end <= start:
        raise Invalid(f"The span ends at {end.isoformat()}, not after its start {start.isoformat()}.", code="span")


def known(kind: str, name: str, names: Iterable[str]) -> None:
    """Raise `Invalid` with the nearest name and all names unless `name` is among them."""
    names = list(names)
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    nearest = f"Did you mean '{close[0]}'? " if close else ""
    raise Invalid(f"There is no {kind} '{name}'.", hint=f"{nearest}Known: {', '.join(names)}.", code="unknown_name")
