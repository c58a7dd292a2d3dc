"""Sending a trace: open loop by arrival time, with a cap on what is in flight."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from proxy_server.replay import shapes
from proxy_server.replay.ledger import Line
from proxy_server.replay.shapes import Shape
from proxy_server.replay.wire import Connection, Origin, Reply
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from proxy_server.replay.ledger import Ledger
    from proxy_server.replay.trace import Trace

OK = "ok"
NOT_CONNECTED = "not connected"  # nothing was sent
NO_ANSWER = "no answer"  # sent, and not one byte came back
CUT = "cut"  # the answer broke off before its terminal event
ERROR_EVENT = "error event"
_AGAIN = (NOT_CONNECTED, NO_ANSWER)
_GIVE_UP_AFTER = 20
_RETRY_S = 60.0
_RETRY_PAUSE_S = 0.1
_NAP_S = 0.5  # how soon a waiting worker sees that the run has been stopped
_OK_STATUS = 200


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """How to send."""

    origin: Origin
    shape: Shape
    key: str = ""
    model: str = ""  # empty: the shape's own
    speed: float | None = 60.0  # times faster than recorded; None: as fast as the cap allows
    concurrency: int = 64  # calls in flight, at most; also connections
    chunks: int = 4  # events of an answer's text
    delay_ms: float = 0.0  # the provider's pause between events
    timeout_s: float = 600.0
    retry: bool = False


class Totals(msgspec.Struct, kw_only=True):
    """What became of the calls."""

    planned: int
    begun: int = 0
    ok: int = 0
    in_flight: int = 0
    resent: int = 0
    failed: Counter[str] = msgspec.field(default_factory=Counter)
    samples: dict[str, str] = msgspec.field(default_factory=dict)  # of a failure: what the other side said first
    sent_input_tokens: int = 0
    sent_output_tokens: int = 0
    told_input_tokens: int = 0
    told_output_tokens: int = 0
    late_s: float = 0.0  # how long after its time the latest call began
    wall_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def ended(self) -> int:
        """How many calls have ended."""
        return self.ok + self.failed.total()


class Sender:
    """Sends one trace once. `run_id` marks its calls: tag `replay=<run_id>`, trace ids that begin with it."""

    def __init__(self, trace: Trace, plan: Plan, ledger: Ledger) -> None:
        self.run_id = secrets.token_hex(8)
        self.totals = Totals(planned=len(trace.due_s))
        self._trace = trace
        self._plan = plan
        self._ledger = ledger
        self._numbers = iter(range(len(trace.due_s)))
        self._stopped = False
        self._open: set[Connection] = set()
        self._began = 0.0
        self._head = self._make_head()
        script = {"chunks": plan.chunks, "delay_ms": plan.delay_ms}
        self._body = shapes.body_template(plan.shape, plan.model or plan.shape.model, script)

    def stop(self) -> None:
        """Begin no further call; those in flight go on to their end."""
        self._stopped = True

    async def run(self) -> Totals:
        """Send everything. Raises `Unavailable` when the first calls all fail in one and the same way."""
        workers = min(self._plan.concurrency, self.totals.planned)
        self._began, cpu = time.monotonic(), time.process_time()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())
        except* Unavailable as group_error:
            raise group_error.exceptions[0] from None
        finally:
            for connection in self._open:
                connection.close()
            await asyncio.sleep(0)  # they leave
            self.totals.wall_s = time.monotonic() - self._began
            self.totals.cpu_s = time.process_time() - cpu
        return self.totals

    def _make_head(self) -> bytes:
        """Return the request's head, but for what differs from call to call."""
        plan = self._plan
        lines = [
            f"POST {plan.origin.path}{plan.shape.path} HTTP/1.1", f"Host: {plan.origin.authority}",
            "User-Agent: ultimate-proxy-replay", "Content-Type: application/json", "Accept: text/event-stream",
            "X-Ultimate-App: replay", f"X-Ultimate-Tags: replay={self.run_id}",
        ]  # fmt: skip
        if plan.key:
            lines.append(f"Authorization: Bearer {plan.key}")
        if plan.shape.name == "anthropic-messages":
            lines.append("Anthropic-Version: 2023-06-01")
        return (
            "\r\n".join(lines).replace("%", "%%").encode()
            + b"\r\nTraceparent: 00-%s-%016x-01\r\nContent-Length: %d\r\n\r\n"
        )

    # -- one worker: one connection, one call at a time -----------------------------------------------------------

    async def _work(self) -> None:
        connection: Connection | None = None
        for number in self._numbers:
            if not await self._due(number):
                break
            connection = await self._one(connection, number)

    async def _one(self, connection: Connection | None, number: int) -> Connection | None:
        """Send one call, with `retry` until it is answered; return the connection to go on with."""
        self._begin(number)
        until = time.monotonic() + _RETRY_S
        pause, attempt = _RETRY_PAUSE_S, 1
        while True:
            connection, line, message = await self._attempt(connection, number, attempt)
            self._ledger.write(line)
            again = self._plan.retry and line.outcome in _AGAIN and time.monotonic() < until
            if not again or self._stopped:
                break
            self.totals.resent += 1
            await asyncio.sleep(pause)
            pause, attempt = min(2 * pause, 1.0), attempt + 1
        self._end(line, message)
        return connection

    async def _due(self, number: int) -> bool:
        """Wait until a call's time has come; False when the run has been stopped."""
        if self._plan.speed is not None:
            due = self._began + self._trace.due_s[number] / self._plan.speed
            while (wait := due - time.monotonic()) > 0 and not self._stopped:  # noqa: ASYNC110 - it has a time to keep
                await asyncio.sleep(min(wait, _NAP_S))
            self.totals.late_s = max(self.totals.late_s, -wait)
        return not self._stopped

    def _begin(self, number: int) -> None:
        totals = self.totals
        totals.begun += 1
        totals.in_flight += 1
        totals.sent_input_tokens += self._trace.input_tokens[number]
        totals.sent_output_tokens += self._trace.output_tokens[number]

    async def _attempt(
        self, connection: Connection | None, number: int, attempt: int
    ) -> tuple[Connection | None, Line, str]:
        """Make one attempt; return the connection to go on with, its line, and what the other side said."""
        plan = self._plan
        line = Line(
            call=number, attempt=attempt, trace_id=f"{self.run_id}{number:012x}{attempt:04x}", outcome=NOT_CONNECTED,
            asked_input_tokens=self._trace.input_tokens[number],
            asked_output_tokens=self._trace.output_tokens[number],
        )  # fmt: skip
        if connection is None or not connection.usable:
            try:
                connection = await asyncio.wait_for(Connection.connect(plan.origin), plan.timeout_s)
            except OSError as error:  # TimeoutError is one
                return None, line, str(error)
            self._open = {known for known in self._open if known.usable} | {connection}
        reply = await connection.call(self._request(line), plan.timeout_s)
        return connection, line, self._judge(line, reply)

    def _request(self, line: Line) -> bytes:
        body = self._body % (line.asked_input_tokens, line.asked_output_tokens)
        return self._head % (line.trace_id.encode(), line.call + 1, len(body)) + body

    def _judge(self, line: Line, reply: Reply) -> str:
        """Write into the line what a reply means; return what the other side said of a failure."""
        line.status, line.call_id, line.bytes = reply.status, reply.call_id, len(reply.body)
        if reply.status == 0:
            line.outcome = NO_ANSWER
            return "The connection ended before the answer began."
        if reply.status != _OK_STATUS:
            line.outcome = f"HTTP {reply.status}"
            return shapes.refusal(reply.body)
        told = shapes.told(self._plan.shape, reply.body)
        line.input_tokens, line.output_tokens = told.input_tokens, told.output_tokens
        if told.terminal:
            line.outcome = OK
            return ""
        line.outcome = ERROR_EVENT if told.error else CUT
        return told.error or "The answer ended without its terminal event."

    def _end(self, line: Line, message: str) -> None:
        totals = self.totals
        totals.in_flight -= 1
        if line.outcome == OK:
            totals.ok += 1
            totals.told_input_tokens += line.input_tokens or 0
            totals.told_output_tokens += line.output_tokens or 0
            return
        totals.failed[line.outcome] += 1
        totals.samples.setdefault(line.outcome, message)
        hopeless = hint(line.outcome)
        if hopeless and totals.failed[line.outcome] == totals.ended == _GIVE_UP_AFTER < totals.planned:
            raise Unavailable(
                f"The first {totals.ended} calls all failed alike, nothing more is sent: "
                f"{line.outcome} ({totals.samples[line.outcome]}).",
                hint=hopeless,
                code="replay_refused",
            )


def hint(outcome: str) -> str:
    """Return what to do about a failure that every further call would share; empty for others."""
    if outcome == NOT_CONNECTED:
        return "Start the proxy with `ultimate-proxy up`, or name another with --url."
    if outcome in {"HTTP 401", "HTTP 403"}:
        return "Give a key that works with --key."
    if outcome in {"HTTP 400", "HTTP 404", "HTTP 405"}:
        return "Name a model that is routed with --model; `ultimate-proxy check` lists the routes."
    return ""
