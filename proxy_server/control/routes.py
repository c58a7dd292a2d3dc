"""The table of routes: method, path, function, permission, one sentence, an example. Everything else follows from it.

From this table come the router, the permission check, the OpenAPI document and the reference. A new route is one
line here and one plain function `(bench, caller, params) -> value` in `api/` or `pages/`.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control import openapi
from proxy_server.control.answers import Caller, Nothing, Page
from proxy_server.control.api import (
    access,
    alerting,
    analytics,
    anomalies,
    audit,
    auth,
    budget_marks,
    calls,
    detect,
    drivers,
    guard,
    keys,
    limits,
    live,
    patterns,
    predictive,
    providers,
    recommendations,
    system,
    teams,
    thresholds,
    trends,
    users,
)
from proxy_server.control.conditions import versioned
from proxy_server.control.pages import account, admin, call, docs, home, login
from proxy_server.control.pages import anomalies as anomalies_page
from proxy_server.control.pages import calls as calls_page
from proxy_server.control.pages import forecast as forecast_page
from proxy_server.control.pages import recommendations as recommendations_page
from proxy_server.control.pages.admin import audit as audit_page
from proxy_server.control.pages.admin import budgets as budgets_page
from proxy_server.control.pages.admin import guard as guard_page
from proxy_server.control.pages.admin import keys as keys_page
from proxy_server.control.pages.admin import providers as providers_page
from proxy_server.control.pages.admin import rate_limits as rate_limits_page
from proxy_server.control.pages.admin import teams as teams_page
from proxy_server.control.pages.admin import users as users_page
from proxy_server.control.params import SEGMENT
from ultimate_lib.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgspec import Struct

    from ultimate_lib.workbench import Workbench

PUBLIC = "public"
"""Anyone may ask."""
KNOWN = "known"
"""Anyone with a key or a session may ask; the function shows and changes what is the caller's own."""


class Route(NamedTuple):
    """One row. A route whose permission nobody holds is closed to everybody."""

    method: str
    path: str  # `{name}` stands for one path segment, an id
    function: Callable[[Workbench, Caller, Any], object]
    permission: str  # one of access.roles.PERMISSIONS, PUBLIC or KNOWN
    sentence: str
    example: str  # query string or JSON body
    takes: type[Struct] = Nothing
    gives: Any = None  # type of the answer; None: not JSON
    media: str = "text/plain"  # of an answer that is not JSON
    status: int = 200  # of an answer that has no other
    also: tuple[str, ...] = ()  # other paths under which the public system's clients look for it
    page: str = ""  # a page's name; links and redirects go by it
    loopback: bool = False  # open without credentials to programs on this computer
    heavy: bool = False  # reads the lake for known callers; only a few of these run at a time
    reckons: bool = False  # forecasts or judges what it reads: as heavy, but in threads where no other page waits
    apart: bool = False  # what it makes is no change of the object in its path, which may have any version
    refuses: tuple[tuple[int, str], ...] = ()  # statuses that others of its kind do not have, and why
    head: bool = True  # HEAD asks the same as GET; False where GET changes something

    @property
    def creates(self) -> bool:
        """Whether it makes something: such a request may carry an Idempotency-Key."""
        return self.method == "POST" and self.status == HTTPStatus.CREATED


def _openapi(bench: Workbench, caller: Caller, _: Nothing) -> dict[str, Any]:
    return openapi.document(TABLE, server=bench.settings.server.public_url or caller.origin + caller.root)


def _docs(bench: Workbench, caller: Caller, nothing: Nothing) -> Page:
    return docs.docs(_openapi(bench, caller, nothing))


_TOO_LITTLE = ((422, "There are too few calls to answer this yet; the error says how many are needed."),)
_SPAN = "?metrics=requests,cost_usd&start=2026-11-01&end=2026-11-30"

