"""Live calls as server-sent events: one follower of the journal a process, one bounded queue a client.

The follower looks at the journal five times a second while somebody listens, and not at all otherwise; no client adds
a look. An event's id is its call's: a client that comes back with `Last-Event-ID` gets what it missed as far as the
journal still has it (about ten minutes), else an event `gap`. After a restart of this process a second's worth may
come twice; ids tell. A client that does not keep up is let go with an event `end` that says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from tornado.iostream import StreamClosedError

from ultimate_lib import records
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Unavailable
from ultimate_lib.journal.follow import Follower, ended_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from proxy_server.control.base import Handler
    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)

LOOK_S = 0.2
KEEP_S = 15.0
RECHECK_S = 2.0
MOST_CLIENTS = 64
MOST_OF_ONE = 16
MOST_WAITING = 1000
_KEPT = 1000
_AT_ONCE = 20
_FLOATS = [column.name for column in records.COLUMNS if column.type == "float32"]
_FLOAT = struct.Struct("f")
_LINGER_S = 30.0
_OVERLAP_US = 1_000_000
_GOODBYE_S = 5.0
_GAP = b'event: gap\ndata: {"message": "What came before this is not in the journal any more."}\n\n'


class Events(NamedTuple):
    """What a route answers to have its client told of calls from now on, or from the one after `after`."""

    wanted: Callable[[CallRecord], bool]
    who: str  # the user, for the limit of connections
    after: str = ""


class _Event(NamedTuple):
    record: CallRecord
    data: bytes


class _Client:
    """One listener: its queue, and why it is let go."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.waiting: deque[bytes] = deque()
        self.news = asyncio.Event()
        self.reason = ""
        self.pump: asyncio.Task[None] | None = None

    def tell(self, event: _Event) -> None:
        if self.reason or not self.events.wanted(event.record):
            return
        if len(self.waiting) >= MOST_WAITING:
            self.let_go("slow", "This client did not keep up; come back with Last-Event-ID.")
            return
        self.waiting.append(event.data)
        self.news.set()

    def let_go(self, code: str, sentence: str) -> None:
        if not self.reason:
            told = msgspec.json.encode({"reason": code, "message": sentence}).decode()
            self.reason = f"event: end\ndata: {told}\n\n"
        if self.pump is not None:
            self.pump.cancel()


