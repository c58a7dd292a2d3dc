"""Browser sessions: 256 random bits, kept as a hash, 24 hours; and the links that start them.

A printed link signs its holder in. A link for a new person sets a password first (`passwords.set_by_link`).
"""

from __future__ import annotations

import hmac
import logging
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ultimate_lib.access.changes import SYSTEM, audited
from ultimate_lib.access.keys import digest
from ultimate_lib.access.principal import of_user
from ultimate_lib.access.reach import require_reach
from ultimate_lib.errors import Denied, Invalid, NotFound, Unavailable
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities, people, sign_ins

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

SESSION_LIFE = timedelta(hours=24)
LINK_LIFE = timedelta(minutes=30)
PASSWORD_LINK_LIFE = timedelta(hours=24)
_SEEN_EVERY = timedelta(minutes=1)
_LONGEST_AGENT = 300


def make_link(store: Store, clock: Clock, user_id: str) -> str:
    """Return a token that signs its holder in as a user, once, within half an hour: one that the server prints."""
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        told = {"signs_in": True, "until": (now + LINK_LIFE).isoformat()}
        audit.append(connection, audited(now, SYSTEM, "user.link", user_id, "", told))
        return _add_link(connection, user_id, now, LINK_LIFE, sets_password=False)


def password_link(
    store: Store, clock: Clock, actor: Principal, user_id: str, *, address: str = ""
) -> tuple[str, datetime]:
    """Return a token under which a user sets a password, once, within a day; and when it ends.

    Earlier links of that user end. Raises `Denied` for a user who may do more than the caller.
    """
    actor.require("users:manage")
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        row = people.user(connection, user_id)
        if row is None:
            raise NotFound(f"There is no user '{user_id[:60]}'.", code="user_unknown")
        require_reach(connection, actor, user_id)
        if user_id == actor.user_id and row["password_hash"] is not None:
            raise Denied(
                "A link would replace your own password without asking for it.",
                hint="Change it with the old one, or let another administrator make the link.",
                code="user_self",
            )
        if not row["active"]:
            raise Invalid(
                "A user who is deactivated signs in by no link.", hint="Reactivate it.", code="user_inactive"
            )
        sign_ins.void_links(connection, user_id, now)
        token = _add_link(connection, user_id, now, PASSWORD_LINK_LIFE, sets_password=True)
        audit.append(connection, audited(now, actor.user_name, "user.link", user_id, address, None))
    return token, now + PASSWORD_LINK_LIFE


def _add_link(connection: Connection, user_id: str, now: datetime, life: timedelta, *, sets_password: bool) -> str:
    token = secrets.token_urlsafe(32)
    row = {"hash": digest(token), "user_id": user_id, "created_at": now, "expires_at": now + life}
    sign_ins.add_link(connection, {**row, "sets_password": sets_password})
    return token


def link_user(store: Store, clock: Clock, token: str) -> tuple[str, bool] | None:
    """Return whose link this is (a name) and whether it sets a password; None for one that does not work."""
    with store.begin() as connection:
        row = sign_ins.link_by_hash(connection, digest(token), clock.now())
    return (row["user_name"], row["sets_password"]) if row is not None else None


def exchange_link(store: Store, clock: Clock, token: str, *, address: str = "", agent: str = "") -> str | None:
    """Use a link that signs in up and return a session's token; None for one that does not work, or not for that."""
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        row = sign_ins.link_by_hash(connection, digest(token), now)
        if row is None or row["sets_password"] or not sign_ins.use_link(connection, digest(token), now):
            return None
        return start(connection, clock, row["user_id"], by="link", address=address, agent=agent, at=now)


def start(
    connection: Connection, clock: Clock, user_id: str, *, by: str, address: str, agent: str, at: datetime
) -> str:
    """Begin a session in the caller's transaction and return its token."""
    token = secrets.token_urlsafe(32)
    row = {
        "id": f"session_{new_call_id(clock.now_us())[-12:]}",
        "user_id": user_id,
        "hash": digest(token),
        "created_at": at,
        "expires_at": at + SESSION_LIFE,
        "last_seen_at": at,
        "address": address or None,
        "agent": agent[:_LONGEST_AGENT] or None,
    }
    sign_ins.add_session(connection, row)
    user = people.user(connection, user_id)
    name = user["name"] if user is not None else user_id
    audit.append(connection, audited(at, name, "session.start", user_id, address, {"by": by}))
    return token


def lookup(store: Store, clock: Clock, token: str, *, idle_minutes: int = 0) -> Principal | None:
    """Return who a session belongs to, or None when it is unknown, ended, too old or (with a limit) unused too long.

    That it is used is written down once a minute; the idle limit is exact to that minute, and never early.
    """
    now = clock.now()
    with store.begin() as connection:
        row = sign_ins.session_by_hash(connection, digest(token))
        if row is None or row["revoked_at"] is not None or row["expires_at"] <= now or not row["user_active"]:
            return None
        unseen = now - (row["last_seen_at"] or row["created_at"])
        if idle_minutes and unseen >= timedelta(minutes=idle_minutes) + _SEEN_EVERY:
            return None
        roles = identities.roles_of(connection, row["user_id"])
        teams = identities.teams_of(connection, row["user_id"])
    if unseen >= _SEEN_EVERY:
        try:
            with store.begin() as connection:
                sign_ins.seen(connection, row["id"], now)
        except Unavailable as error:  # a store that can be read still lets people in
            log.warning("When a session was last used cannot be written: %s", error)
    return of_user(row["user_id"], row["user_name"], roles, teams)


def end(store: Store, clock: Clock, token: str) -> None:
    """End a session: its holder signs out."""
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        row = sign_ins.session_by_hash(connection, digest(token))
        if row is not None and sign_ins.end_sessions(connection, row["user_id"], now, row["id"]):
            audit.append(connection, audited(now, row["user_name"], "session.end", row["id"], "", None))


def listed(store: Store, clock: Clock, who: Principal, current: str | None) -> list[dict[str, Any]]:
    """Return the caller's live sessions, newest first; `current` is the token of the one that asks."""
    with store.begin() as connection:
        require_reach(connection, who, who.user_id)
        rows = sign_ins.live_sessions(connection, who.user_id, clock.now())
    mine = digest(current) if current is not None else None
    shown = ("id", "created_at", "expires_at", "last_seen_at", "address", "agent")
    return [{**{name: row[name] for name in shown}, "current": row["hash"] == mine} for row in rows]


def end_own(
    store: Store,
    clock: Clock,
    who: Principal,
    session_id: str | None,
    *,
    keep: str | None = None,
    address: str = "",
) -> int:
    """End one of the caller's sessions, or (None) all of them but the one whose token is to `keep`; return how many.

    Raises `NotFound`.
    """
    now = clock.now()
    kept = digest(keep) if keep is not None else None
    with store.begin() as connection:
        audit.take_turn(connection)
        require_reach(connection, who, who.user_id)
        ended = sign_ins.end_sessions(connection, who.user_id, now, session_id, keep=kept)
        if session_id is not None and not ended:
            raise NotFound(f"There is no live session '{session_id[:60]}' of yours.", code="session_unknown")
        target = session_id or who.user_id
        audit.append(connection, audited(now, who.user_name, "session.end", target, address, {"sessions": ended}))
    return ended


def csrf_token(session: str) -> str:
    """Return the token that a page of this session sends with what it changes."""
    return hmac.new(session.encode(), b"csrf", "sha256").hexdigest()
