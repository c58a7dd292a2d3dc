"""Sessions, sign-in links and failed sign-ins: SQL only; what is allowed is decided in access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ultimate_lib.store.tables import sessions, sign_in_failures, sign_in_links, users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping


def add_session(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a session and note when its user has signed in."""
    connection.execute(sa.insert(sessions).values(**row))
    signed_in = sa.update(users).where(users.c.id == row["user_id"])
    connection.execute(signed_in.values(last_sign_in_at=row["created_at"]))


def session_by_hash(connection: Connection, digest: bytes) -> RowMapping | None:
    """Return a session's row with its user's name and state."""
    query = (
        sa.select(sessions, users.c.name.label("user_name"), users.c.active.label("user_active"))
        .join(users, users.c.id == sessions.c.user_id)
        .where(sessions.c.hash == digest)
    )
    return connection.execute(query).mappings().first()


def live_sessions(connection: Connection, user_id: str, at: datetime) -> list[RowMapping]:
    """Return a user's sessions that have neither ended nor expired, newest first."""
    query = (
        sa.select(sessions)
        .where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None), sessions.c.expires_at > at)
        .order_by(sessions.c.created_at.desc(), sessions.c.id)
    )
    return list(connection.execute(query).mappings())


def seen(connection: Connection, session_id: str, at: datetime) -> None:
    """Note when a session was last used."""
    connection.execute(sa.update(sessions).where(sessions.c.id == session_id).values(last_seen_at=at))


def end_sessions(
    connection: Connection,
    user_id: str,
    at: datetime,
    session_id: str | None = None,
    *,
    keep: bytes | None = None,
) -> int:
    """Mark a user's sessions, or one of them, ended, but not the one whose hash is kept; return how many."""
    query = sa.update(sessions).where(sessions.c.user_id == user_id, sessions.c.revoked_at.is_(None))
    if session_id is not None:
        query = query.where(sessions.c.id == session_id)
    if keep is not None:
        query = query.where(sessions.c.hash != keep)
    return connection.execute(query.values(revoked_at=at)).rowcount


def addresses(connection: Connection, user_id: str, since: datetime) -> list[str]:
    """Return the addresses from which a user's sessions have begun since then."""
    query = sa.select(sessions.c.address).where(
        sessions.c.user_id == user_id, sessions.c.created_at >= since, sessions.c.address.is_not(None)
    )
    return list(connection.execute(query.distinct()).scalars())


def add_link(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a sign-in link."""
    connection.execute(sa.insert(sign_in_links).values(**row))


def link_by_hash(connection: Connection, digest: bytes, at: datetime) -> RowMapping | None:
    """Return a link that is neither used nor too old, of a user who may sign in, with the user's name and e-mail."""
    query = (
        sa.select(sign_in_links, users.c.name.label("user_name"), users.c.email)
        .join(users, users.c.id == sign_in_links.c.user_id)
        .where(sign_in_links.c.hash == digest, sign_in_links.c.used_at.is_(None), sign_in_links.c.expires_at > at)
        .where(users.c.active)
    )
    return connection.execute(query).mappings().first()


def use_link(connection: Connection, digest: bytes, at: datetime) -> bool:
    """Mark a link used; say whether it had not been."""
    query = sa.update(sign_in_links).where(sign_in_links.c.hash == digest, sign_in_links.c.used_at.is_(None))
    return connection.execute(query.values(used_at=at)).rowcount == 1


def void_links(connection: Connection, user_id: str, at: datetime) -> None:
    """Mark all links of a user used."""
    query = sa.update(sign_in_links).where(sign_in_links.c.user_id == user_id, sign_in_links.c.used_at.is_(None))
    connection.execute(query.values(used_at=at))


def failures(connection: Connection, subject: str) -> RowMapping | None:
    """Return how often signing in has failed, and when last, for a name or an address."""
    query = sa.select(sign_in_failures).where(sign_in_failures.c.subject == subject)
    return connection.execute(query).mappings().first()


def set_failures(connection: Connection, subject: str, number: int, at: datetime) -> None:
    """Set how often signing in has failed; 0 forgets the subject."""
    connection.execute(sa.delete(sign_in_failures).where(sign_in_failures.c.subject == subject))
    if number:
        values = {"subject": subject, "failures": number, "last_failed_at": at}
        connection.execute(sa.insert(sign_in_failures).values(**values))


def forget_failures(connection: Connection, before: datetime) -> None:
    """Forget failures that are older."""
    connection.execute(sa.delete(sign_in_failures).where(sign_in_failures.c.last_failed_at < before))
