"""Keys over REST: lists, changes, rotation, usage, and what the fields of a request may not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control import alone, calls
from tests.control.alone import Alone
from tests.harness import wait_until
from ultimate_lib.access.roles import ROLES


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def test_a_key_is_changed_rotated_and_looked_at(control: Alone) -> None:
    ann = control.add_user("ann", "viewer", "api_user")
    told = {"name": "laptop", "models": ["claude-*"], "project": "alpha", "tags": ["env=prod"], "locked": ["project"]}
    made = control.ask("POST", "/api/keys", key=ann, told=told)
    about = made.json["about"]
    assert {name: about[name] for name in told} == told
    path = f"/api/keys/{about['id']}"
    one = control.get(path, key=ann)
    assert (one.json, about["user_name"]) == (about, "ann")
    changed = control.ask("PATCH", path, key=ann, told={"name": "desk", "models": ["claude-haiku-*"]})
    assert (changed.json["name"], changed.json["models"], changed.json["version"]) == ("desk", ["claude-haiku-*"], 2)
    late = control.ask("PATCH", path, key=ann, told={"name": "x"}, headers={"If-Match": '"v1"'})
    assert (late.status, late.json["error"]["code"]) == (412, "changed")
    rotated = control.ask("POST", f"{path}/rotate", key=ann, told={"overlap_hours": 1})
    assert rotated.status == 201
    for key in (made.json["key"], rotated.json["key"]):
        assert control.get("/api/auth/verify", key=key).json["key_id"] == about["id"]
    used = control.get(f"{path}/usage", key=ann)
    assert (used.status, used.json["requests"], used.json["cost_usd"], used.json["last_used_at"]) == (
        200,
        0,
        None,
        None,
    )
    ended = control.ask("DELETE", path, key=ann)
    assert ended.json == {"id": about["id"]}
    for key in (made.json["key"], rotated.json["key"]):  # others' changes are looked for twice a second
        wait_until(lambda key=key: control.get("/api/auth/verify", key=key).status == 401, 5)


def test_lists_are_narrowed_to_whom_the_caller_may_see(control: Alone) -> None:
    ann, bob = control.add_user("ann", "api_user"), control.add_user("bob", "api_user")
    for number in range(5):
        assert control.ask("POST", "/api/keys", key=ann, told={"name": f"k{number}"}).status == 201
    assert {one["user_id"] for one in control.get("/api/keys", key=bob).json["keys"]} == {"user_bob"}
    for path in ("/api/keys?user=user_ann", "/api/keys?user=all", "/api/keys?team=search"):
        assert control.get(path, key=bob).status == 403, path
    assert {one["user_id"] for one in control.get("/api/keys?user=all").json["keys"]} >= {"user_ann", "user_bob"}
    names, path = [], "/api/keys?user=user_ann&limit=2"
    cursor = ""
    while True:
        page = control.get(f"{path}&cursor={cursor}" if cursor else path).json
        names += [one["name"] for one in page["keys"]]
        cursor = page["next"]
        if not cursor:
            break
    assert names == ["k4", "k3", "k2", "k1", "k0", "test"]
    first = control.get("/api/keys", key=ann).json["keys"][0]["id"]
    for method, told in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        assert control.ask(method, f"/api/keys/{first}", key=bob, told=told).status == 404
    assert control.ask("POST", f"/api/keys/{first}/rotate", key=bob, told={}).status == 404
    assert control.get(f"/api/keys/{first}/usage", key=bob).status == 404
    control.ask("DELETE", f"/api/keys/{first}", key=ann)
    assert first in {one["id"] for one in control.get("/api/keys?state=ended", key=ann).json["keys"]}
    assert first not in {one["id"] for one in control.get("/api/keys?state=live", key=ann).json["keys"]}


def test_a_lead_sees_of_a_members_key_what_was_booked_under_the_team_alone(control: Alone) -> None:
    ann, lea = control.add_user("ann", "viewer", "api_user"), control.add_user("lea", "viewer")
    team = control.ask("POST", "/api/teams", key=control.key, told={"name": "search"}).json["id"]
    control.ask("PUT", f"/api/teams/{team}/members/user_lea", key=control.key, told={"lead": True})
    assert control.ask("PUT", f"/api/teams/{team}/members/user_ann", key=lea).status == 200
    loose = control.get("/api/auth/verify", key=ann).json["key_id"]
    made = control.ask("POST", "/api/keys", key=ann, told={"name": "for the team", "team": "search"})
    key = made.json["about"]["id"]
    now = control.bench.clock.now()
    booked = [calls.call(now, user_id="user_ann", key_id=key, team=team) for team in ("other", None, "search")]
    calls.write(control.bench.settings, *booked)
    assert [one["id"] for one in control.get("/api/keys?team=search", key=lea).json["keys"]] == [key]
    for path in ("", "/usage"):
        assert control.get(f"/api/keys/{loose}{path}", key=lea).status == 404, "a key that names no team"
    used = {}
    for name, asks in (("ann", ann), ("lea", lea), ("admin", control.key)):
        used[name] = control.get(f"/api/keys/{key}/usage", key=asks).json["requests"]
    assert used == {"ann": 3, "lea": 1, "admin": 3}


def test_lesson_L10_no_field_sets_what_is_not_told_of(control: Alone) -> None:
    ann = control.add_user("ann", "api_user")
    made = control.ask("POST", "/api/keys", key=ann, told={"name": "k"}).json["about"]
    for field, value in {
        "scopes": ["keys:manage"], "user_id": "user_x", "parent_id": None, "hash": "x", "revoked_at": None,
        "version": 9, "rotated_from": None, "loopback_only": False,
    }.items():  # fmt: skip
        reply = control.ask("PATCH", f"/api/keys/{made['id']}", key=ann, told={field: value})
        assert (reply.status, reply.json["error"]["code"]) == (400, "parameter_unknown"), field
    for field in ("parent_id", "permissions", "id", "hash", "prefix"):
        reply = control.ask("POST", "/api/keys", key=ann, told={"name": "k", field: "x"})
        assert (reply.status, reply.json["error"]["code"]) == (400, "parameter_unknown"), field


def test_a_key_that_may_do_nothing_is_not_made(control: Alone) -> None:
    reply = control.ask("POST", "/api/keys", key=control.key, told={"name": "idle", "scopes": []})
    assert (reply.status, reply.json["error"]["code"]) == (400, "scopes")
    assert "idle" not in control.get("/api/keys").text


def test_an_administrator_makes_a_key_for_another(control: Alone) -> None:
    control.add_user("ann", "api_user")
    made = control.ask("POST", "/api/keys", key=control.key, told={"name": "for ann", "user_id": "user_ann"})
    assert made.json["about"]["user_name"] == "ann"
    assert control.get("/api/auth/verify", key=made.json["key"]).json["user_name"] == "ann"
    more = {"name": "x", "user_id": "user_ann", "scopes": ["audit:view"]}
    assert control.ask("POST", "/api/keys", key=control.key, told=more).status == 403


def test_a_key_that_may_do_less_than_its_user_sees_itself_and_what_it_made(control: Alone) -> None:
    ann = control.add_user("ann", "viewer", "api_user")
    ask = {"name": "narrow", "scopes": ["analytics:view"]}
    narrow = control.ask("POST", "/api/keys", key=ann, told=ask).json
    child = control.ask("POST", "/api/keys", key=narrow["key"], told={**ask, "name": "child"}).json
    assert {one["name"] for one in control.get("/api/keys", key=ann).json["keys"]} == {"test", "narrow", "child"}
    assert {one["name"] for one in control.get("/api/keys", key=narrow["key"]).json["keys"]} == {"narrow", "child"}
    assert [one["name"] for one in control.get("/api/keys", key=child["key"]).json["keys"]] == ["child"]
    above = narrow["about"]["id"]
    for method, path in (("GET", ""), ("GET", "/usage"), ("DELETE", "")):
        assert control.ask(method, f"/api/keys/{above}{path}", key=child["key"]).status == 404


@pytest.mark.parametrize(
    "limit", [{"models": ["claude-haiku-4-5"]}, {"project": "p", "locked": ["project"]}, {"expires_in_days": 1}]
)
def test_lesson_L10_a_limited_key_becomes_no_user_without_its_limits(control: Alone, limit: dict[str, Any]) -> None:
    admin = {"name": "limited", "scopes": sorted(ROLES["admin"]), **limit}
    mighty = control.ask("POST", "/api/keys", key=control.key, told=admin).json["key"]
    user_id = "user_ann"
    ann = control.add_user("ann", "api_user")
    narrow = control.ask("POST", "/api/keys", key=ann, told={"name": "limited", **limit}).json["key"]
    password = {"password": "violet tractor in june 7"}
    for key, method, path, told in (
        (narrow, "PUT", f"/api/users/{user_id}/password", password),
        (mighty, "PUT", f"/api/users/{user_id}/password", password),
        (mighty, "POST", f"/api/users/{user_id}/link", None),
        (mighty, "PUT", f"/api/users/{user_id}/roles", {"roles": {"admin": None}}),
        (mighty, "POST", "/api/users", {"name": "eve", "roles": {"api_user": None}, **password}),
    ):
        reply = control.ask(method, path, key=key, told=told)
        assert (reply.status, reply.json["error"]["code"]) == (403, "reach"), (method, path, reply.text)
    assert control.ask("PUT", f"/api/users/{user_id}/password", key=ann, told=password).status == 200
