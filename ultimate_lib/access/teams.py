"""Teams: what calls are booked under, who belongs to them, who leads them.

Who holds `users:manage` manages all; a lead adds and removes members of its own team. A team's name never changes and
is never used twice: calls stay booked under it when the team is archived.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ultimate_lib.access.changes import audited, expect
from ultimate_lib.access.reach import require_reach
from ultimate_lib.errors import Denied, Invalid, NotFound, Taken
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, people

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, RowMapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHOWN = ("id", "name", "title", "cost_center", "created_at", "archived_at", "version")
_LONGEST = 100


def create(
    store: Store,
    clock: Clock,
    actor: Principal,
    *,
    name: str,
    title: str | None = None,
    cost_center: str | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Make a team and return it. Raises `Invalid`."""
    actor.require("users:manage")
    if not _NAME.fullmatch(name):
        raise Invalid(
            "A team's name has 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit.",
            hint="Its title may hold anything.",
            code="team_name",
        )
    told = {"title": title, "cost_center": cost_center}
    _check(told)
    now = clock.now()
    team_id = f"team_{new_call_id(clock.now_us())[-12:]}"
    with store.begin() as connection:
        audit.take_turn(connection)
        if any(team["name"] == name for team in people.all_teams(connection)):
            raise Taken(f"There is or was a team '{name}'.", hint="Choose another name.", code="team_exists")
        people.add_team(connection, {"id": team_id, "name": name, "created_at": now, **told})
        after = {"name": name, **told}
        audit.append(connection, audited(now, actor.user_name, "team.create", team_id, address, after))
        return _one(connection, team_id)


