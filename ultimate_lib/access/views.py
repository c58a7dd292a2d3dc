"""Whose calls one sees: one's own, those of one's teams, or everyone's. Every reader of calls goes by these two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.access.principal import Principal

    Where = Mapping[str, tuple[str | None, ...]]

_HINT = "Leave that filter out, or ask an administrator for a role that sees more."


def narrowed(who: Principal, where: Where) -> dict[str, tuple[str | None, ...]]:
    """Return filters (dimension → values) that leave what a caller may see. Raises `Denied` for another's calls.

    Who sees its teams gets the calls booked under them; its own calls outside them when it filters on itself.
    """
    found = dict(where)
    if who.view == "all":
        return found
    users, own = found.get("user", ()), (who.user_id,)
    if who.view == "own" or not who.teams:
        if any(user != who.user_id for user in users):
            raise Denied(f"'{who.user_name}' sees only its own calls.", hint=_HINT, code="own_calls")
        found["user"] = own
        return found
    teams = found.get("team", ())
    if users and set(users) == set(own):
        return found
    if any(team not in who.teams for team in teams):
        raise Denied(f"'{who.user_name}' sees only the calls of its teams.", hint=_HINT, code="team_calls")
    found["team"] = teams or who.teams
    return found


def may_see(who: Principal, row: Mapping[str, Any]) -> bool:
    """Say whether a caller may see one call, by its `user_id` and `team`."""
    if who.view == "all" or row["user_id"] == who.user_id:
        return True
    return who.view == "team" and row["team"] in who.teams


def whose(name: str, view: str, teams: Iterable[str]) -> str:
    """Return in words whose calls a caller sees who does not see everyone's."""
    told = sorted(teams)
    if view != "team" or not told:
        return name
    return f"the team{'s' if len(told) > 1 else ''} {', '.join(told)}"