TABLE: tuple[Route, ...] = (
    Route("GET", "/", home.home, PUBLIC, "What happened today, and how to connect a client.", "",
          takes=home.Asked, page="home", heavy=True),
    Route("GET", "/calls", calls_page.calls, "analytics:view", "The calls, newest first, by time and filters.", "",
          takes=calls_page.Asked, page="calls", heavy=True),
    Route("GET", "/calls/{id}", call.call, "analytics:view", "One call, and why it costs what it does.", "",
          takes=calls.OneCall, page="call", heavy=True),
    Route("GET", "/forecast", forecast_page.forecast, "analytics:view",
          "What the next days will be, and how sure that is.", "", takes=forecast_page.Asked, page="forecast",
          reckons=True),
    Route("GET", "/anomalies", anomalies_page.anomalies, "analytics:view",
          "A calendar of what was unusual, why, and the way to its calls.", "", takes=anomalies_page.Asked,
          page="anomalies", reckons=True),
    Route("GET", "/recommendations", recommendations_page.recommendations, "analytics:view",
          "What would save money or risk, and how.", "", takes=recommendations_page.Asked, page="recommendations",
          reckons=True),
    Route("GET", "/docs", _docs, PUBLIC, "The reference of this interface.", "", page="docs"),
    Route("GET", "/login", login.sign_in, PUBLIC, "Sign in: the form, or the way by a link.", "?link=…",
          takes=login.SignIn, page="login", head=False),
    Route("POST", "/login", login.submit, PUBLIC, "Sign in with name and password, or set a first password.", "",
          takes=login.Form, page="login_form"),
    Route("POST", "/logout", login.sign_out, KNOWN, "End this browser's session.", "", page="logout"),
    Route("GET", "/account", account.account, KNOWN, "One's own roles, teams, password and browsers.", "",
          page="account"),
    Route("GET", "/admin", admin.admin, KNOWN, "The first page of those that the caller may see.", "", page="admin"),
    Route("GET", "/admin/users", users_page.users, "users:manage", "The people who use this proxy.", "",
          takes=users_page.Asked, page="admin_users"),
    Route("GET", "/admin/users/{id}", users_page.user, "users:manage", "One person: roles, teams, sign-in.", "",
          takes=users_page.One, page="admin_user"),
    Route("GET", "/admin/teams", teams_page.teams, KNOWN, "Teams, for those who manage or lead them.", "",
          takes=teams_page.Asked, page="admin_teams"),
    Route("GET", "/admin/teams/{id}", teams_page.team, KNOWN, "One team: members, keys, budgets.", "",
          takes=teams_page.One, page="admin_team"),
    Route("GET", "/admin/keys", keys_page.keys, KNOWN, "Keys: one's own, or everyone's.", "",
          takes=keys_page.Asked, page="admin_keys"),
    Route("GET", "/admin/budgets", budgets_page.budgets, KNOWN, "Budgets, and how much of them is spent.", "",
          takes=budgets_page.Asked, page="admin_budgets"),
    Route("GET", "/admin/budgets/{id}", budgets_page.budget, "settings:manage", "One budget, to change it.", "",
          takes=budgets_page.One, page="admin_budget"),
    Route("GET", "/guard", guard_page.guard, "analytics:view",
          "What the guard knows, did and would have done, and what each key asks of it.", "",
          takes=guard_page.Asked, page="guard", heavy=True),
    Route("GET", "/admin/rate-limits", rate_limits_page.rate_limits, KNOWN, "Rate limits of those who call.", "",
          takes=rate_limits_page.Asked, page="admin_rate_limits"),
    Route("GET", "/admin/rate-limits/{id}", rate_limits_page.rate_limit, "settings:manage",
          "One rate limit, to change it.", "", takes=rate_limits_page.One, page="admin_rate_limit"),
    Route("GET", "/admin/providers", providers_page.providers, "settings:manage",
          "Providers, their keys, and which serves which model.", "", takes=providers_page.Asked,
          page="admin_providers"),
    Route("GET", "/admin/audit", audit_page.audit, "audit:view", "Who changed what, and whether the record is whole.",
          "", takes=audit_page.Asked, page="admin_audit"),
    Route("GET", "/api/analytics/aggregate", analytics.aggregate, "analytics:view",
          "Metrics over a span, in one row or one a group.", f"{_SPAN}&by=model&filter=project:search",
          takes=analytics.Aggregate, gives=analytics.Rows, heavy=True),
    Route("GET", "/api/analytics/timeseries", analytics.timeseries, "analytics:view",
          "Metrics over a span, one row a step of time.", f"{_SPAN}&grain=day",
          takes=analytics.Timeseries, gives=analytics.Rows, heavy=True),
    Route("GET", "/api/analytics/breakdown", analytics.breakdown, "analytics:view",
          "Metrics over a span, the largest groups first.", f"{_SPAN}&by=model&order_by=cost_usd&limit=10",
          takes=analytics.Breakdown, gives=analytics.Rows, heavy=True),
    Route("GET", "/api/analytics/calls", analytics.calls, "analytics:view",
          "Single calls, newest first, page by page.", "?filter=status:error&limit=50",
          takes=analytics.Calls, gives=analytics.CallPage, heavy=True),
    Route("GET", "/api/predictive/forecast", predictive.forecast, "analytics:view",
          "The next days of a metric with intervals, its backtest, and when budgets would be spent.",
          "?metric=cost_usd&days=7&grain=day", takes=predictive.AskedForecast, gives=predictive.Forecasted,
          reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/thresholds", thresholds.thresholds, "analytics:view",
          "What the running day, week or month will hardly exceed: a warning and a critical threshold.",
          "?metric=cost_usd&period=month", takes=thresholds.AskedThresholds, gives=thresholds.ThresholdsTold,
          reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/patterns", patterns.patterns, "analytics:view",
          "The shape of a metric's days and weeks, and when its level changed.", "?metric=requests",
          takes=patterns.AskedPatterns, gives=patterns.PatternsTold, reckons=True, refuses=_TOO_LITTLE),
    Route("POST", "/api/predictive/detect-anomaly", detect.judged, "analytics:view",
          "Whether one call is unlike those before it, and what the guard would do; nothing is recorded.",
          '{"model": "claude-sonnet-4-5", "input_tokens": 1200, "output_tokens": 90000}',
          takes=detect.AskedCall, gives=detect.CallJudged, reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/anomaly-history", anomalies.history_of, "analytics:view",
          "Hours or days of a metric unlike those before, why, and whose calls made them.",
          "?metric=cost_usd&grain=hour&days=30", takes=anomalies.AskedAnomalies, gives=anomalies.AnomalyHistory,
          reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/guard", guard.guard, "analytics:view",
          "What is usual of each key and model, what the guard did about the others, and what it would have done.",
          "?limit=50", takes=guard.AskedGuard, gives=guard.GuardTold, heavy=True),
    Route("PUT", "/api/predictive/guard/{id}", guard.set_action, "settings:manage",
          "Observe, warn of or block a key's unusual calls; null: as the settings say.", '{"action": "warn"}',
          takes=guard.ActionOf, gives=guard.GuardedKey),
    Route("POST", "/api/predictive/guard/{id}/accept", guard.accept, "settings:manage",
          "Accept a key's unusual calls of a model as usual: a cool-down ends, and they are learnt from.",
          '{"model": "claude-sonnet-4-5"}', takes=guard.AskedAccept, gives=guard.AcceptedTold),
    Route("POST", "/api/predictive/guard/cooldowns/{id}/end", guard.end_cooldown, "settings:manage",
          "End a cool-down; gateways go by it within seconds.", "{}",
          takes=guard.OneCooldown, gives=guard.CooldownTold),
    Route("GET", "/api/predictive/analyze-cost", drivers.analyze, "analytics:view",
          "Why spend changed between two spans: calls, models, tokens a call, prices; exact in sum.",
          "?start=2026-11-09&end=2026-11-15&by=model,project", takes=drivers.AskedCost, gives=drivers.CostExplained,
          reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/trend-analysis", trends.trend, "analytics:view",
          "Where a metric is going: slope with interval and p-value, changes of level; or that it cannot be told.",
          "?metric=cost_usd&grain=day&days=90", takes=trends.AskedTrend, gives=trends.TrendTold, reckons=True,
          refuses=_TOO_LITTLE),
    Route("POST", "/api/predictive/smart-alert", alerting.propose, "analytics:view",
          "An alert rule proposed from the history, and when it would have fired; nothing is made.",
          '{"metric": "cost_usd", "window": "day", "alerts_per_month": 2}', takes=alerting.AskedAlert,
          gives=alerting.AlertProposed, reckons=True, refuses=_TOO_LITTLE),
    Route("GET", "/api/predictive/recommendations", recommendations.recommendations, "analytics:view",
          "What would save money or risk: nine kinds, each with its calls, its saving and how to apply it.",
          "?days=30&kinds=prompt_caching,duplicate_calls", takes=recommendations.AskedRecommendations,
          gives=recommendations.Recommendations, reckons=True),
    Route("GET", "/api/calls/{id}", calls.call, "analytics:view",
          "One call: every column of its record, and why it costs what it does.", "",
          takes=calls.OneCall, gives=calls.CallTold, heavy=True),
    Route("GET", "/api/live", live.live, "analytics:view",
          "Calls as they end, as server-sent events: call with one row, gap, end with a reason.",
          "?filter=project:search", takes=live.Listening, media="text/event-stream", head=False),
    Route("GET", "/api/providers", providers.listed, "settings:manage",
          "Providers: which are in force, and where their keys come from.", "", gives=list[providers.ProviderTold]),
    Route("PUT", "/api/providers/{name}/key", providers.put_key, "settings:manage",
          "Enter a provider's key: kept sealed, never told again, in force without a restart.", '{"key": "sk-…"}',
          takes=providers.NewProviderKey, gives=providers.KeyChanged),
    Route("DELETE", "/api/providers/{name}/key", providers.remove_key, "settings:manage",
          "Remove a provider's key that was entered.", "", takes=providers.KeyOf, gives=providers.KeyChanged),
    Route("GET", "/api/auth/verify", auth.verify, KNOWN, "Who the caller is and what it may do.", "",
          gives=auth.Verified),
    Route("POST", "/api/auth/login", auth.login, PUBLIC, "Begin a browser's session with name and password.",
          '{"name": "ann", "password": "…"}', takes=auth.SignIn, gives=auth.SignedIn),
    Route("POST", "/api/auth/password", auth.first_password, PUBLIC,
          "Set a password by a link for new people, and begin a session.",
          '{"link": "…", "password": "…"}', takes=auth.FirstPassword, gives=auth.SignedIn),
    Route("POST", "/api/auth/logout", auth.logout, KNOWN, "End the session that carries this request.", "{}",
          gives=auth.Ended),
    Route("GET", "/api/sessions", auth.listed, KNOWN, "The caller's browsers that are signed in, newest first.", "",
          gives=auth.Sessions),
    Route("DELETE", "/api/sessions", auth.end_all, KNOWN, "End all sessions of the caller, or all others.",
          "?others=true", takes=auth.Ending, gives=auth.SessionsEnded),
    Route("DELETE", "/api/sessions/{id}", auth.end_one, KNOWN, "End one session of the caller.", "",
          takes=auth.OneSession, gives=auth.SessionsEnded),
    Route("GET", "/api/users", users.listed, "users:manage", "Users by name, page by page.", "?limit=50",
          takes=users.UserListing, gives=users.Users),
    Route("POST", "/api/users", users.create, "users:manage", "Make a user.",
          '{"name": "ann", "email": "ann@example.org", "roles": {"analyst": "team", "api_user": null}}',
          takes=users.NewUser, gives=users.User, status=201),
    Route("GET", "/api/users/{id}", users.one, KNOWN, "One user: oneself, or anyone with users:manage.", "",
          takes=users.OneUser, gives=users.User),
    Route("PATCH", "/api/users/{id}", users.change, "users:manage", "Change a user's e-mail address.",
          '{"email": "ann@example.org"}', takes=users.UserChange, gives=users.User),
    Route("POST", "/api/users/{id}/deactivate", users.deactivate, "users:manage",
          "Shut a user out: sessions end, keys are refused within five seconds.", "{}",
          takes=users.OneUser, gives=users.User),
    Route("POST", "/api/users/{id}/reactivate", users.reactivate, "users:manage", "Let a user in again.", "{}",
          takes=users.OneUser, gives=users.User),
    Route("PUT", "/api/users/{id}/roles", users.set_roles, "users:manage",
          "Grant a user these roles and no other; its sessions end.", '{"roles": {"viewer": "team"}}',
          takes=users.NewRoles, gives=users.User),
    Route("PUT", "/api/users/{id}/password", users.set_password, KNOWN,
          "Set a password: one's own, or another's with users:manage; its sessions end.",
          '{"password": "…", "current": "…"}', takes=users.NewPassword, gives=users.PasswordChanged),
    Route("POST", "/api/users/{id}/link", users.link, "users:manage",
          "Make a link under which a user sets a password, once, within a day.", "{}",
          takes=users.OneUser, gives=users.Link, status=201, apart=True),
    Route("GET", "/api/teams", teams.listed, KNOWN, "The caller's teams, or all with users:manage, by name.", "",
          takes=teams.TeamListing, gives=teams.Teams),
    Route("POST", "/api/teams", teams.create, "users:manage", "Make a team.",
          '{"name": "search", "title": "Search and ranking", "cost_center": "4711"}',
          takes=teams.NewTeam, gives=teams.Team, status=201),
    Route("GET", "/api/teams/{id}", teams.one, KNOWN, "One team; its members are shown to its leads.", "",
          takes=teams.OneTeam, gives=teams.Team),
    Route("PATCH", "/api/teams/{id}", teams.change, "users:manage", "Change a team's title or cost center.",
          '{"title": "Search"}', takes=teams.TeamChange, gives=teams.Team),
    Route("DELETE", "/api/teams/{id}", teams.archive, "users:manage", "Archive a team: no more is booked under it.",
          "", takes=teams.OneTeam, gives=teams.Team),
    Route("PUT", "/api/teams/{id}/members/{user_id}", teams.put_member, KNOWN,
          "Add a member as a lead of the team or with users:manage, which also makes leads.", '{"lead": false}',
          takes=teams.Membership, gives=teams.Team),
    Route("DELETE", "/api/teams/{id}/members/{user_id}", teams.remove_member, KNOWN,
          "Remove a member, as a lead of the team or with users:manage.", "",
          takes=teams.OneMember, gives=teams.Team),
    Route("GET", "/api/audit", audit.found, "audit:view", "Who did what, newest first, page by page.",
          "?action=user.roles&from=2026-11-01T00:00:00Z", takes=audit.AuditAsked, gives=audit.AuditPage),
    Route("GET", "/api/audit/verify", audit.verify, "audit:view", "Whether the chain of the audit's rows holds.", "",
          gives=audit.AuditVerified, refuses=((429, "It is being verified just now."),)),
    Route("GET", "/api/keys", keys.listed, KNOWN, "Keys, newest first: the caller's own, a team's, or everyone's.",
          "?state=live", takes=keys.Listing, gives=keys.Keys, also=("/api/api-keys",)),
    Route("POST", "/api/keys", keys.create, KNOWN, "Make a key; it is shown this once.",
          '{"name": "notebook", "scopes": ["proxy:call", "analytics:view"], "models": ["claude-*"]}',
          takes=keys.NewKey, gives=keys.MadeKey, status=201, also=("/api/api-keys",)),
    Route("GET", "/api/keys/{id}", keys.one, KNOWN, "One key, without what would let one use it.", "",
          takes=keys.OneKey, gives=keys.Key, also=("/api/api-keys/{id}",)),
    Route("PATCH", "/api/keys/{id}", keys.change, KNOWN, "Change a key: one's own, or anyone's with keys:manage.",
          '{"name": "notebook", "expires_at": "2027-01-01T00:00:00Z"}',
          takes=keys.KeyChanges, gives=keys.Key, also=("/api/api-keys/{id}",)),
    Route("DELETE", "/api/keys/{id}", keys.revoke, KNOWN, "End a key: one's own, or anyone's with keys:manage.", "",
          takes=keys.OneKey, gives=keys.Revoked, also=("/api/api-keys/{id}",)),
    Route("POST", "/api/keys/{id}/rotate", keys.rotate, KNOWN,
          "Give a key another secret, shown this once; the former one works on for some hours if asked.",
          '{"overlap_hours": 24}', takes=keys.Rotation, gives=keys.RotatedKey, status=201,
          also=("/api/api-keys/{id}/rotate",)),
    Route("GET", "/api/keys/{id}/usage", keys.usage, KNOWN, "What a key was used for: calls, tokens, cost.",
          "?start=2026-11-01&end=2026-11-30", takes=keys.Asked, gives=keys.Usage, heavy=True,
          also=("/api/api-keys/{id}/usage",)),
    Route("GET", "/api/budgets", limits.budgets, KNOWN, "The budgets that concern the caller, oldest first.", "",
          takes=limits.Pages, gives=limits.Budgets),
    Route("POST", "/api/budgets", limits.create_budget, "settings:manage",
          "Make a budget: so much a day, week, month or in total, hard or soft.",
          '{"subject": "team", "subject_id": "search", "amount": 25000000000, "period": "month", "hard": true}',
          takes=limits.NewBudget, gives=limits.BudgetTold, status=201),
    Route("GET", "/api/budgets/status", budget_marks.budget_states, KNOWN,
          "What is spent, held and left of the budgets that concern the caller.", "",
          gives=budget_marks.States, also=("/api/budget/status",)),
    Route("GET", "/api/budgets/{id}", limits.budget, KNOWN, "One budget.", "",
          takes=limits.One, gives=limits.BudgetTold),
    Route("PATCH", "/api/budgets/{id}", limits.change_budget, "settings:manage",
          "Change a budget; gateways go by it within seconds.", '{"amount": 50000000000}',
          takes=limits.BudgetChange, gives=limits.BudgetTold),
    Route("DELETE", "/api/budgets/{id}", limits.remove_budget, "settings:manage", "Remove a budget.", "",
          takes=limits.One, gives=limits.Gone),
    Route("GET", "/api/rate-limits", limits.rate_limits, KNOWN,
          "The rate limits that concern the caller, oldest first.", "",
          takes=limits.Pages, gives=limits.RateLimits),
    Route("POST", "/api/rate-limits", limits.create_rate_limit, "settings:manage",
          "Limit the requests and tokens a minute and the calls at a time of a key, a user, a team or all.",
          '{"subject": "user", "subject_id": "usr_1", "requests_per_minute": 60}',
          takes=limits.NewRateLimit, gives=limits.RateLimitTold, status=201),
    Route("GET", "/api/rate-limits/{id}", limits.rate_limit, KNOWN, "One rate limit.", "",
          takes=limits.One, gives=limits.RateLimitTold),
    Route("PATCH", "/api/rate-limits/{id}", limits.change_rate_limit, "settings:manage",
          "Change a rate limit; gateways go by it within seconds.", '{"requests_per_minute": 120}',
          takes=limits.RateLimitChange, gives=limits.RateLimitTold),
    Route("DELETE", "/api/rate-limits/{id}", limits.remove_rate_limit, "settings:manage", "Remove a rate limit.", "",
          takes=limits.One, gives=limits.Gone),
    Route("GET", "/api/permissions", access.permissions, KNOWN, "All permissions, each with a sentence.", "",
          gives=dict[str, str]),
    Route("GET", "/api/roles", access.roles, KNOWN, "All roles and the permissions in them.", "",
          gives=dict[str, list[str]]),
    Route("GET", "/api/version", system.version, PUBLIC, "Which version this is, and whether its data are made up.",
          "", gives=system.Version),
    Route("GET", "/api/system/status", system.status, "audit:view", "How the processes, the journal and the lake do.",
          "", gives=system.Status),
    Route("GET", "/api/openapi.json", _openapi, PUBLIC, "This interface as an OpenAPI 3.1 document.", "",
          gives=dict[str, Any]),
    Route("GET", "/metrics", system.metrics, "audit:view", "The proxy's own metrics for Prometheus.", "",
          loopback=True),
    Route("GET", "/readyz", system.readyz, PUBLIC, "Whether all parts work; 503 with the reasons when not.", "",
          gives=system.Readiness),
    Route("GET", "/healthz", system.healthz, PUBLIC, "Whether this process answers.", "", gives=dict[str, str]),
)  # fmt: skip


