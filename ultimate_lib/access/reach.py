"""How far a caller reaches: it changes nobody who may do more than itself, and grants nothing that it does not have.

A key may do less than its user. What would make it as mighty as the user (a password, a link, a role) is therefore
out of its reach, unless it holds all that the user holds, and ends no sooner, calls any model and has nothing locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.access.roles import GRANTABLE, PERMISSIONS, SCOPES, permissions_of, view_of
from ultimate_lib.errors import Denied, Invalid
from ultimate_lib.store import people

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal

_DEFAULT_SCOPES = {"admin": "all", "api_user": "own"}


def require_reach(connection: Connection, actor: Principal, user_id: str) -> None:
    """Raise `Denied` when a user may do more, or sees more calls, than the caller does; for a limited key always."""
    _require_unlimited(actor)
    held = people.roles_of(connection, [user_id])[user_id]
    view = view_of(held)
    if SCOPES.index(view) > SCOPES.index(actor.view):
        raise Denied(
            f"That user sees {view} calls, the caller only {actor.view}.",
            hint="Ask an administrator who sees as much.",
            code="reach",
        )
    excess = permissions_of(held) - actor.permissions
    if excess:
        own = user_id == actor.user_id
        raise Denied(
            f"{'The user of this key' if own else 'That user'} holds '{_first(excess)}', which the caller does not.",
            hint="Sign in, or ask with a key that holds as much.",
            code="reach",
        )


def require_grants(actor: Principal, roles: Mapping[str, str], held: Mapping[str, str] | None = None) -> None:
    """Raise `Denied` when `roles` give what the caller lacks: a permission, sight of more calls, a key's being free.

    `held` are roles that the user has already: what those gave may stay.
    """
    had = held or {}
    fresh = {role for role, scope in roles.items() if had.get(role) != scope}
    if fresh:
        _require_unlimited(actor)
    excess = permissions_of(fresh - had.keys()) - actor.permissions
    if excess:
        raise Denied(
            f"Nobody grants '{_first(excess)}' who does not hold it.",
            hint="Ask an administrator, or grant roles that give less.",
            code="grant_excess",
        )
    view = view_of({role: roles[role] for role in fresh})
    if SCOPES.index(view) > max(SCOPES.index(actor.view), SCOPES.index(view_of(had))):
        raise Denied(
            f"Nobody grants sight of {view} calls who sees only {actor.view}.",
            hint="Grant the role with a narrower scope.",
            code="grant_excess",
        )


def _require_unlimited(actor: Principal) -> None:
    """Raise `Denied` for a key with an end, a list of models or locks: users have none of these."""
    limits = {"models": actor.models is not None, "locks": bool(actor.locked), "end": actor.expires_at_us is not None}
    if actor.key_id is not None and any(limits.values()):
        told = " and ".join(name for name, there in limits.items() if there)
        raise Denied(
            f"This key has limits ({told}) that a user has not.",
            hint="Sign in, or ask with a key that has no end, models or locks.",
            code="reach",
        )


def checked_roles(roles: Mapping[str, str | None]) -> dict[str, str]:
    """Return role → scope, with the default where none is given. Raises `Invalid` for what is not known.

    By default an administrator sees everyone's calls, an API user its own, every other role those of one's teams.
    """
    found = {}
    for role, scope in roles.items():
        if role not in GRANTABLE:
            raise Invalid(f"There is no role '{role[:60]}'.", hint=f"Known: {', '.join(GRANTABLE)}.", code="role")
        if scope is not None and scope not in SCOPES:
            raise Invalid(f"There is no scope '{scope[:60]}'.", hint=f"Known: {', '.join(SCOPES)}.", code="scope")
        found[role] = scope or _DEFAULT_SCOPES.get(role, "team")
    return found


def _first(permissions: frozenset[str]) -> str:
    return next(name for name in PERMISSIONS if name in permissions)
