"""Who may do what, through the real handler: every row of the live table for every role, and for two strangers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from itertools import count

import pytest

from proxy_server.control.router import KNOWN, PUBLIC, Route
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone, Reply
from tests.control.folk import NOBODYS, SEEN_BY_MATES, SWAPS, Folk, kind, of_objects, people, snapshot
from tests.control.listening import listen
from tests.harness import wait_until
from ultimate_lib.access.roles import ROLES

ROWS = [(route, path) for route in TABLE for path in (route.path, *route.also)]
CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
_addresses = count(1)


@pytest.fixture(scope="module")
def folk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folk]:
    with alone.start(tmp_path_factory.mktemp("gate")) as running:
        yield people(running)


@pytest.fixture(scope="module")
def keys(folk: Folk) -> dict[str, str]:
    """A key of each role, with all that the role gives."""
    return {role: folk.control.add_user(f"of_{role}", role) for role in ROLES}


def ask(control: Alone, key: str, route: Route, path: str, **values: str) -> Reply:
    """Ask for a row with its example, from an address of its own: refusals are written once a second and address."""
    where = re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], "nothing_0123"), path)
    number = next(_addresses)
    elsewhere = {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250}"}
    body = json.loads(route.example or "{}") if route.method in {"POST", "PUT", "PATCH"} else None
    if route.page and route.method == "POST":
        body = None
    return control.ask(route.method, where, key=key, headers=elsewhere, told=body)


def code(reply: Reply) -> str:
    found = re.search(r"permission '([a-z:]+)'", unescape(reply.text))
    return found[1] if reply.status == 403 and found else ""


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("route", "path"), ROWS, ids=[f"{route.method} {path}" for route, path in ROWS])
def test_each_role_may_what_the_table_says(
    folk: Folk, keys: dict[str, str], route: Route, path: str, role: str
) -> None:
    may = route.permission in {PUBLIC, KNOWN} or route.permission in ROLES[role]
    if path == "/api/live" and may:
        with listen(f"http://{folk.control.host}", keys[role]) as heard:
            assert heard.status == 200
        return
    before = snapshot(folk.control) if not may else None
    reply = ask(folk.control, keys[role], route, path)
    assert reply.status not in {401, 500}, reply.text
    assert code(reply) == ("" if may else route.permission) or route.permission == KNOWN, reply.text
    if not may:
        assert reply.status == 403
        assert snapshot(folk.control) == before


def test_the_matrix_says_no_often_enough_to_mean_something() -> None:
    guarded = [route for route in TABLE if route.permission not in {PUBLIC, KNOWN}]
    assert {route.permission for route in guarded} >= {"users:manage", "settings:manage", "audit:view"}
    for role in set(ROLES) - {"admin"}:
        assert sum(route.permission not in ROLES[role] for route in guarded) > 5, role


def test_each_kind_of_object_has_its_swap() -> None:
    kinds = {kind(route.path) for route, _ in of_objects()}
    assert kinds == SWAPS.keys() | NOBODYS.keys(), "an entry in SWAPS, or in NOBODYS with the reason"


OBJECTS = [(route, path) for route, path in of_objects() if kind(route.path) in SWAPS]


@pytest.mark.parametrize("who", ["bob", "lead"])
@pytest.mark.parametrize(("route", "path"), OBJECTS, ids=[f"{route.method} {path}" for route, path in OBJECTS])
def test_strangers_do_not_reach_each_others_objects(folk: Folk, route: Route, path: str, who: str) -> None:
    """A stranger, and the lead of a team that is not the owner's."""
    control = folk.control
    of_ann = SWAPS[kind(route.path)](folk)
    before = snapshot(control)
    rows = len(refusals(control))
    reply = ask(control, getattr(folk, who), route, path, id=of_ann, user_id="user_ann")
    assert reply.status in {403, 404}, reply.text
    for told in ("ann's", '"user_ann"'):
        assert told not in reply.text
    assert snapshot(control) == before
    if route.method in CHANGES and reply.status == 403 and not route.page:
        assert refusals(control)[rows:], "a change that was refused is in the audit"


@pytest.mark.parametrize(("route", "path"), OBJECTS, ids=[f"{route.method} {path}" for route, path in OBJECTS])
def test_a_team_mate_reads_calls_of_the_team_and_no_other_object(folk: Folk, route: Route, path: str) -> None:
    control = folk.control
    of_ann = SWAPS[kind(route.path)](folk)
    before = snapshot(control)
    reply = ask(control, folk.mate, route, path, id=of_ann, user_id="user_ann")
    seen = kind(route.path) in SEEN_BY_MATES
    assert (reply.status == 200) is seen, reply.text
    assert (of_ann in reply.text) or not seen
    assert seen or reply.status in {403, 404}, reply.text
    assert snapshot(control) == before


@pytest.mark.parametrize(
    ("route", "path"), [(r, p) for r, p in OBJECTS if r.method == "GET"], ids=lambda one: str(one)[:60]
)
def test_the_owner_does_reach_them(folk: Folk, keys: dict[str, str], route: Route, path: str) -> None:
    """Where its permission is an administrator's alone, an administrator does."""
    of_ann = SWAPS[kind(route.path)](folk)
    held = folk.control.ask("GET", "/api/auth/verify", key=folk.ann).json["permissions"]
    key = folk.ann if route.permission in {KNOWN, *held} else keys["admin"]

    def reached() -> bool:
        return ask(folk.control, key, route, path, id=of_ann, user_id="user_ann").status == 200

    wait_until(reached, 5.0)  # a key goes by the teams it was read with for half a second


@pytest.mark.parametrize(
    ("route", "path"),
    [(r, p) for r, p in OBJECTS if r.method in CHANGES and not r.page],
    ids=lambda one: str(one)[:60],
)
def test_a_change_that_names_another_version_changes_nothing(folk: Folk, route: Route, path: str) -> None:
    """Each row that says it goes by versions does: an administrator's change of version 999999 is refused."""
    from proxy_server.control.conditions import takes_version, versioned

    control = folk.control
    values = {"id": SWAPS[kind(route.path)](folk), "user_id": "user_bob"}
    where = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)
    body = json.loads(route.example or "{}") if route.method != "DELETE" else None
    if where.endswith("/password"):
        body = {"password": "correct horse battery"}
    before = snapshot(control)
    reply = control.ask(route.method, where, key=control.key, headers={"If-Match": '"v999999"'}, told=body)
    expected = (412, "changed") if takes_version(route, versioned(TABLE)) else (400, "if_match")
    assert (reply.status, reply.json["error"]["code"]) == expected
    assert snapshot(control) == before


def refusals(control: Alone) -> list[str]:
    with control.bench.store.begin() as connection:
        query = "SELECT object FROM audit WHERE action LIKE '%.refuse' ORDER BY number"
        return [row[0] for row in connection.exec_driver_sql(query)]
