"""Lessons from other proxies and Jupyter servers, each as a test that would have found it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from proxy_server.control.router import PUBLIC, Route
from proxy_server.control.routes import TABLE
from tests.control import alone
from tests.control.alone import Alone
from tests.control.folk import kind, snapshot
from tests.control.listening import Listener, listen
from tests.harness import wait_until
from tests.stopwatch import Stopwatch
from ultimate_lib.access import sessions

INJECTED = ("' OR '1'='1", "'; DROP TABLE users; --", '" OR ""="', "%' UNION SELECT hash FROM keys --", "1) OR (1=1")
GROUPS = {
    kind(route.path): route for route in TABLE if route.method == "GET" and "{" not in route.path and not route.page
}
LONGEST_S = 5.0


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Alone]:
    with alone.start(tmp_path) as running:
        yield running


def session(control: Alone, user_id: str) -> str:
    store, clock = control.bench.store, control.bench.clock
    token = sessions.exchange_link(store, clock, sessions.make_link(store, clock, user_id))
    return f"ultimate-{control.port}={token}"


def test_lesson_L05_no_text_of_a_stranger_is_read_as_sql(control: Alone) -> None:
    """In credentials, names, ids, filters and in what makes an error: bound parameters everywhere."""
    before = snapshot(control)
    for text in INJECTED:
        quoted = "".join(f"%{ord(letter):02x}" for letter in text)
        for headers in ({"Authorization": f"Bearer {text}"}, {"X-Api-Key": text}, {"X-Api-Key": f"cp_{text}"}):
            assert control.ask("GET", "/api/auth/verify", headers=headers).status == 401
        for cookie in (f"ultimate-{control.port}={text}", f'ultimate-{control.port}="{quoted}"'):
            assert control.ask("GET", "/api/auth/verify", headers={"Cookie": cookie}).status == 401
        login = control.ask("POST", "/api/auth/login", told={"name": text, "password": text * 3})
        assert login.status in {401, 403, 429}
        assert control.ask("GET", f"/login?link={quoted}").status == 403
        for path in (
            "/api/analytics/calls?filter=user:",
            "/api/users?cursor=",
            "/api/audit?actor=",
            "/api/keys?user=",
        ):
            assert control.get(f"{path}{quoted}").status in {200, 400, 404}
        assert control.get(f"/api/keys/{quoted}").status == 404
        key = {"Idempotency-Key": text.replace(" ", "+")}
        control.ask("POST", "/api/teams", key=control.key, told={"name": text}, headers=key)
    after = snapshot(control)
    assert {name: rows for name, rows in after.items() if name != "teams"} == {
        name: rows for name, rows in before.items() if name != "teams"
    }


def is_open(route: Route) -> bool:
    """Say whether programs on this computer may ask without being known."""
    return route.permission == PUBLIC or route.loopback


Way = Callable[[Alone, str], None]


def _deactivate(control: Alone, user_id: str) -> None:
    assert control.ask("POST", f"/api/users/{user_id}/deactivate", key=control.key, told={}).status == 200


def _revoke(control: Alone, user_id: str) -> None:
    for key in control.get(f"/api/keys?user={user_id}").json["keys"]:
        assert control.ask("DELETE", f"/api/keys/{key['id']}", key=control.key).status == 200
    with control.bench.store.begin() as connection:  # as an administrator's command would
        connection.exec_driver_sql("UPDATE sessions SET revoked_at = created_at WHERE user_id = ?", (user_id,))


def _take_role(control: Alone, user_id: str) -> None:
    told = {"roles": {"api_user": None}}
    assert control.ask("PUT", f"/api/users/{user_id}/roles", key=control.key, told=told).status == 200


async def _closed(connection: WebSocketClientConnection, since: Stopwatch) -> float:
    """Read until the connection is closed, and return when that was."""
    while await connection.read_message() is not None:
        pass
    return since.seconds


@pytest.mark.parametrize("way", [_deactivate, _revoke, _take_role], ids=["deactivated", "revoked", "role taken"])
def test_lesson_L16_who_is_shut_out_is_refused_within_five_seconds_everywhere(control: Alone, way: Way) -> None:
    """Each group of routes, live events and a dashboard's websocket, by key and by session."""
    key, user_id = control.add_user("eve", "admin"), "user_eve"
    cookie = session(control, user_id)
    by = ({"Authorization": f"Bearer {key}"}, {"Cookie": cookie})
    routes = [route.path for name, route in GROUPS.items() if name != "live" and not is_open(route)]
    routes = [
        path for path in routes if path not in {"/api/auth/verify", "/api/analytics/aggregate"} or way != _take_role
    ]
    assert len(routes) > 8
    lost = {"/api/users", "/api/audit", "/api/providers", "/api/system/status"}  # what a role gave
    if way is _take_role:
        routes = [path for path in routes if path in lost]
        assert routes

    def status(path: str, headers: dict[str, str]) -> int:
        query = "?by=model" if path.endswith("/breakdown") else ""
        return control.ask("GET", path + query, headers=headers).status

    answered = {200, 422}  # the lake has too little for a forecast
    assert {status(path, headers) for path in routes for headers in by} <= answered, "else this says nothing"
    token = control.ask("GET", "/dashboards/overview/session", headers=by[1]).json["token"]

    since = Stopwatch()

    async def watch() -> float:
        request = HTTPRequest(f"ws://{control.host}/dashboards/overview/ws?span=7d", headers=by[1])
        connection = await websocket_connect(request, subprotocols=["bokeh", token])
        try:
            assert await asyncio.wait_for(connection.read_message(), 20)
            closing = asyncio.create_task(_closed(connection, since))
            await asyncio.to_thread(shut)
            return await asyncio.wait_for(closing, 2 * LONGEST_S)
        finally:
            connection.close()
            await asyncio.sleep(0.1)  # the handshake of closing

    def let_in(path: str, headers: dict[str, str]) -> bool:
        asked_s = since.seconds
        if status(path, headers) != 200:
            return False
        assert asked_s < LONGEST_S, path
        return True

    def shut() -> None:
        way(control, user_id)
        stack.enter_context(since)
        left = [(path, headers) for path in routes for headers in by]
        while left:
            left = [one for one in left if let_in(*one)]
        for listener in listeners:  # live events may not go on
            wait_until(listener.ended.is_set, max(0.0, LONGEST_S - since.seconds))

    url = f"http://{control.host}"
    with contextlib.ExitStack() as stack, listen(url, key) as first, Cookied(url, cookie) as second:
        listeners: tuple[Listener, ...] = (first, second)
        assert [one.status for one in listeners] == [200, 200]
        assert asyncio.run(watch()) <= LONGEST_S


