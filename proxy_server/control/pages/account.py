"""One's own account: roles and what they allow, teams, password, the browsers that are signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control.answers import Nothing, Page
from proxy_server.control.api import auth, span
from proxy_server.control.api import keys as keys_api
from proxy_server.control.pages import agents, shown
from proxy_server.control.pages.admin.users import ROLES, SCOPES
from ultimate_lib.access import users, views
from ultimate_lib.access.passwords import LONGEST, SHORTEST
from ultimate_lib.access.roles import PERMISSIONS
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.workbench import Workbench

_MOST_KEYS = 100


class Browser(NamedTuple):
    """A session as the list shows it."""

    id: str
    browser: str
    agent: str  # as it was sent
    address: str
    began: str
    seen: str
    ends: str
    current: bool


def account(bench: Workbench, caller: Caller, _: Nothing) -> Page:
    """Return the page."""
    who = caller.known
    zone = span.zone_of(bench.settings.billing.time_zone)
    row = users.one(bench.store, who.user_id)
    changed = row["password_changed_at"]
    values: dict[str, Any] = {
        "user": row,
        "roles": [_role(role, scope) for role, scope in row["roles"].items()],
        "may": [told for name, told in PERMISSIONS.items() if name in who.permissions],
        "sees": _sees(who),
        "leads": who.leads,
        "shortest": SHORTEST,
        "longest": LONGEST,
        "changed": shown.minute(changed, zone) if changed is not None else "",
        "browsers": None,
        "zone": zone.key,
        "keys": keys_api.listed(bench, caller, keys_api.Listing(state="live", limit=_MOST_KEYS)),
        "by_key": caller.session is None,
    }
    try:
        values["browsers"] = [_browser(one, zone) for one in auth.listed(bench, caller, Nothing()).sessions]
    except Denied:  # a key that may do less than its user
        if caller.session is not None:
            raise
    return Page("account.html", "Your account", values, current="account", script="admin/admin.js")


def _role(role: str, scope: str) -> tuple[str, str, str]:
    """Return a role, what it allows, and whose calls it shows."""
    return role, ROLES.get(role, ""), SCOPES["own" if role == "api_user" else scope]


def _sees(who: Principal) -> str:
    if "analytics:view" not in who.permissions:
        return "nobody's calls: none of your roles shows numbers"
    if who.view == "all":
        return "everyone's calls"
    if who.view == "team" and who.teams:
        return f"the calls of {views.whose(who.user_name, who.view, who.teams)}, and your own"
    return "your own calls"


def _browser(one: auth.Session, zone: ZoneInfo) -> Browser:
    return Browser(
        id=one.id,
        browser=agents.told(one.agent),
        agent=one.agent or "",
        address=one.address or "",
        began=shown.minute(one.created_at, zone),
        seen=shown.minute(one.last_seen_at, zone) if one.last_seen_at is not None else "not known",
        ends=shown.minute(one.expires_at, zone),
        current=one.current,
    )
