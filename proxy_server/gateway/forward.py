"""Everything that is not a call goes to control over loopback: streamed both ways, at the pace of the slower side.

Users see one port. A request waits for control while it restarts (its socket is the supervisor's); only when control
cannot be reached at all does the client get a 503 that says what to do. Websockets are tunnelled, see `tunnel`.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import logging
from http.client import responses
from typing import TYPE_CHECKING, Any

from tornado import httputil
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from proxy_server.gateway.forwarded import HOP_BY_HOP, Trust, passed_on
from proxy_server.gateway.framing import MOST_DIGITS
from proxy_server.gateway.tunnel import Tunnel, wants_upgrade
from proxy_server.sockets import MOST_BODY_BYTES
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_FIRST_BYTE_S = 300.0  # a report may be made while its reader waits
_MOST_IDLE = 32
_ANY_SIZE = 1 << 62
_PARAMETERS = HTTP1ConnectionParameters(max_header_size=256 * 1024, max_body_size=_ANY_SIZE)
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})  # Tornado frames a body of unknown length for these alone
_NO_CONTROL = (
    "The control process (pages and the REST interface) does not answer. Calls to /v1 are served all the same. "
    "It is started again by itself; if this stays, `ultimate-proxy doctor` and the log tell why."
)


class Forwarder:
    """The way to control, with a pool of idle connections."""

    def __init__(
        self,
        address: str,
        *,
        trusted_proxies: Sequence[str] = (),
        root_path: str = "",
        body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self.body_bytes = body_bytes
        self.trust = Trust(trusted_proxies)
        self.root_path = root_path
        self.active: set[Passage] = set()
        self.tunnels: set[Tunnel] = set()
        self._address = address
        self._client = TCPClient()
        self._idle: list[IOStream] = []

    def delegate(
        self,
        start_line: httputil.RequestStartLine,
        headers: httputil.HTTPHeaders,
        connection: HTTP1Connection,
    ) -> httputil.HTTPMessageDelegate:
        """Return who carries a request to control; a websocket's connection is taken over here and now."""
        peer: Any = connection.context  # Tornado's own: address, remote_ip, protocol
        sent = passed_on(
            headers,
            client=peer.remote_ip,
            trusted=bool(self.trust) and peer.address[0] in self.trust,
            protocol=peer.protocol,
            root_path=self.root_path,
        )
        if wants_upgrade(start_line, headers):
            return Tunnel(self, start_line, sent, connection)
        return Passage(self, start_line, headers, sent, connection)

    def idle(self) -> IOStream | None:
        """Return a connection that an earlier request has left open, if there is one."""
        while self._idle:
            stream = self._idle.pop()
            stream.set_close_callback(None)
            if not stream.closed():
                return stream
        return None

    async def connect(self) -> IOStream:
        """Open a connection to control. Raises `Unavailable`."""
        host, _, port = self._address.rpartition(":")
        if not port:
            raise Unavailable("This gateway runs without a control process.", hint="Ask the one that has it.")
        try:
            return await self._client.connect(host, int(port), timeout=_CONNECT_S)
        except (OSError, StreamClosedError, TimeoutError) as error:
            raise Unavailable(_NO_CONTROL, code="control_down") from error

    def keep(self, stream: IOStream) -> None:
        """Keep a connection for the next request."""
        if stream.closed() or len(self._idle) >= _MOST_IDLE:
            stream.close()
            return
        self._idle.append(stream)
        stream.set_close_callback(lambda: self._lost(stream))

    def _lost(self, stream: IOStream) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(stream)

    async def close(self) -> None:
        """Let go of everything."""
        for passage in list(self.active):
            passage.abort()
        for tunnel in list(self.tunnels):
            tunnel.abort()
        for stream in self._idle:
            stream.set_close_callback(None)
            stream.close()
        self._idle.clear()
        self._client.close()


