"""One admitted call on its way: to the provider, back to the client, and into the journal.

The call line is written before the bytes that tell the client that its call has ended: before the last byte of a
whole answer, before the chunk that completes the terminal event of a stream. A client that leaves earlier cancels the
call at the provider and leaves a row of status `cut`; one that leaves later has had its answer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from tornado.iostream import StreamClosedError

from proxy_server.gateway import booking
from proxy_server.gateway.encoded import decoded
from proxy_server.gateway.headers import returned
from proxy_server.gateway.streaming import Streaming
from ultimate_lib.errors import UltimateError, UpstreamFailed

if TYPE_CHECKING:
    from proxy_server.gateway.exchange import Exchange
    from proxy_server.gateway.headers import RequestHeaders
    from proxy_server.gateway.surfaces import Surface
    from proxy_server.gateway.transfer import Transfer
    from ultimate_lib.limits.counters import Hold
    from ultimate_lib.protocols import RequestFacts, StreamWatch
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)

_FIRST_REDIRECT, _NOT_MODIFIED, _FIRST_ERROR, _FIRST_SERVER_ERROR = 300, 304, 400, 500
_MOST_WHOLE_BYTES = 8 * 1024 * 1024  # an answer larger than this is passed on as it comes, its usage unread
_LINGER_S = 1.0  # for a provider to end its answer once the client has had the terminal event and left
_BYTES_A_TOKEN = 4
_NANO = 1_000_000_000
_NEVER_REACHED = frozenset({"connect", "connect_timeout"})


class Relay:
    """Carries one call. `finished` is set once its row is written.

    `waiting_since` is when the present wait for the provider began, infinity while we wait for the client instead.
    """

    __slots__ = (
        "answered", "client_s", "clock", "connection", "encoded", "exchange", "facts", "finished", "heard", "hold",
        "midway", "provider_s", "reached", "record",
        "route", "state", "surface", "task", "told", "waiting_since", "why_cancelled",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - what a call is made of, once
        self, exchange: Exchange, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord,
        told: RequestHeaders, hold: Hold | None = None,
    ) -> None:  # fmt: skip
        self.hold = hold
        self.reached = False  # the provider may have worked on it
        self.exchange = exchange
        self.connection = exchange.connection
        self.state = exchange.state
        self.clock = exchange.state.clock
        self.surface = surface
        self.facts: RequestFacts | None = facts
        self.route = route
        self.record = record
        self.told: RequestHeaders | None = told
        self.answered = False  # the head of the answer is out
        self.finished = False
        self.heard = False  # the provider has sent something
        self.midway = False  # the client has had the beginning of an event and not its end
        self.encoded = False  # what the client gets is compressed
        self.provider_s = 0.0  # spent waiting for the provider
        self.client_s = 0.0  # spent waiting for the client to take what it was sent
        self.waiting_since = self.clock.monotonic()
        self.why_cancelled: UpstreamFailed | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the call as a task that ends when its client leaves."""
        self.state.relays.add(self)  # which keeps the task alive, too
        self.task = asyncio.get_running_loop().create_task(self._run())
        self.connection.set_close_callback(self._client_left)

    def _client_left(self) -> None:
        assert self.task is not None  # noqa: S101 - set before the callback
        if self.finished:
            asyncio.get_running_loop().call_later(_LINGER_S, self.task.cancel)
        else:
            self.task.cancel()

    def expire(self, failure: UpstreamFailed) -> None:
        """End a call that has waited too long; one whose row is written merely stops waiting for what may follow."""
        if self.why_cancelled is None and self.task is not None:
            self.why_cancelled = failure
            self.task.cancel()

    # -- the way there ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._send()
        except asyncio.CancelledError:
            if self.why_cancelled is not None:
                self._failed(self.why_cancelled)
            else:
                self._cut()
        except StreamClosedError:
            self._cut()
        except UltimateError as error:
            self._failed(error)
        except Exception:
            log.exception("Call %s failed inside the proxy.", self.record.call_id)
            self._failed(UltimateError("The proxy failed; its log tells why.", code="internal"))
        finally:
            self.state.relays.discard(self)

    async def _send(self) -> None:
        surface, provider, exchange = self.surface, self.route.provider, self.exchange
        facts, told = self.facts, self.told
        assert facts is not None and told is not None  # noqa: S101, PT018 - let go of below, for streams last long
        sent = exchange.body
        if surface.generates:
            sent = surface.protocol.prepare(sent, facts, model=self.route.model, stream_usage=provider.stream_usage)
        elif facts.model and facts.model != self.route.model:
            sent = surface.protocol.prepare(sent, facts, model=self.route.model, stream_usage="none")
        watch = None
        if surface.generates and facts.stream:
            asked = sent is not exchange.body and not facts.asked_usage
            watch = surface.protocol.watch(facts, withhold_usage=asked and provider.stream_usage == "inject")
        if self.hold is not None and self.hold.output is not None:
            sent = surface.protocol.with_max_tokens(sent, self.route.model, self.hold.output)
        self.record.attempts = 1
        self.reached = True
        headers = self.state.upstream.headers(provider, told.passed, told.tokens, told.via)
        self.waiting_since = self.clock.monotonic()
        transfer = self.state.upstream.request(
            provider, exchange.method, exchange.endpoint, exchange.query, headers, sent
        )
        self.facts = self.told = None
        exchange.body = sent = b""
        del facts, told
        try:
            await transfer.head()
            self.heard_now()
            await self._answer(transfer, watch)
        finally:
            transfer.close()

    async def _answer(self, transfer: Transfer, watch: StreamWatch | None) -> None:
        """Choose how the answer passes, now that its head is here."""
        surface, status = self.surface, transfer.status
        if status >= _FIRST_REDIRECT and status != _NOT_MODIFIED:
            self.reached = False  # providers bill no errors; whether or not the rest of this one is waited for
        if _FIRST_REDIRECT <= status < _FIRST_ERROR and status != _NOT_MODIFIED:
            raise UpstreamFailed(
                f"The provider '{self.route.provider.name}' answered with a redirect ({status}); it is not followed.",
                hint="Set its base_url to where it really is.", retryable=False, code="redirect",
            )  # fmt: skip
        events = status < _FIRST_ERROR and transfer.header(b"content-type").lower().startswith("text/event-stream")
        if events and watch is not None:
            await self._stream(transfer, watch)
        elif events or not (surface.generates or surface.bills):
            await self._through(transfer, [], events=events)
        else:
            await self._whole(transfer)

    def heard_now(self) -> float:
        """Book the time since we began to wait as the provider's, and return now."""
        now = self.clock.monotonic()
        self.provider_s += now - self.waiting_since
        self.waiting_since = now
        self.heard = True
        return now

    # -- the way back, whole ------------------------------------------------------------------------------------

    async def _whole(self, transfer: Transfer) -> None:
        """Pass an answer on once all of it is here, so that its cost can stand in its headers."""
        parts: list[bytes] = []
        size = 0
        read = transfer.read
        while (chunk := await read()) is not None:
            self.heard_now()
            parts.append(chunk)
            size += len(chunk)
            if size > _MOST_WHOLE_BYTES:
                await self._through(transfer, parts, events=False)
                return
        self.heard_now()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        status, record = transfer.status, self.record
        encoding = transfer.header(b"content-encoding")
        facts = self.surface.protocol.read_response(decoded(body, encoding) if encoding else body)
        record.http_status = status
        record.response_bytes = size
        booking.named(record, facts)
        ok = status < _FIRST_ERROR
        if not ok:
            record.error_type = facts.error_type or f"http_{status}"
        if ok and not self.surface.bills:
            booking.free(record)
        elif facts.usage is not None and self.surface.bills and (ok or status >= _FIRST_SERVER_ERROR):
            self.reached = True  # also a failure that tells what it has used
            booking.told(record, facts.usage, self.route, self.state.book)
        elif not ok:
            booking.unknown(record)
        else:
            booking.estimated(record, None, size // _BYTES_A_TOKEN, self.route, self.state.book)
        self._end("ok" if ok else "error")
        head = b"%bX-Ultimate-Overhead-Ms: %.2f\r\n" % (self._head(transfer), record.overhead_ms or 0.0)
        if record.cost_nano_usd is not None:
            head += b"X-Ultimate-Cost-Usd: %d.%09d\r\n" % divmod(record.cost_nano_usd, _NANO)
        if self.state.waits_for_sync:
            await self.state.journal.synced()
        self.answered = True
        if not self.connection.gone:
            self.connection.reply(status, head, body)

    def _head(self, transfer: Transfer) -> bytes:
        passed, call_id = returned(transfer.lines), self.record.call_id.encode()
        left = self.hold.remaining_nano_usd() if self.hold is not None else None
        if left is None:
            head = b"%bX-Ultimate-Call-Id: %b\r\n" % (passed, call_id)
        else:
            head = b"%bX-Ultimate-Call-Id: %b\r\nX-Ultimate-Budget-Remaining-Usd: %d.%09d\r\n" % (
                passed, call_id, *divmod(left, _NANO)
            )  # fmt: skip
        if self.exchange.warning:
            head += b"X-Ultimate-Anomaly: %b\r\n" % self.exchange.warning.encode("ascii")
        return head

    # -- the way back, as it comes ------------------------------------------------------------------------------

    async def _stream(self, transfer: Transfer, watch: StreamWatch) -> None:
        encoding = transfer.header(b"content-encoding")
        self.encoded = bool(encoding)
        self.record.http_status = transfer.status
        self.answered = True
        self.connection.begin(transfer.status, self._head(transfer))
        await Streaming(self, watch, encoding).run(transfer)

    async def client_takes(self, written: asyncio.Future[None]) -> None:
        """Wait until a slow client has taken what was written; nothing more is read from the provider meanwhile."""
        began = self.clock.monotonic()
        self.waiting_since = math.inf
        await written
        self.waiting_since = self.clock.monotonic()
        self.client_s += self.waiting_since - began

    def end_stream(self, watch: StreamWatch) -> None:
        """Write the row of a stream that the provider has brought to its end, or broken off."""
        facts = watch.facts
        whole = watch.terminal or facts.finish_reason is not None
        failed = facts.error_type is not None or not whole
        if failed:
            self.record.error_type = facts.error_type or "stream_incomplete"
        self.book_stream(watch, ok=not failed)
        self._end("error" if failed else "ok")

    def book_stream(self, watch: StreamWatch, *, ok: bool) -> None:
        """Believe the provider's usage when it told the final one; else estimate from what has passed."""
        facts = watch.facts
        booking.named(self.record, facts)
        usage = facts.usage
        if not self.surface.bills:
            booking.unknown(self.record)
        elif usage is not None and usage.output_tokens is not None and (ok or facts.finish_reason is not None):
            booking.told(self.record, usage, self.route, self.state.book)
        else:
            booking.estimated(self.record, usage, watch.output_estimate, self.route, self.state.book)

    async def _through(self, transfer: Transfer, parts: list[bytes], *, events: bool) -> None:
        """Pass an answer on that is not read: files, audio, and what is too large to be held.

        Its last piece waits for the row, so one piece is held back, and the head of an answer without a body is;
        of an event stream nothing but its end.
        """
        status, record = transfer.status, self.record
        record.http_status = status
        length = transfer.header(b"content-length")
        sized = int(length) if length.isdigit() else None
        read = transfer.read
        held: bytes | None = b"".join(parts)
        sent = 0
        try:
            if not events and not held:
                held = await read()
            empty = held is None
            if not empty:
                self.answered = self.encoded = True  # an error cannot be told within it any more
                self.connection.begin(status, self._head(transfer), length=sized)
            while not empty and (piece := await read()) is not None:
                self.heard_now()
                out, held = (piece, b"") if events else (held, piece)
                sent += len(out or b"")
                written = self.connection.send(out) if out else None
                if written is not None:
                    await self.client_takes(written)
                self.waiting_since = self.clock.monotonic()
        finally:
            record.response_bytes = sent + len(held or b"")
            if self.surface.bills and status < _FIRST_ERROR:
                seen = record.response_bytes // _BYTES_A_TOKEN
                booking.estimated(record, None, seen, self.route, self.state.book)
            else:
                booking.unknown(record)
        self.heard_now()
        if status >= _FIRST_ERROR:
            record.error_type = f"http_{status}"
        self._end("ok" if status < _FIRST_ERROR else "error")
        if self.state.waits_for_sync:
            await self.state.journal.synced()
        if empty:
            self.answered = True
            self.connection.begin(status, self._head(transfer), length=sized)
        self.connection.end(held or b"")

    # -- the row ------------------------------------------------------------------------------------------------

    def _end(self, status: str) -> None:
        """Write the call's one row."""
        record, exchange = self.record, self.exchange
        now = self.clock.monotonic()
        record.status = status
        record.duration_ms = round((now - exchange.started) * 1000)
        record.upstream_ms = round(self.provider_s * 1000)
        record.overhead_ms = round(max(now - exchange.read_at - self.provider_s - self.client_s, 0.0) * 1000, 3)
        self.finished = True
        if self.surface.bills and not self.state.guard.idle:
            self.state.guard.settle(exchange, record)
        charge = self.state.admission.settle(self.hold, record, self.reached)
        self.state.journal.call(record, charge)
        self.state.count(record)

    def _cut(self) -> None:
        """The client has left, or a stream that has had its row was given up."""
        if not self.finished:
            self.record.error_type = "client_left"
            self._unanswered()
            self._end("cut")
        elif not self.connection.gone:
            self.connection.end()

    def _unanswered(self) -> None:
        """Book the input of a call that the provider may have worked on without a word to us."""
        if self.record.cost_source is None:
            if self.surface.bills and self.reached:
                booking.estimated(self.record, None, 0, self.route, self.state.book)
            else:
                booking.unknown(self.record)
        if self.waiting_since < math.inf:
            self.heard_now()

    def _failed(self, error: UltimateError) -> None:
        """The call failed between us and the provider: say so in the client's protocol."""
        record, connection = self.record, self.connection
        ended_before = self.finished
        if not ended_before:
            record.error_type = error.code
            if error.code in _NEVER_REACHED and not self.heard:
                self.reached = False
            if not self.answered:
                record.http_status = error.http_status
            if self.why_cancelled is not None:
                self._unanswered()
            elif record.cost_source is None:
                booking.unknown(record)
            self._end("error")
        if connection.gone:
            return
        if not self.answered:
            self.answered = True
            self.exchange.refuse(error.http_status, error.code, str(error), record.call_id)
        elif ended_before:
            connection.end()
        elif self.encoded:
            connection.close()  # nothing that we could add would be understood; a broken end is
        else:
            event = self.surface.protocol.error_event(error.http_status, error.code, str(error), record.call_id)
            connection.end(b"\n\n" + event if self.midway else event)
