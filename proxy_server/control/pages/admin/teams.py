"""Teams: the list, and one with its members, keys and budgets. Leads see those they lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from proxy_server.control.api import keys as keys_api
from proxy_server.control.api import span
from proxy_server.control.pages import admin, budgets
from proxy_server.control.pages.admin.keys import row_of
from ultimate_lib.access import teams as access
from ultimate_lib.access import users
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.workbench import Workbench

_MOST_KEYS = 100


class Asked(Struct, kw_only=True):
    """Which teams are looked for."""

    q: str = ""


class One(Struct, kw_only=True):
    """Which team."""

    id: str


def teams(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the list: all teams, or those that the caller leads. Raises `Denied` for who leads none."""
    who = caller.known
    manages = _check(who)
    told = access.listed(bench.store, who)
    rows, found = admin.matching((row for row in told if row["members"] is not None), asked.q, _text)
    values = {"q": asked.q, "rows": rows, "found": found, "manages": manages}
    return admin.page(caller, "teams", "Teams", values)


def team(bench: Workbench, caller: Caller, asked: One) -> Page:
    """Return the page of a team. Raises `NotFound`, `Denied`."""
    who = caller.known
    manages = _check(who)
    row = access.one(bench.store, who, asked.id)
    if row["members"] is None:
        raise Denied("Only those who lead a team see its members.", hint="Ask one of its leads.", code="team_lead")
    zone = span.zone_of(bench.settings.billing.time_zone)
    shows_keys = row["name"] in who.leads or "keys:manage" in who.permissions
    found = (
        keys_api.listed(bench, caller, keys_api.Listing(team=row["name"], state="live", limit=_MOST_KEYS))
        if shows_keys
        else None
    )
    members = {one["id"] for one in row["members"]}
    values = {
        "team": row,
        "budgets": [
            one for one in budgets.bars(bench, caller) if (one.subject, one.subject_id) == ("team", row["name"])
        ],
        "may_change": "settings:manage" in who.permissions,
        "zone": zone.key,
        "manages": manages,
        "own_id": who.user_id,
        "others": [
            one
            for one in (users.listed(bench.store) if manages else [])
            if one["active"] and one["id"] not in members
        ],
        "keys": [row_of(key, bench.clock.now(), zone) for key in found.keys] if found is not None else None,
        "more_keys": found is not None and found.next is not None,
    }
    return admin.page(caller, "teams", row["title"] or row["name"], values, template="team")


def _check(who: Principal) -> bool:
    """Say whether the caller manages all teams. Raises `Denied` for who manages none."""
    manages = "users:manage" in who.permissions
    if not manages and not who.leads:
        who.require("users:manage")
    return manages


def _text(row: dict[str, Any]) -> str:
    return " ".join(
        [row["name"], row["title"] or "", row["cost_center"] or "", *(one["name"] for one in row["members"])]
    )