def change(
    store: Store,
    clock: Clock,
    actor: Principal,
    team_id: str,
    values: Mapping[str, str | None],
    *,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Change `title` or `cost_center` and return the team."""
    actor.require("users:manage")
    _check(values)
    with store.begin() as connection:
        row = _found(connection, team_id, version)
        if values:
            people.change_team(connection, team_id, values)
            before = {name: row[name] for name in values}
            told = audited(clock.now(), actor.user_name, "team.change", team_id, address, values, before)
            audit.append(connection, told)
        return _one(connection, team_id)


def archive(
    store: Store, clock: Clock, actor: Principal, team_id: str, *, version: int | None = None, address: str = ""
) -> dict[str, Any]:
    """Book no more calls under a team, and show its calls to its members no more. Returns the team."""
    actor.require("users:manage")
    now = clock.now()
    with store.begin() as connection:
        row = _found(connection, team_id, version)
        if row["archived_at"] is None:
            people.change_team(connection, team_id, {"archived_at": now})
            before, after = {"archived": False}, {"archived": True}
            audit.append(connection, audited(now, actor.user_name, "team.archive", team_id, address, after, before))
        return _one(connection, team_id)


def add_member(
    store: Store,
    clock: Clock,
    actor: Principal,
    team_id: str,
    user_id: str,
    *,
    name: str | None = None,
    lead: bool | None = None,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Add a member, or change whether it leads (with `users:manage` alone), and return the team.

    With a `name` it is the user of exactly that name, whatever the id.
    """
    now = clock.now()
    with store.begin() as connection:
        row = _managed(connection, actor, team_id, version)
        if row["archived_at"] is not None:
            raise Invalid("An archived team takes no members.", code="team_archived")
        user = _meant(connection, user_id, name)
        if user is None or not user["active"]:
            raise NotFound(f"There is no active user '{(name or user_id)[:60]}'.", code="user_unknown")
        user_id = user["id"]
        was = _membership(connection, team_id, user_id)
        leads = (was or False) if lead is None else lead
        if leads != (was or False) and "users:manage" not in actor.permissions:
            raise Denied("A lead makes and unmakes no leads.", hint="Ask an administrator.", code="team_lead")
        if leads != was:
            people.set_member(connection, team_id, user_id, now, lead=leads)
            people.change_team(connection, team_id, {})
            before = {"user": user["name"], "lead": was} if was is not None else None
            after = {"user": user["name"], "lead": leads}
            audit.append(connection, audited(now, actor.user_name, "team.member", team_id, address, after, before))
        return _one(connection, team_id)


def remove_member(
    store: Store,
    clock: Clock,
    actor: Principal,
    team_id: str,
    user_id: str,
    *,
    version: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Remove a member and return the team. Raises `NotFound`; `Denied` when a lead would remove another lead."""
    with store.begin() as connection:
        _managed(connection, actor, team_id, version)
        was = _membership(connection, team_id, user_id)
        if was is None:
            raise NotFound(f"'{user_id[:60]}' is no member of that team.", code="member_unknown")
        if was and "users:manage" not in actor.permissions and user_id != actor.user_id:
            raise Denied("A lead removes no other lead.", hint="Ask an administrator.", code="team_lead")
        people.remove_member(connection, team_id, user_id)
        people.change_team(connection, team_id, {})
        user = people.user(connection, user_id)
        before = {"user": user["name"] if user is not None else user_id, "lead": was}
        told = audited(clock.now(), actor.user_name, "team.member", team_id, address, None, before)
        audit.append(connection, told)
        return _one(connection, team_id)


def listed(store: Store, who: Principal) -> list[dict[str, Any]]:
    """Return the teams that a caller may see, by name: all with `users:manage`, else its own."""
    with store.begin() as connection:
        rows = people.all_teams(connection)
        return _told(connection, who, [row for row in rows if _sees(who, row)])


def one(store: Store, who: Principal, team_id: str) -> dict[str, Any]:
    """Return a team. Raises `NotFound`, also for a team that is not the caller's to see."""
    with store.begin() as connection:
        row = people.team(connection, team_id)
        if row is None or not _sees(who, row):
            raise _unknown(team_id)
        return _told(connection, who, [row])[0]


def _sees(who: Principal, row: RowMapping) -> bool:
    return "users:manage" in who.permissions or row["name"] in who.teams


def _manages(who: Principal, row: RowMapping) -> bool:
    return "users:manage" in who.permissions or row["name"] in who.leads


def _told(connection: Connection, who: Principal | None, rows: list[RowMapping]) -> list[dict[str, Any]]:
    """Return teams as a caller sees them: members are shown to who manages them, else null."""
    members: dict[str, list[dict[str, Any]]] = {row["id"]: [] for row in rows}
    for told in people.memberships(connection, team_ids=list(members)):
        shown = {"id": told["user_id"], "name": told["user"], "lead": told["lead"], "active": told["active"]}
        members[told["team_id"]].append(shown)
    return [
        {
            **{name: row[name] for name in _SHOWN},
            "members": members[row["id"]] if who is None or _manages(who, row) else None,
        }
        for row in rows
    ]


def _one(connection: Connection, team_id: str) -> dict[str, Any]:
    row = people.team(connection, team_id)
    if row is None:
        raise _unknown(team_id)
    return _told(connection, None, [row])[0]


def _found(connection: Connection, team_id: str, version: int | None) -> RowMapping:
    audit.take_turn(connection)
    row = people.team(connection, team_id)
    if row is None:
        raise _unknown(team_id)
    expect(version, row)
    return row


def _managed(connection: Connection, actor: Principal, team_id: str, version: int | None) -> RowMapping:
    """Return the team whose members a caller may change. Raises `NotFound`, `Denied`."""
    audit.take_turn(connection)
    row = people.team(connection, team_id)
    if row is None or not _sees(actor, row):
        raise _unknown(team_id)
    if not _manages(actor, row):
        raise Denied("Only a lead of this team, or who holds users:manage, changes its members.", code="team_lead")
    if "users:manage" not in actor.permissions:
        require_reach(connection, actor, actor.user_id)  # leading is the user's right, not that of a narrow key
    expect(version, row)
    return row


def _meant(connection: Connection, user_id: str, name: str | None) -> RowMapping | None:
    if name is None:
        return people.user(connection, user_id)
    return people.user_named(connection, name) if name.isprintable() else None


def _membership(connection: Connection, team_id: str, user_id: str) -> bool | None:
    """Return whether a member leads; None for who is none."""
    rows = people.memberships(connection, team_ids=[team_id], user_ids=[user_id])
    return rows[0]["lead"] if rows else None


def _check(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if name not in {"title", "cost_center"}:
            raise Invalid(f"A team's '{name}' cannot be changed.", code="team_field")
        if value is not None and not (0 < len(value) <= _LONGEST and value.isprintable()):
            raise Invalid(f"A team's {name} has 1 to {_LONGEST} printable characters.", code=f"team_{name}")


def _unknown(team_id: str) -> NotFound:
    return NotFound(f"There is no team '{team_id[:60]}' that you may see.", code="team_unknown")
