"""Users, the roles granted to them and their teams, as people manage them: SQL only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.store.tables import by_letters, role_grants, team_members, teams, users

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping


def add_user(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a user."""
    connection.execute(sa.insert(users).values(**row))


def names_of(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of those users that there are, by id."""
    query = sa.select(users.c.id, users.c.name).where(users.c.id.in_(list(ids)))
    return {row.id: row.name for row in connection.execute(query)}


def user(connection: Connection, user_id: str) -> RowMapping | None:
    """Return a user's row."""
    return connection.execute(sa.select(users).where(users.c.id == user_id)).mappings().first()


def user_named(connection: Connection, name: str) -> RowMapping | None:
    """Return the row of the user with a name."""
    return connection.execute(sa.select(users).where(users.c.name == name)).mappings().first()


def all_users(
    connection: Connection, after: tuple[str, str] | None = None, limit: int | None = None
) -> list[RowMapping]:
    """Return users by name, those behind the (name, id) of one when it is given."""
    place = (by_letters(connection, users.c.name), by_letters(connection, users.c.id))
    query = sa.select(users).order_by(*place).limit(limit)
    if after is not None:
        query = query.where(sa.tuple_(*place) > sa.tuple_(*map(sa.literal, after)))
    return list(connection.execute(query).mappings())


def change_user(connection: Connection, user_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a user and count its version up."""
    query = sa.update(users).where(users.c.id == user_id)
    connection.execute(query.values(**values, version=users.c.version + 1))


def roles_of(connection: Connection, user_ids: list[str]) -> dict[str, dict[str, str]]:
    """Return user → role → scope."""
    query = sa.select(role_grants).where(role_grants.c.user_id.in_(user_ids)).order_by(role_grants.c.role)
    found: dict[str, dict[str, str]] = {user_id: {} for user_id in user_ids}
    for row in connection.execute(query).mappings():
        found[row["user_id"]][row["role"]] = row["scope"]
    return found


def set_roles(connection: Connection, user_id: str, roles: Mapping[str, str]) -> None:
    """Grant a user these roles and no other."""
    connection.execute(sa.delete(role_grants).where(role_grants.c.user_id == user_id))
    for role, scope in roles.items():
        connection.execute(sa.insert(role_grants).values(user_id=user_id, role=role, scope=scope))


def active_holders(connection: Connection, role: str) -> list[str]:
    """Return the ids of the active users who hold a role, the oldest first."""
    query = (
        sa.select(users.c.id)
        .join(role_grants, role_grants.c.user_id == users.c.id)
        .where(role_grants.c.role == role, users.c.active)
        .order_by(users.c.created_at, users.c.id)
    )
    return list(connection.execute(query).scalars())


def add_team(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a team."""
    connection.execute(sa.insert(teams).values(**row))


def team(connection: Connection, team_id: str) -> RowMapping | None:
    """Return a team's row."""
    return connection.execute(sa.select(teams).where(teams.c.id == team_id)).mappings().first()


def all_teams(connection: Connection) -> list[RowMapping]:
    """Return teams by name, archived ones included."""
    query = sa.select(teams).order_by(by_letters(connection, teams.c.name))
    return list(connection.execute(query).mappings())


def change_team(connection: Connection, team_id: str, values: Mapping[str, Any]) -> None:
    """Change columns of a team and count its version up."""
    query = sa.update(teams).where(teams.c.id == team_id)
    connection.execute(query.values(**values, version=teams.c.version + 1))


def memberships(
    connection: Connection, *, team_ids: list[str] | None = None, user_ids: list[str] | None = None
) -> list[RowMapping]:
    """Return memberships with team_id, team, archived_at, user_id, user and lead, by team and user."""
    names = (by_letters(connection, teams.c.name), by_letters(connection, users.c.name))
    query = (
        sa.select(
            team_members, teams.c.name.label("team"), teams.c.archived_at, users.c.name.label("user"), users.c.active
        )
        .join(teams, teams.c.id == team_members.c.team_id)
        .join(users, users.c.id == team_members.c.user_id)
        .order_by(team_members.c.added_at.is_not(None), team_members.c.added_at, *names)
    )
    if team_ids is not None:
        query = query.where(team_members.c.team_id.in_(team_ids))
    if user_ids is not None:
        query = query.where(team_members.c.user_id.in_(user_ids))
    return list(connection.execute(query).mappings())


def set_member(connection: Connection, team_id: str, user_id: str, at: datetime, *, lead: bool) -> None:
    """Add a member, or change whether it leads."""
    mine = (team_members.c.team_id == team_id) & (team_members.c.user_id == user_id)
    if connection.execute(sa.update(team_members).where(mine).values(lead=lead)).rowcount == 0:
        values = {"team_id": team_id, "user_id": user_id, "lead": lead, "added_at": at}
        connection.execute(sa.insert(team_members).values(**values))


def remove_member(connection: Connection, team_id: str, user_id: str) -> bool:
    """Remove a member; say whether there was one."""
    mine = (team_members.c.team_id == team_id) & (team_members.c.user_id == user_id)
    return connection.execute(sa.delete(team_members).where(mine)).rowcount == 1
