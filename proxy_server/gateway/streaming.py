"""The events of one call on their way back: passed on as they come and read along.

A piece goes from libcurl's callback straight to the client's socket, without waking the call's task; the task takes
over when the client is slow, when the row must be on disk first, and at the end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tornado.iostream import StreamClosedError

from proxy_server.gateway.encoded import EncodedWatch
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from proxy_server.gateway.relay import Relay
    from proxy_server.gateway.transfer import Transfer
    from ultimate_lib.protocols import StreamWatch

_EVENT_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Streaming:
    """Passes one event stream on. `sent` counts body bytes given to the client's connection."""

    __slots__ = (
        "_busy", "_feed", "_finish", "_now", "_relay", "_send_on", "_silent", "_trouble", "_unsent", "_watch", "sent",
    )  # fmt: skip

    def __init__(self, relay: Relay, watch: StreamWatch, encoding: str) -> None:
        self.sent = 0
        self._relay = relay
        self._watch = watch
        self._now = relay.clock.monotonic
        self._send_on = relay.connection.send
        self._feed, self._finish = watch.feed, watch.finish
        if encoding:
            reader = EncodedWatch(watch, encoding)
            self._feed, self._finish = reader.feed, reader.finish
        self._silent = True  # no token yet
        self._busy = False  # the task holds a piece that goes before all others
        self._unsent: asyncio.Future[None] | None = None
        self._trouble: Exception | None = None

    async def run(self, transfer: Transfer) -> None:
        """Pass everything on; the row is written before the terminal event goes out."""
        relay, watch = self._relay, self._watch
        waits = relay.state.waits_for_sync
        if not waits:
            transfer.sink = self._take
        try:
            while (piece := await transfer.read()) is not None:
                self._busy = True
                if self._trouble is not None:
                    raise self._trouble
                await self._client_takes()
                written_before = relay.finished
                out = self._read(piece)
                if waits and relay.finished and not written_before:
                    await relay.state.journal.synced()
                self._send(out)
                await self._client_takes()
                self._busy = False
        except (asyncio.CancelledError, UltimateError, StreamClosedError):
            if not relay.finished:
                relay.record.response_bytes = self.sent
                relay.book_stream(watch, ok=False)
            raise
        relay.heard_now()
        out = self._finish()
        if not relay.finished:
            relay.record.response_bytes = self.sent + len(out)
            relay.end_stream(watch)
            if waits:
                await relay.state.journal.synced()
        relay.connection.end(out)

    def _take(self, piece: bytes) -> bool:
        """Pass a piece on at once and return True; False leaves it to the task. Called by libcurl."""
        if self._busy or (self._unsent is not None and not self._unsent.done()):
            return False
        try:
            self._send(self._read(piece))
        except StreamClosedError:
            return True  # the connection's close callback ends the call
        except Exception as error:  # noqa: BLE001 - nothing may escape into libcurl; the task raises it
            self._trouble = error
            return False
        return True

    def _read(self, piece: bytes) -> bytes:
        """Read a piece and return what is to be passed on now; the row is written when it holds the end."""
        relay, watch = self._relay, self._watch
        now = self._now()
        relay.provider_s += now - relay.waiting_since
        relay.waiting_since = now
        out = self._feed(piece)
        if self._silent and watch.first_token:
            self._silent = False
            relay.record.ttft_ms = round((now - relay.exchange.started) * 1000)
        if watch.terminal and out and not relay.finished:
            relay.record.response_bytes = self.sent + len(out)
            relay.end_stream(watch)
        return out

    def _send(self, out: bytes) -> None:
        relay = self._relay
        if out:
            self.sent += len(out)
            self._unsent = self._send_on(out)
            relay.midway = not out.endswith(_EVENT_ENDS)
        relay.waiting_since = self._now()

    async def _client_takes(self) -> None:
        if self._unsent is not None:
            await self._relay.client_takes(self._unsent)
            self._unsent = None