class Found(NamedTuple):
    """The rows of one path by method, and the values of its segments."""

    methods: dict[str, Route]
    values: dict[str, str]


def _can_lead_to(route: Route) -> bool:
    return bool(route.page) and route.method == "GET" and "{" not in route.path


class Router:
    """Finds rows by the path as it was sent: never decoded, cleaned or compared in another case."""

    def __init__(self, table: Sequence[Route] = TABLE) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self.versioned = versioned(table)
        self.pages = {route.page: route.path for route in table if _can_lead_to(route)}
        by_path: dict[str, dict[str, Route]] = {}
        for route in table:
            for path in (route.path, *route.also):
                by_path.setdefault(path, {})[route.method] = route
        for path, methods in by_path.items():
            if "{" in path:
                pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{SEGMENT})", re.escape(path))
                self._patterns.append((re.compile(pattern), methods))
            else:
                self._exact[path] = methods

    def find(self, path: str) -> Found:
        """Return the rows of a path. Raises `NotFound`."""
        methods = self._exact.get(path)
        if methods is not None:
            return Found(methods, {})
        for pattern, matched in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return Found(matched, match.groupdict())
        listed = "See /api/openapi.json for what there is."
        hint = listed if path.startswith("/api/") else "Look at the address again, or begin at Home."
        raise NotFound(f"There is no {path[:200]} here.", hint=hint)


def allow(methods: dict[str, Route]) -> str:
    """Return the value of the Allow header for a path."""
    told = [*methods, "OPTIONS"]
    if "GET" in methods and methods["GET"].head:
        told.append("HEAD")
    return ", ".join(sorted(told))


def permit(route: Route, caller: Caller) -> None:
    """Raise `Denied` unless the caller may ask for this route. The one place where that is decided."""
    if route.permission == PUBLIC or (route.loopback and caller.loopback):
        return
    principal = caller.known
    if route.permission != KNOWN:
        principal.require(route.permission)