class Live:
    """Everyone who listens to one process. Used on its loop alone."""

    def __init__(self, journal_dir: Path) -> None:
        self._follower = Follower(journal_dir)
        self._clients: set[_Client] = set()
        self._recent: deque[_Event] = deque(maxlen=_KEPT)
        self._of_before: set[str] = set()  # ids that the follower found when it began
        self._following: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "live")
        self._closing = False

    # -- one client ---------------------------------------------------------------------------------------------

    async def serve(self, handler: Handler, events: Events, still: Callable[[], Awaitable[bool]]) -> None:
        """Tell a client until it leaves or is let go. `still` says, every few seconds, whether it may listen on.

        Raises `Unavailable` when too many listen.
        """
        self._check_room(events.who)
        client = _Client(events)
        await self._join(client)
        try:
            handler.set_header("Content-Type", "text/event-stream; charset=utf-8")
            handler.set_header("X-Accel-Buffering", "no")
            client.pump = asyncio.create_task(self._pump(handler, client, still))
            handler.when_gone = client.pump.cancel
            if client.reason:
                client.pump.cancel()
            await asyncio.wait({client.pump})
            if client.pump.cancelled():
                await self._say_goodbye(handler, client)
            else:
                client.pump.result()
        finally:
            self._clients.discard(client)

    async def _pump(self, handler: Handler, client: _Client, still: Callable[[], Awaitable[bool]]) -> None:
        loop = asyncio.get_running_loop()
        checked = said = loop.time()
        handler.write("retry: 2000\n\n")
        with contextlib.suppress(StreamClosedError):
            while True:
                while client.waiting:
                    handler.write(client.waiting.popleft())
                client.news.clear()
                await handler.flush()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.news.wait(), max(0.0, checked + RECHECK_S - loop.time()))
                now = loop.time()
                if now - checked >= RECHECK_S:
                    checked = now
                    if not await still():
                        client.let_go("rights", "The key or session has ended, or its rights have changed.")
                if client.waiting:
                    said = now
                elif now - said >= KEEP_S - RECHECK_S / 2:
                    said = now
                    handler.write(": keep\n\n")

    async def _say_goodbye(self, handler: Handler, client: _Client) -> None:
        """Tell why; one that does not even read that is cut off."""
        with contextlib.suppress(StreamClosedError):
            handler.write(client.reason or "event: end\ndata: {}\n\n")
            finished = asyncio.ensure_future(handler.finish())
            done, _ = await asyncio.wait({finished}, timeout=_GOODBYE_S)
            if not done:
                finished.cancel()
                handler.request.connection.stream.close()  # type: ignore[union-attr] # Tornado's HTTP1Connection

    def _check_room(self, who: str) -> None:
        own = sum(client.events.who == who for client in self._clients)
        if self._closing or len(self._clients) >= MOST_CLIENTS or own >= MOST_OF_ONE:
            raise Unavailable(
                "Too many listen to live calls." if not self._closing else "The server is about to restart.",
                hint="Close other pages or panels that do, or try again in a moment.",
                code="busy",
            )

    async def _join(self, client: _Client) -> None:
        self._clients.add(client)
        if self._following is None or self._following.done():
            self._begun = asyncio.get_running_loop().create_future()
            self._following = asyncio.create_task(self._follow(self._begun))
        assert self._begun is not None  # noqa: S101 - set with the task
        try:
            await asyncio.shield(self._begun)
        except BaseException:
            self._clients.discard(client)
            raise
        client.waiting.clear()  # what came while the follower began is in `_recent` as well
        after = client.events.after
        if after:
            missed = self._missed(after)
            if missed is None:
                client.waiting.append(_GAP)
            for event in missed or ():
                client.tell(event)

    def _missed(self, after: str) -> list[_Event] | None:
        """Return what came after a call; None where that call is not known any more."""
        recent = list(self._recent)
        place = next((number for number, event in enumerate(recent) if event.record.call_id == after), None)
        if place is None:
            return None
        missed = recent[place + 1 :]
        if after in self._of_before:  # the order among several gateways is not quite the one it had before
            since = ended_us(recent[place].record) - _OVERLAP_US
            missed = [event for event in recent[:place] if ended_us(event.record) >= since] + missed
        return missed

    # -- the follower -------------------------------------------------------------------------------------------

    async def _follow(self, begun: asyncio.Future[None]) -> None:
        """Follow as long as somebody listens. The outermost frame: a failure lets everyone go, and none waits on."""
        try:
            await self._follow_journal(begun)
        except Exception:
            log.exception("Live calls have failed.")
            if not begun.done():
                begun.set_exception(Unavailable("Live calls failed on our side.", hint="The log tells why."))
            for client in self._clients:
                client.let_go("failed", "This failed on our side; come back with Last-Event-ID.")

    async def _follow_journal(self, begun: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._follower.begin, _KEPT)
        except OSError as error:
            begun.set_exception(
                Unavailable(f"The journal cannot be read ({error.strerror}).", hint="Check the data folder.")
            )
            return
        self._recent = deque(map(_event, found), maxlen=_KEPT)
        self._of_before = {record.call_id for record in found}
        begun.set_result(None)
        alone_since = loop.time()
        failure = ""
        while loop.time() - alone_since < _LINGER_S:
            await asyncio.sleep(LOOK_S)
            try:
                found = await loop.run_in_executor(self._thread, self._follower.look)
            except OSError as error:  # a full table of files, a folder that is gone: said once, tried again
                if str(error) != failure:
                    log.warning("Live calls stand still: the journal cannot be read (%s).", error)
                failure = str(error)
                continue
            failure = ""
            for place in range(0, len(found), _AT_ONCE):
                self._tell(found[place : place + _AT_ONCE])
                await asyncio.sleep(0)  # whoever can take them takes them before the next ones
            if self._clients:
                alone_since = loop.time()

    def _tell(self, found: list[CallRecord]) -> None:
        for record in found:
            event = _event(record)
            self._recent.append(event)
            for client in self._clients:
                client.tell(event)

    def close(self) -> None:
        """Let everyone go: this process leaves, and another one answers those who come back."""
        self._closing = True
        for client in list(self._clients):
            client.let_go("restart", "The server restarts; come back with Last-Event-ID.")
        if self._following is not None:
            self._following.cancel()
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(Unavailable("The server is about to restart.", code="busy"))
            self._begun.exception()  # whoever waits has it
        self._thread.shutdown(wait=False, cancel_futures=True)


def _event(record: CallRecord) -> _Event:
    row = records.as_mapping(record)
    row["started_at"] = to_datetime(record.started_at)
    for name in _FLOATS:
        if row[name] is not None:
            (row[name],) = _FLOAT.unpack(_FLOAT.pack(row[name]))  # as the lake keeps and tells it
    return _Event(record, b"event: call\nid: %b\ndata: %b\n\n" % (record.call_id.encode(), msgspec.json.encode(row)))
