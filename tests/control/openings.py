"""The routes that ask for no permission, each with the reason; a route that is not here and asks for none fails."""

from __future__ import annotations

OPEN_TO_ALL = {
    "/": "home says how to connect; it shows numbers to known callers alone",
    "/docs": "the reference is the same for everyone",
    "/login": "the way in",
    "/api/auth/login": "the way in",
    "/api/auth/password": "the way in for a new person, who has a link",
    "/api/version": "clients ask which interface this is before they have a key",
    "/api/openapi.json": "the reference is the same for everyone",
    "/readyz": "load balancers have no key",
    "/healthz": "load balancers have no key",
}
OPEN_TO_KNOWN = {
    "/admin": "leads to a page that the caller may see",
    "/admin/budgets": "those that concern the caller",
    "/admin/keys": "one's own; others' are looked at in the function",
    "/admin/teams": "for leads and users:manage; looked at in the function",
    "/admin/teams/{id}": "for its leads and users:manage; looked at in the function",
    "/logout": "ends one's own session",
    "/api/auth/verify": "tells about the caller alone",
    "/api/auth/logout": "ends one's own session",
    "/api/sessions": "one's own",
    "/api/sessions/{id}": "one's own",
    "/api/users/{id}": "oneself, or anyone with users:manage; decided by the function",
    "/api/users/{id}/password": "one's own, or another's with users:manage",
    "/api/teams": "one's own, or all with users:manage",
    "/api/teams/{id}": "one's own, or any with users:manage",
    "/api/teams/{id}/members/{user_id}": "leads change their own team",
    "/api/keys": "one's own; others' with keys:manage, a team's for its leads",
    "/api/keys/{id}": "one's own, or anyone's with keys:manage",
    "/api/keys/{id}/rotate": "as above",
    "/api/keys/{id}/usage": "as above",
    "/api/budgets": "those that concern the caller",
    "/api/budgets/status": "those that concern the caller",
    "/api/budgets/{id}": "one that concerns the caller",
    "/api/rate-limits": "those that concern the caller",
    "/api/rate-limits/{id}": "one that concerns the caller",
    "/api/permissions": "the same for everyone",
    "/api/roles": "the same for everyone",
}
