"""`ClaudeProxyClient`: one method for every route, one file for every group of routes."""

from __future__ import annotations

from claude_proxy.client.access import Access
from claude_proxy.client.analytics import Analytics
from claude_proxy.client.calls import SingleCalls
from claude_proxy.client.guard import Guard
from claude_proxy.client.keys import Keys
from claude_proxy.client.limits import Limits
from claude_proxy.client.people import People
from claude_proxy.client.predictive import Predictive
from claude_proxy.client.providers import Providers
from claude_proxy.client.system import System

__all__ = ["ROUTES", "ClaudeProxyClient"]


class ClaudeProxyClient(Analytics, Predictive, Guard, SingleCalls, Access, People, Keys, Limits, Providers, System):
    """A client of one proxy.

        client = ClaudeProxyClient(base_url="http://localhost:8082")
        client.get_analytics("2026-01-01", "2026-01-05", by="model").to_polars()

    `base_url` and `api_key` are found by `claude_proxy.places` when they are not given; `timeout` (seconds) is the
    longest silence of the proxy. GETs are tried again, up to three times in all, when the proxy or the network fails
    for a moment; what changes something is sent once. Errors are `claude_proxy.errors`. Several threads may use one
    client; from asyncio, call `await asyncio.to_thread(client.get_analytics, …)`.
    """


ROUTES: dict[str, str] = {
    "GET /api/analytics/aggregate": "get_aggregate_stats",
    "GET /api/analytics/timeseries": "get_timeseries",
    "GET /api/analytics/breakdown": "get_breakdown",
    "GET /api/analytics/calls": "calls",
    "GET /api/predictive/forecast": "get_predictions",
    "GET /api/predictive/thresholds": "get_smart_thresholds",
    "GET /api/predictive/patterns": "get_patterns",
    "POST /api/predictive/detect-anomaly": "detect_anomaly",
    "GET /api/predictive/anomaly-history": "get_anomaly_history",
    "GET /api/predictive/guard": "get_guard",
    "PUT /api/predictive/guard/{id}": "set_guard_action",
    "POST /api/predictive/guard/{id}/accept": "accept_usual",
    "POST /api/predictive/guard/cooldowns/{id}/end": "end_cooldown",
    "GET /api/predictive/analyze-cost": "analyze_cost",
    "GET /api/predictive/trend-analysis": "get_trend",
    "POST /api/predictive/smart-alert": "propose_alert",
    "GET /api/predictive/recommendations": "get_recommendations",
    "GET /api/calls/{id}": "call",
    "GET /api/live": "live",
    "GET /api/auth/verify": "verify",
    "POST /api/auth/logout": "logout",
    "POST /api/auth/login": "login",
    "POST /api/auth/password": "set_first_password",
    "GET /api/sessions": "list_sessions",
    "DELETE /api/sessions": "end_sessions",
    "DELETE /api/sessions/{id}": "end_session",
    "GET /api/users": "list_users",
    "POST /api/users": "create_user",
    "GET /api/users/{id}": "get_user",
    "PATCH /api/users/{id}": "update_user",
    "POST /api/users/{id}/deactivate": "deactivate_user",
    "POST /api/users/{id}/reactivate": "reactivate_user",
    "PUT /api/users/{id}/roles": "set_user_roles",
    "PUT /api/users/{id}/password": "set_user_password",
    "POST /api/users/{id}/link": "create_user_link",
    "GET /api/teams": "list_teams",
    "POST /api/teams": "create_team",
    "GET /api/teams/{id}": "get_team",
    "PATCH /api/teams/{id}": "update_team",
    "DELETE /api/teams/{id}": "archive_team",
    "PUT /api/teams/{id}/members/{user_id}": "add_team_member",
    "DELETE /api/teams/{id}/members/{user_id}": "remove_team_member",
    "GET /api/audit": "audit",
    "GET /api/audit/verify": "verify_audit",
    "GET /api/keys": "list_api_keys",
    "POST /api/keys": "create_api_key",
    "GET /api/keys/{id}": "get_api_key",
    "PATCH /api/keys/{id}": "update_api_key",
    "DELETE /api/keys/{id}": "revoke_api_key",
    "POST /api/keys/{id}/rotate": "rotate_api_key",
    "GET /api/keys/{id}/usage": "get_api_key_usage",
    "GET /api/budgets": "list_budgets",
    "POST /api/budgets": "create_budget",
    "GET /api/budgets/status": "budget_status",
    "GET /api/budgets/{id}": "get_budget",
    "PATCH /api/budgets/{id}": "update_budget",
    "DELETE /api/budgets/{id}": "delete_budget",
    "GET /api/rate-limits": "list_rate_limits",
    "POST /api/rate-limits": "create_rate_limit",
    "GET /api/rate-limits/{id}": "get_rate_limit",
    "PATCH /api/rate-limits/{id}": "update_rate_limit",
    "DELETE /api/rate-limits/{id}": "delete_rate_limit",
    "GET /api/permissions": "list_permissions",
    "GET /api/roles": "list_roles",
    "GET /api/providers": "list_providers",
    "PUT /api/providers/{name}/key": "set_provider_key",
    "DELETE /api/providers/{name}/key": "delete_provider_key",
    "GET /api/system/status": "status",
    "GET /api/version": "version",
    "GET /api/openapi.json": "openapi",
    "GET /metrics": "metrics",
    "GET /readyz": "ready",
    "GET /healthz": "health",
}
"""Route → the method that asks it. A test walks the proxy's own table and names what is not here."""
