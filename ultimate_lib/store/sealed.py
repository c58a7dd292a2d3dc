"""Sealed secrets by name: SQL only; what a name stands for and how it is sealed is decided elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from ultimate_lib.store.tables import secrets

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


def beginning(connection: Connection, prefix: str) -> dict[str, bytes]:
    """Return the secrets whose name begins with `prefix`, sealed, by name."""
    query = sa.select(secrets.c.name, secrets.c.ciphertext).where(secrets.c.name.startswith(prefix, autoescape=True))
    return {row.name: row.ciphertext for row in connection.execute(query.order_by(secrets.c.name))}


def put(connection: Connection, name: str, ciphertext: bytes, at: datetime) -> None:
    """Keep a secret, in place of the one of that name."""
    remove(connection, [name])
    connection.execute(sa.insert(secrets).values(name=name, ciphertext=ciphertext, updated_at=at))


def remove(connection: Connection, names: list[str]) -> int:
    """Remove secrets and return how many there were."""
    return connection.execute(sa.delete(secrets).where(secrets.c.name.in_(names))).rowcount
