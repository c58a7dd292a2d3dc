"""Who gets a dashboard's page, its session and its websocket, and what else the address answers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bokeh.util.token import generate_jwt_token, get_session_id, get_token_payload
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.control import alone
from tests.control.alone import Alone
from tests.stopwatch import Stopwatch
from ultimate_lib.access import sessions as logins

PAGE = "/dashboards/overview"
BROWSER = {"Accept": "text/html"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("sessions")) as running:
        yield running


@pytest.fixture(scope="module")
def cookie(control: Alone) -> str:
    return control.sign_in()


@pytest.fixture(scope="module")
def viewer(control: Alone) -> str:
    """A viewer's cookie; it sees its own calls alone."""
    control.add_user("viewer", "viewer")
    link = logins.make_link(control.bench.store, control.bench.clock, "user_viewer")
    token = logins.exchange_link(control.bench.store, control.bench.clock, link)
    return f"ultimate-{control.port}={token}"


def token(control: Alone, cookie: str) -> str:
    reply = control.ask("GET", f"{PAGE}/session", headers={"Cookie": cookie})
    assert reply.status == 200, reply.text
    found: str = reply.json["token"]
    return found


@contextlib.asynccontextmanager
async def connected(
    control: Alone, token: str, *, root: str = "", page: str = f"{PAGE}/ws?span=7d", **headers: str
) -> AsyncIterator[WebSocketClientConnection]:
    request = HTTPRequest(f"ws://{control.host}{root}{page}", headers=headers, request_timeout=30)
    connection = await websocket_connect(request, subprotocols=["bokeh", token])
    try:
        yield connection
    finally:
        stream = getattr(connection.protocol, "stream", None)
        connection.close()
        until = time.monotonic() + 5
        while stream is not None and not stream.closed() and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):  # what still stands before the handshake of closing is read
                await asyncio.wait_for(connection.read_message(), 0.05)
        await asyncio.sleep(0.05)


async def closed(connection: WebSocketClientConnection) -> int | None:
    """Read until the connection is closed, and return the code."""
    while await asyncio.wait_for(connection.read_message(), 30) is not None:
        pass
    return connection.close_code


def test_the_page_is_for_those_who_may_see_dashboards(control: Alone, cookie: str) -> None:
    away = control.ask("GET", PAGE, headers=BROWSER)
    assert (away.status, away.headers["Location"]) == (303, "/login?to=overview")
    shown = control.ask("GET", f"{PAGE}?span=7d", headers={**BROWSER, "Cookie": cookie})
    assert shown.status == 200
    policy = shown.headers["Content-Security-Policy"]
    assert "unsafe-eval" not in policy
    assert "script-src 'nonce-" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    api_user = control.add_user("robot", "api_user")
    assert control.get(PAGE, key=api_user).status == 403
    assert control.get(f"{PAGE}/session", key=api_user).status == 403
    assert control.ask("GET", f"{PAGE}/session").status == 401
    assert control.ask("GET", f"{PAGE}?span=7d&x=1", headers={"Cookie": cookie}).status == 400


def test_a_session_opens_and_draws(control: Alone, cookie: str) -> None:
    async def look() -> list[str]:
        origin = f"http://{control.host}"
        async with connected(control, token(control, cookie), Cookie=cookie, Origin=origin) as connection:
            return [str(await asyncio.wait_for(connection.read_message(), 60)) for _ in range(3)]

    parts = asyncio.run(look())
    assert json.loads(parts[0])["msgtype"] == "ACK"


@pytest.mark.parametrize("given", ["nothing", "a wrong cookie", "a foreign origin", "no permission", "a key's owner"])
def test_the_websocket_asks_again(control: Alone, cookie: str, given: str) -> None:
    headers = {
        "nothing": {},
        "a wrong cookie": {"Cookie": f"ultimate-{control.port}={'x' * 43}"},
        "a foreign origin": {"Cookie": cookie, "Origin": "https://elsewhere.example"},
        "no permission": {"Authorization": f"Bearer {control.key[:-1]}x"},
        "a key's owner": {"Authorization": f"Bearer {control.add_user('mute', 'api_user')}"}
        if "owner" in given
        else {},
    }[given]
    held = token(control, cookie)

    async def tried() -> None:
        async with connected(control, held, **headers):
            pass

    with pytest.raises(HTTPClientError) as refused:
        asyncio.run(tried())
    assert refused.value.code in {401, 403}
    plain = control.ask(
        "GET", f"{PAGE}/ws", headers={**UPGRADE, **headers, "Sec-WebSocket-Protocol": f"bokeh, {held}"}
    )
    assert plain.status in {401, 403}


