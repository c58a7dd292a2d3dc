"""Users, roles, keys, sessions and sign-in links: SQL only; what is allowed is decided in access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.store.tables import role_grants, sessions, sign_in_links, team_members, teams, users

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping


def add_user(connection: Connection, row: Mapping[str, Any], roles: Sequence[str]) -> None:
    """Insert a user and the roles granted."""
    connection.execute(sa.insert(users).values(**row))
    for role in roles:
        connection.execute(sa.insert(role_grants).values(user_id=row["id"], role=role, scope="all"))


def user_by_name(connection: Connection, name: str) -> RowMapping | None:
    """Return a user's row."""
    return connection.execute(sa.select(users).where(users.c.name == name)).mappings().first()


def roles_of(connection: Connection, user_id: str) -> dict[str, str]:
    """Return a user's roles and their scopes."""
    rows = connection.execute(sa.select(role_grants).where(role_grants.c.user_id == user_id)).mappings()
    return {row["role"]: row["scope"] for row in rows}


def teams_of(connection: Connection, user_id: str) -> dict[str, bool]:
    """Return the names of a user's teams, those archived left out, and whether the user leads them."""
    query = (
        sa.select(teams.c.name, team_members.c.lead)
        .join(team_members, team_members.c.team_id == teams.c.id)
        .where(team_members.c.user_id == user_id, teams.c.archived_at.is_(None))
        .order_by(teams.c.name)
    )
    return {row.name: row.lead for row in connection.execute(query)}


def add_session(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a session."""
    connection.execute(sa.insert(sessions).values(**row))


def session_by_hash(connection: Connection, digest: bytes) -> RowMapping | None:
    """Return a session's row with its user's name and state."""
    query = (
        sa.select(sessions, users.c.name.label("user_name"), users.c.active.label("user_active"))
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.hash == digest)
    )
    return connection.execute(query).mappings().first()


def end_session(connection: Connection, digest: bytes, at: datetime) -> None:
    """Mark a session ended."""
    connection.execute(sa.update(sessions).where(sessions.c.hash == digest).values(revoked_at=at))


def add_link(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a sign-in link."""
    connection.execute(sa.insert(sign_in_links).values(**row))


def use_link(connection: Connection, digest: bytes, at: datetime) -> str | None:
    """Use a sign-in link up and return its user's id; None when it is unknown, used or too old."""
    query = (
        sa.update(sign_in_links)
        .where(sign_in_links.c.hash == digest, sign_in_links.c.used_at.is_(None), sign_in_links.c.expires_at > at)
        .values(used_at=at)
    )
    if connection.execute(query).rowcount != 1:
        return None
    found = sa.select(sign_in_links.c.user_id).where(sign_in_links.c.hash == digest)
    return str(connection.execute(found).scalar_one())
