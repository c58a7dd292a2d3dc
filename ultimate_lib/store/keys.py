"""Keys: SQL only; what is allowed is decided in access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.store.tables import keys, users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, RowMapping

_WITH_USER = sa.select(keys, users.c.name.label("user_name"), users.c.active.label("user_active")).join(
    users, users.c.id == keys.c.user_id
)


def add(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a key."""
    connection.execute(sa.insert(keys).values(**row))


def by_hash(connection: Connection, digest: bytes) -> dict[str, Any] | None:
    """Return a key's row with its user's name and state."""
    row = connection.execute(_WITH_USER.where(keys.c.hash == digest)).mappings().first()
    return dict(row) if row is not None else None


def by_id(connection: Connection, key_id: str) -> dict[str, Any] | None:
    """Return a key's row with its user's name and state."""
    row = connection.execute(_WITH_USER.where(keys.c.id == key_id)).mappings().first()
    return dict(row) if row is not None else None


def holder(connection: Connection, user_id: str) -> RowMapping | None:
    """Return name and state of the user whose keys they are."""
    query = sa.select(users.c.name, users.c.active).where(users.c.id == user_id)
    return connection.execute(query).mappings().first()


def made_with(connection: Connection, key_ids: list[str]) -> list[str]:
    """Return the ids of the keys that some keys have made, former secrets of theirs included."""
    return list(connection.execute(sa.select(keys.c.id).where(keys.c.parent_id.in_(key_ids))).scalars())


def listed(
    connection: Connection,
    *,
    user_id: str | None = None,
    team: str | None = None,
    ids: list[str] | None = None,
    live_at: datetime | None = None,
    ended_at: datetime | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 500,
) -> list[dict[str, Any]]:
    """Return keys, newest first: of a user, booked on a team, alive or ended at a moment, older than a place."""
    query = _WITH_USER.order_by(keys.c.created_at.desc(), keys.c.id.desc()).limit(limit)
    if user_id is not None:
        query = query.where(keys.c.user_id == user_id)
    if team is not None:
        query = query.where(keys.c.team == team)
    if ids is not None:
        query = query.where(keys.c.id.in_(ids))
    if live_at is not None:
        query = query.where(_lives(live_at))
    if ended_at is not None:
        query = query.where(sa.not_(_lives(ended_at)))
    if before is not None:
        at, key_id = before
        query = query.where((keys.c.created_at < at) | ((keys.c.created_at == at) & (keys.c.id < key_id)))
    return [dict(row) for row in connection.execute(query).mappings()]


def ids_of(connection: Connection, user_id: str) -> set[str]:
    """Return the ids of all keys that a user has or had."""
    return set(connection.execute(sa.select(keys.c.id).where(keys.c.user_id == user_id)).scalars())


def change(connection: Connection, key_id: str, version: int, values: Mapping[str, Any]) -> bool:
    """Change a key that still has this version; say whether it had."""
    query = sa.update(keys).where(keys.c.id == key_id, keys.c.version == version)
    return connection.execute(query.values(**values, version=version + 1)).rowcount == 1


def end(connection: Connection, key_ids: list[str], at: datetime) -> int:
    """Mark keys revoked and return how many were not before."""
    query = sa.update(keys).where(keys.c.id.in_(key_ids), keys.c.revoked_at.is_(None))
    return connection.execute(query.values(revoked_at=at, version=keys.c.version + 1)).rowcount


def end_no_later(connection: Connection, key_ids: list[str], at: datetime) -> None:
    """Let keys expire at a moment unless they do so sooner."""
    query = sa.update(keys).where(keys.c.id.in_(key_ids), keys.c.expires_at.is_(None) | (keys.c.expires_at > at))
    connection.execute(query.values(expires_at=at, version=keys.c.version + 1))


def _lives(now: datetime) -> ColumnElement[bool]:
    return sa.and_(
        keys.c.revoked_at.is_(None),
        keys.c.expires_at.is_(None) | (keys.c.expires_at > now),
        keys.c.retires_at.is_(None) | (keys.c.retires_at > now),
        users.c.active,
    )
