"""A cheap HTTP/1.1 client for one kind of answer: a keep-alive connection, one call at a time.

A load client shares the machine with what it loads, so its own CPU is part of every figure: with reading and ledger
this one takes less than pyreqwest alone (tests/bench/replay.py). It never sends anything twice by itself, and knows
what a ledger must: whether a request went out, whether a byte of its answer came, whether it was complete.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from ultimate_lib.errors import Invalid

_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)
_CALL_ID = re.compile(rb"\r\nx-ultimate-call-id:\s*(\S+)", re.IGNORECASE)
_FIRST_FINAL = 200  # statuses below are interim
_NO_CONTENT = 204
_MOST_BYTES = 64 * 1024 * 1024
_TO_THE_END = -1


class Origin(NamedTuple):
    """Where calls go: host, port, TLS or not, and the path that stands before `/v1`."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    path: str

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Return the origin that a URL names. Raises `Invalid`."""
        hint = "Give one like http://127.0.0.1:8082."
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Invalid(f"{url!r} is not a URL ({error}).", hint=hint) from error
        if parts.scheme not in {"http", "https"} or not host:
            raise Invalid(f"{url!r} is not an http URL.", hint=hint)
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(host, port or (443 if tls else 80), tls, parts.path.rstrip("/").removesuffix("/v1"))

    @property
    def authority(self) -> str:
        """Host and port as a Host header writes them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Reply(NamedTuple):
    """What came back; `status` is 0 when not one byte did, `whole` says that the answer ended as HTTP wants it."""

    status: int
    body: bytes
    call_id: str
    whole: bool


class Connection(asyncio.Protocol):
    """One connection. Made by `connect`; `usable` until either side closes it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._start()

    def _start(self) -> None:
        self._buffer = bytearray()
        self._body = bytearray()
        self._status = 0
        self._call_id = ""
        self._chunked = self._close = False
        self._left = 0

    @classmethod
    async def connect(cls, origin: Origin) -> Connection:
        """Open a connection. Raises `OSError` when there is none to be had: then nothing was sent."""
        _, connection = await asyncio.get_running_loop().create_connection(
            cls, origin.host, origin.port, ssl=origin.tls
        )
        return connection

    @property
    def usable(self) -> bool:
        """Whether another call can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def call(self, request: bytes, timeout_s: float) -> Reply:
        """Send a whole request on a usable connection and return its reply, however it ends."""
        assert self._transport is not None  # noqa: S101 - the caller has looked
        loop = asyncio.get_running_loop()
        self._start()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self.close)
        self._transport.write(request)
        try:
            return await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        """Cut the connection; a waiting call ends with what it has."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the open connection."""
        self._transport = transport  # type: ignore[assignment] # create_connection makes stream transports

    def data_received(self, data: bytes) -> None:
        """Read on; an answer that is not HTTP, or endless, ends the connection."""
        self._buffer += data
        try:
            if self._status < _FIRST_FINAL and not self._read_head():
                return
            ended = self._read_chunks() if self._chunked else self._read_plain()
        except ValueError:
            self.close()
            return
        if ended:
            self._end(whole=True)
        elif len(self._body) + len(self._buffer) > _MOST_BYTES:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a waiting call with what it has."""
        self._transport = None
        self._end(whole=exc is None and self._status >= _FIRST_FINAL and self._left == _TO_THE_END)

    # -- reading ------------------------------------------------------------------------------------------------

    def _read_head(self) -> bool:
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[: end + 2])
            del self._buffer[: end + 4]
            self._status = int(head[9:12])
            if self._status < _FIRST_FINAL:
                continue
            found = _CALL_ID.search(head)
            self._call_id = found[1].decode("latin-1") if found else ""
            self._close = _CLOSE.search(head) is not None
            self._chunked = _CHUNKED.search(head) is not None
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else 0 if self._status == _NO_CONTENT else _TO_THE_END
            return True
        return False

    def _read_plain(self) -> bool:
        self._body += self._buffer
        if self._left != _TO_THE_END:
            self._left -= len(self._buffer)
        self._buffer.clear()
        return self._left == 0

    def _read_chunks(self) -> bool:
        buffer, at = self._buffer, 0
        self._left = 0
        while (line := buffer.find(b"\r\n", at)) >= 0:
            size = int(bytes(buffer[at:line]).partition(b";")[0], 16)
            end = line + 2 + size
            if len(buffer) < end + 2:
                break
            if size == 0:
                return True
            self._body += buffer[line + 2 : end]
            at = end + 2
        del buffer[:at]
        return False

    def _end(self, *, whole: bool) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._transport is not None and (self._close or not whole):
            self._transport.close()
        self._waiter.set_result(Reply(self._status, bytes(self._body), self._call_id, whole))
