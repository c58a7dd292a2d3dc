"""What is no call goes to control: bytes both ways at the reader's pace, websockets, and who the client is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
import tornado.httpserver
import tornado.web
import tornado.websocket
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders, HTTPServerConnectionDelegate, RequestStartLine
from tornado.iostream import StreamClosedError

from proxy_server.gateway.connection import Connection, Server
from proxy_server.gateway.forward import Forwarder, Passage
from proxy_server.sockets import address_of, loopback

PIECE = bytes(64 * 1024)


class Seen(tornado.web.RequestHandler):
    """Tells what control got."""

    def told(self) -> None:
        self.set_header("Connection-Count", str(len(self.application.settings["peers"])))
        self.write({"method": self.request.method, "path": self.request.uri, "headers": dict(self.request.headers)})

    def prepare(self) -> None:
        self.application.settings["peers"].add(self.request.connection.stream.socket.getpeername())

    get = head = delete = told

    def post(self) -> None:
        self.write({"bytes": len(self.request.body)})


@tornado.web.stream_request_body
class Upload(tornado.web.RequestHandler):
    """Reads a body piece by piece, slowly, or refuses it at once."""

    def initialize(self) -> None:
        self.got = 0

    def prepare(self) -> None:
        if self.get_query_argument("refuse", ""):
            self.set_status(413)
            self.finish("too much")

    async def data_received(self, chunk: bytes) -> None:
        self.got += len(chunk)
        self.application.settings["got"] = self.got
        if self.get_query_argument("slow", ""):
            await self.application.settings["gate"].wait()

    def put(self) -> None:
        self.write(str(self.got))


class Download(tornado.web.RequestHandler):
    """Writes without end, at the pace of its reader."""

    async def get(self) -> None:
        sent = 0
        try:
            while sent < int(self.get_query_argument("pieces")):
                self.write(PIECE)
                await self.flush()
                sent += 1
                self.application.settings["sent"] = sent
        except tornado.iostream.StreamClosedError:
            self.application.settings["left"].set()

    def on_connection_close(self) -> None:
        self.application.settings["left"].set()


class Breaks(tornado.web.RequestHandler):
    """Goes away in the middle of an answer, or before it."""

    async def get(self) -> None:
        if self.get_query_argument("begun", ""):
            self.set_header("Content-Length", "100")
            self.write(b"half")
            await self.flush()
        self.request.connection.stream.close()


class Echo(tornado.websocket.WebSocketHandler):
    """Says everything again."""

    def open(self) -> None:
        self.write_message(json.dumps(dict(self.request.headers)))

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


class Forbidden(tornado.web.RequestHandler):
    """Refuses a websocket."""

    def get(self) -> None:
        self.set_status(403)
        self.write("not you")


class Door(HTTPServerConnectionDelegate):
    """A gateway that forwards everything."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder

    def start_request(self, _server: object, connection: Any) -> Any:
        door = self

        class First(tornado.httputil.HTTPMessageDelegate):
            to: Any = None

            def headers_received(self, start_line: Any, headers: Any) -> Any:
                self.to = door.forwarder.delegate(start_line, headers, connection)
                return self.to.headers_received(start_line, headers)

            def data_received(self, chunk: bytes) -> Any:
                return self.to.data_received(chunk)

            def finish(self) -> None:
                self.to.finish()

            def on_connection_close(self) -> None:
                if self.to is not None:
                    self.to.on_connection_close()

        assert isinstance(connection, Connection)
        return First()


class Pair:
    """A control stand-in behind a forwarder."""

    def __init__(self, **rest: Any) -> None:
        state = {"peers": set(), "gate": asyncio.Event(), "left": asyncio.Event(), "got": 0, "sent": 0}
        handlers = [
            ("/upload", Upload), ("/download", Download), ("/breaks", Breaks), ("/ws", Echo),
            ("/forbidden", Forbidden), ("/.*", Seen),
        ]  # fmt: skip
        self.application = tornado.web.Application(handlers, log_function=lambda _: None, **state)
        self.control = tornado.httpserver.HTTPServer(self.application)
        self.listener = loopback()
        self.address = address_of(self.listener)
        self.control.add_socket(self.listener)
        self.forwarder = Forwarder(self.address, **{"body_bytes": 1 << 40, **rest})
        self.gateway = Server(Door(self.forwarder), max_body_size=1 << 40)
        listener = loopback()
        self.url = f"http://{address_of(listener)}"
        self.gateway.add_socket(listener)
        self.client = AsyncHTTPClient(force_instance=True)

    @property
    def state(self) -> dict[str, Any]:
        return self.application.settings

    async def fetch(self, path: str, **rest: Any) -> HTTPResponse:
        return await self.client.fetch(self.url + path, raise_error=False, **rest)

    async def stop_control(self) -> None:
        self.control.stop()
        await self.control.close_all_connections()

    async def close(self) -> None:
        self.client.close()
        self.gateway.stop()
        await self.forwarder.close()
        await self.gateway.close_all_connections()
        await self.stop_control()


