"""Who is asking: the same small value for a key, a session and a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ultimate_lib.access.roles import permissions_of, view_of
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from collections.abc import Mapping


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A known caller and what it may do."""

    user_id: str
    user_name: str
    permissions: frozenset[str]
    key_id: str | None = None
    former: bool = False  # by a former secret of that key, which works for a while after a rotation
    team: str | None = None  # that its calls are booked under
    project: str | None = None
    cost_center: str | None = None
    app: str | None = None
    tags: tuple[str, ...] = ()  # "name=value", of its calls
    locked: frozenset[str] = frozenset()  # which of these its calls cannot change
    models: tuple[str, ...] | None = None  # allow-list: names, and beginnings with a star; None: all
    loopback_only: bool = False
    guard: str | None = (
        None  # observe | warn | block: what is done about its unusual calls; None: as the settings say
    )
    expires_at_us: int | None = None
    view: Literal["own", "team", "all"] = "own"  # whose calls it sees
    teams: tuple[str, ...] = ()  # names of its teams
    leads: tuple[str, ...] = ()  # names of those among them that it leads
    narrow: bool = False  # a key that may do less, or sees less, than its user: it acts for itself, not as its user

    @property
    def sees_all(self) -> bool:
        """Whether it sees everyone's calls."""
        return self.view == "all"

    def require(self, permission: str) -> None:
        """Raise `Denied` unless the permission is held."""
        if permission not in self.permissions:
            raise Denied(
                f"This needs the permission '{permission}', which '{self.user_name}' does not have here.",
                hint="Ask an administrator for a role that has it.",
                code="permission",
            )


def of_user(user_id: str, name: str, roles: Mapping[str, str], teams: Mapping[str, bool], **more: Any) -> Principal:
    """Return a user as a caller: `roles` are role → scope, `teams` the names of its teams → whether it leads.

    `more` are fields of `Principal` that win over what roles and teams give: those of a key. One that is narrower
    than its user leads no team: that is the user's right, not its own.
    """
    first = next(iter(teams), None)
    told: dict[str, Any] = {"permissions": permissions_of(roles), "team": first, "view": view_of(roles), **more}
    narrow = told["permissions"] != permissions_of(roles) or told["view"] != view_of(roles)
    leads = tuple(team for team, lead in teams.items() if lead and not narrow)
    return Principal(user_id=user_id, user_name=name, teams=tuple(teams), leads=leads, narrow=narrow, **told)
