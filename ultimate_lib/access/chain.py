"""Who a key is: its own row and those of the keys that made it, one after the other.

A key made with a key ends when its maker does and never reaches further: permissions, models and what is locked are
worked out through the whole chain each time the key is read, so that a change at its top holds below it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ultimate_lib.access import models
from ultimate_lib.access.principal import of_user
from ultimate_lib.access.roles import SCOPES, permissions_of, view_of
from ultimate_lib.store import identities, keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal

MOST_DEPTH = 8
"""Keys one above the other, the first among them."""
LOCKABLE = ("team", "project", "cost_center", "app", "tags")
"""What a key can fix for its calls, and for the keys made with it."""
_FORMER = 1  # a former secret stands below its key


class Link(NamedTuple):
    """One key of a chain, with what its user holds."""

    row: Mapping[str, Any]
    roles: Mapping[str, str]  # role → scope
    teams: Mapping[str, bool]  # name → whether its user leads it


def read(connection: Connection, row: Mapping[str, Any]) -> list[Link] | None:
    """Return a key's chain, itself first; None when it is longer than any that was made here."""
    chain: list[Link] = []
    held: dict[str, tuple[Mapping[str, str], Mapping[str, bool]]] = {}
    link: Mapping[str, Any] | None = row
    while link is not None:
        if len(chain) >= MOST_DEPTH + _FORMER:
            return None
        user_id = link["user_id"]
        if user_id not in held:
            held[user_id] = identities.roles_of(connection, user_id), identities.teams_of(connection, user_id)
        chain.append(Link(link, *held[user_id]))
        link = keys.by_id(connection, link["parent_id"]) if link["parent_id"] is not None else None
    return chain


def ends_at(rows: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Return when the first of some keys ends by itself."""
    told = (row[name] for row in rows for name in ("expires_at", "retires_at"))
    return min((at for at in told if at is not None), default=None)


def principal(chain: Sequence[Link]) -> Principal | None:
    """Return the caller behind a key, or None when it, a key above it or a user among them has ended.

    That it has expired is for who asks at a later moment to see, by `expires_at_us`.
    """
    if any(link.row["revoked_at"] is not None or not link.row["user_active"] for link in chain):
        return None
    reach = _reach(chain)
    row, roles, teams = chain[0]
    expires_at = ends_at(link.row for link in chain)
    return of_user(
        row["user_id"],
        row["user_name"],
        roles,
        teams,
        key_id=row["rotated_from"] or row["id"],  # a former secret is still the same key
        former=row["rotated_from"] is not None,
        expires_at_us=int(expires_at.timestamp() * 1_000_000) if expires_at is not None else None,
        **reach,
    )


def _reach(chain: Sequence[Link]) -> dict[str, Any]:
    """Return what may be done with a key, from the top of its chain down."""
    told: dict[str, Any] = {}
    for row, roles, teams in reversed(chain):
        permissions = permissions_of(roles) & frozenset(row["scopes"])  # a role taken away takes its share along
        view = view_of(roles)
        allowed = tuple(row["models"]) if row["models"] is not None else None
        fields: dict[str, Any] = {name: row[name] for name in ("project", "cost_center", "app")}
        fields["team"] = row["team"] if row["team"] in teams else next(iter(teams), None)
        fields["tags"] = tuple(row["tags"] or ())
        locked = frozenset(row["locked"] or ()) & frozenset(LOCKABLE)
        loopback_only = row["loopback_only"]
        guard = row["guard"] or (told["guard"] if told else None)
        if told:
            fields |= {name: told[name] for name in told["locked"] if name != "tags"}
            if "tags" in told["locked"]:
                fields["tags"] = merged_tags(told["tags"], fields["tags"])
            loopback_only = loopback_only or (told["loopback_only"] and "keys:manage" not in told["permissions"])
            permissions &= told["permissions"]
            view = min(view, told["view"], key=SCOPES.index)
            allowed = models.meet(told["models"], allowed)
            locked |= told["locked"]
        told = {
            **fields,
            "permissions": permissions,
            "view": view,
            "models": allowed,
            "locked": locked,
            "loopback_only": loopback_only,
            "guard": guard,
        }
    return told


def merged_tags(first: Iterable[str], then: Iterable[str]) -> tuple[str, ...]:
    """Return `name=value` tags of both; of one name, those that come first."""
    kept = tuple(first)
    names = {tag.partition("=")[0] for tag in kept}
    return (*kept, *(tag for tag in then if tag.partition("=")[0] not in names))
