"""Sealed secrets by name: SQL only; what a name stands for and how it is sealed is decided elsewhere.

A new column that holds something sealed is one more line in `everything`: a rotation of the master key goes by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from ultimate_lib.store.tables import kept_answers, secrets

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection


class Sealed(NamedTuple):
    """One sealed value: its table, what names its row there, and itself."""

    table: str
    key: tuple[str, ...]
    ciphertext: bytes


def beginning(connection: Connection, prefix: str) -> dict[str, bytes]:
    """Return the secrets whose name begins with `prefix`, sealed, by name."""
    query = sa.select(secrets.c.name, secrets.c.ciphertext).where(secrets.c.name.startswith(prefix, autoescape=True))
    return {row.name: row.ciphertext for row in connection.execute(query.order_by(secrets.c.name))}


def everything(connection: Connection) -> list[Sealed]:
    """Return all that is sealed, in whatever table."""
    rows = connection.execute(sa.select(secrets.c.name, secrets.c.ciphertext))
    found = [Sealed("secrets", (row.name,), row.ciphertext) for row in rows]
    answers = sa.select(kept_answers.c.user_id, kept_answers.c.name, kept_answers.c.ciphertext)
    kept = connection.execute(answers.where(kept_answers.c.ciphertext.is_not(None)))
    return found + [Sealed("kept_answers", (row.user_id, row.name), row.ciphertext) for row in kept]


def seal_again(connection: Connection, row: Sealed, ciphertext: bytes) -> bool:
    """Put another ciphertext in the place of one that is still there; say whether it was."""
    if row.table == "secrets":
        query = sa.update(secrets).where(secrets.c.name == row.key[0], secrets.c.ciphertext == row.ciphertext)
    else:
        query = sa.update(kept_answers).where(
            kept_answers.c.user_id == row.key[0],
            kept_answers.c.name == row.key[1],
            kept_answers.c.ciphertext == row.ciphertext,
        )
    return connection.execute(query.values(ciphertext=ciphertext)).rowcount == 1


def put(connection: Connection, name: str, ciphertext: bytes, at: datetime) -> None:
    """Keep a secret, in place of the one of that name."""
    remove(connection, [name])
    connection.execute(sa.insert(secrets).values(name=name, ciphertext=ciphertext, updated_at=at))


def remove(connection: Connection, names: list[str]) -> int:
    """Remove secrets and return how many there were."""
    return connection.execute(sa.delete(secrets).where(secrets.c.name.in_(names))).rowcount
