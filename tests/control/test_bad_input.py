"""What is asked wrongly is refused with the right status, and leaves the store as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from proxy_server.control.conditions import CHANGING
from proxy_server.control.router import PUBLIC, Route
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.folk import SWAPS, Folk, kind, people, snapshot
from ultimate_lib.access import sessions

BODIES = [route for route in TABLE if route.method in {"POST", "PUT", "PATCH"} and not route.page]
NOT_TAKEN = ("id", "user", "version", "is_admin", "permissions", "created_at", "hash", "password_hash", "__proto__")
WRONG: tuple[Any, ...] = ({"a": {}}, [[]], [{"a": 1}], "\0", 1e308, True, -(2**63), 2**70, "x" * 100_000)
LISTS = [route for route in TABLE if {"cursor", "limit"} <= set(route.takes.__struct_fields__) and not route.page]


@pytest.fixture(scope="module")
def folk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folk]:
    with alone.start(tmp_path_factory.mktemp("bad")) as running:
        yield people(running)


def concrete(folk: Folk, route: Route) -> str:
    of_ann = SWAPS[kind(route.path)](folk) if kind(route.path) in SWAPS and "{id}" in route.path else "demo"
    return re.sub(r"\{(\w+)\}", lambda found: {"id": of_ann, "user_id": "user_bob"}.get(found[1], "demo"), route.path)


def in_body(route: Route) -> list[str]:
    fields = [field.encode_name for field in msgspec.structs.fields(route.takes)]
    return [name for name in fields if f"{{{name}}}" not in route.path]


@pytest.mark.parametrize("route", BODIES, ids=lambda route: f"{route.method} {route.path}")
def test_fields_that_a_route_does_not_have_are_refused(folk: Folk, route: Route) -> None:
    """Lesson 10: nothing is set by mass assignment, neither what the row has nor what it could have."""
    path, told = concrete(folk, route), json.loads(route.example or "{}")
    before = snapshot(folk.control)
    for name in NOT_TAKEN:
        if name in in_body(route):
            continue
        reply = folk.control.ask(route.method, path, key=folk.control.key, told={**told, name: "x"})
        assert (reply.status, reply.json["error"]["code"]) == (400, "parameter_unknown"), name
    for body in ("[]", "null", "5", '"x"', "{", '{"a": 1} {}', '{"name": NaN}', "\xff"):
        kind_of = {"Content-Type": "application/json"}
        reply = folk.control.ask(route.method, path, key=folk.control.key, body=body, headers=kind_of)
        assert reply.status == 400, (body, reply.text)
    assert folk.control.ask(route.method, f"{path}?name=x", key=folk.control.key, told=told).status == 400
    assert snapshot(folk.control) == before


@pytest.mark.parametrize("route", BODIES, ids=lambda route: f"{route.method} {route.path}")
def test_values_of_a_wrong_type_are_refused_and_never_fail(folk: Folk, route: Route) -> None:
    told = json.loads(route.example or "{}")
    for name in in_body(route):
        for value in WRONG:
            path = concrete(folk, route)
            reply = folk.control.ask(route.method, path, key=folk.control.key, told={**told, name: value})
            assert reply.status < 500, (name, value, reply.text)
            if isinstance(value, (dict, list)):
                assert reply.status in {400, 401, 409}, (name, value, reply.text)


def test_there_are_lists_with_pages() -> None:
    assert {route.path for route in LISTS} >= {"/api/users", "/api/teams", "/api/keys", "/api/audit", "/api/budgets"}


@pytest.mark.parametrize("route", LISTS, ids=lambda route: route.path)
def test_limits_and_cursors_that_cannot_be(folk: Folk, route: Route) -> None:
    own = {other.path: folk.control.get(f"{other.path}?limit=1").json.get("next") for other in LISTS}
    foreign = [cursor for path, cursor in own.items() if cursor and path != route.path]
    assert foreign
    for query in (
        "limit=0", "limit=-1", "limit=100000", "limit=1e9", "limit=", "limit=1&limit=2", f"limit={'9' * 30}",
        "cursor=x", "cursor=%00", "cursor=%ff", "cursor=../../x", "cursor=1'%20OR%201=1", f"cursor={'1' * 5000}",
        *(f"cursor={cursor}" for cursor in foreign if route.path != "/api/analytics/calls"),
    ):  # fmt: skip
        reply = folk.control.get(f"{route.path}?{query}")
        assert reply.status == 400, (query, reply.text[:300])
    assert folk.control.get(f"{route.path}?limit=1").status == 200, "else this says nothing"


@pytest.fixture(scope="module")
def browsers(folk: Folk) -> list[dict[str, str]]:
    """Two sessions of the administrator, each with its own token."""
    store, clock, found = folk.control.bench.store, folk.control.bench.clock, []
    for _ in range(2):
        token = sessions.exchange_link(store, clock, sessions.make_link(store, clock, folk.control.admin_id))
        assert token is not None
        cookie = f"ultimate-{folk.control.port}={token}"
        found.append(
            {
                "Cookie": cookie,
                "Origin": f"http://{folk.control.host}",
                "X-CSRF-Token": sessions.csrf_token(token),
            }
        )
    return found


def foreign_origins(host: str) -> list[str]:
    name, _, port = host.partition(":")
    return [
        "null", "", "https://evil.example", f"http://{host}.evil.example", f"http://evil.example#{host}",
        f"http://evil{host}", f"http://{host}@evil.example", f"https://{host}", f"http://{name}", f"http://{name}:1{port}",
        f"http://{name}:{port}0", f"http://{host}/", f"http://{host}, http://evil.example", f" http://{host}x",
        f"http://localhost:{port}", f"http://[::1]:{port}", f"//{host}", host, f"http://{name}%00:{port}", "file://",
    ]  # fmt: skip


CHANGES = [route for route in TABLE if route.method in CHANGING]


@pytest.mark.parametrize("route", CHANGES, ids=lambda route: f"{route.method} {route.path}")
def test_lesson_L18_a_change_by_cookie_comes_from_our_exact_origin_with_its_own_token(
    folk: Folk, browsers: list[dict[str, str]], route: Route
) -> None:
    first, second = browsers
    control, path = folk.control, concrete(folk, route)
    told = json.loads(route.example or "{}") if route.method != "DELETE" and not route.page else None
    before = snapshot(control)
    forged = [
        *({**first, "Origin": origin} for origin in foreign_origins(control.host)),
        {name: value for name, value in first.items() if name != "Origin"},
    ]
    if route.permission != PUBLIC:
        forged += [
            {**first, "X-CSRF-Token": ""},
            {**first, "X-CSRF-Token": second["X-CSRF-Token"]},
            {**first, "X-CSRF-Token": first["X-CSRF-Token"][:-1]},
            {**first, "X-CSRF-Token": first["X-CSRF-Token"] + "0"},
            {**first, "X-CSRF-Token": first["X-CSRF-Token"].upper()},
            {name: value for name, value in first.items() if name != "X-CSRF-Token"},
        ]
    for headers in forged:
        reply = control.ask(route.method, path, headers=headers, told=told)
        assert reply.status == 403, (headers, reply.text[:300])
        if not route.page:
            assert reply.json["error"]["code"] in {"origin", "csrf"}
    assert snapshot(control) == before
    assert control.ask("GET", "/api/auth/verify", headers=first).status == 200, "nothing has ended the session"


def test_another_site_cannot_sign_its_visitors_in_here(folk: Folk) -> None:
    told = {"name": "ann", "password": "correct horse battery"}
    for origin in foreign_origins(folk.control.host):
        reply = folk.control.ask("POST", "/api/auth/login", headers={"Origin": origin}, told=told)
        assert (reply.status, reply.json["error"]["code"]) == (403, "origin"), origin
    ours = folk.control.ask("POST", "/api/auth/login", headers={"Origin": f"http://{folk.control.host}"}, told=told)
    assert ours.json["error"]["code"] != "origin"


HOSTS = (
    "", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8082", "rebound.example",
    "localhost@evil.example", "user@localhost", "127.0.0.1/../evil.example", "127.0.0.1#evil.example",
    "127.0.0.1\\evil.example", "127.0.0.1 evil.example", "localhost:8082:8082", "localhost:x", "localhost:99999",
    "[::1", "127.0.0.1?evil", "0x7f.1.evil", "localhostx", "xlocalhost",
)  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_hosts_that_are_not_ours(folk: Folk, host: str) -> None:
    for path in ("/", "/api/roles", "/api/version"):
        reply = folk.control.ask("GET", path, key=folk.control.key, headers={"Host": host})
        assert reply.status == 400, (path, reply.text[:300])


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_an_end_of_a_key_that_no_clock_shows_is_refused(folk: Folk, end: str) -> None:
    control = folk.control
    made = control.ask("POST", "/api/keys", key=control.key, told={"name": "ends"}).json["about"]
    reply = control.ask("PATCH", f"/api/keys/{made['id']}", key=control.key, told={"expires_at": end})
    assert (reply.status, reply.json["error"]["code"]) == (400, "key_expiry")
    assert control.get(f"/api/keys/{made['id']}").json["expires_at"] == made["expires_at"]


@pytest.mark.parametrize("query", ["end=2026-11-23", "before=99999999999999999999999", "before=-1"])
def test_the_audit_page_takes_an_end_alone_and_numbers_that_no_row_has(folk: Folk, query: str) -> None:
    reply = folk.control.get(f"/admin/audit?{query}")
    assert reply.status == 200
    assert "twenty years" not in reply.text
