"""Calls as they end: server-sent events over a connection that is made anew when it is lost."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from claude_proxy.answers import Answer
from claude_proxy.client.sse import Reader
from claude_proxy.errors import BadRequest, NotAllowed, NotFound, ProxyError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    import requests

    from claude_proxy.client.sse import Event
    from claude_proxy.client.transport import Transport

log = logging.getLogger(__name__)

_PATH = "/api/live"
_SILENCE_S = 60.0  # the proxy says `: keep` every quarter of a minute; what is silent for longer is gone
_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 10.0
_KNOWN = 2000  # ids of calls seen lately: after a restart of the proxy some are told twice


class Follow:
    """One listener: what it has seen, and how long the proxy has been away."""

    def __init__(
        self,
        transport: Transport,
        params: Mapping[str, Any],
        patience_s: float,
        on_gap: Callable[[str], None] | None = None,
    ) -> None:
        self._transport = transport
        self._params = params
        self._patience_s = patience_s
        self._on_gap = on_gap or log.warning
        self._reader = Reader()
        self._seen: deque[str] = deque(maxlen=_KNOWN)
        self._connected = False  # ever
        self._pause_s = _PAUSE_S
        self._lost_at: float | None = None

    def calls(self) -> Iterator[Answer]:
        """Yield each call. The first connection must come about; later ones are tried for `patience_s`."""
        self._transport.check_api()
        while True:
            error: ProxyError | None = None
            try:
                with closing(self._bytes()) as pieces:
                    for piece in pieces:
                        self._pause_s, self._lost_at = _PAUSE_S, None
                        for event in self._reader.feed(piece):
                            row = self._row(event)
                            if row is not None:
                                yield row
            except (BadRequest, NotAllowed, NotFound):
                raise
            except ProxyError as lost:
                if not self._connected:
                    raise
                error = lost
            self._wait(error)

    def _row(self, event: Event) -> Answer | None:
        """Return the call that an event tells of, unless it was told before."""
        if event.kind == "gap":
            self._on_gap("Calls may be missing here: the connection was lost for too long.")
        if event.kind != "call" or event.id in self._seen:
            return None
        self._seen.append(event.id)
        row: Answer = json.loads(event.data, object_hook=Answer)
        return row

    def _wait(self, error: ProxyError | None) -> None:
        """Wait before the next connection. Raises the error when the proxy has been away for too long."""
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at > self._patience_s:
            raise error or Unreachable(
                f"The proxy at {self._transport.url} ends its live calls again and again.",
                hint="Its log may say why.",
            )
        asked_s = (self._reader.retry_ms or 0) / 1000
        time.sleep(min(max(self._pause_s, asked_s), _LONGEST_PAUSE_S))
        self._pause_s *= 2
        self._reader = self._reader.again()

    def _bytes(self) -> Generator[bytes, None, None]:
        """Yield what one connection brings until it ends. Raises `ProxyError`."""
        from requests import exceptions  # noqa: PLC0415 - loads with the first request

        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._reader.last_id:
            headers["Last-Event-ID"] = self._reader.last_id
        with closing(
            self._transport.once("GET", _PATH, params=self._params, headers=headers, timeout=_SILENCE_S, stream=True)
        ) as response:
            self._check(response)
            if self._connected and not self._reader.last_id:
                self._on_gap("Calls may be missing here: the connection was lost before the first call.")
            self._connected = True
            whole_chunks = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            try:
                # a chunk as it comes; without chunks a byte at a time: a larger read would wait until it is full
                yield from response.iter_content(None if whole_chunks else 1)
            except exceptions.RequestException as error:
                raise Unreachable(
                    f"The proxy at {self._transport.url} broke off its live calls.", code="connection_lost"
                ) from error

    def _check(self, response: requests.Response) -> None:
        if response.status_code != HTTPStatus.OK:
            raise self._transport.error(response)
        kind = response.headers.get("Content-Type", "")
        if not kind.startswith("text/event-stream"):
            raise ProxyError(
                f"{self._transport.url} answers, but tells no live calls ({kind or 'no content type'}).",
                hint="Is something else listening there?",
                code="not_ours",
            )
