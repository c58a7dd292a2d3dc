"""The audit's rows: appended, chained by hash, never changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from ultimate_lib.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

_FIRST = bytes(32)
_APPENDING = 0x61756469  # PostgreSQL's advisory lock


def append(connection: Connection, row: Mapping[str, Any]) -> None:
    """Append one row in the caller's transaction; `row` holds at, actor, action, object, before, after, address."""
    take_turn(connection)
    query = sa.select(audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    previous = connection.execute(query).scalar() or _FIRST
    values = {**row, "previous_hash": previous, "hash": _hash(previous, row)}
    connection.execute(sa.insert(audit).values(**values))


def take_turn(connection: Connection) -> None:
    """Make others who change something wait until this transaction has ended.

    Two rows after the same one would be a fork of the chain. A change that first looks whether it may be made (is
    there another administrator?) takes its turn before it looks.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(sa.update(audit).where(sa.false()).values(number=audit.c.number))  # takes the write lock
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_APPENDING})")


def last(connection: Connection) -> int:
    """Return the number of the last row, 0 when there is none: it grows with every change."""
    return connection.execute(sa.select(sa.func.max(audit.c.number))).scalar() or 0


def last_of_others(connection: Connection, actions: Iterable[str], after: int) -> int | None:
    """Return the number of the last row behind `after` that tells of none of these actions; None: there is none."""
    query = sa.select(sa.func.max(audit.c.number)).where(audit.c.number > after, audit.c.action.not_in(list(actions)))
    return connection.execute(query).scalar()


class Verified(NamedTuple):
    """What a look through the whole chain found."""

    rows: int  # that were looked at
    broken_at: int | None  # number of the first row that does not continue the chain
    last_number: int
    last_hash: bytes  # of the last good row: keep it elsewhere, and rows cut off at the end show, too


def verify(connection: Connection) -> Verified:
    """Look through the whole chain."""
    previous, rows, number = _FIRST, 0, 0
    query = sa.select(audit).order_by(audit.c.number).execution_options(yield_per=1000)
    with connection.execute(query) as found_rows:
        for row in found_rows.mappings():
            rows += 1
            if row["previous_hash"] != previous or row["hash"] != _hash(previous, dict(row)):
                return Verified(rows, int(row["number"]), number, previous)
            previous, number = row["hash"], int(row["number"])
    return Verified(rows, None, number, previous)


def broken_at(connection: Connection) -> int | None:
    """Return the number of the first row that does not continue the chain, or None when all do."""
    return verify(connection).broken_at


def found(
    connection: Connection,
    equal: Mapping[str, str],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowMapping]:
    """Return rows, newest first, whose columns in `equal` hold these values, from `start` until before `end`."""
    query = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
    for name, value in equal.items():
        query = query.where(audit.c[name] == value)
    if start is not None:
        query = query.where(audit.c.at >= start)
    if end is not None:
        query = query.where(audit.c.at < end)
    if before is not None:
        query = query.where(audit.c.number < before)
    return list(connection.execute(query).mappings())


def _hash(previous: bytes, row: Mapping[str, Any]) -> bytes:
    told = [
        row["at"].isoformat(),
        *(row.get(name) for name in ("actor", "action", "object", "before", "after", "address")),
    ]
    return hashlib.sha256(previous + msgspec.json.encode(told, order="sorted")).digest()
