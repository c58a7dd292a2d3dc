"""The audit's rows: appended, chained by hash, never changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from ultimate_lib.store.tables import audit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

_FIRST = bytes(32)
_APPENDING = 0x61756469  # PostgreSQL's advisory lock


def append(connection: Connection, row: Mapping[str, Any]) -> None:
    """Append one row in the caller's transaction; `row` holds at, actor, action, object, before, after, address."""
    _take_turn(connection)
    query = sa.select(audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    previous = connection.execute(query).scalar() or _FIRST
    values = {**row, "previous_hash": previous, "hash": _hash(previous, row)}
    connection.execute(sa.insert(audit).values(**values))


def _take_turn(connection: Connection) -> None:
    """Make others who append wait until this transaction has ended: two rows after the same one would be a fork."""
    if connection.dialect.name == "sqlite":
        connection.execute(sa.update(audit).where(sa.false()).values(number=audit.c.number))  # takes the write lock
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_APPENDING})")


def last(connection: Connection) -> int:
    """Return the number of the last row, 0 when there is none: whoever has read it knows of all changes until then."""
    return connection.execute(sa.select(sa.func.max(audit.c.number))).scalar() or 0


def broken_at(connection: Connection) -> int | None:
    """Return the number of the first row that does not continue the chain, or None when all do."""
    previous = _FIRST
    for row in connection.execute(sa.select(audit).order_by(audit.c.number)).mappings():
        if row["previous_hash"] != previous or row["hash"] != _hash(previous, dict(row)):
            return int(row["number"])
        previous = row["hash"]
    return None


def _hash(previous: bytes, row: Mapping[str, Any]) -> bytes:
    told = [
        row["at"].isoformat(),
        *(row.get(name) for name in ("actor", "action", "object", "before", "after", "address")),
    ]
    return hashlib.sha256(previous + msgspec.json.encode(told, order="sorted")).digest()
