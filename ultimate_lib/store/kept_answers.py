"""Answers kept for those who ask the same again: SQL only; when one is kept, and how sealed, is decided elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ultimate_lib.store.tables import kept_answers

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping


def claim(connection: Connection, user_id: str, name: str, request_hash: bytes, at: datetime) -> bool:
    """Note that a request is under way; False when a request of that name is noted already."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    values = {"user_id": user_id, "name": name, "request_hash": request_hash, "created_at": at}
    query = dialect.insert(kept_answers).values(**values).on_conflict_do_nothing()
    return connection.execute(query.returning(kept_answers.c.name)).first() is not None


def one(connection: Connection, user_id: str, name: str) -> RowMapping | None:
    """Return what is noted under a name."""
    return connection.execute(sa.select(kept_answers).where(*_named(user_id, name))).mappings().first()


def take_over(connection: Connection, user_id: str, name: str, claimed_at: datetime, at: datetime) -> bool:
    """Move a claim to another instant; False when it is not the one of `claimed_at` any more, or has its answer."""
    query = sa.update(kept_answers).where(*_open(user_id, name, claimed_at)).values(created_at=at)
    return connection.execute(query).rowcount == 1


def keep(
    connection: Connection, user_id: str, name: str, claimed_at: datetime, *, status: int, ciphertext: bytes
) -> bool:
    """Keep the answer to a claim; False when the claim is somebody else's by now."""
    query = sa.update(kept_answers).where(*_open(user_id, name, claimed_at))
    return connection.execute(query.values(status=status, ciphertext=ciphertext)).rowcount == 1


def release(connection: Connection, user_id: str, name: str, claimed_at: datetime) -> None:
    """Forget a claim whose request has changed nothing."""
    connection.execute(sa.delete(kept_answers).where(*_open(user_id, name, claimed_at)))


def remove_before(connection: Connection, at: datetime) -> int:
    """Forget everything noted before an instant and return how much that was."""
    return connection.execute(sa.delete(kept_answers).where(kept_answers.c.created_at < at)).rowcount


def _named(user_id: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return kept_answers.c.user_id == user_id, kept_answers.c.name == name


def _open(user_id: str, name: str, claimed_at: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return *_named(user_id, name), kept_answers.c.created_at == claimed_at, kept_answers.c.status.is_(None)
