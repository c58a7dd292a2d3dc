"""The pages for those who run the proxy. What a viewer may not do is not offered; the interface refuses it anyway.

Lists are read here through the functions of the interface; forms are sent to it by `admin.js`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control.answers import Page, Redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.workbench import Workbench

    _Row = TypeVar("_Row")

MOST_ROWS = 200


class Place(NamedTuple):
    """One page of the side list."""

    name: str
    path: str
    label: str
    open_to: Callable[[Principal], bool]


def _held(*permissions: str) -> Callable[[Principal], bool]:
    return lambda who: any(one in who.permissions for one in permissions)


PLACES = (
    Place("users", "/admin/users", "Users", _held("users:manage")),
    Place("teams", "/admin/teams", "Teams", lambda who: "users:manage" in who.permissions or bool(who.leads)),
    Place("keys", "/admin/keys", "Keys", lambda _: True),
    Place(
        "budgets", "/admin/budgets", "Budgets", lambda who: "settings:manage" in who.permissions or bool(who.leads)
    ),
    Place(
        "rate_limits",
        "/admin/rate-limits",
        "Rate limits",
        lambda who: "settings:manage" in who.permissions or bool(who.leads),
    ),
    Place("guard", "/guard", "Guard", lambda who: "settings:manage" in who.permissions or bool(who.leads)),
    Place("providers", "/admin/providers", "Providers & routes", _held("settings:manage")),
    Place("audit", "/admin/audit", "Audit", _held("audit:view")),
)


def places(who: Principal | None) -> list[Place]:
    """Return what the side list offers to a viewer."""
    return [] if who is None else [place for place in PLACES if place.open_to(who)]


def entrance(who: Principal | None) -> tuple[str, str, str] | None:
    """Return the entry of the navigation bar: name, path, label; for most people that is their keys."""
    offered = places(who)
    if not offered:
        return None
    return ("admin", offered[0].path, offered[0].label if len(offered) == 1 else "Admin")


def admin(_bench: Workbench, caller: Caller, _: Nothing) -> Redirect:
    """Lead to the first page that the caller may see."""
    return Redirect(f"admin_{places(caller.known)[0].name}")


def page(caller: Caller, here: str, title: str, values: dict[str, Any], template: str = "") -> Page:
    """Return a page of the side list."""
    told = {"side": places(caller.principal), "here": here, **values}
    return Page(f"admin/{template or here}.html", title, told, current="admin", script="admin/admin.js")


def matching(rows: Iterable[_Row], search: str, text: Callable[[_Row], str]) -> tuple[Sequence[_Row], int]:
    """Return the rows in whose text each word of a search is found, at most `MOST_ROWS`, and how many there are."""
    words = search.casefold().split()
    found = [row for row in rows if all(word in text(row).casefold() for word in words)]
    return found[:MOST_ROWS], len(found)