@contextlib.asynccontextmanager
async def pair(**rest: Any) -> AsyncIterator[Pair]:
    made = Pair(**rest)
    try:
        yield made
    finally:
        await made.close()


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a coroutine test."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 60))

    run.__name__ = test.__name__
    return run


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


@in_loop
async def test_requests_and_answers_pass_and_connections_are_used_again() -> None:
    async with pair() as both:
        for number in range(5):
            answer = await both.fetch(f"/some/path?number={number}")
            assert json.loads(answer.body)["path"] == f"/some/path?number={number}"
        assert answer.headers["Connection-Count"] == "1", "all on one connection"
        assert (await both.fetch("/x", method="HEAD")).body == b""
        assert json.loads((await both.fetch("/x", method="DELETE")).body)["method"] == "DELETE"
        assert json.loads((await both.fetch("/x", method="POST", body=b"x" * 100_000)).body) == {"bytes": 100_000}
        assert json.loads((await both.fetch("/x", method="POST", body=b"")).body) == {"bytes": 0}


@in_loop
async def test_hop_by_hop_headers_stay_and_claims_of_strangers_are_dropped() -> None:
    claims = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil", "Forwarded": "for=6",
        "X-Forwarded-Prefix": "/evil", "X-Real-Ip": "6.6.6.6", "Te": "trailers", "Proxy-Authorization": "Basic eA==",
        "Keep-Alive": "5", "Connection": "keep-alive, X-Private", "X-Private": "1", "X-Public": "2", "Host": "good",
    }  # fmt: skip
    async with pair(trusted_proxies=["10.0.0.0/8"], root_path="/llm") as both:
        seen = json.loads((await both.fetch("/x", headers=claims)).body)["headers"]
    forwarded = {name: value for name, value in seen.items() if name.startswith("X-Forwarded") or name == "Forwarded"}
    assert forwarded == {
        "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "good",
        "X-Forwarded-Prefix": "/llm",
    }  # fmt: skip
    assert (seen["Host"], seen["X-Public"]) == ("good", "2")
    assert not {"X-Real-Ip", "Te", "Proxy-Authorization", "Keep-Alive", "X-Private"} & seen.keys()


@in_loop
async def test_what_a_trusted_proxy_says_is_passed_on() -> None:
    claims = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "llm.example"}
    async with pair(trusted_proxies=["127.0.0.1"]) as both:
        seen = json.loads((await both.fetch("/x", headers=claims)).body)["headers"]
    assert (seen["X-Forwarded-Proto"], seen["X-Forwarded-Host"]) == ("https", "llm.example")


@in_loop
async def test_a_slow_reader_slows_control_down_and_a_lost_one_stops_it() -> None:
    async with pair() as both:
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
        writer.write(b"GET /download?pieces=10000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)
        last = -1
        while last != both.state["sent"]:
            last = both.state["sent"]
            await asyncio.sleep(0.3)
        assert 0 < last < 500, "640 MB are not taken in for a client that does not read"
        writer.close()
        await asyncio.wait_for(both.state["left"].wait(), 20)
        await until(lambda: not both.forwarder.active)


@in_loop
async def test_a_slow_control_slows_an_upload_down() -> None:
    async with pair() as both:
        size = 64 * 1024 * 1024
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /upload?slow=1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        sent = 0

        async def upload() -> None:
            nonlocal sent
            while sent < size:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)

        sending = asyncio.create_task(upload())
        last = -1
        while last != sent:
            last = sent
            await asyncio.sleep(0.3)
        assert sent < size / 2, "what control has not taken stays with the client"
        both.state["gate"].set()
        await sending
        answer = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(len(str(size)))
        assert answer.endswith(str(size).encode())
        writer.close()


