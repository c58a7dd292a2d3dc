"""Teams: what calls are booked under, and who belongs to them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from proxy_server.control import cursors
from ultimate_lib.access import teams
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from typing import Any

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

_KIND = "teams"
_NAMED = "named"  # no user has this id


class Member(Struct, kw_only=True):
    """A member of a team."""

    id: str
    name: str
    lead: bool
    active: bool


class Team(Struct, kw_only=True):
    """A team. Calls are booked under its `name`, which never changes; people see its `title`."""

    id: str
    name: str
    title: str | None
    cost_center: str | None
    created_at: datetime
    archived_at: datetime | None
    version: int
    members: list[Member] | None  # null for who neither leads the team nor holds users:manage


class Teams(Struct):
    """A page of teams, by name."""

    teams: list[Team]
    next: str | None


class TeamListing(Struct, kw_only=True):
    """Which page."""

    cursor: cursors.Cursor = ""
    limit: cursors.Limit = 100


class NewTeam(Struct, kw_only=True):
    """What team is to be made."""

    name: str
    title: str | None = None
    cost_center: str | None = None


class OneTeam(Struct, kw_only=True):
    """Which team."""

    id: str


class TeamChange(Struct, kw_only=True):
    """What of a team changes; what is left out stays."""

    id: str
    title: str | msgspec.UnsetType | None = msgspec.UNSET
    cost_center: str | msgspec.UnsetType | None = msgspec.UNSET


class Membership(Struct, kw_only=True):
    """Who belongs to which team, and whether it leads; left out: as it was, for a new member no."""

    id: str
    user_id: str  # or 'named', with the exact name: who leads a team sees no list of all users
    name: str | None = None
    lead: bool | None = None


class OneMember(Struct, kw_only=True):
    """Which member of which team."""

    id: str
    user_id: str


def listed(bench: Workbench, caller: Caller, asked: TeamListing) -> Teams:
    """Return a page of the teams that the caller may see."""
    after = cursors.decode(asked.cursor, _KIND, tuple[str])
    rows = teams.listed(bench.store, caller.known)
    if after is not None:
        rows = [row for row in rows if row["name"] > after[0]]
    shown, cursor = cursors.page(rows[: asked.limit + 1], asked.limit, lambda row: (row["name"],), _KIND)
    return Teams([_about(row) for row in shown], cursor)


def create(bench: Workbench, caller: Caller, told: NewTeam) -> Team:
    """Make a team."""
    row = teams.create(
        bench.store,
        bench.clock,
        caller.known,
        name=told.name,
        title=told.title,
        cost_center=told.cost_center,
        address=caller.address,
    )
    return _about(row)


def one(bench: Workbench, caller: Caller, asked: OneTeam) -> Team:
    """Return a team."""
    return _about(teams.one(bench.store, caller.known, asked.id))


def change(bench: Workbench, caller: Caller, told: TeamChange) -> Team:
    """Change what is given."""
    given = {"title": told.title, "cost_center": told.cost_center}
    values = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    row = teams.change(
        bench.store, bench.clock, caller.known, told.id, values, version=caller.version, address=caller.address
    )
    return _about(row)


def archive(bench: Workbench, caller: Caller, told: OneTeam) -> Team:
    """Archive a team."""
    return _about(
        teams.archive(bench.store, bench.clock, caller.known, told.id, version=caller.version, address=caller.address)
    )


def put_member(bench: Workbench, caller: Caller, told: Membership) -> Team:
    """Add a member, or change whether it leads."""
    if (told.user_id == _NAMED) != (told.name is not None):
        raise Invalid("A member is told by its id, or as 'named' by its name.", code="member_named")
    row = teams.add_member(
        bench.store,
        bench.clock,
        caller.known,
        told.id,
        told.user_id,
        name=told.name,
        lead=told.lead,
        version=caller.version,
        address=caller.address,
    )
    return _about(row)


def remove_member(bench: Workbench, caller: Caller, told: OneMember) -> Team:
    """Remove a member."""
    row = teams.remove_member(
        bench.store, bench.clock, caller.known, told.id, told.user_id, version=caller.version, address=caller.address
    )
    return _about(row)


def _about(row: dict[str, Any]) -> Team:
    return msgspec.convert(row, Team)
