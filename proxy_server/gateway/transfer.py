"""One request on its way to a provider and its answer as it comes, over libcurl."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pycurl

from ultimate_lib.errors import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy_server.gateway.multi import Multi
    from ultimate_lib.providers import Provider

_MOST_HELD_BYTES = 64 * 1024  # not taken yet; beyond it libcurl stops reading from the provider
_GATEWAY_TIMEOUT = 504
_PROXY_FAILED = 97  # CURLE_PROXY, which pycurl does not name
_UNREACHED = frozenset(
    {
        pycurl.E_COULDNT_RESOLVE_PROXY, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_CONNECT,
        pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_ISSUER_ERROR, _PROXY_FAILED,
    }
)  # fmt: skip


class Transfer:
    """A request and its answer. `head()` first, then `read()` until None; `close()` in any case."""

    __slots__ = (
        "_at", "_chunks", "_curl", "_error", "_headed", "_held", "_idle", "_multi", "_over", "_paused", "_provider",
        "_waiter", "body", "lines", "sink", "status",
    )  # fmt: skip

    def __init__(self, curl: Any, provider: Provider) -> None:
        self.status = 0
        self.lines: list[bytes] = []  # of the answer's head, each with its line end
        self.body: memoryview | None = None  # what `read_body` sends
        self.sink: Callable[[bytes], bool] | None = None  # is offered each piece first; False leaves it to `read`
        self._at = 0
        self._curl = curl
        self._provider = provider
        self._chunks: list[bytes] = []
        self._held = 0
        self._headed = False
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._error: pycurl.error | None = None
        self._multi: Multi | None = None
        self._idle: list[Any] | None = None

    def start(self, multi: Multi, idle: list[Any] | None) -> None:
        """Send the request. The handle goes back to `idle` after an answer that came whole."""
        self._curl.setopt(pycurl.HEADERFUNCTION, self._take_line)
        self._curl.setopt(pycurl.WRITEFUNCTION, self._take)
        self._idle = idle
        self._multi = multi
        multi.add(self._curl, self._ended)

    async def head(self) -> None:
        """Wait for the answer's head. Raises `UpstreamFailed`."""
        while not self._headed:
            if self._ended_well():
                raise UpstreamFailed(
                    f"{self._where} answered with nothing.", retryable=True, code="broken_off", hint="Try again."
                )
            await self._wait()

    async def read(self) -> bytes | None:
        """Return what of the answer's body has come since, None at its end. Raises `UpstreamFailed`."""
        while not self._chunks:
            if self._paused:
                self._paused = False
                self._curl.pause(pycurl.PAUSE_CONT)
            elif self._ended_well():
                return None
            else:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        chunks = self._chunks
        piece = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._held = 0
        return piece

    def header(self, name: bytes) -> str:
        """Return a header's value, an empty string when it is not there; `name` in lower case."""
        start = name + b":"
        size = len(start)
        for line in self.lines:
            if line[:size].lower() == start:
                return line[size:].strip().decode("latin-1")
        return ""

    def close(self) -> None:
        """End the transfer; a provider that is still at it sees the connection end."""
        if not self._over and self._multi is not None:
            self._over = True
            self._multi.remove(self._curl)

    # -- called by libcurl --------------------------------------------------------------------------------------

    def _take_line(self, line: bytes) -> None:
        if self._headed:
            return  # a trailer
        if line.startswith(b"HTTP/"):
            self.lines.clear()
            self.status = int(line.split(None, 2)[1])
        elif line not in {b"\r\n", b"\n"}:
            self.lines.append(line)
        elif self.status >= 200:  # noqa: PLR2004 - what came before was for information
            self._headed = True
            if self.body is not None and self._at >= len(self.body):  # else its provider answers before it has it all
                self.body = None
            self._wake()

    def _take(self, chunk: bytes) -> int | None:
        sink = self.sink
        if sink is not None and not self._chunks and sink(chunk):
            return None
        if self._held > _MOST_HELD_BYTES:
            self._paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        self._chunks.append(chunk)
        self._held += len(chunk)
        self._wake()
        return None

    def read_body(self, most: int) -> bytes:
        """Return the next piece of the request's body."""
        if self.body is None:
            return b""
        piece = bytes(self.body[self._at : self._at + most])
        self._at += len(piece)
        return piece

    def seek_body(self, offset: int, _origin: int) -> int:
        """Go back to a place in the body: a kept connection had died and the request is sent once more."""
        if self.body is None:
            return int(pycurl.SEEKFUNC_FAIL)
        self._at = offset
        return int(pycurl.SEEKFUNC_OK)

    # -- waiting ------------------------------------------------------------------------------------------------

    def _ended(self, error: pycurl.error | None) -> None:
        self._over = True
        self._error = error
        if error is None and self._idle is not None:
            self._idle.append(self._curl)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _ended_well(self) -> bool:
        """Say whether it is over. Raises `UpstreamFailed` when it broke off."""
        if self._error is not None:
            raise self._failed(self._error) from self._error
        return self._over

    @property
    def _where(self) -> str:
        return f"The provider '{self._provider.name}' at {self._provider.base_url}"

    def _failed(self, error: pycurl.error) -> UpstreamFailed:
        """Return what a transport error means, in a sentence."""
        number, told = (*error.args, "unknown")[:2]  # libcurl's code and its words
        if number == pycurl.E_OPERATION_TIMEDOUT:
            return UpstreamFailed(
                f"{self._where} did not accept a connection in time.", retryable=True, code="connect_timeout",
                http_status=_GATEWAY_TIMEOUT, hint="Check the address and the network.",
            )  # fmt: skip
        if number in _UNREACHED:
            return UpstreamFailed(
                f"{self._where} cannot be reached ({told}).", retryable=True, code="connect",
                hint="Check that it runs and that providers.base_url is right.",
            )  # fmt: skip
        return UpstreamFailed(
            f"{self._where} broke off ({told}).", retryable=True, code="broken_off", hint="Try again."
        )
