"""The 17 permissions and five roles, one table: Viewer 3 ⊂ Analyst 6 ⊂ Moderator 11 ⊂ Admin 17; API user 2.

Presets are further bundles under names of their own. A grant has a scope: whose calls its holder sees. The API user's
part gives sight of own calls alone, whatever its scope says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERMISSIONS: dict[str, str] = {
    "dashboards:view": "See dashboards.",
    "analytics:view": "See metrics, forecasts and alert states.",
    "reports:view": "See reports.",
    "analytics:export": "Take data out as files.",
    "analytics:query": "Ask free questions of the lake, and GraphQL beyond one's own data.",
    "dashboards:edit": "Make and change dashboards.",
    "alerts:edit": "Create, change, mute and acknowledge alerts.",
    "alerts:delete": "Delete alerts.",
    "reports:run": "Run reports.",
    "reports:schedule": "Schedule reports.",
    "integrations:test": "Send a test through an integration.",
    "integrations:manage": "Add and change integrations.",
    "users:manage": "Add, change and deactivate users, teams and roles.",
    "keys:manage": "See and end everyone's keys.",
    "settings:manage": "Change providers, budgets and the guard.",
    "audit:view": "See the audit log and the proxy's own metrics.",
    "proxy:call": "Call models through the proxy.",
}

_VIEWER = ("dashboards:view", "analytics:view", "reports:view")
_ANALYST = (*_VIEWER, "analytics:export", "analytics:query", "dashboards:edit")
_MODERATOR = (*_ANALYST, "alerts:edit", "alerts:delete", "reports:run", "reports:schedule", "integrations:test")

ROLES: dict[str, frozenset[str]] = {
    "viewer": frozenset(_VIEWER),
    "analyst": frozenset(_ANALYST),
    "moderator": frozenset(_MODERATOR),
    "admin": frozenset(PERMISSIONS),
    "api_user": frozenset({"proxy:call", "analytics:view"}),
}

PRESETS: dict[str, frozenset[str]] = {
    "finance": ROLES["viewer"] | {"analytics:export", "reports:schedule"},
}
GRANTABLE: dict[str, frozenset[str]] = {**ROLES, **PRESETS}
"""What can be granted: roles and presets."""

Scope = Literal["own", "team", "all"]
SCOPES: tuple[Scope, ...] = ("own", "team", "all")
"""Whose calls a role shows, from narrow to wide."""
_SHOWS_OWN_ALONE = "api_user"


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    """Return what a holder of several roles may do; roles that are no longer known give nothing."""
    return frozenset[str]().union(*(GRANTABLE.get(role, frozenset()) for role in roles))


def view_of(roles: Mapping[str, str]) -> Scope:
    """Return whose calls a holder of roles (role → scope) sees: the widest scope wins."""
    held = {scope for role, scope in roles.items() if role in GRANTABLE and role != _SHOWS_OWN_ALONE}
    return next((scope for scope in reversed(SCOPES) if scope in held), "own")
