"""Calls as they end: server-sent events over a connection that is made anew when it is lost."""

from __future__ import annotations

import json
import time
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from claude_proxy.answers import Answer
from claude_proxy.client.sse import Reader
from claude_proxy.errors import BadRequest, NotAllowed, NotFound, ProxyError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import requests

    from claude_proxy.client.transport import Transport

_PATH = "/api/live"
_SILENCE_S = 60.0  # the proxy says `: keep` far more often; what is silent for longer is gone
_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 10.0


def follow(transport: Transport, params: Mapping[str, Any], patience_s: float) -> Iterator[Answer]:
    """Yield each call. The first connection must come about; later ones are tried for `patience_s`."""
    transport._check_api()  # noqa: SLF001 - the transport's other half
    reader, pause, seen, lost_at = Reader(), _PAUSE_S, False, 0.0
    while True:
        try:
            for data in _bytes(transport, params, reader.last_id):
                seen, lost_at, pause = True, 0.0, _PAUSE_S
                for event in reader.feed(data):
                    if event.kind == "call":
                        yield json.loads(event.data, object_hook=Answer)
            error: ProxyError | None = None
        except (BadRequest, NotAllowed, NotFound):
            raise
        except ProxyError as lost:
            if not seen:
                raise
            error = lost
        now = time.monotonic()
        lost_at = lost_at or now
        if now - lost_at > patience_s:
            raise error or Unreachable(
                f"The proxy at {transport.url} ends its live calls again and again.", hint="Its log may say why."
            )
        asked = reader.retry_ms / 1000 if reader.retry_ms is not None else 0.0
        time.sleep(min(max(pause, asked), _LONGEST_PAUSE_S))
        pause *= 2
        reader = _again(reader)


def _again(reader: Reader) -> Reader:
    """Return a reader for a new connection: what was half told is told again after the last id."""
    new = Reader(reader.last_id)
    new.retry_ms = reader.retry_ms
    return new


def _bytes(transport: Transport, params: Mapping[str, Any], last_id: str) -> Iterator[bytes]:
    """Yield what one connection brings until it ends. Raises `ProxyError`."""
    from requests import exceptions  # noqa: PLC0415 - loads with the first request

    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    response = transport._once(  # noqa: SLF001 - the transport's other half
        "GET", _PATH, params=params, headers=headers, timeout=_SILENCE_S, stream=True
    )
    with closing(response):
        _check(transport, response)
        whole_chunks = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
        try:
            # a chunk as it comes; without chunks a byte at a time, for a larger read would wait until it is full
            yield from response.iter_content(None if whole_chunks else 1)
        except exceptions.RequestException as error:
            raise Unreachable(
                f"The proxy at {transport.url} broke off its live calls.", code="connection_lost"
            ) from error


def _check(transport: Transport, response: requests.Response) -> None:
    if response.status_code != HTTPStatus.OK:
        raise transport._error(response)  # noqa: SLF001 - the transport's other half
    kind = response.headers.get("Content-Type", "")
    if not kind.startswith("text/event-stream"):
        raise ProxyError(
            f"{transport.url} answers, but tells no live calls ({kind or 'no content type'}).",
            hint=f"The address is from: {transport.source}.",
            code="not_ours",
        )
