"""Who asks: keys, sessions, addresses that a gateway tells, and what a browser may send with a cookie."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy_server.control.answers import Caller
from proxy_server.control.identify import Identify, cookie_name, is_loopback
from proxy_server.control.router import KNOWN, PUBLIC, Route
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone
from ultimate_lib.access import sessions
from ultimate_lib.access.keys import create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.roles import ROLES
from ultimate_lib.errors import Invalid
from ultimate_lib.store import Store, audit


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def test_a_key_by_either_header(control: Alone) -> None:
    bearer = control.get("/api/auth/verify").json
    assert bearer["by"] == "key"
    assert set(bearer["permissions"]) == ROLES["admin"]
    assert bearer["csrf_token"] is None
    other = control.ask("GET", "/api/auth/verify", headers={"X-Api-Key": control.key})
    assert other.json == bearer
    basic = control.ask("GET", "/api/auth/verify", headers={"Authorization": "Basic Zm9vOmJhcg=="})
    assert (basic.status, basic.json["error"]["code"]) == (401, "authorization")
    for token in ("", "cp_", control.key[:-1], control.key + "x", "x" * 5000):
        assert control.ask("GET", "/api/auth/verify", headers={"X-Api-Key": token}).status == 401


def test_a_loopback_key_is_judged_by_the_forwarded_address(control: Alone) -> None:
    ask = "/api/auth/verify"
    assert control.get(ask, headers={"X-Forwarded-For": "127.0.0.1"}).status == 200
    assert control.get(ask, headers={"X-Forwarded-For": "::1"}).status == 200
    for told in ("203.0.113.9", "127.0.0.1, 203.0.113.9", "203.0.113.9, 127.0.0.1", "nonsense", "127.0.0.1, x"):
        reply = control.get(ask, headers={"X-Forwarded-For": told})
        assert (reply.status, reply.json["error"]["code"]) == (403, "key_loopback"), told
    travelling = control.ask("POST", "/api/keys", key=control.key, told={"name": "elsewhere"}).json["key"]
    assert control.get(ask, key=travelling, headers={"X-Forwarded-For": "203.0.113.9"}).status == 200


def test_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("", "localhost", "10.0.0.1", "127.0.0.1.evil.example", "::ffff:10.0.0.1")))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", ""])
def test_lesson_L18_a_foreign_name_for_this_computer_is_refused(control: Alone, host: str) -> None:
    """A page elsewhere may let its own name point to 127.0.0.1 and then asks us from the user's browser."""
    reply = control.ask("GET", "/api/openapi.json", headers={"Host": host})
    assert (reply.status, reply.json["error"]["code"]) == (400, "host")


def test_the_names_that_are_ours(control: Alone) -> None:
    for host in ("localhost", "localhost:8082", "127.0.0.1:1", "[::1]:8082", "proxy.localhost"):
        assert control.ask("GET", "/api/openapi.json", headers={"Host": host}).status == 200, host
    remote = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "llm.example.org"}
    assert control.ask("GET", "/api/openapi.json", headers=remote).json["servers"] == [
        {"url": "http://llm.example.org"}
    ]


