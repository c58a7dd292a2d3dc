"""Who the caller is; signing in and out; one's own sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proxy_server.control.answers import Answer
from ultimate_lib.access import passwords, sessions
from ultimate_lib.access.roles import PERMISSIONS
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench

Password = Annotated[str, Meta(max_length=1000)]
"""As sent; how long one may be is said where one is set."""


class Verified(Struct, kw_only=True):
    """Who the caller is."""

    user_id: str
    user_name: str
    permissions: list[str]
    by: str  # key | session
    key_id: str | None
    team: str | None
    project: str | None
    view: Literal["own", "team", "all"]  # whose calls it sees
    teams: list[str]
    leads: list[str]  # those of its teams that it leads
    sees_all_calls: bool
    expires_at: datetime | None
    csrf_token: str | None  # for a session: sent as X-CSRF-Token with every change


class SignIn(Struct, kw_only=True):
    """A name and its password."""

    name: Annotated[str, Meta(max_length=200)]
    password: Password


class FirstPassword(Struct, kw_only=True):
    """A link for a new person, and the password that it shall have."""

    link: Annotated[str, Meta(max_length=200, description="What stands behind 'link=' in the address.")]
    password: Password


class SignedIn(Struct, kw_only=True):
    """A session has begun; its cookie came along."""

    user_id: str
    user_name: str
    csrf_token: str  # sent as X-CSRF-Token with every change


class Ended(Struct):
    """What a sign-out did."""

    signed_out: bool  # False: a key carried the request, and keys have no session


class Session(Struct, kw_only=True):
    """A browser that is signed in."""

    id: str
    created_at: datetime
    expires_at: datetime
    last_seen_at: datetime | None  # to the minute
    address: str | None
    agent: str | None  # how the browser calls itself
    current: bool  # the one that asks


class Sessions(Struct):
    """The caller's sessions."""

    sessions: list[Session]


class OneSession(Struct, kw_only=True):
    """Which session."""

    id: str


class Ending(Struct, kw_only=True):
    """Which sessions end."""

    others: Annotated[bool, Meta(description="Keep the one that asks; a key has none.")] = False


class SessionsEnded(Struct):
    """How many sessions ended."""

    ended: int


def verify(_bench: Workbench, caller: Caller, _: Nothing) -> Verified:
    """Return who the caller is and what it may do."""
    who = caller.known
    return Verified(
        user_id=who.user_id,
        user_name=who.user_name,
        permissions=[name for name in PERMISSIONS if name in who.permissions],
        by="session" if caller.session is not None else "key",
        key_id=who.key_id,
        team=who.team,
        project=who.project,
        view=who.view,
        teams=list(who.teams),
        leads=list(who.leads),
        sees_all_calls=who.sees_all,
        expires_at=datetime.fromtimestamp(who.expires_at_us / 1e6, UTC) if who.expires_at_us is not None else None,
        csrf_token=sessions.csrf_token(caller.session) if caller.session is not None else None,
    )


def login(bench: Workbench, caller: Caller, told: SignIn) -> Answer:
    """Begin a session with name and password."""
    require_safe_way(bench, caller)
    token = passwords.sign_in(
        bench.store, bench.clock, bench.master, told.name, told.password, caller.address, caller.agent
    )
    return _signed_in(bench, token)


def first_password(bench: Workbench, caller: Caller, told: FirstPassword) -> Answer:
    """Use a link for a new person up: set a password and begin a session."""
    require_safe_way(bench, caller)
    token = passwords.set_by_link(bench.store, bench.clock, told.link, told.password, caller.address, caller.agent)
    return _signed_in(bench, token)


def _signed_in(bench: Workbench, token: str) -> Answer:
    who = sessions.lookup(bench.store, bench.clock, token)
    if who is None:
        raise Denied("This session has ended in the same moment.", hint="Sign in again.", authenticated=False)
    value = SignedIn(user_id=who.user_id, user_name=who.user_name, csrf_token=sessions.csrf_token(token))
    return Answer(value, sign_in=token)


def require_safe_way(bench: Workbench, caller: Caller) -> None:
    """Raise `Denied` when a password or session would cross the network in the clear, unless that was allowed."""
    if not (caller.secure or caller.loopback or bench.settings.server.insecure_http):
        raise Denied(
            "Signing in over plain HTTP from another computer would show the session to the network.",
            hint="Reach this server over https, or through a tunnel to localhost.",
            code="login_insecure",
        )


def logout(bench: Workbench, caller: Caller, _: Nothing) -> Answer:
    """End the session that carries this request."""
    if caller.session is None:
        return Answer(Ended(signed_out=False))
    sessions.end(bench.store, bench.clock, caller.session)
    return Answer(Ended(signed_out=True), sign_out=True)


def listed(bench: Workbench, caller: Caller, _: Nothing) -> Sessions:
    """Return the caller's live sessions, newest first."""
    rows = sessions.listed(bench.store, bench.clock, caller.known, caller.session)
    return Sessions(msgspec.convert(rows, list[Session]))


def end_one(bench: Workbench, caller: Caller, told: OneSession) -> SessionsEnded:
    """End one of the caller's sessions."""
    return SessionsEnded(sessions.end_own(bench.store, bench.clock, caller.known, told.id, address=caller.address))


def end_all(bench: Workbench, caller: Caller, told: Ending) -> Answer:
    """End all sessions of the caller, or all but the one that asks."""
    keep = caller.session if told.others else None
    ended = sessions.end_own(bench.store, bench.clock, caller.known, None, keep=keep, address=caller.address)
    return Answer(SessionsEnded(ended), sign_out=caller.session is not None and keep is None)
