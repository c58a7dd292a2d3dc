"""One admitted call on its way: to the provider, back to the client, and into the journal.

The call line is written before the bytes that tell the client that its call has ended: before the last byte of a whole
answer, before the chunk that completes the terminal event of a stream. A client that leaves earlier cancels the call
at the provider and leaves a row of status `cut`.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import TYPE_CHECKING

from pyreqwest.exceptions import PyreqwestError
from tornado import httputil
from tornado.iostream import StreamClosedError

from proxy_server.gateway import upstream
from proxy_server.gateway.headers import returned
from ultimate_lib.errors import UltimateError, UpstreamFailed
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from pyreqwest.response import Response

    from proxy_server.gateway.exchange import Exchange
    from proxy_server.gateway.headers import RequestHeaders
    from ultimate_lib.protocols import RequestFacts, ResponseFacts, StreamWatch
    from ultimate_lib.protocols.facts import Protocol
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)

_FIRST_ERROR = 400
_MOST_DECODED_BYTES = 16 * 1024 * 1024
_RUNNING: set[asyncio.Task[None]] = set()


class Relay:
    """Carries one call. `finished` is set once its row is written."""

    __slots__ = (
        "answered", "call_id", "clock", "counting", "exchange", "facts", "finished", "heard", "protocol", "record",
        "route", "state", "task", "told", "upstream_s", "waiting_since", "why_cancelled",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, protocol: Protocol, facts: RequestFacts, route: Route, record: CallRecord,
        told: RequestHeaders, *, counting: bool,
    ) -> None:  # fmt: skip
        self.exchange = exchange
        self.state = exchange.state
        self.clock = exchange.state.clock
        self.protocol = protocol
        self.facts = facts
        self.route = route
        self.record = record
        self.told = told
        self.counting = counting
        self.call_id = record.call_id
        self.answered = False  # headers are out
        self.finished = False
        self.upstream_s = 0.0
        self.waiting_since = self.clock.monotonic()
        self.heard = False  # the provider has sent something
        self.why_cancelled: UpstreamFailed | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the call as a task that ends when its client leaves."""
        self.state.relays.add(self)
        self.task = asyncio.get_running_loop().create_task(self._run())
        _RUNNING.add(self.task)
        self.task.add_done_callback(_RUNNING.discard)
        self.exchange.connection.set_close_callback(self._client_left)

    def _client_left(self) -> None:
        if not self.finished and self.task is not None:
            self.task.cancel()

    def expire(self, failure: UpstreamFailed) -> None:
        """End a call that has waited too long."""
        if not self.finished and self.task is not None and self.why_cancelled is None:
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
        except PyreqwestError as error:
            self._failed(upstream.failed(error, self.route.provider))
        except StreamClosedError:
            self._cut()
        except UltimateError as error:
            self._failed(error)
        except Exception:
            log.exception("Call %s failed inside the proxy.", self.call_id)
            self._failed(UltimateError("The proxy failed; its log tells why.", code="internal"))
        finally:
            self.state.relays.discard(self)
            if not self.finished:
                self._end("cut", None)

    async def _send(self) -> None:
        route, exchange = self.route, self.exchange
        provider = route.provider
        body = self.protocol.prepare(exchange.body, self.facts, model=route.model, stream_usage=provider.stream_usage)
        url = provider.address(exchange.endpoint)
        if exchange.query:
            url = f"{url}?{exchange.query}"
        headers = self.told.passed
        headers += upstream.credentials(provider, self.told.tokens)
        headers += [("accept-encoding", "identity"), ("via", f"1.1 {self.state.installation}")]
        self.record.attempts = 1
        self.waiting_since = self.clock.monotonic()
        if self.facts.stream and not self.counting:
            async with self.state.upstream.streamed(url, headers, body) as response:
                self._heard()
                if response.status < _FIRST_ERROR and _is_event_stream(response):
                    await self._stream(response, body is not exchange.body)
                else:
                    await self._whole(response)
        else:
            await self._whole(await self.state.upstream.plain(url, headers, body).send())

    def _heard(self) -> float:
        """Book the time since we began to wait as the provider's, and return now."""
        now = self.clock.monotonic()
        self.upstream_s += now - self.waiting_since
        self.waiting_since = now
        self.heard = True
        return now

    # -- the way back, whole ------------------------------------------------------------------------------------

    async def _whole(self, response: Response) -> None:
        raw = await response.bytes()
        self._heard()
        body = bytes(raw)
        status = response.status
        encoding = response.get_header("content-encoding")
        facts = self.protocol.read_response(_decoded(body, encoding) if encoding else body)
        record = self.record
        record.http_status = status
        record.response_bytes = len(body)
        ok = status < _FIRST_ERROR
        if not ok:
            record.error_type = facts.error_type or f"http_{status}"
        self._settle(facts, ok=ok)
        headers = self._headers(response)
        headers["Content-Length"] = str(len(body))
        self._end("ok" if ok else "error", facts)
        if record.cost_nano_usd is not None:
            headers["X-Ultimate-Cost-Usd"] = f"{record.cost_nano_usd / 1e9:.9f}"
        headers["X-Ultimate-Overhead-Ms"] = f"{record.overhead_ms:.2f}"
        await self.state.journal.synced()
        connection = self.exchange.connection
        self.answered = True
        connection.write_headers(_line(status), headers, body)
        connection.finish()

    def _headers(self, response: Response) -> httputil.HTTPHeaders:
        headers = httputil.HTTPHeaders()
        for name, value in response.headers.items():
            if returned(name):
                headers.add(name, value)
        headers["X-Ultimate-Call-Id"] = self.call_id
        return headers

    # -- the way back, streamed ---------------------------------------------------------------------------------

    async def _stream(self, response: Response, changed: bool) -> None:  # noqa: FBT001 - whether we asked for usage
        withhold = changed and not self.facts.asked_usage
        watch = self.protocol.watch(self.facts, withhold_usage=withhold)
        encoding = response.get_header("content-encoding")
        reader = _Encoded(watch, encoding) if encoding else watch
        record, connection, clock = self.record, self.exchange.connection, self.clock
        record.http_status = response.status
        self.answered = True
        connection.write_headers(_line(response.status), self._headers(response))
        read = response.body_reader.read_chunk
        sent = 0
        try:
            while (chunk := await read()) is not None:
                self._heard()
                out = reader.feed(bytes(chunk))
                if watch.first_token and record.ttft_ms is None:
                    record.ttft_ms = round((clock.monotonic() - self.exchange.started) * 1000)
                if out:
                    sent += len(out)
                    if watch.terminal and not self.finished:
                        record.response_bytes = sent
                        await self._ended(watch)
                    written = connection.write(out)
                    if not written.done():
                        await written
                self.waiting_since = clock.monotonic()
        except (asyncio.CancelledError, PyreqwestError, StreamClosedError):
            record.response_bytes = sent
            if not self.finished:
                self._settle(watch.facts, ok=False, seen=watch.output_estimate)
            raise
        out = reader.finish()
        record.response_bytes = sent + len(out)
        if not self.finished:
            await self._ended(watch)
        if out:
            connection.write(out)
        connection.finish()

    async def _ended(self, watch: StreamWatch) -> None:
        """Write the row of a stream that the provider has brought to its end, or broken off."""
        facts = watch.facts
        whole = watch.terminal or facts.finish_reason is not None
        failed = facts.error_type is not None or not whole
        if failed:
            self.record.error_type = facts.error_type or "stream_incomplete"
        self._settle(facts, ok=not failed, seen=watch.output_estimate)
        self._end("error" if failed else "ok", facts)
        await self.state.journal.synced()

    # -- the row ------------------------------------------------------------------------------------------------

    def _settle(self, facts: ResponseFacts, *, ok: bool, seen: int = 0) -> None:
        """Write usage and cost into the record: the provider's, else an estimate of what was seen."""
        record = self.record
        usage = facts.usage
        record.upstream_id = facts.upstream_id
        record.model_served = facts.model_served
        record.finish_reason = facts.finish_reason
        if self.counting:
            record.usage_source, record.input_tokens = "none", None
            record.cost_nano_usd, record.cost_source = 0, "table"  # counting tokens is free of charge
            return
        if usage is not None and (ok or usage.output_tokens is not None) and not (not ok and seen > (usage.output_tokens or 0)):
            record.usage_source = "provider"
        elif ok or seen or self.answered:
            known = usage or Usage(input_tokens=record.input_tokens)
            usage = Usage(
                input_tokens=known.input_tokens, output_tokens=max(seen, known.output_tokens or 0),
                cache_read_tokens=known.cache_read_tokens, cache_write_5m_tokens=known.cache_write_5m_tokens,
                cache_write_1h_tokens=known.cache_write_1h_tokens, service_tier=known.service_tier,
            )  # fmt: skip
            record.usage_source = "estimated"
        else:
            record.usage_source, record.input_tokens = "none", None
            record.cost_source = "none"
            return
        self._book(usage)

    def _book(self, usage: Usage) -> None:
        record = self.record
        record.input_tokens = usage.input_tokens
        record.output_tokens = usage.output_tokens
        record.cache_read_tokens = usage.cache_read_tokens
        record.cache_write_5m_tokens = usage.cache_write_5m_tokens
        record.cache_write_1h_tokens = usage.cache_write_1h_tokens
        record.reasoning_tokens = usage.reasoning_tokens
        record.audio_input_tokens = usage.audio_input_tokens
        record.audio_output_tokens = usage.audio_output_tokens
        record.server_tool_requests = usage.server_tool_requests
        record.service_tier = usage.service_tier
        if usage.cache_read_tokens is not None:
            record.cache_hit = usage.cache_read_tokens > 0
        price_id, book = self.route.provider.price_id, self.state.book
        cost = book.cost(price_id, record.model_served or self.route.model, usage, record.started_at)
        if cost is None and record.model_served is not None:
            cost = book.cost(price_id, self.route.model, usage, record.started_at)
        if cost is None:
            record.cost_source = "none"
            return
        record.cost_nano_usd = cost.total
        record.input_cost_nano_usd = cost.input
        record.cache_read_cost_nano_usd = cost.cache_read
        record.cache_write_cost_nano_usd = cost.cache_write
        record.output_cost_nano_usd = cost.output
        record.other_cost_nano_usd = cost.other
        record.list_cost_nano_usd = cost.listed
        record.price_id = cost.price_id
        record.cost_source = "estimated" if record.usage_source == "estimated" else cost.source

    def _end(self, status: str, facts: ResponseFacts | None) -> None:  # noqa: ARG002 - the guard will score it here
        """Write the call's one row."""
        record = self.record
        now = self.clock.monotonic()
        record.status = status
        record.duration_ms = round((now - self.exchange.started) * 1000)
        record.upstream_ms = round(self.upstream_s * 1000)
        record.overhead_ms = round(max(now - self.exchange.started - self.upstream_s, 0.0) * 1000, 3)
        self.finished = True
        self.state.journal.call(record)
        self.state.count(record)

    def _cut(self) -> None:
        """The client has left."""
        if self.finished:
            return
        if self.record.usage_source == "estimated" and self.record.cost_source is None:
            self._book(Usage(input_tokens=self.record.input_tokens, output_tokens=0))
        self.record.error_type = "client_left"
        self._end("cut", None)

    def _failed(self, error: UltimateError) -> None:
        """The call failed between us and the provider: say so in the client's protocol."""
        record = self.record
        ended_before = self.finished
        record.error_type = error.code
        if not self.answered:
            record.http_status = error.http_status
            record.input_tokens, record.usage_source, record.cost_source = None, "none", "none"
        if not ended_before:
            self._end("error", None)
        connection = self.exchange.connection
        if connection.stream is None or connection.stream.closed():
            return
        if not self.answered:
            self.answered = True
            self.exchange.refuse(error.http_status, error.code, str(error), self.call_id)
            return
        if not ended_before:
            connection.write(self.protocol.error_event(error.http_status, error.code, str(error), self.call_id))
        connection.finish()


def _line(status: int) -> httputil.ResponseStartLine:
    return httputil.ResponseStartLine("HTTP/1.1", status, httputil.responses.get(status, "Unknown"))


def _is_event_stream(response: Response) -> bool:
    return (response.get_header("content-type") or "").startswith("text/event-stream")


class _Encoded:
    """Passes compressed bytes as they are and lets the watch read a decoded copy, up to a limit."""

    def __init__(self, watch: StreamWatch, encoding: str) -> None:
        self._watch = watch
        self._left = _MOST_DECODED_BYTES
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding in {"gzip", "deflate"} else None

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk unchanged."""
        if self._decoder is not None and self._left > 0:
            try:
                plain = self._decoder.decompress(chunk, self._left)
            except zlib.error:
                self._decoder = None
            else:
                self._left -= len(plain)
                self._watch.feed(plain)
        return chunk

    def finish(self) -> bytes:
        """Let the watch read its last event; nothing is held back here."""
        self._watch.finish()
        return b""


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding not in {"gzip", "deflate"}:
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MOST_DECODED_BYTES)
    except zlib.error:
        return body
