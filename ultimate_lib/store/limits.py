"""Budgets, their sums, and rate limits: SQL only; what they mean is decided in limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from ultimate_lib.clock import EPOCH
from ultimate_lib.store.tables import budget_sums, budgets, keys, rate_limits, teams, users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

_KINDS = {"budget": budgets, "rate_limit": rate_limits}
_FIRST = EPOCH
LAKE = ""
"""The writer under whose name the lake's own sum stands."""


class Mark(NamedTuple):
    """How far a writer's segments are in a sum, and the sum."""

    segment: int
    spent: int


def mark(connection: Connection) -> tuple[Any, ...]:
    """Return a value that changes with every change of a budget, a rate limit or the name of a key under one."""
    told: list[Any] = []
    for table in _KINDS.values():
        query = sa.select(sa.func.count(), sa.func.sum(table.c.version), sa.func.max(table.c.created_at))
        told += connection.execute(query).one()
    told += connection.execute(sa.select(sa.func.sum(keys.c.version)).where(_limited("key", keys.c.id))).one()
    return tuple(told)


def names(connection: Connection) -> dict[tuple[str, str], str]:
    """Return the names of the keys and users that have a limit, by (`key` or `user`, id)."""
    found: dict[tuple[str, str], str] = {}
    for kind, table in (("key", keys), ("user", users)):
        query = sa.select(table.c.id, table.c.name).where(_limited(kind, table.c.id))
        found.update(((kind, row.id), row.name) for row in connection.execute(query))
    return found


def _limited(kind: str, of: sa.Column[str]) -> sa.ColumnElement[bool]:
    """Say which ids have a limit; as one set, by which PostgreSQL looks them up instead of reading the table."""
    return of.in_(sa.union(*(sa.select(t.c.subject_id).where(t.c.subject == kind) for t in _KINDS.values())))


def rows(connection: Connection, kind: str) -> list[RowMapping]:
    """Return all rows of a kind (`budget` or `rate_limit`), oldest first."""
    table = _KINDS[kind]
    return list(connection.execute(sa.select(table).order_by(table.c.created_at, table.c.id)).mappings())


def row(connection: Connection, kind: str, row_id: str) -> RowMapping | None:
    """Return one row."""
    table = _KINDS[kind]
    return connection.execute(sa.select(table).where(table.c.id == row_id)).mappings().first()


def add(connection: Connection, kind: str, values: Mapping[str, Any]) -> None:
    """Insert a row."""
    connection.execute(sa.insert(_KINDS[kind]).values(**values))


def change(connection: Connection, kind: str, row_id: str, version: int, values: Mapping[str, Any]) -> bool:
    """Change a row that still has this version, and count it up; say whether it had."""
    table = _KINDS[kind]
    query = sa.update(table).where(table.c.id == row_id, table.c.version == version)
    return connection.execute(query.values(**values, version=version + 1)).rowcount == 1


def remove(connection: Connection, kind: str, row_id: str, version: int) -> bool:
    """Delete a row that still has this version, and a budget's sums; say whether it had."""
    table = _KINDS[kind]
    if kind == "budget":
        connection.execute(sa.delete(budget_sums).where(budget_sums.c.budget_id == row_id))
    query = sa.delete(table).where(table.c.id == row_id, table.c.version == version)
    return connection.execute(query).rowcount == 1


def subject(connection: Connection, kind: str, value: str) -> str | None:
    """Return what calls of a key, user or team say of it, by its id or (user, team) its name; None: no such thing."""
    if kind == "key":
        query = sa.select(keys.c.id).where(keys.c.id == value, keys.c.revoked_at.is_(None))
    elif kind == "user":
        query = sa.select(users.c.id).where(sa.or_(users.c.id == value, users.c.name == value))
    else:
        query = sa.select(teams.c.name).where(sa.or_(teams.c.id == value, teams.c.name == value))
    found = connection.execute(query).scalars().first()
    return None if found is None else str(found)


# -- sums -------------------------------------------------------------------------------------------------------


def sums(connection: Connection, period_at: Mapping[str, datetime]) -> dict[str, dict[str, Mark]]:
    """Return the sums of budgets (id → start of a period) as budget → writer → mark."""
    found: dict[str, dict[str, Mark]] = {}
    wanted = set(period_at.values())
    query = sa.select(budget_sums).where(budget_sums.c.period_at.in_(wanted))
    for one in connection.execute(query).mappings() if wanted else ():
        if period_at.get(one["budget_id"]) == one["period_at"]:
            found.setdefault(one["budget_id"], {})[one["writer"]] = Mark(one["segment"], one["spent"])
    return found


def last_periods(connection: Connection) -> dict[str, datetime]:
    """Return when the newest period began that a budget has a sum of (id → instant)."""
    c = budget_sums.c
    query = sa.select(c.budget_id, sa.func.max(c.period_at, type_=c.period_at.type).label("at")).group_by(c.budget_id)
    return {row.budget_id: row.at for row in connection.execute(query)}


def base(connection: Connection, budget_id: str, at: datetime, spent: int, marks: Mapping[str, int]) -> bool:
    """Begin a period's sum with the lake's and the segments that are in it; False: somebody has begun it already."""
    if not _insert(connection, budget_id, at, LAKE, 0, spent):
        return False
    for writer, segment in marks.items():
        _insert(connection, budget_id, at, writer, segment, 0)
    return True


def advance(  # noqa: PLR0917 - a row's columns and its change
    connection: Connection, budget_id: str, at: datetime, writer: str, before: int, segment: int, spent: int
) -> bool:
    """Add `spent` of the segments (before, segment]; False: they are in the sum already. Run twice it adds once."""
    if before == 0:
        _insert(connection, budget_id, at, writer, 0, 0)
    c = budget_sums.c
    query = sa.update(budget_sums).where(
        c.budget_id == budget_id, c.period_at == at, c.writer == writer, c.segment == before
    )
    return connection.execute(query.values(segment=segment, spent=c.spent + spent)).rowcount == 1


def fold(connection: Connection, before: datetime) -> int:
    """Make one row of each budget's period that began before an instant; return how many rows went.

    The first of 1970 is the period of budgets without one, and stays.
    """
    c = budget_sums.c
    old = sa.and_(c.period_at < before, c.period_at > sa.literal(_FIRST, type_=c.period_at.type))
    groups = connection.execute(
        sa.select(c.budget_id, c.period_at, sa.func.sum(c.spent)).where(old).group_by(c.budget_id, c.period_at)
        .having(sa.func.count() > 1)
    ).all()  # fmt: skip
    gone = 0
    for budget_id, period_at, spent in groups:
        of_group = sa.and_(c.budget_id == budget_id, c.period_at == period_at)
        gone += connection.execute(sa.delete(budget_sums).where(of_group)).rowcount - 1
        _insert(connection, budget_id, period_at, LAKE, 0, int(spent))
    return gone


def _insert(  # noqa: PLR0917 - a row's columns
    connection: Connection, budget_id: str, at: datetime, writer: str, segment: int, spent: int
) -> bool:
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert  # noqa: PLC0415 - of the dialect in use
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment] # noqa: PLC0415 - as above
    query = insert(budget_sums).values(budget_id=budget_id, period_at=at, writer=writer, segment=segment, spent=spent)
    # what it returns tells; PostgreSQL's driver counts no rows of an insert
    made = connection.execute(query.on_conflict_do_nothing().returning(budget_sums.c.writer))
    return made.first() is not None
