"""Users, roles and keys as a call meets them: SQL only; what is allowed is decided in access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.store.tables import by_letters, role_grants, team_members, teams, users

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    """Return the names of a user's teams, those archived left out, first joined first, and whether it leads them."""
    name = by_letters(connection, teams.c.name)
    query = (
        sa.select(teams.c.name, team_members.c.lead)
        .join(team_members, team_members.c.team_id == teams.c.id)
        .where(team_members.c.user_id == user_id, teams.c.archived_at.is_(None))
        .order_by(team_members.c.added_at.is_not(None), team_members.c.added_at, name)
    )
    return {row.name: row.lead for row in connection.execute(query)}