class Cookied(Listener):
    """A listener whom a cookie lets in."""

    def __init__(self, url: str, cookie: str) -> None:
        super().__init__(url, "/api/live", "", {"Cookie": cookie}, paused=False, buffer=0)

    def __enter__(self) -> Self:
        wait_until(lambda: self.status, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_lesson_L18_a_dashboards_websocket_takes_its_exact_origin(control: Alone) -> None:
    name, port = control.host.split(":")
    cookie = control.sign_in()

    def opened(origin: str) -> int:
        token = control.ask("GET", "/dashboards/overview/session", headers={"Cookie": cookie}).json["token"]
        lines = [
            "GET /dashboards/overview/ws?span=7d HTTP/1.1", f"Host: {control.host}", "Connection: Upgrade",
            "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Protocol: bokeh, {token}", f"Cookie: {cookie}", f"Origin: {origin}", "", "",
        ]  # fmt: skip
        with socket.create_connection((name, int(port)), timeout=10) as sock:
            sock.sendall("\r\n".join(lines).encode())
            with sock.makefile("rb") as file:
                return int(file.readline().split()[1])

    assert opened(f"http://{control.host}") == 101, "else this says nothing"
    for origin in (
        "null", f"http://{control.host}.evil.example", f"http://evil.{control.host}", f"https://{control.host}",
        f"http://{name}", f"http://{name}:{port}0", f"http://localhost:{port}", f"http://{control.host}@evil.example",
        f"http://evil.example/{control.host}", f"http://evil.example#{control.host}", "https://evil.example",
    ):  # fmt: skip
        assert opened(origin) == 403, origin


def test_lesson_L19_no_path_leads_out_of_its_place(control: Alone) -> None:
    """Ids form paths; files of packages are served from their own folder alone."""
    cookie = {"Cookie": control.sign_in()}
    up = ("..", "%2e%2e", "..%2f..", "%2e%2e%2f", "....//", "..\\", "%5c..", ".%00.", "#", "%23")
    for base in ("/api/calls/", "/api/keys/", "/api/users/", "/calls/", "/api/providers/"):
        for way in up:
            for path in (f"{base}{way}", f"{base}{way}/key", f"{base}x/{way}", f"{base}{way}/{way}/etc/passwd"):
                reply = control.ask("GET", path, headers=cookie)
                assert reply.status in {303, 400, 404}, path
    for base in ("/dashboards/overview/static/js/", "/dashboards/static/js/", "/dashboards/static/extensions/panel/"):
        for way in up:
            reply = control.ask("GET", f"{base}{way}/{way}/{way}/{way}/{way}/{way}/etc/passwd", headers=cookie)
            assert reply.status in {400, 403, 404}, (base, way)
            assert b"root:" not in reply.body


def test_lesson_L20_no_secret_is_in_a_log_or_an_address(control: Alone, caplog: pytest.LogCaptureFixture) -> None:
    """What each way to fail writes down, everything that is logged included."""
    caplog.set_level(logging.DEBUG)
    password = "wrong horse battery staple"
    cookie = session(control, control.admin_id)
    csrf = sessions.csrf_token(cookie.partition("=")[2])
    made = control.ask("POST", "/api/keys", key=control.key, told={"name": "secret"}).json["key"]
    secrets = [
        control.key,
        made,
        made[:-1] + "x",
        cookie.partition("=")[2],
        csrf,
        password,
        "sk-provider-secret-0123",
    ]
    for key in secrets[:3]:
        for path in ("/api/roles", "/api/nothing", "/api/analytics/breakdown", "/api/system/status", "/readyz"):
            control.get(path, key=key)
    control.ask("POST", "/api/auth/login", told={"name": "ann", "password": password})
    control.ask("POST", "/api/auth/login", told={"name": password, "password": password, "x": 1})
    control.ask("PUT", "/api/providers/none/key", key=control.key, told={"key": secrets[6]})
    control.ask("PUT", "/api/providers/openai/key", key=control.key, told={"key": secrets[6], "x": 1})
    browser = {"Cookie": cookie, "X-CSRF-Token": csrf, "Origin": "https://evil.example"}
    control.ask("POST", "/api/keys", headers=browser, told={"name": "x"})
    written = caplog.text + json.dumps([record.getMessage() for record in caplog.records])
    with control.bench.store.begin() as connection:
        written += repr(list(connection.exec_driver_sql("SELECT actor, action, object, before, after FROM audit")))
    for secret in secrets:
        assert secret not in written, secret[:12]
    asked = {(route.path, name) for route in TABLE if route.method != "POST" for name in in_query(route)}
    suspect = {one for one in asked if re.search("key$|secret|password|token", one[1])}
    ids = {("/calls", "key"), ("/api/predictive/guard", "key")}
    assert suspect == ids, "a query stands in logs; these are keys' ids"


def in_query(route: Route) -> tuple[str, ...]:
    return route.takes.__struct_fields__ if route.method in {"GET", "DELETE"} else ()