def test_headers_from_a_peer_that_is_no_gateway_are_not_believed(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        bench = control.bench
        identify = Identify(bench.settings, bench.store, bench.clock)
        headers = alone_headers({"Host": "llm.example.org", "X-Forwarded-For": "127.0.0.1"})
        request = SimpleNamespace(headers=headers, remote_ip="203.0.113.9", cookies={})
        caller = identify.caller(request)  # type: ignore[arg-type] # what is read of a request
        assert (caller.address, caller.loopback) == ("203.0.113.9", False)


def alone_headers(values: dict[str, str]) -> object:
    from tornado.httputil import HTTPHeaders

    return HTTPHeaders(values)


def test_the_printed_link_signs_in_once(control: Alone) -> None:
    reply = control.ask("GET", f"/login?link={control.link}")
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    cookie = reply.headers["Set-Cookie"]
    assert cookie.startswith(f"ultimate-{control.port}=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    told = control.ask("GET", "/api/auth/verify", headers={"Cookie": cookie.partition(";")[0]}).json
    assert (told["by"], told["user_id"]) == ("session", control.admin_id)
    again = control.ask("GET", f"/login?link={control.link}")
    assert again.status == 403
    assert "has been used" in again.text
    assert again.headers["Set-Cookie"] is None
    with control.bench.store.begin() as connection:
        assert audit.broken_at(connection) is None


def test_under_tls_the_cookie_is_bound_to_the_host(control: Alone) -> None:
    reply = control.ask(
        "GET",
        f"/login?link={control.link}",
        headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "llm.example"},
    )
    cookie = reply.headers["Set-Cookie"]
    assert cookie.startswith("__Host-ultimate=")
    assert "Secure" in cookie
    assert "Domain" not in cookie
    assert cookie_name(Caller(origin="http://localhost")) == "ultimate-80"


def test_signing_in_over_plain_http_from_elsewhere_is_refused_and_uses_nothing_up(control: Alone) -> None:
    reply = control.ask("GET", f"/login?link={control.link}", headers={"X-Forwarded-For": "203.0.113.9"})
    assert reply.status == 403
    assert "https" in reply.text
    assert control.sign_in()


@pytest.mark.parametrize(
    "to", ["https://evil.example/", "//evil.example", "/\\evil.example", "logout", "nothing", "home"]
)
def test_lesson_L21_a_sign_in_leads_to_a_page_of_ours_alone(control: Alone, to: str) -> None:
    reply = control.ask("GET", f"/login?link={control.link}&to={to}")
    assert (reply.status, reply.headers["Location"]) == (303, "/")


def test_a_page_asked_for_while_signed_out_leads_to_login_and_back(tmp_path: Path) -> None:
    def show(*_: object) -> dict[str, str]:
        return {"seen": "yes"}

    table = (*TABLE, Route("GET", "/calls", show, "analytics:view", "Calls.", "", page="calls"))
    with alone.start(tmp_path, table=table) as control:
        out = control.ask("GET", "/calls")
        assert (out.status, out.headers["Location"]) == (303, "/login?to=calls")
        assert control.ask("GET", "/calls?x=%0d%0aSet-Cookie:a").headers["Location"] == "/login?to=calls"
        signed = control.ask("GET", f"/login?to=calls&link={control.link}")
        assert signed.headers["Location"] == "/calls"
        cookie = {"Cookie": signed.headers["Set-Cookie"].partition(";")[0]}
        assert control.ask("GET", "/calls", headers=cookie).json == {"seen": "yes"}


def test_a_session_ends_by_logout_by_time_and_with_its_user(control: Alone) -> None:
    store, clock = control.bench.store, control.bench.clock
    cookie = {"Cookie": control.sign_in()}
    told = control.ask("GET", "/api/auth/verify", headers=cookie).json
    safe = {**cookie, "Origin": f"http://{control.host}", "X-CSRF-Token": told["csrf_token"]}
    out = control.ask("POST", "/api/auth/logout", headers=safe)
    assert out.json == {"signed_out": True}
    gone = re.search("expires=([^;]+)", out.headers["Set-Cookie"])
    assert gone is not None
    assert parsedate_to_datetime(gone[1]) < clock.now()
    assert control.ask("GET", "/api/auth/verify", headers=cookie).status == 401

    def session() -> dict[str, str]:
        token = sessions.exchange_link(store, clock, sessions.make_link(store, clock, control.admin_id))
        return {"Cookie": f"ultimate-{control.port}={token}"}

    cookie = session()
    assert control.ask("GET", "/api/auth/verify", headers=cookie).status == 200
    database = sqlite3.connect(store.path)  # type: ignore[arg-type] # SQLite here
    with database:
        database.execute("UPDATE sessions SET expires_at = ?", ((clock.now() - timedelta(seconds=1)).isoformat(" "),))
    assert control.ask("GET", "/api/auth/verify", headers=cookie).status == 401
    cookie = session()
    with database:
        database.execute("UPDATE users SET active = 0")
    database.close()
    assert control.ask("GET", "/api/auth/verify", headers=cookie).status == 401


@pytest.fixture
def browser(control: Alone) -> dict[str, str]:
    cookie = {"Cookie": control.sign_in()}
    csrf = control.ask("GET", "/api/auth/verify", headers=cookie).json["csrf_token"]
    return {**cookie, "Origin": f"http://{control.host}", "X-CSRF-Token": csrf}


def test_a_change_by_cookie_needs_our_page(control: Alone, browser: dict[str, str]) -> None:
    def make(**changed: str | None) -> str:
        headers = {name: value for name, value in {**browser, **changed}.items() if value is not None}
        reply = control.ask("POST", "/api/keys", headers=headers, told={"name": "x"})
        return "made" if reply.status == 201 else reply.json["error"]["code"]

    assert make() == "made"
    assert make(**{"X-CSRF-Token": None}) == "csrf"
    assert make(**{"X-CSRF-Token": "0" * 64}) == "csrf"
    assert make(**{"X-CSRF-Token": "é"}) == "csrf"
    for origin in (None, "null", "http://evil.example", f"http://{control.host}.evil.example", "http://127.0.0.1"):
        assert make(Origin=origin) == "origin", origin
    assert make(Origin=f"https://{control.host}") == "origin", "another scheme is another origin"
    # a form under our own referrer policy: the browser hides its Origin and says by itself where the form stood
    assert make(**{"Origin": "null", "Sec-Fetch-Site": "same-origin"}) == "made"
    assert make(**{"Origin": "null", "Sec-Fetch-Site": "cross-site"}) == "origin"
    assert make(**{"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}) == "origin"


def test_a_form_brings_its_token_in_a_field(control: Alone, browser: dict[str, str]) -> None:
    form = {
        "Cookie": browser["Cookie"],
        "Origin": browser["Origin"],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert control.ask("POST", "/logout", headers=form, body="_csrf=wrong").status == 403
    assert control.ask("POST", "/logout", headers=form, body="").status == 403
    assert control.ask("POST", "/logout", headers=form, body=f"_csrf={browser['X-CSRF-Token']}&x=1").status == 400
    out = control.ask("POST", "/logout", headers=form, body=f"_csrf={browser['X-CSRF-Token']}")
    assert (out.status, out.headers["Location"]) == (303, "/")
    assert control.ask("GET", "/api/auth/verify", headers=form).status == 401


def test_a_request_with_a_key_ignores_the_cookie(control: Alone, browser: dict[str, str]) -> None:
    key = control.add_user("caller", "api_user")
    told = control.get("/api/auth/verify", key=key, headers={"Cookie": browser["Cookie"]}).json
    assert told["user_name"] == "caller"
    wrong = control.get("/api/auth/verify", key="cp_" + "x" * 43, headers={"Cookie": browser["Cookie"]})
    assert wrong.status == 401, "a wrong key does not fall back to the cookie"
    assert control.ask("POST", "/api/keys", key=key, told={"name": "no token needed"}).status == 201


def test_another_ports_cookie_is_not_ours(control: Alone, browser: dict[str, str]) -> None:
    other = browser["Cookie"].replace(f"ultimate-{control.port}", "ultimate-1")
    assert control.ask("GET", "/api/auth/verify", headers={"Cookie": other}).status == 401
    assert control.ask("GET", "/", headers={"Cookie": f"ultimate-{control.port}=" + "x" * 900}).status == 200


def test_the_root_path_is_taken_off_once(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"server.root_path": "/llm"}) as control:
        assert control.get("/llm/api/roles").status == 200
        assert control.get("/api/roles").status == 200, "the gateway may have taken it off already"
        assert control.get("/llmx/api/roles").status == 404
        assert control.get("/llm/llm/api/roles").status == 404
        assert control.ask("GET", f"/llm/login?link={control.link}").headers["Location"] == "/llm/"
        assert 'action="/llm/logout"' not in control.ask("GET", "/llm").text
        assert 'href="/llm/"' in control.ask("GET", "/llm").text


def test_a_store_that_is_away_is_a_503_with_a_way_out(control: Alone, caplog: pytest.LogCaptureFixture) -> None:
    path = control.bench.store.path
    assert path is not None
    control.bench.store.close()
    database = sqlite3.connect(path)
    with database:
        database.execute("ALTER TABLE keys RENAME TO gone")
    database.close()
    reply = control.get("/api/auth/verify")
    assert (reply.status, reply.json["error"]["code"]) == (503, "store_unavailable")
    assert reply.json["error"]["hint"]
    for told in (str(path), "no such table", "keys"):
        assert told not in reply.text
        assert told in caplog.text


# -- keys ---------------------------------------------------------------------------------------------------------


def test_keys_are_made_seen_and_ended_by_their_owner(control: Alone) -> None:
    key = control.add_user("ann", "viewer", "api_user")
    made = control.ask("POST", "/api/keys", key=key, told={"name": "laptop", "scopes": ["proxy:call"]})
    assert made.status == 201
    about = made.json["about"]
    assert (about["name"], about["scopes"], made.json["key"][:10]) == ("laptop", ["proxy:call"], about["prefix"])
    listed = control.get("/api/keys", key=key)
    assert made.json["key"] not in listed.text
    assert "hash" not in listed.text
    assert {entry["name"] for entry in listed.json["keys"]} == {"laptop", "test"}
    assert control.get("/api/api-keys", key=key).json == listed.json
    gone = control.ask("DELETE", f"/api/keys/{about['id']}", key=key)
    assert gone.json == {"id": about["id"]}
    assert control.get("/api/auth/verify", key=made.json["key"]).status == 401
    assert control.ask("DELETE", f"/api/keys/{about['id']}", key=key).status == 404


def test_two_users_do_not_reach_each_others_keys(control: Alone) -> None:
    ann, bob = control.add_user("ann", "api_user"), control.add_user("bob", "api_user")
    of_ann = control.ask("POST", "/api/keys", key=ann, told={"name": "ann's"}).json["about"]["id"]
    assert all(entry["id"] != of_ann for entry in control.get("/api/keys", key=bob).json["keys"])
    assert control.ask("DELETE", f"/api/keys/{of_ann}", key=bob).status == 404
    assert control.ask("DELETE", f"/api/keys/{of_ann}", key=control.key).status == 200, "an administrator may"


def test_lesson_L11_a_key_made_with_a_key_never_outreaches_it(control: Alone) -> None:
    bench = control.bench
    viewer = control.add_user("val", "viewer")
    more = control.ask("POST", "/api/keys", key=viewer, told={"name": "x", "scopes": ["proxy:call"]})
    assert (more.status, more.json["error"]["code"]) == (403, "key_scopes")
    control.add_user("ann", "api_user")
    ann = Principal(user_id="user_ann", user_name="ann", permissions=ROLES["api_user"])
    narrow, _ = create_key(
        bench.store,
        bench.clock,
        ann,
        name="narrow",
        models=["demo/*"],
        project="search",
        expires_in_days=30,
        loopback_only=True,
    )
    child = control.ask("POST", "/api/keys", key=narrow, told={"name": "child", "expires_in_days": 900}).json["about"]
    assert child["models"] == ["demo/*"]
    assert child["project"] == "search"
    assert child["loopback_only"] is True
    assert child["expires_at"][:10] <= (bench.clock.now() + timedelta(days=30)).date().isoformat()
    wide = control.ask("POST", "/api/keys", key=narrow, told={"name": "child", "models": ["openai/*"]})
    assert (wide.status, wide.json["error"]["code"]) == (403, "key_models")


def test_roles_and_permissions(control: Alone) -> None:
    roles = control.get("/api/roles").json
    assert {name: len(held) for name, held in roles.items()} == {
        "viewer": 3,
        "analyst": 6,
        "moderator": 11,
        "admin": 17,
        "api_user": 2,
        "finance": 5,
    }
    assert set(control.get("/api/permissions").json) == set(roles["admin"])


def test_the_places_of_a_public_address(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"server.public_url": "https://llm.example.org"}) as control:
        reply = control.ask("GET", "/", headers={"Host": "llm.example.org"})
        assert "https://llm.example.org/v1" in reply.text
        store = Store(control.bench.settings.store_url)
        identify = Identify(control.bench.settings, store, control.bench.clock)
        request = SimpleNamespace(headers=alone_headers({"Host": "evil.example"}), remote_ip="127.0.0.1", cookies={})
        with pytest.raises(Invalid, match="evil"):
            identify.caller(request)  # type: ignore[arg-type] # what is read of a request
        store.close()


def test_known_and_public_are_no_permissions() -> None:
    assert not {KNOWN, PUBLIC} & set(ROLES["admin"])
