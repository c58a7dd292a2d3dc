"""Websockets: the client's connection is taken from Tornado and its bytes are carried to control and back unread.

Control's answer is read first: only behind a 101 do further bytes of the client pass. Else a client could send
requests of its own making, X-Forwarded headers included, through a tunnel that was never opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from typing import TYPE_CHECKING

from tornado import httputil
from tornado.iostream import IOStream, StreamBufferFullError, StreamClosedError, UnsatisfiableReadError

from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection

    from proxy_server.gateway.forward import Forwarder

log = logging.getLogger(__name__)

_HEAD_BYTES = 64 * 1024
_PIECE_BYTES = 64 * 1024
_ANSWER_S = 30.0
_NO_CONTROL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_SWITCHED = re.compile(rb"HTTP/1\.1 101[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


def wants_upgrade(start_line: httputil.RequestStartLine, headers: httputil.HTTPHeaders) -> bool:
    """Say whether a request asks for a websocket."""
    return (
        start_line.method == "GET"
        and headers.get("Upgrade", "").lower() == "websocket"
        and "upgrade" in {part.strip().lower() for part in headers.get("Connection", "").split(",")}
    )


class Tunnel(httputil.HTTPMessageDelegate):
    """One websocket between a client and control."""

    def __init__(
        self,
        forwarder: Forwarder,
        start_line: httputil.RequestStartLine,
        sent: list[tuple[str, str]],
        connection: HTTP1Connection,
    ) -> None:
        self._forwarder = forwarder
        self._start_line = start_line
        self._sent = sent
        self._connection = connection
        self._client: IOStream | None = None
        self._control: IOStream | None = None
        self._task: asyncio.Task[None] | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,  # noqa: ARG002 - known already
        headers: httputil.HTTPHeaders,
    ) -> None:
        """Take the connection over."""
        if "Content-Length" in headers or "Transfer-Encoding" in headers:
            raise httputil.HTTPInputError("A websocket's request has no body.")
        self._client = self._connection.detach()
        self._forwarder.tunnels.add(self)
        self._task = asyncio.create_task(self._carry())

    def abort(self) -> None:
        """End it."""
        for stream in (self._client, self._control):
            if stream is not None:
                stream.close()
        if self._task is not None:
            self._task.cancel()

    async def _carry(self) -> None:
        client = self._client
        assert client is not None  # noqa: S101 - taken over before the task was made
        try:
            self._control = control = await self._forwarder.connect()
            control.write(self._head())
            answer = await asyncio.wait_for(control.read_until(b"\r\n\r\n", max_bytes=_HEAD_BYTES), _ANSWER_S)
            if _SWITCHED.match(answer):
                client.set_nodelay(True)
                control.set_nodelay(True)
                await client.write(answer)
                await self._both_ways(client, control)
            else:
                await self._refused(client, control, answer)
        except (Unavailable, TimeoutError):
            with contextlib.suppress(StreamClosedError):
                await client.write(
                    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )
        except (StreamClosedError, UnsatisfiableReadError, StreamBufferFullError):
            pass  # either side has left
        except Exception:
            log.exception("The websocket at %s failed.", self._start_line.path.partition("?")[0])
        finally:
            self._forwarder.tunnels.discard(self)
            client.close()
            if self._control is not None:
                self._control.close()

    def _head(self) -> bytes:
        lines = [f"GET {self._start_line.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self._sent]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def _refused(self, client: IOStream, control: IOStream, answer: bytes) -> None:
        length = _LENGTH.search(answer)
        body = await control.read_bytes(min(int(length[1]), _PIECE_BYTES)) if length else b""
        head = re.sub(rb"\r\n(connection|transfer-encoding|content-length):[^\r]*", b"", answer, flags=re.IGNORECASE)
        head = head.removesuffix(b"\r\n") + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        await client.write(head + body)

    async def _both_ways(self, client: IOStream, control: IOStream) -> None:
        tasks = {asyncio.create_task(_copy(client, control)), asyncio.create_task(_copy(control, client))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


async def _copy(source: IOStream, target: IOStream) -> None:
    """Carry bytes until either side closes; a slow reader slows its sender down."""
    with contextlib.suppress(StreamClosedError):
        while True:
            await target.write(await source.read_bytes(_PIECE_BYTES, partial=True))