@in_loop
async def test_an_upload_that_is_refused_early_gets_its_answer() -> None:
    async with pair() as both:
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /upload?refuse=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + PIECE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        writer.close()
        await until(lambda: not both.forwarder.active)
        assert (await both.fetch("/x")).code == 200


@pytest.mark.parametrize("framing", [b"Content-Length: 200000", b"Transfer-Encoding: chunked"])
def test_a_body_that_control_does_not_take_is_no_failure_of_control(framing: bytes) -> None:
    asyncio.run(_send_too_much(framing))


async def _send_too_much(framing: bytes) -> None:
    async with pair(body_bytes=100_000) as both:
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % framing)
        pieces = [b"x" * 50_000] * 4
        chunked = framing.startswith(b"Transfer")
        writer.write(b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) if chunked else b"".join(pieces))
        writer.write(b"0\r\n\r\n" if chunked else b"")
        answer = await asyncio.wait_for(reader.readuntil(b"larger than 100000 bytes. Send less."), 20)
        assert answer.startswith(b"HTTP/1.1 413 ")
        writer.close()
        await until(lambda: not both.forwarder.active)
        assert (await both.fetch("/x", method="POST", body=b"x" * 100_000)).code == 200


@in_loop
async def test_control_that_is_away_is_told_in_the_readers_own_way_and_comes_back() -> None:
    async with pair() as both:
        assert (await both.fetch("/x")).code == 200
        await both.stop_control()
        answer = await both.fetch("/x")
        assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
        assert "doctor" in json.loads(answer.body)["error"]["message"]
        page = await both.fetch("/x", headers={"Accept": "text/html,*/*"})
        assert (page.code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert (await both.fetch("/x", method="POST", body=b"x")).code == 503


@in_loop
async def test_a_kept_connection_that_control_has_closed_is_replaced() -> None:
    async with pair() as both:
        assert (await both.fetch("/x")).code == 200
        await both.control.close_all_connections()
        assert (await both.fetch("/x")).code == 200


@in_loop
async def test_an_answer_that_breaks_off_is_not_passed_on_as_whole() -> None:
    async with pair() as both:
        assert (await both.fetch("/breaks")).code == 503
        with pytest.raises((HTTPClientError, StreamClosedError, OSError)):
            await both.client.fetch(both.url + "/breaks?begun=1")
        assert (await both.fetch("/x")).code == 200


@in_loop
async def test_a_body_without_a_length_needs_a_method_that_has_one() -> None:
    async with pair() as both:
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(b"DELETE /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 411 ")
        writer.close()


@in_loop
async def test_a_websocket_is_tunnelled() -> None:
    async with pair() as both:
        address = both.url.replace("http", "ws") + "/ws"
        request = HTTPRequest(address, headers={"X-Forwarded-For": "6.6.6.6", "Origin": both.url})
        socket = await tornado.websocket.websocket_connect(request)
        seen = json.loads(await socket.read_message())
        assert (seen["X-Forwarded-For"], seen["Upgrade"]) == ("127.0.0.1", "websocket")
        for message in ("hello", "x" * 1_000_000, b"\x00" * 300_000):
            await socket.write_message(message, binary=isinstance(message, bytes))
            assert await socket.read_message() == message
        socket.close()
        assert await socket.read_message() is None
        await until(lambda: not both.forwarder.tunnels)


@in_loop
async def test_a_refused_websocket_lets_nothing_through() -> None:
    async with pair() as both:
        host, port = both.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"GET /forbidden HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            b"GET /smuggled HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        )
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert answer.endswith(b"\r\n\r\nnot you")
        assert b"smuggled" not in answer
        writer.close()
        await both.stop_control()
        with pytest.raises(HTTPClientError) as refused:
            await tornado.websocket.websocket_connect(both.url.replace("http", "ws") + "/ws")
        assert refused.value.code == 503


def test_a_failure_is_logged_without_the_link_that_signs_in(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(_: Passage) -> None:
        raise RuntimeError

    monkeypatch.setattr(Passage, "_read", fails)
    forwarder: Any = SimpleNamespace(active=set(), body_bytes=0)
    client: Any = SimpleNamespace(close=lambda: None)
    line = RequestStartLine("GET", "/login?link=secret", "HTTP/1.1")
    asyncio.run(Passage(forwarder, line, HTTPHeaders(), [], client)._carry(False))
    assert "/login" in caplog.text
    assert "secret" not in caplog.text
