"""Users: made, changed, deactivated and brought back by who holds `users:manage`. None is ever removed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ultimate_lib.access import passwords
from ultimate_lib.access.changes import SYSTEM, audited, expect
from ultimate_lib.access.reach import checked_roles, require_grants, require_reach
from ultimate_lib.access.refusals import STRANGER
from ultimate_lib.errors import Invalid, NotFound, Taken
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities, people, sign_ins

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection, RowMapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?")
_EMAIL = re.compile(r"[^\s@\x00-\x1f]{1,64}@[^\s@\x00-\x1f]{1,190}")
_NOBODYS = frozenset({STRANGER, SYSTEM})
_SHOWN = (
    "id", "name", "email", "active", "created_at", "last_sign_in_at", "password_changed_at", "deactivated_at",
    "version",
)  # fmt: skip


def create(
    store: Store,
    clock: Clock,
    actor: Principal,
    *,
    name: str,
    email: str | None = None,
    roles: Mapping[str, str | None],
    teams: Iterable[str] = (),
    password: str | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Make a user and return it. `teams` are ids. Raises `Invalid`, `Denied`, `NotFound` for a team.

    Without a password it signs in by a link first (`sessions.password_link`).
    """
    actor.require("users:manage")
    granted = checked_roles(roles)
    require_grants(actor, granted)
    _check_name(name)
    _check_email(email)
    hashed = passwords.hashed(password, name, email, address=address) if password is not None else None
    now = clock.now()
    user_id = f"user_{new_call_id(clock.now_us())[-12:]}"
    row = {
        "id": user_id,
        "name": name,
        "email": email,
        "password_hash": hashed,
        "password_changed_at": now if hashed else None,
        "active": True,
        "created_at": now,
    }
    with store.begin() as connection:
        audit.take_turn(connection)
        if people.user_named(connection, name) is not None:
            raise Taken(f"There is a user '{name}' already.", hint="Choose another name.", code="user_exists")
        people.add_user(connection, row)
        people.set_roles(connection, user_id, granted)
        for team_id in dict.fromkeys(teams):
            team = people.team(connection, team_id)
            if team is None or team["archived_at"] is not None:
                raise NotFound(f"There is no team '{team_id[:60]}'.", code="team_unknown")
            people.set_member(connection, team_id, user_id, now, lead=False)
        made = one_of(connection, user_id)
        after = {
            "name": name,
            "email": email,
            "roles": granted,
            "teams": made["teams"],
            "password": hashed is not None,
        }
        audit.append(connection, audited(now, actor.user_name, "user.create", user_id, address, after))
    return made


