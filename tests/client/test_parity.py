"""Every route of the proxy's own table has its method and its command."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from claude_proxy import ClaudeProxyClient
from claude_proxy.cli import main
from claude_proxy.client import ROUTES
from proxy_server.control.conditions import takes_version, versioned
from proxy_server.control.routes import TABLE
from tests.client.conftest import KEY
from tests.client.fake import Fake, told
from tests.fakes.scripted import answer, stream

LIVE_ROUTES = {f"{route.method} {route.path}" for route in TABLE if not route.page}  # pages are for browsers
VERSIONED = sorted(
    f"{route.method} {route.path}" for route in TABLE if not route.page and takes_version(route, versioned(TABLE))
)
WHO = {
    "user_id": "a", "user_name": "a", "permissions": [], "sees_all_calls": False, "view": "own",
    "teams": [], "leads": [], "key_id": None, "team": None, "project": None, "expires_at": None,
}  # fmt: skip
SPAN = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z", "time_zone": "UTC", "missing": {}}
ROW = {"requests": 0, "cost_usd": None, "unpriced_requests": 0}
NUMBERS = {"rows": [ROW], "units": {"requests": "calls"}, "unpriced_requests": 0, **SPAN}
STATUS = {
    "ready": True, "reasons": [], "gateways": [], "calls": 0, "journal_written": 0, "journal_dropped": 0,
    "journal_lag_s": 0.0, "ingest_age_s": None, "lake_version": None, "jobs": {},
}  # fmt: skip
USER: dict[str, Any] = {
    "id": "k1", "name": "ann", "email": None, "active": True, "roles": {"viewer": "team"}, "has_password": False,
    "teams": [{"id": "t1", "name": "search", "lead": True}], "last_sign_in_at": None,
}  # fmt: skip
TEAM: dict[str, Any] = {
    "id": "k1", "name": "search", "title": None, "cost_center": None, "archived_at": None,
    "members": [{"id": "u1", "name": "ann", "lead": True, "active": True}],
}  # fmt: skip
BUDGET = {
    "id": "k1", "name": "", "subject": "global", "subject_id": None, "unit": "nano_usd", "amount": 1, "period": "day",
    "hard": True, "enabled": True,
}  # fmt: skip
EFFECTS = {
    "volume_nano_usd": 2_000_000_000, "model_mix_nano_usd": 0, "tokens_per_request_nano_usd": -500_000_000,
    "price_nano_usd": 0, "tokens_or_price_nano_usd": 0,
}  # fmt: skip
ANSWERS: dict[str, Any] = {
    "GET /api/budgets": {"budgets": [BUDGET], "next": None},
    "GET /api/budgets/status": {
        "budgets": [
            BUDGET,
            {**BUDGET, "outlook": {"expected": 5, "probability": 0.8, "exhausted_at": SPAN["start"]}},
            {**BUDGET, "outlook": None},
        ]
    },
    "GET /api/rate-limits": {"rate_limits": [], "next": None},
    "GET /api/analytics/aggregate": NUMBERS,
    "GET /api/analytics/timeseries": {**NUMBERS, "rows": [{"step_at": SPAN["start"], **ROW}]},
    "GET /api/analytics/breakdown": NUMBERS,
    "GET /api/analytics/calls": {"rows": [], "next_cursor": None, **SPAN},
    "GET /api/predictive/forecast": {
        "metric": "cost_usd",
        "unit": "usd",
        "grain": "day",
        "days": 7,
        "risk_level": "low",
        "risk_reason": "r",
        "rows": [],
        "summary": {"total": 1.0, "lower_80": 0.5, "upper_80": 1.5},
        "budgets": [],
        "backtest": None,
        "method": "m",
        "notes": [],
        "unpriced_requests": 0,
        **SPAN,
    },
    "GET /api/predictive/thresholds": {
        "metric": "cost_usd",
        "unit": "usd",
        "period": "day",
        "period_start": SPAN["start"],
        "period_end": SPAN["end"],
        "so_far": 0.5,
        "expected": 1.0,
        "warning": 2.0,
        "critical": 3.0,
        "method": "m",
        "backtest": None,
        "notes": [],
        "unpriced_requests": 0,
    },
    "GET /api/predictive/patterns": {
        "metric": "requests",
        "unit": "calls",
        "time_zone": "UTC",
        "first_day": "2026-01-01",
        "last_day": "2026-01-09",
        "weekly": None,
        "peak_hours": [9],
        "quiet_hours": [],
        "weekday_mean": 3.0,
        "daily": {"there": True, "strength": 0.5, "p_value": 0.001, "cycles": 9, "means": [1.0] * 24},
        "weekend_mean": None,
        "changes": [{"day": "2026-01-05", "ratio": 2.0}],
        "unpriced_requests": 0,
    },
    "POST /api/predictive/detect-anomaly": {
        "is_anomaly": False,
        "action": "none",
        "mode": "observe",
        "measure": "cost_usd",
        "value": 0.01,
        "expected_high": 0.14,
        "score": 0.4,
        "limit": 3.5,
        "reason": "r",
    },
    "GET /api/predictive/anomaly-history": {
        "metric": "cost_usd",
        "unit": "usd",
        "grain": "hour",
        "time_zone": "UTC",
        "start": SPAN["start"],
        "method": "series",
        "threshold": 4.0,
        "learnt": 216,
        "judged": 900,
        "by": "model",
        "left_out": {"groups": 3, "share": 0.1},
        "anomalies": [
            {
                "step_at": SPAN["start"],
                "group": "m",
                "value": 9.0,
                "expected_low": None,
                "within": True,
                "expected_high": 3.0,
                "score": 5.1,
                "reason": "novelty",
                "made_by": [{"dimension": "model", "value": "m", "share": 0.9}],
            }
        ],
    },
    "GET /api/predictive/guard": {
        "rule": {"enabled": True, "action": "observe", "after_days": 14, "after_calls": 500},
        "learnt_at": SPAN["start"],
        "behind": False,
        "failure": None,
        "keys": [{"id": "k1", "name": "agent", "user_name": "ann", "action": None, "in_force": "observe"}],
        "pairs": [
            {
                "key_id": "k1",
                "model": "m",
                "calls": 230,
                "first_call_at": SPAN["start"],
                "days": 9,
                "ripe": False,
                "usual_usd": 0.25,
                "usual_tokens": None,
                "anomalies_7d": 1,
                "anomalies_30d": 2,
                "blocked": 0,
                "would_have_blocked": 4,
                "would_have_blocked_usd": 2.5,
                "would_have_blocked_unpriced": 0,
                "would_have_cooled_down": 1,
                "marked": 4,
                "marked_outside": 1,
                "marked_rate": 0,
                "cooldown": None,
                "accepted": None,
            }
        ],
        "found": 1,
    },
    "PUT /api/predictive/guard/{id}": {
        "id": "k1",
        "name": "agent",
        "user_name": "ann",
        "action": "warn",
        "in_force": "warn",
    },
    "POST /api/predictive/guard/{id}/accept": {
        "key_id": "k1",
        "model": "m",
        "since": SPAN["start"],
        "at": SPAN["end"],
        "by": "ann",
        "learnt": False,
        "alone": False,
    },
    "POST /api/predictive/guard/cooldowns/{id}/end": {"id": "k1", "key_id": "k1", "model": "m"},
    "GET /api/predictive/analyze-cost": {
        "before": {**SPAN, "cost_usd": None, "priced_requests": 0},
        "after": {**SPAN, "cost_usd": 1.5, "priced_requests": 3},
        "change_nano_usd": 1_500_000_000,
        "change_ratio": None,
        "effects": EFFECTS,
        "dimensions": [
            {
                "dimension": "model",
                "movers": [
                    {
                        "value": "m",
                        "before_nano_usd": 0,
                        "after_nano_usd": 1_600_000_000,
                        "change_nano_usd": 1_600_000_000,
                        "effects": EFFECTS,
                    }
                ],
                "rest_nano_usd": -100_000_000,
                "rest_values": 2,
            }
        ],
        "notes": ["n"],
    },
    "GET /api/predictive/trend-analysis": {
        "metric": "cost_usd",
        "unit": "usd",
        "words": "w",
        "changes": [{"at": SPAN["start"], "before": 0.0, "after": 2.0, "ratio": None}],
        "method": "m",
    },
    "POST /api/predictive/smart-alert": {
        "metric": "cost_usd",
        "unit": "usd",
        "condition": "cost_usd > 3",
        "severity": "high",
        "expected_per_month": 1.9,
        "replay": {**SPAN, "fired": 1, "per_month": 0.5, "firings": [{"at": SPAN["start"], "value": 4.0}]},
        "notes": [],
    },
    "GET /api/predictive/recommendations": {
        "recommendations": [
            {
                "id": "prompt_caching-1",
                "kind": "prompt_caching",
                "title": "Ask for prompt caching",
                "saving_usd": 2.0,
                "lower_usd": 1.0,
                "upper_usd": 3.0,
                "calls": {"count": 3, "affected": 2, "share": 0.5, "sample_ids": ["c1"], "filters": ["key:k1"]},
                "how": ["Mark the end of tools or system."],
            },
            {
                "id": "idle_keys-1",
                "kind": "idle_keys",
                "title": "The key 'old' has not been used",
                "saving_usd": None,
                "lower_usd": None,
                "upper_usd": None,
                "calls": None,
                "how": ["End it."],
            },
        ],
        "kinds": [{"kind": "prompt_caching", "state": "found", "looked_at": 3, "found": 1, "reason": ""}],
        "calls": 3,
        "days": 30.0,
        "total_usd": 2.0,
        "surely_usd": 2.0,
        "left_out": 0,
        "too_few": "",
        "missing": {},
    },
    "GET /api/calls/{id}": {"call": {"call_id": "c1", "cost_nano_usd": None}, "price": {}},
    "GET /api/auth/verify": WHO,
    "GET /api/keys": {"keys": []},
    "POST /api/keys": {"key": "cp_x", "about": {"id": "k1", "scopes": []}},
    "DELETE /api/keys/{id}": {"id": "k1"},
    "POST /api/keys/{id}/rotate": {"key": "cp_x", "about": {"id": "k1"}, "former_until": "2026-01-01T00:00:00Z"},
    "GET /api/sessions": {"sessions": []},
    "DELETE /api/sessions": {"ended": 1},
    "DELETE /api/sessions/{id}": {"ended": 1},
    "GET /api/users": {"users": [], "next": None},
    "POST /api/users": USER,
    "GET /api/users/{id}": USER,
    "PATCH /api/users/{id}": USER,
    "POST /api/users/{id}/deactivate": USER,
    "POST /api/users/{id}/reactivate": USER,
    "PUT /api/users/{id}/roles": USER,
    "POST /api/users/{id}/link": {"link": "http://localhost/login?link=x", "expires_at": SPAN["end"]},
    "GET /api/teams": {"teams": [], "next": None},
    "POST /api/teams": TEAM,
    "GET /api/teams/{id}": TEAM,
    "PATCH /api/teams/{id}": TEAM,
    "DELETE /api/teams/{id}": TEAM,
    "PUT /api/teams/{id}/members/{user_id}": TEAM,
    "DELETE /api/teams/{id}/members/{user_id}": TEAM,
    "GET /api/audit": {"audit": [], "next": None},
    "GET /api/audit/verify": {"whole": True, "rows": 1, "broken_at": None, "last_number": 1, "last_hash": "00"},
    "GET /api/providers": [],
    "GET /api/system/status": STATUS,
    "GET /readyz": {"ready": True, "reasons": []},
}
METHODS: dict[str, Callable[[ClaudeProxyClient], Any]] = {
    "get_breakdown": lambda client: client.get_breakdown("model"),
    "calls": lambda client: list(client.calls()),
    "call": lambda client: client.call("c1"),
    "live": lambda client: next(client.live()),
    "detect_anomaly": lambda client: client.detect_anomaly("m", cost_usd=0.01),
    "set_guard_action": lambda client: client.set_guard_action("k1", "warn"),
    "accept_usual": lambda client: client.accept_usual("k1", "m", since="2026-03-01T00:00:00Z"),
    "end_cooldown": lambda client: client.end_cooldown("k1"),
    "create_api_key": lambda client: client.create_api_key("n"),
    "get_api_key": lambda client: client.get_api_key("k1"),
    "update_api_key": lambda client: client.update_api_key("k1", name="n"),
    "revoke_api_key": lambda client: client.revoke_api_key("k1"),
    "rotate_api_key": lambda client: client.rotate_api_key("k1"),
    "get_api_key_usage": lambda client: client.get_api_key_usage("k1"),
    "login": lambda client: client.login("ann", "p"),
    "set_first_password": lambda client: client.set_first_password("x", "p"),
    "end_session": lambda client: client.end_session("k1"),
    "get_user": lambda client: client.get_user("k1"),
    "create_user": lambda client: client.create_user("ann", {"viewer": None}),
    "update_user": lambda client: client.update_user("k1", email=None),
    "deactivate_user": lambda client: client.deactivate_user("k1"),
    "reactivate_user": lambda client: client.reactivate_user("k1"),
    "set_user_roles": lambda client: client.set_user_roles("k1", {"viewer": "own"}),
    "set_user_password": lambda client: client.set_user_password("k1", "p"),
    "create_user_link": lambda client: client.create_user_link("k1"),
    "get_team": lambda client: client.get_team("k1"),
    "create_team": lambda client: client.create_team("search"),
    "update_team": lambda client: client.update_team("k1", title="Search"),
    "archive_team": lambda client: client.archive_team("k1"),
    "add_team_member": lambda client: client.add_team_member("k1", "u1"),
    "remove_team_member": lambda client: client.remove_team_member("k1", "u1"),
    "audit": lambda client: list(client.audit()),
    "get_budget": lambda client: client.get_budget("k1"),
    "create_budget": lambda client: client.create_budget("global", 1, "day"),
    "update_budget": lambda client: client.update_budget("k1", amount=2),
    "delete_budget": lambda client: client.delete_budget("k1"),
    "get_rate_limit": lambda client: client.get_rate_limit("k1"),
    "create_rate_limit": lambda client: client.create_rate_limit("global", concurrent=2),
    "update_rate_limit": lambda client: client.update_rate_limit("k1", concurrent=None),
    "delete_rate_limit": lambda client: client.delete_rate_limit("k1"),
    "set_provider_key": lambda client: client.set_provider_key("p1", "sk-1"),
    "delete_provider_key": lambda client: client.delete_provider_key("p1"),
}
"""How a method that needs arguments is called."""
COMMANDS: dict[str, str] = {
    "GET /api/analytics/aggregate": "analytics",
    "GET /api/analytics/timeseries": "analytics --grain day",
    "GET /api/analytics/breakdown": "analytics --by model --top",
    "GET /api/analytics/calls": "calls",
    "GET /api/predictive/forecast": "predictive forecast",
    "POST /api/predictive/detect-anomaly": "predictive detect m --cost-usd 0.01",
    "GET /api/predictive/analyze-cost": "predictive analyze-cost",
    "GET /api/predictive/anomaly-history": "predictive anomalies --by model",
    "GET /api/predictive/trend-analysis": "predictive trend",
    "POST /api/predictive/smart-alert": "predictive smart-alert",
    "GET /api/predictive/recommendations": "predictive recommendations --kinds prompt_caching",
    "GET /api/predictive/patterns": "predictive patterns",
    "GET /api/predictive/thresholds": "predictive thresholds",
    "GET /api/predictive/guard": "guard",
    "PUT /api/predictive/guard/{id}": "guard set k1 warn",
    "POST /api/predictive/guard/{id}/accept": "guard accept k1 m --since 2026-03-01T00:00:00Z",
    "POST /api/predictive/guard/cooldowns/{id}/end": "guard end k1",
    "GET /api/calls/{id}": "calls c1",
    "GET /api/live": "tail",
    "GET /api/auth/verify": "whoami",
    "POST /api/auth/logout": "api POST /api/auth/logout",  # sessions are browsers'; a key has none to end
    "POST /api/auth/login": "api POST /api/auth/login",  # as above
    "POST /api/auth/password": "api POST /api/auth/password",
    "GET /api/sessions": "sessions",
    "DELETE /api/sessions": "sessions end",
    "DELETE /api/sessions/{id}": "sessions end k1",
    "GET /api/users": "users list",
    "POST /api/users": "users create ann --roles viewer",
    "GET /api/users/{id}": "users show k1",
    "PATCH /api/users/{id}": "users change k1 --email ann@example.org",
    "POST /api/users/{id}/deactivate": "users deactivate k1",
    "POST /api/users/{id}/reactivate": "users reactivate k1",
    "PUT /api/users/{id}/roles": "users roles k1 --roles viewer:own",
    "PUT /api/users/{id}/password": "users password k1",
    "POST /api/users/{id}/link": "users link k1",
    "GET /api/teams": "teams list",
    "POST /api/teams": "teams create search",
    "GET /api/teams/{id}": "teams show k1",
    "PATCH /api/teams/{id}": "teams change k1 --title Search",
    "DELETE /api/teams/{id}": "teams archive k1",
    "PUT /api/teams/{id}/members/{user_id}": "teams add k1 u1 --lead",
    "DELETE /api/teams/{id}/members/{user_id}": "teams remove k1 u1",
    "GET /api/audit": "audit",
    "GET /api/audit/verify": "audit verify",
    "GET /api/keys": "keys list",
    "POST /api/keys": "keys create n",
    "GET /api/keys/{id}": "keys show k1",
    "PATCH /api/keys/{id}": "keys change k1 --name n",
    "DELETE /api/keys/{id}": "keys revoke k1",
    "POST /api/keys/{id}/rotate": "keys rotate k1",
    "GET /api/keys/{id}/usage": "keys usage k1",
    "GET /api/budgets": "budgets list",
    "POST /api/budgets": "budgets create global --usd 5 --period day",
    "GET /api/budgets/status": "budgets",
    "GET /api/budgets/{id}": "budgets show k1",
    "PATCH /api/budgets/{id}": "budgets update k1 --usd 2.5",
    "DELETE /api/budgets/{id}": "budgets delete k1",
    "GET /api/rate-limits": "limits",
    "POST /api/rate-limits": "limits create global --concurrent 2",
    "GET /api/rate-limits/{id}": "limits show k1",
    "PATCH /api/rate-limits/{id}": "limits update k1 --concurrent 0",
    "DELETE /api/rate-limits/{id}": "limits delete k1",
    "GET /api/permissions": "permissions",
    "GET /api/roles": "roles",
    "GET /api/providers": "providers",
    "PUT /api/providers/{name}/key": "providers set-key p1",
    "DELETE /api/providers/{name}/key": "providers delete-key p1",
    "GET /api/system/status": "status",
    "GET /api/version": "version",
    "GET /api/openapi.json": "openapi",
    "GET /metrics": "metrics",
    "GET /readyz": "health",
    "GET /healthz": "health",
}


def concrete(route: str) -> str:
    return re.sub(r"\{\w+\}", lambda found: {"{id}": "k1", "{name}": "p1", "{user_id}": "u1"}[found[0]], route)


@pytest.fixture
def whole(fake: Fake) -> Fake:
    """A proxy that answers every route with the little that a command needs."""
    for route in {*ROUTES, *LIVE_ROUTES} - {"GET /api/version"}:
        fake.on(concrete(route), told(ANSWERS.get(route, {})))
    fake.on("GET /api/calls/c1", told(ANSWERS["GET /api/calls/{id}"]))
    fake.on("GET /metrics", answer(b"# HELP\n", kind="text/plain"))
    fake.on("GET /api/live", stream([b'event: call\nid: c1\ndata: {"call_id": "c1"}\n\n']), answer(b"", 401))
    return fake


def asked(fake: Fake) -> set[str]:
    return {f"{one.method} {one.path.partition('?')[0]}" for one in fake.asked}


def test_every_route_has_a_method() -> None:
    assert not LIVE_ROUTES - set(ROUTES), "routes without a method of ClaudeProxyClient"


def test_every_route_has_a_command() -> None:
    assert not LIVE_ROUTES - set(COMMANDS), "routes without a command of claude-proxy"
    assert set(COMMANDS) == set(ROUTES)


@pytest.mark.parametrize(("route", "method"), ROUTES.items())
def test_the_method_asks_the_route(whole: Fake, route: str, method: str) -> None:
    with ClaudeProxyClient(whole.url, KEY) as client:
        METHODS.get(method, lambda one: getattr(one, method)())(client)
    wanted = concrete(route).replace("/api/calls/k1", "/api/calls/c1")
    assert wanted in asked(whole)


@pytest.mark.parametrize(("route", "line"), COMMANDS.items())
def test_the_command_asks_the_route(
    whole: Fake, route: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLAUDE_PROXY_URL", whole.url)
    monkeypatch.setenv("CLAUDE_PROXY_API_KEY", KEY)
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-1\n"))
    status = main(line.split())
    assert status == (3 if line == "tail" else 0), capsys.readouterr().err  # the fake's stream ends with a 401
    wanted = concrete(route).replace("/api/calls/k1", "/api/calls/c1")
    assert wanted in asked(whole)


class Expecting:
    """A client whose methods are all called with a version."""

    def __init__(self, client: ClaudeProxyClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self._client, name), version=7)


@pytest.mark.parametrize("route", VERSIONED)
def test_the_method_and_the_command_may_expect_a_version(
    whole: Fake, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ROUTES[route]
    client: Any = ClaudeProxyClient(whole.url, KEY)
    METHODS[method](client)
    METHODS[method](Expecting(client))  # type: ignore[arg-type]
    monkeypatch.setenv("CLAUDE_PROXY_URL", whole.url)
    monkeypatch.setenv("CLAUDE_PROXY_API_KEY", KEY)
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-1\n"))
    assert main([*COMMANDS[route].split(), "--if-version", "8"]) == 0
    sent = [one.header("if-match") for one in whole.asked_for(concrete(route))]
    assert sent == [None, '"v7"', '"v8"']
