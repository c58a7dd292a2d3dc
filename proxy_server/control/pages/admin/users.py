"""People: the list, adding one, and all that is kept of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from proxy_server.control.api import span
from proxy_server.control.pages import admin, shown
from ultimate_lib.access import teams
from ultimate_lib.access import users as access
from ultimate_lib.access.roles import GRANTABLE

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.workbench import Workbench

ROLES = {
    "viewer": "Sees dashboards, numbers and reports.",
    "analyst": "Sees numbers and reports, takes data out, asks free questions, makes dashboards.",
    "moderator": "Sees numbers, takes data out, makes dashboards, looks after alerts and reports.",
    "admin": "Runs the proxy: people, keys, providers, budgets, audit.",
    "api_user": "Calls models with keys, and sees what these calls cost.",
    "finance": "Sees numbers, takes them out, and has reports sent.",
}
"""Each role in a sentence."""
SCOPES = {"own": "own calls", "team": "calls of the teams", "all": "everyone's calls"}
_USUAL = {"viewer": "team", "api_user": "own"}
_USUAL_SCOPE = {"admin": "all", "finance": "all", "api_user": "own"}


class Asked(Struct, kw_only=True):
    """Who is looked for."""

    q: str = ""


class One(Struct, kw_only=True):
    """Who."""

    id: str


class Box(NamedTuple):
    """A role in the form."""

    role: str
    sentence: str
    held: bool
    scope: str
    scopes: dict[str, str]  # those that can be chosen


def users(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the list of people."""
    rows, found = admin.matching(access.listed(bench.store), asked.q, _text)
    values = {
        "q": asked.q,
        "rows": [_shown(row, _zone(bench)) for row in rows],
        "found": found,
        "boxes": boxes(_USUAL),
        "scopes": SCOPES,
        "teams": [team for team in teams.listed(bench.store, caller.known) if team["archived_at"] is None],
    }
    return admin.page(caller, "users", "Users", values)


def user(bench: Workbench, caller: Caller, asked: One) -> Page:
    """Return the page of one person. Raises `NotFound`."""
    row = access.one(bench.store, asked.id)
    values = {
        "user": _shown(row, _zone(bench)),
        "itself": row["id"] == caller.known.user_id,
        "boxes": boxes(row["roles"]),
        "scopes": SCOPES,
    }
    return admin.page(caller, "users", row["name"], values, template="user")


def boxes(held: dict[str, str]) -> list[Box]:
    """Return the roles as the form offers them, with those that are held."""
    found = []
    for role in GRANTABLE:
        usual = _USUAL_SCOPE.get(role, "team")
        scopes = {"own": SCOPES["own"]} if role == "api_user" else SCOPES
        found.append(Box(role, ROLES.get(role, ""), role in held, held.get(role, usual), scopes))
    return found


def _shown(row: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    last = row["last_sign_in_at"]
    return {
        **row,
        "made": shown.day(row["created_at"], zone),
        "last": shown.minute(last, zone) if last is not None else "never",
        "teams_told": ", ".join(team["name"] + (" (lead)" if team["lead"] else "") for team in row["teams"])
        or "none",
        "roles_told": ", ".join(f"{role} ({scope})" for role, scope in row["roles"].items()) or "none",
    }


def _text(row: dict[str, Any]) -> str:
    return " ".join([row["name"], row["email"] or "", *row["roles"], *(team["name"] for team in row["teams"])])


def _zone(bench: Workbench) -> ZoneInfo:
    return span.zone_of(bench.settings.billing.time_zone)
