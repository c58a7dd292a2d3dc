"""People and objects for tests of who may do what: ann and bob are strangers, ann has one object of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from proxy_server.control.router import Route
from proxy_server.control.routes import TABLE
from tests.control import calls
from tests.control.alone import Alone
from ultimate_lib.access import sessions

TOGETHER = "together"
"""The team of ann and mate, under which ann's calls are booked."""
SEEN_BY_MATES = frozenset({"calls"})
"""Kinds of objects that the scope `team` shows; each other is its owner's."""
NOT_COMPARED = {"audit", "sign_in_failures", "kept_answers", "sqlite_sequence", "alembic_version"}


class Folk(NamedTuple):
    control: Alone
    ann: str
    bob: str
    lead: str
    mate: str


def people(control: Alone) -> Folk:
    """Make ann, a stranger of hers, the lead of a team that neither belongs to, and a mate who sees their team's."""
    keys = [control.add_user(name, "viewer", "api_user") for name in ("ann", "bob", "lead", "mate")]
    with control.bench.store.begin() as connection:  # each sees its own calls alone, but for the mate
        connection.exec_driver_sql("UPDATE role_grants SET scope = 'own' WHERE user_id != ?", (control.admin_id,))
        connection.exec_driver_sql("UPDATE role_grants SET scope = 'team' WHERE user_id = 'user_mate'")
    together = admin(control, "POST", "/api/teams", {"name": TOGETHER})["id"]
    for member in ("user_ann", "user_mate"):
        admin(control, "PUT", f"/api/teams/{together}/members/{member}", {})
    team = admin(control, "POST", "/api/teams", {"name": "elsewhere"})["id"]
    admin(control, "PUT", f"/api/teams/{team}/members/user_lead", {"lead": True})
    return Folk(control, *keys)


def admin(control: Alone, method: str, path: str, told: Any = None) -> Any:
    """Do something as the administrator and return the answer."""
    reply = control.ask(method, path, key=control.key, told=told)
    assert reply.status in {200, 201}, reply.text
    return reply.json


def _call(folk: Folk) -> str:
    record = calls.call(folk.control.bench.clock.now(), user_id="user_ann", team=TOGETHER)
    calls.write(folk.control.bench.settings, record)
    return str(record.call_id)


def _key(folk: Folk) -> str:
    made = folk.control.ask("POST", "/api/keys", key=folk.ann, told={"name": "ann's", "scopes": ["analytics:view"]})
    return str(made.json["about"]["id"])


def _session(folk: Folk) -> str:
    store, clock = folk.control.bench.store, folk.control.bench.clock
    assert sessions.exchange_link(store, clock, sessions.make_link(store, clock, "user_ann"))
    return str(folk.control.get("/api/sessions", key=folk.ann).json["sessions"][0]["id"])


def _team(folk: Folk) -> str:
    made = admin(folk.control, "POST", "/api/teams", {"name": f"team-{folk.control.bench.clock.now_us()}"})
    admin(folk.control, "PUT", f"/api/teams/{made['id']}/members/user_ann", {"lead": True})
    return str(made["id"])


def _budget(folk: Folk) -> str:
    told = {"subject": "user", "subject_id": "user_ann", "amount": 1_000_000_000, "period": "day"}
    return str(admin(folk.control, "POST", "/api/budgets", told)["id"])


def _rate_limit(folk: Folk) -> str:
    for there in admin(folk.control, "GET", "/api/rate-limits")["rate_limits"]:
        admin(folk.control, "DELETE", f"/api/rate-limits/{there['id']}")
    told = {"subject": "user", "subject_id": "user_ann", "requests_per_minute": 60}
    return str(admin(folk.control, "POST", "/api/rate-limits", told)["id"])


SWAPS: dict[str, Callable[[Folk], str]] = {
    "calls": _call,
    "keys": _key,
    "sessions": _session,
    "users": lambda _: "user_ann",
    "teams": _team,
    "budgets": _budget,
    "rate-limits": _rate_limit,
    "predictive": _key,  # what the guard does about its calls
}
"""Kind of object, as in its path → makes one of ann's and returns its id. A kind that is not here fails."""
NOBODYS = {"providers": "of the whole installation; its permission decides, see the matrix"}


def kind(path: str) -> str:
    """Return which kind of object a path is about."""
    return path.removeprefix("/api/").removeprefix("/admin/").lstrip("/").partition("/")[0]


def of_objects() -> list[tuple[Route, str]]:
    """Return the rows and paths of the live table that name an object."""
    return [(route, path) for route in TABLE for path in (route.path, *route.also) if "{" in path]


def snapshot(control: Alone) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that people edit, by table, but those that every refusal leaves."""
    with control.bench.store.begin() as connection:
        names = [row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
        told = {name: list(connection.exec_driver_sql(f'SELECT * FROM "{name}"')) for name in names}
        seen = [row[0] for row in connection.exec_driver_sql("SELECT name FROM pragma_table_info('sessions')")]
    at = seen.index("last_seen_at")
    told["sessions"] = [(*row[:at], *row[at + 1 :]) for row in told["sessions"]]
    return {name: sorted(map(tuple, rows), key=repr) for name, rows in told.items() if name not in NOT_COMPARED}
