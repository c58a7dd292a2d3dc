"""Users: their roles, passwords and links, and whether they may come in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from proxy_server.control import cursors
from proxy_server.control.answers import Answer
from proxy_server.control.api.auth import Password
from ultimate_lib.access import passwords, sessions, users
from ultimate_lib.errors import NotFound

if TYPE_CHECKING:
    from typing import Any

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

Scope = Literal["own", "team", "all"]
Roles = Annotated[
    dict[str, Scope | None],
    Meta(description="Role → whose calls it shows; null: all for admin, one's own for api_user, else one's teams'."),
]
_KIND = "users"


class OfTeam(Struct, kw_only=True):
    """A team that a user belongs to."""

    id: str
    name: str
    lead: bool


class User(Struct, kw_only=True):
    """A user, without what would let one sign in as it."""

    id: str
    name: str
    email: str | None
    active: bool
    roles: dict[str, Scope]
    teams: list[OfTeam]  # the first is the one that calls are booked under by default
    has_password: bool
    created_at: datetime
    last_sign_in_at: datetime | None
    password_changed_at: datetime | None
    deactivated_at: datetime | None
    version: int


class Users(Struct):
    """A page of users, by name."""

    users: list[User]
    next: str | None


class UserListing(Struct, kw_only=True):
    """Which page."""

    cursor: cursors.Cursor = ""
    limit: cursors.Limit = 100


class NewUser(Struct, kw_only=True):
    """Who is to be made. Without a password it needs a link: POST /api/users/{id}/link."""

    name: str
    roles: Roles
    email: str | None = None
    teams: list[str] = []  # ids
    password: Password | None = None


class OneUser(Struct, kw_only=True):
    """Which user."""

    id: str


class UserChange(Struct, kw_only=True):
    """What of a user changes; what is left out stays."""

    id: str
    email: str | msgspec.UnsetType | None = msgspec.UNSET


class NewRoles(Struct, kw_only=True):
    """The roles that a user shall have, and no other."""

    id: str
    roles: Roles


class NewPassword(Struct, kw_only=True):
    """A user's new password: 12 to 128 characters."""

    id: str
    password: Password
    current: Password | None = None  # one's own old one, if one has one


class PasswordChanged(Struct):
    """Whose password was set. All its sessions have ended; a browser that set its own has a new one."""

    id: str


class Link(Struct):
    """A link under which a user sets a password, once. It is told this once."""

    link: str
    expires_at: datetime


def listed(bench: Workbench, _caller: Caller, asked: UserListing) -> Users:
    """Return a page of users."""
    after = cursors.decode(asked.cursor, _KIND, tuple[str, str])
    rows = users.listed(bench.store, after=after, limit=asked.limit + 1)
    shown, cursor = cursors.page(rows, asked.limit, lambda row: (row["name"], row["id"]), _KIND)
    return Users([_about(row) for row in shown], cursor)


def create(bench: Workbench, caller: Caller, told: NewUser) -> User:
    """Make a user."""
    row = users.create(
        bench.store,
        bench.clock,
        caller.known,
        name=told.name,
        email=told.email,
        roles=told.roles,
        teams=told.teams,
        password=told.password,
        address=caller.address,
    )
    return _about(row)


def one(bench: Workbench, caller: Caller, asked: OneUser) -> User:
    """Return a user: oneself, or anyone with users:manage."""
    who = caller.known
    if asked.id != who.user_id and "users:manage" not in who.permissions:
        raise NotFound(f"There is no user '{asked.id[:60]}' that you may see.", code="user_unknown")
    return _about(users.one(bench.store, asked.id))


def change(bench: Workbench, caller: Caller, told: UserChange) -> User:
    """Change what is given."""
    if told.email is msgspec.UNSET:
        return _about(users.one(bench.store, told.id))
    row = users.change(
        bench.store,
        bench.clock,
        caller.known,
        told.id,
        email=told.email,
        version=caller.version,
        address=caller.address,
    )
    return _about(row)


def set_roles(bench: Workbench, caller: Caller, told: NewRoles) -> User:
    """Grant roles."""
    row = users.set_roles(
        bench.store, bench.clock, caller.known, told.id, told.roles, version=caller.version, address=caller.address
    )
    return _about(row)


def deactivate(bench: Workbench, caller: Caller, told: OneUser) -> User:
    """Shut a user out."""
    return _about(
        users.deactivate(
            bench.store, bench.clock, caller.known, told.id, version=caller.version, address=caller.address
        )
    )


def reactivate(bench: Workbench, caller: Caller, told: OneUser) -> User:
    """Let a user in again."""
    return _about(
        users.reactivate(
            bench.store, bench.clock, caller.known, told.id, version=caller.version, address=caller.address
        )
    )


def set_password(bench: Workbench, caller: Caller, told: NewPassword) -> Answer:
    """Set a password; who has changed the own one goes on in a new session."""
    own = caller.session is not None and told.id == caller.known.user_id
    token = passwords.change(
        bench.store,
        bench.clock,
        bench.master,
        caller.known,
        told.id,
        told.password,
        current=told.current,
        version=caller.version,
        address=caller.address,
        agent=caller.agent if own else None,
    )
    return Answer(PasswordChanged(told.id), sign_in=token)


def link(bench: Workbench, caller: Caller, told: OneUser) -> Link:
    """Make a link under which a user sets a password."""
    token, until = sessions.password_link(bench.store, bench.clock, caller.known, told.id, address=caller.address)
    return Link(f"{_base(bench, caller)}/login?link={token}", until)


def _base(bench: Workbench, caller: Caller) -> str:
    return (bench.settings.server.public_url or caller.origin).rstrip("/") + caller.root


def _about(row: dict[str, Any]) -> User:
    return msgspec.convert(row, User)
