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


def append(connection: Connection, row: Mapping[str, Any]) -> None:
    """Append one row in the caller's transaction; `row` holds at, actor, action, object, before, after, address."""
    query = sa.select(audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    if connection.dialect.name != "sqlite":
        query = query.with_for_update()
    previous = connection.execute(query).scalar() or _FIRST
    values = {**row, "previous_hash": previous, "hash": _hash(previous, row)}
    connection.execute(sa.insert(audit).values(**values))


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
