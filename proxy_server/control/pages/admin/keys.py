"""Keys: making one (shown once, with what to paste), giving it another secret, ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from proxy_server.control.api import keys as api
from proxy_server.control.api import span
from proxy_server.control.pages import admin, shown
from ultimate_lib.access.roles import PERMISSIONS

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller, Page
    from ultimate_lib.workbench import Workbench

_USUAL = frozenset({"proxy:call", "analytics:view"})
_A_PAGE = 100


class Asked(Struct, kw_only=True):
    """Whose keys are looked for."""

    whose: str = "own"  # own, all, or a team's name behind "team:"
    ended: str = ""
    q: str = ""
    cursor: str = ""


class Row(NamedTuple):
    """A key in the list."""

    key: api.Key
    made: str
    state: str
    lives: bool
    ends: str


def keys(bench: Workbench, caller: Caller, asked: Asked) -> Page:
    """Return the page. Raises `Denied` for keys that the caller may not see."""
    who = caller.known
    base = (bench.settings.server.public_url or caller.origin + caller.root).rstrip("/")
    listing = api.Listing(
        user="all" if asked.whose == "all" else "",
        team=asked.whose.removeprefix("team:") if asked.whose.startswith("team:") else "",
        state="" if asked.ended else "live",
        cursor=asked.cursor,
        limit=_A_PAGE,
    )
    found = api.listed(bench, caller, listing)
    zone = span.zone_of(bench.settings.billing.time_zone)
    rows, _ = admin.matching((row_of(key, bench.clock.now(), zone) for key in found.keys), asked.q, _text)
    choices = [("own", "My keys")]
    if "keys:manage" in who.permissions:
        choices.append(("all", "Everyone's keys"))
    choices += [(f"team:{team}", f"Keys of the team {team}") for team in who.leads]
    values = {
        "asked": asked,
        "rows": rows,
        "choices": choices,
        "next": found.next,
        "zone": zone.key,
        "scopes": {
            "usual": [one for one in PERMISSIONS.items() if one[0] in _USUAL & who.permissions],
            "others": [one for one in PERMISSIONS.items() if one[0] in who.permissions - _USUAL],
        },
        "teams": who.teams,
        "manages": "keys:manage" in who.permissions,
        "may_guard": "settings:manage" in who.permissions,
        "own_id": who.user_id,
        "anthropic_url": base,
        "openai_url": f"{base}/v1",
        "newline": "\n",  # of the template itself none is left
    }
    return admin.page(caller, "keys", "Keys", values)


def row_of(key: api.Key, now: datetime, zone: ZoneInfo) -> Row:
    """Return a key as the lists show it."""
    if key.revoked_at is not None:
        state = "ended"
    elif key.expires_at is not None and key.expires_at <= now:
        state = "expired"
    elif key.retires_at is not None:
        state = "former secret" if key.retires_at > now else "ended"
    else:
        state = "live"
    ends = key.retires_at or key.expires_at
    lives = state in {"live", "former secret"}
    return Row(key, shown.day(key.created_at, zone), state, lives, shown.day(ends, zone) if ends else "")


def _text(row: Row) -> str:
    key = row.key
    return " ".join(
        [key.name, key.prefix, key.user_name or "", key.project or "", key.team or "", *(key.models or ())]
    )
