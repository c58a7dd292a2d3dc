"""Whose calls a page shows: what can be chosen of what one may see, and the filters that a choice means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from ultimate_lib.access.principal import Principal

_FEW = 3


def choices(who: Principal) -> dict[str, str]:
    """Return value → label, the widest first under the empty value; nothing where there is nothing to choose."""
    if who.view == "own" or (who.view == "team" and not who.teams):
        return {}
    told = ", ".join(who.teams[:_FEW]) + (", …" if len(who.teams) > _FEW else "")
    teams = {"teams": f"My team{'s' if len(who.teams) > 1 else ''}: {told}"} if who.teams else {}
    widest = {"": "Everyone's calls"} | teams if who.view == "all" else {"": teams["teams"]}
    return widest | {"mine": "My own calls"}


def filters(who: Principal, chosen: str) -> list[str]:
    """Return the filters of a choice, as the interface takes them. Raises `Invalid` for what cannot be chosen."""
    offered = choices(who)
    if chosen == "teams" and who.view == "team":
        return []  # it is shown these anyway
    if chosen and chosen not in offered:
        raise Invalid(
            f"'{chosen[:20]}' says nobody's calls that you could choose.",
            hint=f"Choose one of {', '.join(filter(None, offered))}, or leave it out."
            if offered
            else "Leave it out.",
            code="whose",
        )
    return {"": [], "teams": [f"team:{team}" for team in who.teams], "mine": [f"user:{who.user_id}"]}[chosen]
