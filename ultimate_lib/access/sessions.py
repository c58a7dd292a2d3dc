"""Browser sessions: 256 random bits, kept as a hash, 24 hours; and the printed link that starts the first one."""

from __future__ import annotations

import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from ultimate_lib.access.keys import digest
from ultimate_lib.access.principal import of_user
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities

if TYPE_CHECKING:
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

SESSION_LIFE = timedelta(hours=24)
LINK_LIFE = timedelta(minutes=30)


def make_link(store: Store, clock: Clock, user_id: str) -> str:
    """Return a token that signs its holder in as a user, once, within half an hour."""
    token = secrets.token_urlsafe(32)
    now = clock.now()
    with store.begin() as connection:
        identities.add_link(
            connection,
            {"hash": digest(token), "user_id": user_id, "created_at": now, "expires_at": now + LINK_LIFE},
        )
    return token


def exchange_link(store: Store, clock: Clock, token: str, *, address: str = "") -> str | None:
    """Use a link up and return a session's token, or None when the link is unknown, used or too old."""
    now = clock.now()
    session = secrets.token_urlsafe(32)
    with store.begin() as connection:
        user_id = identities.use_link(connection, digest(token), now)
        if user_id is None:
            return None
        identities.add_session(
            connection,
            {
                "id": f"session_{new_call_id(clock.now_us())[-12:]}",
                "user_id": user_id,
                "hash": digest(session),
                "created_at": now,
                "expires_at": now + SESSION_LIFE,
            },
        )
        row = {"at": now, "actor": user_id, "action": "session.start", "object": user_id, "before": None}
        audit.append(connection, {**row, "after": {"by": "link"}, "address": address or None})
    return session


def lookup(store: Store, clock: Clock, token: str) -> Principal | None:
    """Return who a session belongs to, or None when it is unknown, ended or too old."""
    with store.begin() as connection:
        row = identities.session_by_hash(connection, digest(token))
        if row is None or row["revoked_at"] is not None or row["expires_at"] <= clock.now() or not row["user_active"]:
            return None
        roles = identities.roles_of(connection, row["user_id"])
        teams = identities.teams_of(connection, row["user_id"])
    return of_user(row["user_id"], row["user_name"], roles, teams)


def end(store: Store, clock: Clock, token: str) -> None:
    """End a session."""
    with store.begin() as connection:
        identities.end_session(connection, digest(token), clock.now())


def csrf_token(session: str) -> str:
    """Return the token that a page of this session sends with what it changes."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest()