class Passage(httputil.HTTPMessageDelegate):
    """One request on its way to control, and its answer on the way back."""

    def __init__(
        self,
        forwarder: Forwarder,
        start_line: httputil.RequestStartLine,
        headers: httputil.HTTPHeaders,
        sent: list[tuple[str, str]],
        connection: HTTP1Connection,
    ) -> None:
        self.forwarder = forwarder
        self.client = connection
        self.complete = False  # the request has been sent whole
        self.answered = False  # the answer has begun
        self._start_line = start_line
        self._sent = sent
        self._has_body = "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"
        self._wants_page = "text/html" in headers.get("Accept", "")
        self._left = forwarder.body_bytes  # of the body that may still come
        self._up: HTTP1Connection | None = None
        self._task: asyncio.Task[None] | None = None

    # -- the request, as it is read -----------------------------------------------------------------------------

    async def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,  # noqa: ARG002 - known already
        headers: httputil.HTTPHeaders,
    ) -> None:
        """Send the head on. Only a request without a body may meet a connection that is just being closed."""
        self.forwarder.active.add(self)
        if "Transfer-Encoding" in headers and self._start_line.method not in _BODY_METHODS:
            self._refuse(411, "length_required", "A body of this method needs a Content-Length.")
            return
        length = headers.get("Content-Length", "0")
        if int(length[:MOST_DIGITS]) > self._left:
            self._refuse_size()
            return
        reused = None if self._has_body else self.forwarder.idle()
        try:
            stream = reused or await self.forwarder.connect()
        except Unavailable as error:
            self._refuse(error.http_status, error.code, str(error))
            return
        self._send_head(stream)
        self._task = asyncio.create_task(self._carry(reused is not None))

    def _send_head(self, stream: IOStream) -> None:
        self._up = HTTP1Connection(stream, is_client=True, params=_PARAMETERS)
        headers = httputil.HTTPHeaders()
        for name, value in self._sent:
            headers.add(name, value)
        if not self._has_body and self._start_line.method in _BODY_METHODS:
            headers["Content-Length"] = "0"
        self._up.write_headers(self._start_line, headers)

    async def data_received(self, chunk: bytes) -> None:
        """Send a piece of the body on; the next one is read when control has taken this one."""
        self._left -= len(chunk)
        if self._up is not None and self._left < 0:
            self.abort()
            self._up = None
            if self.answered:
                self.client.close()
            else:
                self._refuse_size()
        if self._up is not None:
            with contextlib.suppress(StreamClosedError):  # the task that reads the answer tells the client
                await self._up.write(chunk)

    def finish(self) -> None:
        """The request is complete; from now on a client that leaves cancels it."""
        if self._up is None:
            return
        self.complete = True
        self.client.set_close_callback(self.abort)
        with contextlib.suppress(httputil.HTTPOutputError):
            self._up.finish()

    def on_connection_close(self) -> None:
        """The client left within its request."""
        self.abort()

    def cut_short(self) -> None:
        """Control has answered before it had read everything; the rest is of no use to anyone."""
        if self._up is not None:
            self._up.close()

    def abort(self) -> None:
        """End the request in control as well, and leave the client without the rest."""
        if self._task is not None:
            self._task.cancel()
        if self._up is not None:
            self._up.close()
        self.forwarder.active.discard(self)

    # -- the answer ---------------------------------------------------------------------------------------------

    async def _carry(self, may_repeat: bool) -> None:
        try:
            answer = await self._read()
            if not answer.begun and may_repeat:  # the idle connection was being closed: once more on a new one
                self._send_head(await self.forwarder.connect())
                assert self._up is not None  # noqa: S101 - just made
                self._up.finish()
                answer = await self._read()
            if not answer.begun:
                self._refuse(503, "control_down", _NO_CONTROL)
            elif not answer.whole:
                self.client.close()
        except TimeoutError:
            self._refuse(504, "control_slow", f"The control process has not answered within {_FIRST_BYTE_S:g} s.")
        except Unavailable as error:
            self._refuse(error.http_status, error.code, str(error))
        except Exception:
            log.exception("A request to %s failed on its way to control.", self._start_line.path.partition("?")[0])
            self.client.close()
        finally:
            self.forwarder.active.discard(self)

    async def _read(self) -> _Answer:
        """Read the answer and pass it on as it comes."""
        up = self._up
        assert up is not None  # noqa: S101 - the head has been sent
        answer = _Answer(self)
        stream = up.stream
        reading = asyncio.ensure_future(up.read_response(answer))
        waiting = asyncio.ensure_future(answer.heard.wait())
        try:
            done, _ = await asyncio.wait(
                {reading, waiting}, timeout=_FIRST_BYTE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                up.close()
                raise TimeoutError
            with contextlib.suppress(StreamClosedError):
                await reading
        finally:
            waiting.cancel()
            reading.cancel()
        if answer.whole and answer.keep_alive and not stream.closed():
            self.forwarder.keep(stream)
        else:
            up.close()
        return answer

    def _refuse_size(self) -> None:
        self._refuse(413, "body_large", f"The body is larger than {self.forwarder.body_bytes} bytes. Send less.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        if self.client.stream.closed():
            self.forwarder.active.discard(self)
            return
        if self._wants_page:
            body = f"<!doctype html><title>{status}</title><p>{html.escape(message)}</p>\n".encode()
            kind = "text/html; charset=utf-8"
        else:
            body = json.dumps({"error": {"code": code, "message": message}}).encode()
            kind = "application/json"
        headers = httputil.HTTPHeaders({"Content-Type": kind, "Content-Length": str(len(body))})
        headers["Cache-Control"] = "no-store"
        if status == 503:  # noqa: PLR2004 - the one that passes
            headers["Retry-After"] = "5"
        line = httputil.ResponseStartLine("HTTP/1.1", status, responses[status])
        self.client.write_headers(line, headers, b"" if self._start_line.method == "HEAD" else body)
        self.client.finish()
        self.forwarder.active.discard(self)


class _Answer(httputil.HTTPMessageDelegate):
    """Passes an answer of control to the client, at the pace at which the client takes it."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._client = passage.client
        self.heard = asyncio.Event()
        self.begun = False
        self.whole = False
        self.keep_alive = False

    async def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        assert isinstance(start_line, httputil.ResponseStartLine)  # noqa: S101 - a client reads responses
        if start_line.code < 200:  # noqa: PLR2004 - an interim answer concerns our own hop
            return
        self.heard.set()
        self.begun = self._passage.answered = True
        said = headers.get("Connection", "").lower()
        self.keep_alive = start_line.version == "HTTP/1.1" and said != "close"
        if headers.get("Content-Type", "").startswith("text/event-stream"):
            self._client.endless = True  # type: ignore[attr-defined] # the gateway's own Connection
        kept = httputil.HTTPHeaders()
        for name, value in headers.get_all():
            if name not in HOP_BY_HOP:
                kept.add(name, value)
        await self._write(self._client.write_headers(start_line, kept))

    async def data_received(self, chunk: bytes) -> None:
        await self._write(self._client.write(chunk))

    async def _write(self, written: asyncio.Future[None]) -> None:
        with contextlib.suppress(StreamClosedError):  # the client's close callback ends this passage
            await written

    def finish(self) -> None:
        self.whole = True
        if not self._client.stream.closed():
            self._client.finish()
        if not self._passage.complete:
            self._passage.cut_short()

    def on_connection_close(self) -> None:
        self.heard.set()
