"""Tornado's HTTP/1 connection with a short way for calls: headers parsed in one pass, answers written as bytes.

Tornado checks a request's headers line by line and builds an answer's headers name by name; of the CPU that a call
cost here, a third went there. `Connection` reads a header block by the same grammar in one pass, and hands whatever
does not fit to Tornado's own parser, which then says what is wrong. Answers to calls go out through `reply`, `begin`,
`send` and `end`; everything else, control's pages and websockets among it, still uses Tornado's own methods.
"""

from __future__ import annotations

import asyncio
import re
import time
from http.client import responses
from typing import TYPE_CHECKING, Any

from tornado import httputil, ioloop, iostream
from tornado.concurrent import future_add_done_callback
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.httpserver import HTTPServer, _HTTPRequestContext

from proxy_server.gateway.framing import Reader, check_body, check_lines, check_size, refusal

if TYPE_CHECKING:
    import socket
    from asyncio import Future
    from collections.abc import Callable

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])  # what a header line may hold
_NO_BODY = frozenset({204, 304})
_MOST_NAMES = 2000
_MOST_AHEAD_BYTES = 64 * 1024
_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n".encode() for status, reason in responses.items()}
_names: dict[str, str] = {}
"""Valid header names seen so far and how Tornado spells them; bounded, for clients choose names."""


class Connection(HTTP1Connection):
    """One request and its answer on a client's connection. `ready_since` is of the monotonic clock."""

    lingers = False  # answered before its body was read, which is read all the same, so that the answer is heard

    def __init__(self, stream: iostream.IOStream, params: HTTP1ConnectionParameters, context: object) -> None:
        super().__init__(stream, is_client=False, params=params, context=context)
        self.ready_since = time.monotonic()
        self.endless = False  # its answer is a stream of events, which nobody waits for to end
        self._begun = False  # the head of the answer is out
        self._offer: Callable[[bytes], bytes] = stream.offer if isinstance(stream, _Stream) else _take_nothing

    @property
    def waiting(self) -> bool:
        """Whether the head of a request is still to come."""
        return self._request_start_line is None

    @property
    def answering(self) -> bool:
        """Whether a request has been read whose answer is not complete."""
        return self._request_start_line is not None and not self._write_finished

    @property
    def unread(self) -> bool:
        """Whether a request has begun whose body is still to come."""
        return self._request_start_line is not None and not self._read_finished

    def retire(self) -> None:
        """End this connection with its answer, unless that has begun without saying so: its client relies on it."""
        if not self._begun and self._response_start_line is None:
            self._disconnect_on_finish = True

    def linger(self) -> None:
        """Let the request be answered before its body is read; the connection ends with whichever ends last."""
        self.lingers = self._disconnect_on_finish = True
        self.ready_since = time.monotonic()  # whoever sends nothing more is not waited for

    async def _read_chunked_body(self, delegate: httputil.HTTPMessageDelegate) -> None:
        """As Tornado's, but for saying what is wrong with a chunk."""
        try:
            await super()._read_chunked_body(delegate)
        except httputil.HTTPInputError as error:
            if isinstance(delegate, Reader) and not self._begun and self._response_start_line is None:
                delegate.malformed(httputil.HTTPInputError(f"A chunk of the body cannot be read: {error}"))
            self.stream.close()  # Tornado would send a bare 400 behind it
            raise

    def _parse_headers(self, data: bytes) -> tuple[str, httputil.HTTPHeaders]:
        try:
            check_size(data, self.params.max_header_size)
            line, headers = self._parsed(data)
            check_body(line, headers)
        except httputil.HTTPInputError as error:
            self.stream.write(refusal(error))
            self.stream.close()  # Tornado would send a bare 400 behind it
            raise
        return line, headers

    def _parsed(self, data: bytes) -> tuple[str, httputil.HTTPHeaders]:
        if not data.endswith(b"\r\n\r\n"):
            check_lines(data)
            return super()._parse_headers(data)
        first, *lines = data[:-4].decode("latin-1").split("\r\n")
        if not first or data.translate(None, _TEXT) != b"\r\n" * (len(lines) + 2):
            check_lines(data)
            return super()._parse_headers(data)  # a stray control character
        listed: dict[str, list[str]] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            spelled = _names.get(name) or _spelled(name)
            if not colon or not spelled:
                return super()._parse_headers(data)
            if spelled in listed:
                listed[spelled].append(value.strip(" \t"))
            else:
                listed[spelled] = [value.strip(" \t")]
        headers = httputil.HTTPHeaders()
        headers._as_list = listed  # noqa: SLF001 - what HTTPHeaders.add() would have built, checked above
        return first, headers

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.stream.closed()

    def reply(self, status: int, head: bytes, body: bytes) -> None:
        """Send a whole answer. `head` is header lines, each with its CRLF, without framing."""
        if status in _NO_BODY:
            framing, body = b"", b""
        else:
            framing = b"Content-Length: %d\r\n" % len(body)
        assert self._request_start_line is not None  # noqa: S101 - a request has been read
        if not self._read_finished:
            self._disconnect_on_finish = True  # the rest of the request is not read any more
        if self._request_start_line.method == "HEAD":
            body = b""
        if not self.stream.closed():
            self._pending_write = self._put(self._head(status, head, framing) + body)
        self._complete()

    def begin(self, status: int, head: bytes, *, length: int | None = None) -> None:
        """Send the head of an answer whose body follows by `send` and `end`; `length` in bytes when it is known."""
        assert self._request_start_line is not None  # noqa: S101 - a request has been read
        framing = b""
        if status in _NO_BODY or self._request_start_line.method == "HEAD":
            self._expected_content_remaining = None if length is None else 0
            framing = b"" if length is None else b"Content-Length: %d\r\n" % length
        elif length is not None:
            self._expected_content_remaining = length
            framing = b"Content-Length: %d\r\n" % length
        elif self._request_start_line.version == "HTTP/1.1":
            self._chunking_output = True
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            self._disconnect_on_finish = True  # HTTP/1.0: the end of the connection is the end of the body
        self._put(self._head(status, head, framing))

    def send(self, data: bytes) -> Future[None] | None:
        """Send a piece of the body. Raises `StreamClosedError`.

        Returns None when the kernel has taken it all, else a future that is done once it has.
        """
        data = b"%x\r\n%b\r\n" % (len(data), data) if self._chunking_output else self._format_chunk(data)
        rest = self._offer(data)
        return self.stream.write(rest) if rest else None

    def _put(self, data: bytes) -> Future[None] | None:
        rest = self._offer(data)
        return self.stream.write(rest) if rest else None

    def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body and end the answer."""
        last = self._format_chunk(data) if data else b""
        if self._chunking_output:
            last += b"0\r\n\r\n"
        if self._expected_content_remaining:
            self.close()  # the end would be mistaken for the answer's own
        elif last and not self.stream.closed():
            self._pending_write = self._put(last)
        self._complete()

    def _complete(self) -> None:
        """Let the next request be read once everything is written; as `finish()` without its framing."""
        self._write_finished = True
        pending = self._pending_write
        if pending is None or pending.done():
            self._finish_request(None)
        else:
            future_add_done_callback(pending, self._finish_request)

    def _finish_request(self, future: Future[None] | None) -> None:  # noqa: ARG002 - Tornado's signature
        """As Tornado's, but for switching Nagle's algorithm on and off for each answer: it is off throughout."""
        self._clear_callbacks()
        if self._disconnect_on_finish and (self._read_finished or not self.lingers):
            self.close()
        elif not self._finish_future.done():
            self._finish_future.set_result(None)

    def _head(self, status: int, head: bytes, framing: bytes) -> bytes:
        self._begun = True
        line = _LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
        if self._disconnect_on_finish:
            framing += b"Connection: close\r\n"
        elif self._request_start_line is not None and self._request_start_line.version != "HTTP/1.1":
            framing += b"Connection: keep-alive\r\n"
        return line + head + framing + b"\r\n"


def _take_nothing(data: bytes) -> bytes:
    """For a connection under TLS, whose bytes go through its stream alone."""
    return data


def _spelled(name: str) -> str:
    """Return how Tornado spells a header name; empty when it is none."""
    if not _NAME.fullmatch(name):
        return ""
    if len(_names) >= _MOST_NAMES:
        _names.clear()
    spelled = _names[name] = httputil._normalize_header(name)  # noqa: SLF001 - the spelling HTTPHeaders looks up
    return spelled


class _ServerConnection(HTTP1ServerConnection):
    """Serves the requests of one client, one after the other."""

    async def _server_request_loop(self, delegate: httputil.HTTPServerConnectionDelegate) -> None:
        """As Tornado's, with our connection for each request."""
        try:
            while True:
                connection = Connection(self.stream, self.params, self.context)
                try:
                    more = await connection.read_response(delegate.start_request(self, connection))
                except (iostream.StreamClosedError, iostream.UnsatisfiableReadError, asyncio.CancelledError):
                    return
                if connection.lingers:
                    connection.close()
                if not more or connection.lingers:
                    return
        finally:
            delegate.on_close(self)


