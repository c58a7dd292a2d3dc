"""Asking the proxy: one question and its JSON, or an open stream of events; failures as honest refusals."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import HTTPStreamClosedError, HTTPTimeoutError, SimpleAsyncHTTPClient

from jupyterlab_ultimate_proxy.refusal import Refusal
from jupyterlab_ultimate_proxy.where import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from claude_proxy.places import Place

CONNECT_S = 3.0
ANSWER_S = 20.0
SILENCE_S = 60.0
"""An event stream that says nothing for so long, not even a comment, is taken for dead."""
_MOST_BYTES = 8 << 20
_MOST_QUESTIONS, _MOST_STREAMS = 16, 32  # at a time
_TOLD_BYTES = 64 << 10
_START_HERE = "Start it from the panel, or run `ultimate-proxy up` in a terminal."
_START_THERE = "Start it on its own computer with `ultimate-proxy up`, or correct the address."


class Upstream:
    """Two clients: questions never wait for streams. Nothing is kept between requests."""

    def __init__(self, *, answer_s: float = ANSWER_S, silence_s: float = SILENCE_S) -> None:
        self._answer_s = answer_s
        self._silence_s = silence_s

    @cached_property
    def _questions(self) -> SimpleAsyncHTTPClient:  # made with the first question, when the server's loop runs
        return SimpleAsyncHTTPClient(force_instance=True, max_clients=_MOST_QUESTIONS, max_body_size=_MOST_BYTES)

    @cached_property
    def _streams(self) -> SimpleAsyncHTTPClient:
        return SimpleAsyncHTTPClient(force_instance=True, max_clients=_MOST_STREAMS)

    async def ask(
        self, place: Place, method: str, path: str, *, query: str = "", body: bytes | None = None
    ) -> tuple[int, Any]:
        """Return status and JSON of the proxy's answer, errors of its own included. Raises `Refusal`."""
        request = _request(place, method, path, query, body, timeout=self._answer_s)
        try:
            response = await self._questions.fetch(request, raise_error=False)
        except (HTTPClientError, OSError, ssl.SSLError) as error:
            raise _failure(place, error) from error
        return response.code, read(response.code, response.headers.get("Content-Type", ""), response.body, place)

    async def stream(self, place: Place, path: str, *, query: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Pass an event stream on until it ends or falls silent. Raises `Refusal` or `Passed` if it never began."""
        head = _Head()
        told = bytearray()
        heard_at = time.monotonic()

        async def chunk(data: bytes) -> None:
            nonlocal heard_at
            heard_at = time.monotonic()
            if head.is_events:
                try:
                    await write(data)
                except StreamClosedError:  # the one error by which tornado closes a connection without a traceback
                    raise HTTPInputError("the page has left") from None
            elif len(told) < _TOLD_BYTES:
                told.extend(data)

        request = _request(place, "GET", path, query, None, timeout=0)
        request.headers["Accept"] = "text/event-stream"
        request.header_callback = head
        request.streaming_callback = chunk  # tornado awaits what it returns
        fetch: asyncio.Future[HTTPResponse] = asyncio.ensure_future(self._streams.fetch(request, raise_error=False))
        try:
            while not fetch.done():
                await asyncio.wait({fetch}, timeout=self._silence_s / 4)
                if not fetch.done() and time.monotonic() - heard_at > self._silence_s:
                    fetch.add_done_callback(_forget)  # its connection closes with the next byte, which finds nobody
                    return
            response = fetch.result()
        except (HTTPClientError, OSError, ssl.SSLError) as error:
            if head.is_events:
                return  # one of the two left
            raise _failure(place, error) from error
        if not head.is_events:
            document = read(response.code, head.content_type, bytes(told), place)
            raise Passed(response.code, document)


class Passed(Exception):
    """The proxy answered a request for a stream with a document: usually an error of its own."""

    def __init__(self, status: int, document: Any) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.document = document


class _Head:
    """Hears the header lines of an answer."""

    def __init__(self) -> None:
        self.status = 0
        self.content_type = ""

    def __call__(self, line: str) -> None:
        if line.startswith("HTTP/"):
            self.status = int(line.split()[1])
        name, _, value = line.partition(":")
        if name.lower() == "content-type":
            self.content_type = value.strip()

    @property
    def is_events(self) -> bool:
        return self.status == HTTPStatus.OK and self.content_type.startswith("text/event-stream")


def read(status: int, content_type: str, body: bytes, place: Place) -> Any:
    """Return the JSON of an answer. Raises `Refusal` when it is none, or sends elsewhere."""
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise Refusal(
            HTTPStatus.BAD_GATEWAY, "redirect", f"{place.url} sends to another address.", hint="Configure that one."
        )
    try:
        return json.loads(body if "json" in content_type else b"")
    except ValueError as error:
        raise Refusal(
            HTTPStatus.BAD_GATEWAY,
            "not_json",
            f"What answers at {place.url} is no Ultimate Proxy, or one that failed (status {status}).",
            hint="Look at its log, or correct the address.",
        ) from error


def _request(place: Place, method: str, path: str, query: str, body: bytes | None, *, timeout: float) -> HTTPRequest:
    headers = {"Accept": "application/json"}
    if place.key:
        headers["Authorization"] = f"Bearer {place.key}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    return HTTPRequest(
        f"{place.url}{path}{'?' if query else ''}{query}",
        method=method,
        headers=headers,
        body=body,
        connect_timeout=CONNECT_S,
        request_timeout=timeout,
        follow_redirects=False,
    )


def _failure(place: Place, error: Exception) -> Refusal:
    if isinstance(error, HTTPTimeoutError) and "connecting" not in str(error):
        return Refusal(
            HTTPStatus.GATEWAY_TIMEOUT,
            "slow",
            f"The proxy at {place.url} has not answered in time.",
            hint="Try again in a moment; its log tells what keeps it.",
        )
    if isinstance(error, ssl.SSLError):
        return Refusal(
            HTTPStatus.BAD_GATEWAY,
            "certificate",
            f"No trusted connection to {place.url} ({error.reason or error}).",
            hint="Check the proxy's certificate and the address.",
        )
    if isinstance(error, HTTPStreamClosedError):
        return Refusal(
            HTTPStatus.BAD_GATEWAY,
            "hung_up",
            f"What answers at {place.url} hung up without an answer that can be used.",
            hint="Look at its log, or correct the address.",
        )
    hint = _START_HERE if is_loopback(place.url) else _START_THERE
    return Refusal(HTTPStatus.BAD_GATEWAY, "unreachable", f"No proxy answers at {place.url}.", hint=hint)


def _forget(fetch: asyncio.Future[HTTPResponse]) -> None:
    """Take the outcome of a fetch that nobody waits for any more."""
    if not fetch.cancelled():
        fetch.exception()
