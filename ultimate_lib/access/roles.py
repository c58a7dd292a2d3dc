"""The 17 permissions and five roles, one table: Viewer 3 ⊂ Analyst 6 ⊂ Moderator 11 ⊂ Admin 17; API user 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def permissions_of(roles: Iterable[str]) -> frozenset[str]:
    """Return what a holder of several roles may do; roles that are no longer known give nothing."""
    return frozenset[str]().union(*(ROLES.get(role, frozenset()) for role in roles))