class _Stream(iostream.IOStream):
    """Keeps listening for what a client sends while its request is being answered.

    Tornado stops listening whenever something is left in the buffer, such as a body behind its head, and starts again
    for the next request: two system calls a request. What a client may send ahead stays bounded.
    """

    def offer(self, data: bytes) -> bytes:
        """Give data straight to the kernel, unless some still waits, and return what it has not taken."""
        if self._closed or self._write_buffer:
            self._check_closed()
            return data
        try:
            taken = self.socket.send(data)
        except BlockingIOError:
            return data
        except OSError as error:
            self.close(exc_info=error)
            raise iostream.StreamClosedError(real_error=error) from error
        return b"" if taken == len(data) else data[taken:]

    def _handle_events(self, fd: int | ioloop._Selectable, events: int) -> None:
        if events == ioloop.IOLoop.READ and self._read_buffer_size < _MOST_AHEAD_BYTES and not self.writing():
            try:
                self._handle_read()
            except iostream.UnsatisfiableReadError as error:
                self.close(exc_info=error)
            return
        super()._handle_events(fd, events)


class Server(HTTPServer):
    """Tornado's server with our connections."""

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        if self.ssl_options is not None:
            super()._handle_connection(connection, address)
            return
        stream = _Stream(connection, max_buffer_size=self.max_buffer_size, read_chunk_size=self.read_chunk_size)
        self.handle_stream(stream, address)

    def handle_stream(self, stream: iostream.IOStream, address: tuple) -> None:  # type: ignore[type-arg] # Tornado's own signature
        """Serve a client that has connected."""
        stream.set_nodelay(True)
        context = _HTTPRequestContext(stream, address, self.protocol, self.trusted_downstream)
        connection = _ServerConnection(stream, self.conn_params, context)
        self._connections.add(connection)
        connection.start_serving(self)

    def on_close(self, server_conn: object) -> None:
        """Tell who answers, which Tornado's server does not, that a connection is closed."""
        super().on_close(server_conn)
        if isinstance(self.request_callback, httputil.HTTPServerConnectionDelegate):
            self.request_callback.on_close(server_conn)
