"""Users, teams, sessions and the audit over HTTP: who signs in how, and what is written down of what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.control import alone
from tests.control.alone import Alone, Reply
from ultimate_lib.access import local
from ultimate_lib.access.roles import GRANTABLE
from ultimate_lib.store import audit

GOOD = "violet tractor in june 7"
OTHER = "granite teapot, quiet moss"
REMOTE = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def make(control: Alone, name: str, **told: Any) -> dict[str, Any]:
    reply = control.ask("POST", "/api/users", key=control.key, told={"name": name, "roles": {}, **told})
    assert reply.status == 201, reply.text
    return dict(reply.json)


def login(control: Alone, name: str, password: str, **headers: str) -> Reply:
    return control.ask("POST", "/api/auth/login", told={"name": name, "password": password}, headers=headers)


def cookie_of(control: Alone, reply: Reply) -> dict[str, str]:
    assert reply.status == 200, reply.text
    return {
        "Cookie": reply.headers["Set-Cookie"].partition(";")[0],
        "X-CSRF-Token": reply.json["csrf_token"],
        "Origin": f"http://{control.host}",
    }


def actions(control: Alone) -> list[str]:
    return [row["action"] for row in control.get("/api/audit").json["audit"]]


@pytest.mark.parametrize(("path", "roles"), [("/api/users", {"roles": {}}), ("/api/teams", {})])
def test_a_name_that_is_taken_is_a_conflict(control: Alone, path: str, roles: dict[str, Any]) -> None:
    told = {"name": "search", **roles}
    assert control.ask("POST", path, key=control.key, told=told).status == 201
    again = control.ask("POST", path, key=control.key, told=told)
    assert (again.status, again.json["error"]["hint"]) == (409, "Choose another name.")


def test_name_and_password_begin_a_session_and_a_sign_out_ends_it(control: Alone) -> None:
    user = make(control, "ann", roles={"viewer": None}, password=GOOD)
    reply = login(control, "ann", GOOD)
    assert "HttpOnly" in reply.headers["Set-Cookie"]
    assert "SameSite=Lax" in reply.headers["Set-Cookie"]
    browser = cookie_of(control, reply)
    told = control.ask("GET", "/api/auth/verify", headers=browser).json
    assert (told["by"], told["user_id"], told["view"], told["csrf_token"]) == (
        "session",
        user["id"],
        "team",
        browser["X-CSRF-Token"],
    )
    (session,) = control.ask("GET", "/api/sessions", headers=browser).json["sessions"]
    assert session["current"] is True
    assert control.ask("POST", "/api/auth/logout", headers=browser).json == {"signed_out": True}
    assert control.ask("GET", "/api/auth/verify", headers=browser).status == 401


def test_signing_in_over_plain_http_from_elsewhere_is_refused_unless_that_was_allowed(
    control: Alone, tmp_path: Path
) -> None:
    make(control, "ann", password=GOOD)
    refused = login(control, "ann", GOOD, **REMOTE)
    assert (refused.status, refused.json["error"]["code"]) == (403, "login_insecure")
    assert "Set-Cookie" not in refused.headers
    secure = login(control, "ann", GOOD, **REMOTE, **{"X-Forwarded-Proto": "https"})
    assert secure.headers["Set-Cookie"].startswith("__Host-")
    assert "Secure" in secure.headers["Set-Cookie"]
    with alone.start(tmp_path / "open", **{"server.insecure_http": True}) as trusting:
        make(trusting, "ann", password=GOOD)
        assert login(trusting, "ann", GOOD, **REMOTE).status == 200


def test_a_link_that_comes_over_plain_http_from_elsewhere_is_not_even_looked_up(control: Alone) -> None:
    user = make(control, "zaphod")
    link = control.ask("POST", f"/api/users/{user['id']}/link", key=control.key).json["link"].rpartition("=")[2]
    for token in (link, "no-link"):
        body = urlencode({"link": token, "password": GOOD, "again": "another"})
        for method, path, form in (("POST", "/login", body), ("GET", f"/login?link={token}", None)):
            headers = {**REMOTE, "Origin": f"http://{control.host}"}
            if form:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            reply = control.ask(method, path, headers=headers, body=form)
            assert reply.status == 403
            assert "plain HTTP" in reply.text
            assert "zaphod" not in reply.text


def test_failures_get_the_same_answer_and_then_a_delay(control: Alone) -> None:
    make(control, "ann", password=GOOD)
    wrong = [login(control, name, OTHER) for name in ("ann", "nobody") * 6]
    assert {reply.status for reply in wrong} == {401}
    assert len({reply.json["error"]["message"] for reply in wrong}) == 1
    late = login(control, "ann", GOOD)
    assert (late.status, late.json["error"]["code"]) == (429, "login_delay")
    assert 1 <= int(late.headers["Retry-After"]) <= 2
    assert actions(control).count("session.refuse") >= 1


def test_a_new_person_comes_in_by_a_link(control: Alone) -> None:
    user = make(control, "new", roles={"viewer": None}, email="new@example.org")
    assert user["has_password"] is False
    link = control.ask("POST", f"/api/users/{user['id']}/link", key=control.key).json["link"]
    base, _, token = link.partition("/login?link=")
    assert base == f"http://{control.host}"
    weak = control.ask("POST", "/api/auth/password", told={"link": token, "password": "password1234"})
    assert (weak.status, weak.json["error"]["code"]) == (400, "password_common")
    reply = control.ask("POST", "/api/auth/password", told={"link": token, "password": GOOD})
    assert control.ask("GET", "/api/auth/verify", headers=cookie_of(control, reply)).json["user_name"] == "new"
    again = control.ask("POST", "/api/auth/password", told={"link": token, "password": OTHER})
    assert (again.status, again.json["error"]["code"]) == (403, "login_link")
    assert login(control, "new", GOOD).status == 200


def test_users_are_listed_page_by_page_changed_shut_out_and_let_in(control: Alone) -> None:
    for number in range(5):
        make(control, f"u{number}")
    names: list[str] = []
    cursor = ""
    while True:
        page = control.get(f"/api/users?limit=2&cursor={cursor}").json
        names += [user["name"] for user in page["users"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert names == sorted(names)
    assert {f"u{number}" for number in range(5)} < set(names)
    user = control.get("/api/users").json["users"][-1]
    path = f"/api/users/{user['id']}"
    changed = control.ask("PATCH", path, key=control.key, told={"email": "u@example.org"})
    assert (changed.json["email"], changed.json["version"]) == ("u@example.org", 2)
    assert control.get(path).headers["ETag"].startswith('"v2-')
    old = control.ask("PATCH", path, key=control.key, told={"email": None}, headers={"If-Match": '"v1"'})
    assert (old.status, old.json["error"]["code"]) == (412, "changed")
    for field in ("name", "roles", "active", "password_hash", "version"):
        refused = control.ask("PATCH", path, key=control.key, told={field: "admin"})
        assert (refused.status, refused.json["error"]["code"]) == (400, "parameter_unknown")
    assert control.ask("POST", f"{path}/deactivate", key=control.key).json["active"] is False
    assert control.ask("POST", f"{path}/reactivate", key=control.key).json["active"] is True
    assert control.get("/api/users/user_none").status == 404
    last = control.ask("POST", f"/api/users/{control.admin_id}/deactivate", key=control.key)
    assert (last.status, last.json["error"]["code"]) == (400, "last_admin")


def test_two_users_do_not_reach_each_other(control: Alone) -> None:
    made = {name: make(control, name, roles={"viewer": "own"}, password=GOOD) for name in ("ann", "bob")}
    ann, bob = (cookie_of(control, login(control, name, GOOD)) for name in ("ann", "bob"))
    path = f"/api/users/{made['bob']['id']}"
    assert control.ask("GET", path, headers=ann).status == 404
    assert control.ask("GET", path, headers=bob).json["name"] == "bob"
    assert control.ask("PUT", f"{path}/password", headers=ann, told={"password": OTHER}).status == 404
    (session,) = control.ask("GET", "/api/sessions", headers=bob).json["sessions"]
    assert control.ask("DELETE", f"/api/sessions/{session['id']}", headers=ann).status == 404
    for name in ("users", "audit", "audit/verify"):
        assert control.ask("GET", f"/api/{name}", headers=ann).status == 403
    changed = control.ask("PUT", f"{path}/password", headers=bob, told={"password": OTHER, "current": GOOD})
    assert changed.status == 200
    assert control.ask("GET", "/api/sessions", headers=bob).status == 401, "all sessions have ended"
    assert control.ask("GET", "/api/sessions", headers=ann).status == 200
    assert control.ask("DELETE", "/api/sessions", headers=ann).json == {"ended": 1}
    assert control.ask("GET", "/api/sessions", headers=ann).status == 401


def test_teams_their_members_and_their_leads(control: Alone) -> None:
    lea = make(control, "lea", roles={"viewer": None}, password=GOOD)
    bob = make(control, "bob")
    team = control.ask("POST", "/api/teams", key=control.key, told={"name": "search", "title": "Search"}).json
    path = f"/api/teams/{team['id']}"
    lead = control.ask("PUT", f"{path}/members/{lea['id']}", key=control.key, told={"lead": True})
    assert [member["lead"] for member in lead.json["members"]] == [True]
    browser = cookie_of(control, login(control, "lea", GOOD))
    told = control.ask("GET", "/api/auth/verify", headers=browser).json
    assert (told["team"], told["teams"], told["leads"]) == ("search", ["search"], ["search"])
    assert control.ask("PUT", f"{path}/members/{bob['id']}", headers=browser).status == 200
    assert [one["name"] for one in control.ask("GET", "/api/teams", headers=browser).json["teams"]] == ["search"]
    assert control.ask("PATCH", path, headers=browser, told={"title": "x"}).status == 403
    assert (
        control.ask("PATCH", path, key=control.key, told={"name": "x"}).json["error"]["code"] == "parameter_unknown"
    )
    assert control.ask("DELETE", f"{path}/members/{bob['id']}", headers=browser).status == 200
    assert control.ask("DELETE", path, key=control.key).json["archived_at"] is not None
    assert control.ask("GET", "/api/auth/verify", headers=browser).json["teams"] == []


def test_a_lead_adds_a_member_by_its_exact_name_and_sees_nobody_elses(control: Alone) -> None:
    lea = make(control, "lea", roles={"viewer": None}, password=GOOD)
    make(control, "Max Müller")
    team = control.ask("POST", "/api/teams", key=control.key, told={"name": "search"}).json
    path = f"/api/teams/{team['id']}"
    control.ask("PUT", f"{path}/members/{lea['id']}", key=control.key, told={"lead": True})
    browser = cookie_of(control, login(control, "lea", GOOD))
    page = control.ask("GET", f"/admin/teams/{team['id']}", headers=browser)
    assert page.status == 200
    assert "Max" not in page.text
    assert "Max" in control.get(f"/admin/teams/{team['id']}").text, "who manages users chooses from all"
    for name in ("max müller", "Max", "", "*", "Max Müller\0"):
        reply = control.ask("PUT", f"{path}/members/named", headers=browser, told={"name": name})
        assert (reply.status, reply.json["error"]["code"]) == (404, "user_unknown"), name
    added = control.ask("PUT", f"{path}/members/named", headers=browser, told={"name": "Max Müller"})
    assert [one["name"] for one in added.json["members"]] == ["lea", "Max Müller"]
    for where, told in (("named", {}), (lea["id"], {"name": "lea"})):
        reply = control.ask("PUT", f"{path}/members/{where}", headers=browser, told=told)
        assert (reply.status, reply.json["error"]["code"]) == (400, "member_named")


def test_roles_tell_the_presets_too(control: Alone) -> None:
    assert control.get("/api/roles").json.keys() == GRANTABLE.keys()


def test_what_is_refused_is_in_the_audit_and_the_chain_holds(control: Alone) -> None:
    make(control, "ann", roles={"viewer": None}, password=GOOD)
    browser = cookie_of(control, login(control, "ann", GOOD))
    denied = control.ask(
        "POST", "/api/users", headers={**browser, "X-Forwarded-For": "127.0.0.2"}, told={"name": "x", "roles": {}}
    )
    assert denied.status == 403
    forged = control.ask(
        "DELETE", "/api/sessions", headers={**browser, "X-CSRF-Token": "no", "X-Forwarded-For": "127.0.0.3"}
    )
    assert forged.json["error"]["code"] == "csrf"
    rows = {row["action"]: row for row in control.get("/api/audit").json["audit"]}
    assert (rows["change.refuse"]["actor"], rows["change.refuse"]["object"]) == ("ann", "POST /api/users")
    assert rows["change.refuse"]["after"] == {"code": "permission"}
    assert rows["browser.refuse"]["object"] == "DELETE /api/sessions"
    told = control.get("/api/audit/verify").json
    assert (told["whole"], told["broken_at"]) == (True, None)
    assert told["rows"] == told["last_number"] >= 4


def test_the_page_of_the_audit_verifies_it_when_asked_to_and_not_at_every_view(
    control: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    true = audit.verify
    monkeypatch.setattr(audit, "verify", lambda connection: (looked.append(1), true(connection))[1])
    assert "Nobody has looked since the proxy was started" in control.get("/admin/audit").text
    assert looked == []
    last = control.get("/api/audit/verify").json["last_number"]
    for _ in range(3):
        text = control.get("/admin/audit").text
        assert f"The chain verifies to row {last}" in text
        assert re.search(r"Verified \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text)
    assert looked == [1]
    assert "came later" not in text
    make(control, "u1")
    assert f"the rows from there to {last + 1} came later" in control.get("/admin/audit").text
    with control.bench.store.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'somebody else' WHERE number = 1")
    assert control.get("/api/audit/verify").json["whole"] is False
    assert "the chain is broken at row 1" in control.get("/admin/audit").text


def test_the_audit_is_filtered_and_paged(control: Alone) -> None:
    for number in range(3):
        make(control, f"u{number}")
    asked = f"action=user.create&actor={local.login_name()}"  # the first administrator was made by another
    made = control.get(f"/api/audit?{asked}").json["audit"]
    assert [row["after"]["name"] for row in made] == ["u2", "u1", "u0"]
    page = control.get(f"/api/audit?{asked}&limit=2").json
    rest = control.get(f"/api/audit?{asked}&limit=2&cursor={page['next']}").json
    assert ([row["number"] for row in page["audit"] + rest["audit"]], rest["next"]) == (
        [row["number"] for row in made],
        None,
    )
    at = made[1]["at"]
    assert len(control.get(f"/api/audit?{asked}&from={at}").json["audit"]) == 2
    assert len(control.get(f"/api/audit?{asked}&to={at}").json["audit"]) == 1
    assert control.get("/api/audit?from=2026-11-01").status == 400
    assert control.get("/api/audit?cursor=no").json["error"]["code"] == "cursor"