def change(
    store: Store,
    clock: Clock,
    actor: Principal,
    user_id: str,
    *,
    email: str | None,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Change a user's e-mail address (None: it has none) and return the user."""
    actor.require("users:manage")
    _check_email(email)
    now = clock.now()
    with store.begin() as connection:
        row = _found(connection, actor, user_id, version)
        people.change_user(connection, user_id, {"email": email})
        before = {"email": row["email"]}
        audit.append(
            connection, audited(now, actor.user_name, "user.change", user_id, address, {"email": email}, before)
        )
        return one_of(connection, user_id)


def set_roles(
    store: Store,
    clock: Clock,
    actor: Principal,
    user_id: str,
    roles: Mapping[str, str | None],
    *,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Grant a user these roles and no other, end its sessions and links, and return it.

    Raises `Denied` for a role that gives more than the caller has, `Invalid` for the last administrator's.
    """
    actor.require("users:manage")
    granted = checked_roles(roles)
    now = clock.now()
    with store.begin() as connection:
        _found(connection, actor, user_id, version)
        before = people.roles_of(connection, [user_id])[user_id]
        require_grants(actor, granted, before)
        if "admin" in before and "admin" not in granted:
            _keep_an_administrator(connection, user_id)
        if granted != before:
            people.set_roles(connection, user_id, granted)
            people.change_user(connection, user_id, {})
            sign_ins.end_sessions(connection, user_id, now)
            sign_ins.void_links(connection, user_id, now)  # made by who reached the user as it was
            told = audited(
                now, actor.user_name, "user.roles", user_id, address, {"roles": granted}, {"roles": before}
            )
            audit.append(connection, told)
        return one_of(connection, user_id)


def deactivate(
    store: Store, clock: Clock, actor: Principal, user_id: str, *, version: int | None = None, address: str = ""
) -> dict[str, Any]:
    """Shut a user out: sessions and links end, keys are refused within five seconds. Returns the user."""
    return _activate(store, clock, actor, user_id, active=False, version=version, address=address)


def reactivate(
    store: Store, clock: Clock, actor: Principal, user_id: str, *, version: int | None = None, address: str = ""
) -> dict[str, Any]:
    """Let a user in again, with the keys and the password it had. Returns the user."""
    return _activate(store, clock, actor, user_id, active=True, version=version, address=address)


def _activate(
    store: Store, clock: Clock, actor: Principal, user_id: str, *, active: bool, version: int | None, address: str
) -> dict[str, Any]:
    actor.require("users:manage")
    now = clock.now()
    with store.begin() as connection:
        row = _found(connection, actor, user_id, version)
        if not active:
            _keep_an_administrator(connection, user_id)
        if row["active"] != active:
            people.change_user(connection, user_id, {"active": active, "deactivated_at": None if active else now})
            if not active:
                sign_ins.end_sessions(connection, user_id, now)
                sign_ins.void_links(connection, user_id, now)
            action = "user.reactivate" if active else "user.deactivate"
            before = {"active": row["active"]}
            audit.append(
                connection, audited(now, actor.user_name, action, user_id, address, {"active": active}, before)
            )
        return one_of(connection, user_id)


def listed(store: Store, *, after: tuple[str, str] | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """Return users with their roles and teams, by name; those behind the (name, id) of one."""
    with store.begin() as connection:
        return _told(connection, people.all_users(connection, after, limit))


def one(store: Store, user_id: str) -> dict[str, Any]:
    """Return a user. Raises `NotFound`."""
    with store.begin() as connection:
        return one_of(connection, user_id)


def names(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of those users that there are, by id."""
    with store.begin() as connection:
        return people.names_of(connection, ids)


def id_of(store: Store, told: str) -> str:
    """Return the id of who has this name; what is nobody's name as it was told: it may be an id."""
    with store.begin() as connection:
        row = identities.user_by_name(connection, told) if told else None
    return str(row["id"]) if row is not None else told


def one_of(connection: Connection, user_id: str) -> dict[str, Any]:
    """Return a user as the transaction sees it. Raises `NotFound`."""
    row = people.user(connection, user_id)
    if row is None:
        raise NotFound(f"There is no user '{user_id[:60]}'.", hint="GET /api/users lists them.", code="user_unknown")
    return _told(connection, [row])[0]


def _told(connection: Connection, rows: list[RowMapping]) -> list[dict[str, Any]]:
    ids = [row["id"] for row in rows]
    roles = people.roles_of(connection, ids)
    teams: dict[str, list[dict[str, Any]]] = {user_id: [] for user_id in ids}
    for membership in people.memberships(connection, user_ids=ids):
        if membership["archived_at"] is None:
            told = {"id": membership["team_id"], "name": membership["team"], "lead": membership["lead"]}
            teams[membership["user_id"]].append(told)
    return [
        {
            **{name: row[name] for name in _SHOWN},
            "has_password": row["password_hash"] is not None,
            "roles": roles[row["id"]],
            "teams": teams[row["id"]],
        }
        for row in rows
    ]


def _found(connection: Connection, actor: Principal, user_id: str, version: int | None) -> RowMapping:
    """Return the row that is to be changed, in turn. Raises `NotFound`, `Denied`, `Changed`."""
    audit.take_turn(connection)
    row = people.user(connection, user_id)
    if row is None:
        raise NotFound(f"There is no user '{user_id[:60]}'.", hint="GET /api/users lists them.", code="user_unknown")
    require_reach(connection, actor, user_id)
    expect(version, row)
    return row


def _keep_an_administrator(connection: Connection, user_id: str) -> None:
    holders = people.active_holders(connection, "admin")
    if holders == [user_id]:
        raise Invalid(
            "This is the last administrator.", hint="Make another user an administrator first.", code="last_admin"
        )


def _check_name(name: str) -> None:
    if not (_NAME.fullmatch(name) and name.isprintable()):  # none that looks like another's in the audit
        raise Invalid("A user's name has 1 to 100 visible characters, without spaces at its ends.", code="user_name")
    if name.casefold() in _NOBODYS:
        raise Invalid(f"'{name}' is how the audit calls what no user has done.", code="user_name")


def _check_email(email: str | None) -> None:
    if email is not None and not _EMAIL.fullmatch(email):
        raise Invalid(f"'{email[:100]}' is no e-mail address.", hint="Write ann@example.org.", code="email")