def test_a_session_is_its_owners_alone(control: Alone, cookie: str, viewer: str) -> None:
    async def stolen() -> int | None:
        async with connected(control, token(control, cookie), Cookie=viewer) as connection:
            return await closed(connection)

    assert asyncio.run(stolen()) == 4401


def test_a_token_that_we_did_not_sign_opens_nothing(control: Alone, cookie: str) -> None:
    held = token(control, cookie)
    told: Any = {"who": get_token_payload(held)["who"]}
    forged = generate_jwt_token(
        get_session_id(held), secret_key=b"guess", signed=True, extra_payload=told, expiration=99
    )

    async def tried() -> list[str | bytes | None]:
        async with connected(control, forged, Cookie=cookie) as connection:
            return [await asyncio.wait_for(connection.read_message(), 30)]

    assert asyncio.run(tried()) == [None], "closed without a word"


def test_an_ended_login_ends_the_session(
    control: Alone, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from proxy_server.control import dashboard_sessions

    monkeypatch.setattr(dashboard_sessions, "_WATCH_S", 0.2)
    with alone.start(tmp_path_factory.mktemp("ended")) as other:
        cookie = other.sign_in()

        async def until_signed_out() -> int | None:
            async with connected(other, token(other, cookie), Cookie=cookie) as connection:
                assert await asyncio.wait_for(connection.read_message(), 60)
                logins.end(other.bench.store, other.bench.clock, cookie.partition("=")[2])
                return await closed(connection)

        assert asyncio.run(until_signed_out()) == 4401


def test_a_drain_sends_pages_to_the_next_process(tmp_path_factory: pytest.TempPathFactory) -> None:
    ended: list[int | None] = []

    async def stay(control: Alone, cookie: str, leaving: asyncio.Event) -> None:
        async with connected(control, token(control, cookie), Cookie=cookie) as connection:
            assert await asyncio.wait_for(connection.read_message(), 60)
            leaving.set()
            ended.append(await closed(connection))

    async def whole() -> float:
        running = alone.start(tmp_path_factory.mktemp("drained"))
        control = await asyncio.to_thread(running.__enter__)
        cookie = await asyncio.to_thread(control.sign_in)
        leaving = asyncio.Event()
        staying = asyncio.create_task(stay(control, cookie, leaving))
        await leaving.wait()
        with Stopwatch() as took:
            await asyncio.to_thread(running.__exit__, None, None, None)
        await staying
        return took.seconds

    took = asyncio.run(whole())
    assert ended == [1012]
    assert took < 5, "an open dashboard does not hold a drain up"


def test_too_many_sessions_are_told_so(control: Alone, cookie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy_server.control import dashboard_sessions

    monkeypatch.setattr(dashboard_sessions, "MOST_SESSIONS", 0)
    reply = control.ask("GET", f"{PAGE}/session", headers={"Cookie": cookie})
    assert (reply.status, reply.json["error"]["code"]) == (503, "busy")
    assert "Close one" in reply.json["error"]["hint"]


def test_scripts_come_from_here_and_nothing_else_does(control: Alone, cookie: str) -> None:
    shown = control.ask("GET", PAGE, headers={"Cookie": cookie}).text
    sources = [part.partition('"')[0] for part in shown.split(' src="')[1:]]
    assert len(sources) == 4
    for source in sources:
        reply = control.ask("GET", source)
        assert (reply.status, reply.headers["X-Content-Type-Options"]) == (200, "nosniff")
        assert "javascript" in reply.headers["Content-Type"]
        assert "max-age=" in reply.headers["Cache-Control"]
    for path in (
        "js/../../../../pyproject.toml",
        "extensions/panel/..%2f..%2fconfig.py",
        "js/",
        "",
        "extensions/panel/",
    ):
        assert control.ask("GET", f"/dashboards/static/{path}").status in {403, 404}, path
    for path in ("", "/", "/overview/", "/overview/autoload.js", "/overview/metadata", "/overview/ws/"):
        assert control.ask("GET", f"/dashboards{path}", headers={"Cookie": cookie}).status == 404, path


def test_without_the_extra_the_page_names_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "panel" else real(name, *more)
    )
    with alone.start(tmp_path_factory.mktemp("bare")) as bare:
        cookie = bare.sign_in()
        shown = bare.ask("GET", PAGE, headers={"Cookie": cookie})
        assert shown.status == 200
        assert (
            "pip install &#x27;ultimate-proxy[lab]&#x27;" in shown.text
            or "pip install 'ultimate-proxy[lab]'" in shown.text
            or "pip install &#39;ultimate-proxy[lab]&#39;" in shown.text
        )
        session = bare.ask("GET", f"{PAGE}/session", headers={"Cookie": cookie})
        assert (session.status, session.json["error"]["code"]) == (503, "not_installed")
        assert "pip install" in session.json["error"]["hint"]


def test_everything_stands_under_the_root_path(tmp_path_factory: pytest.TempPathFactory) -> None:
    with alone.start(tmp_path_factory.mktemp("rooted"), **{"server.root_path": "/llm"}) as rooted:
        cookie = rooted.sign_in()
        shown = rooted.ask("GET", f"/llm{PAGE}", headers={"Cookie": cookie})
        assert f'data-base="/llm{PAGE}"' in shown.text
        assert 'src="/llm/dashboards/static/js/bokeh.min.js' in shown.text
        assert rooted.ask("GET", "/llm/dashboards/static/js/bokeh.min.js?v=1").status == 200

        async def look() -> object:
            reply = rooted.ask("GET", f"/llm{PAGE}/session", headers={"Cookie": cookie})
            held = reply.json["token"]
            async with connected(rooted, held, root="/llm", Cookie=cookie) as connection:
                return await asyncio.wait_for(connection.read_message(), 60)

        assert asyncio.run(look())


def test_forged_tokens_take_no_place(control: Alone, cookie: str) -> None:
    """What has no signature of ours is not even looked into: neither is a session counted for it."""
    who = get_token_payload(token(control, cookie))["who"]

    async def forge(number: int) -> None:
        told: Any = {"who": who}
        session: Any = f"made-up-{number}.x"
        forged = generate_jwt_token(session, secret_key=b"guess", signed=True, extra_payload=told, expiration=99)
        async with connected(control, forged, Cookie=cookie) as connection:
            assert await asyncio.wait_for(connection.read_message(), 30) is None

    async def many() -> None:
        for start in range(0, 110, 10):
            await asyncio.gather(*(forge(start + number) for number in range(10)))

    asyncio.run(many())
    assert control.ask("GET", f"{PAGE}/session", headers={"Cookie": cookie}).status == 200


@pytest.mark.parametrize("bound", ["MOST_SESSIONS", "MOST_OF_ONE"])
def test_tokens_kept_in_stock_open_no_more_sessions_than_there_may_be(
    bound: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from proxy_server.control import dashboard_sessions

    with alone.start(tmp_path_factory.mktemp("stock")) as other:
        cookie = other.sign_in()
        stock = [token(other, cookie) for _ in range(3)]
        monkeypatch.setattr(dashboard_sessions, bound, 2)

        async def tried() -> list[int | None]:
            codes: list[int | None] = []
            async with contextlib.AsyncExitStack() as stack:
                for held in stock:
                    connection = await stack.enter_async_context(connected(other, held, Cookie=cookie))
                    told = await asyncio.wait_for(connection.read_message(), 60)
                    codes.append(connection.close_code if told is None else None)
            return codes

        assert asyncio.run(tried()) == [None, None, 1013]


def test_a_session_that_cannot_be_made_takes_no_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from proxy_server.control import dashboard_sessions

    def fails(*_: object, **__: object) -> object:
        raise RuntimeError

    with alone.start(tmp_path_factory.mktemp("failing")) as other:
        cookie = other.sign_in()
        monkeypatch.setattr(dashboard_sessions, "MOST_SESSIONS", 1)
        monkeypatch.setattr(dashboard_sessions, "LocalSource", fails)

        async def tried() -> int | None:
            async with connected(other, token(other, cookie), Cookie=cookie) as connection:
                return await closed(connection)

        assert asyncio.run(tried()) == 1011
        assert asyncio.run(tried()) == 1011, "the first has given its place back"


async def say_ready(connection: WebSocketClientConnection) -> None:
    """Say what a browser says when it has the document: the message of BokehJS, in its three parts."""
    event = {"type": "event", "name": "document_ready", "values": {"type": "map"}}
    told = {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": event}]}
    for part in ({"msgid": "1", "msgtype": "PATCH-DOC"}, {}, told):
        await connection.write_message(json.dumps(part))


def test_the_other_page_has_a_session_of_its_own(control: Alone, cookie: str) -> None:
    other = "/dashboards/forecasting"
    away = control.ask("GET", other, headers=BROWSER)
    assert (away.status, away.headers["Location"]) == (303, "/login?to=forecasting")
    shown = control.ask("GET", f"{other}?days=14", headers={**BROWSER, "Cookie": cookie}).text
    assert f'data-base="{other}"' in shown
    assert f'href="{other}" aria-current="page"' in shown
    assert control.ask("GET", f"{other}?span=7d", headers={"Cookie": cookie}).status == 400
    held = control.ask("GET", f"{other}/session", headers={"Cookie": cookie}).json["token"]

    async def opened() -> str:
        async with connected(control, held, page=f"{other}/ws?days=14", Cookie=cookie) as connection:
            for _ in range(3):
                await asyncio.wait_for(connection.read_message(), 60)
            await say_ready(connection)
            while "up-is-fan" not in (part := str(await asyncio.wait_for(connection.read_message(), 60))):
                assert part != "None", f"closed {connection.close_code}"
            connection.close()
            await closed(connection)
            return part

    assert '"14"' in asyncio.run(opened()), "the address has set the controls"


@pytest.mark.parametrize("works", [True, False])
def test_a_page_that_is_ready_gets_its_dashboard_or_is_told_that_there_is_none(
    control: Alone, cookie: str, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    from proxy_server.control import dashboard_sessions

    def fails(*_: object, **__: object) -> object:
        raise RuntimeError

    if not works:
        monkeypatch.setattr(dashboard_sessions.overview, "Overview", fails)

    async def opened() -> str:
        async with connected(control, token(control, cookie), Cookie=cookie) as connection:
            for _ in range(3):
                await asyncio.wait_for(connection.read_message(), 60)
            await say_ready(connection)
            while (part := await asyncio.wait_for(connection.read_message(), 60)) is not None:
                if "up-root" in str(part):
                    return "a dashboard"
            return f"closed {connection.close_code}"

    assert asyncio.run(opened()) == ("a dashboard" if works else "closed 1011")


def test_a_look_that_fails_does_not_end_the_looking(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from proxy_server.control import dashboard_sessions

    monkeypatch.setattr(dashboard_sessions, "_WATCH_S", 0.1)
    failed: list[int] = []

    async def fails(*_: object) -> bool:
        failed.append(1)
        raise RuntimeError

    with alone.start(tmp_path_factory.mktemp("unlucky")) as other:
        cookie = other.sign_in()

        async def until_signed_out() -> int | None:
            async with connected(other, token(other, cookie), Cookie=cookie) as connection:
                assert await asyncio.wait_for(connection.read_message(), 60)
                with monkeypatch.context() as broken:
                    broken.setattr(dashboard_sessions.Socket, "still_allowed", fails)
                    while not failed:
                        await asyncio.sleep(0.02)
                logins.end(other.bench.store, other.bench.clock, cookie.partition("=")[2])
                return await closed(connection)

        assert asyncio.run(until_signed_out()) == 4401
