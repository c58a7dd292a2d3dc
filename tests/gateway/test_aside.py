"""Reads beside the loop: it never waits, a hanging store leaves known callers be, and unknown ones hear of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy_server.gateway.aside import Aside, Callers, Waiting
from tests.stopwatch import Stopwatch
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.principal import Principal
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Unavailable
from ultimate_lib.store import Store

KNOWN, OTHER = "cp_" + "k" * 43, "cp_" + "o" * 43
ADA = Principal(user_id="u", user_name="ada", permissions=frozenset())


class Held:
    """A key cache whose store answers when the test lets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = SteppedClock(datetime(2026, 3, 1, tzinfo=UTC))
        self.keys = KeyCache(Store("sqlite://"), self.clock)
        self.open = threading.Event()
        self.open.set()
        self.reads = 0
        self.ended = False
        monkeypatch.setattr(self.keys, "_read", self._read)

    def _read(self, token: str) -> tuple[int, Principal | None]:
        self.reads += 1
        assert self.open.wait(20)
        return 0, ADA if token == KNOWN and not self.ended else None


async def ask(callers: Callers, key: str) -> Any:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    try:
        return callers.find(key, told.set_result)
    except Waiting:
        return await told


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0)


def test_a_hanging_store_does_not_hold_the_loop_up(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch)

    async def run() -> None:
        callers = Callers(held.keys, Aside())
        assert await ask(callers, KNOWN) is ADA
        assert await ask(callers, OTHER) is None
        held.open.clear()
        held.clock.advance(2.6)
        longest = 0.0
        unknown = [asyncio.create_task(ask(callers, f"cp_{n:043d}")) for n in range(20)]
        while not all(one.done() for one in unknown):
            with Stopwatch() as took:
                assert await ask(callers, KNOWN) is ADA, "known: from memory"
                await asyncio.sleep(0.01)
            longest = max(longest, took.seconds)
        assert longest < 0.5
        told = await asyncio.gather(*unknown)
        assert all(isinstance(one, Unavailable) for one in told)
        held.clock.advance(2.5)
        assert await ask(callers, KNOWN) is ADA, "longer than its five seconds"
        held.open.set()

    asyncio.run(run())


def test_those_who_ask_at_a_time_share_one_read_and_keys_in_use_are_read_before_they_are_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch)

    async def run() -> None:
        callers = Callers(held.keys, Aside())
        assert await asyncio.gather(*(ask(callers, KNOWN) for _ in range(50))) == [ADA] * 50
        assert held.reads == 1
        held.ended = True
        held.clock.advance(3.1)
        assert await ask(callers, KNOWN) is ADA, "not waited for"
        await until(lambda: not callers._reading)
        assert held.reads == 2
        assert await ask(callers, KNOWN) is None

    asyncio.run(run())


def test_a_read_that_hangs_on_one_connection_does_not_hide_that_a_key_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch)

    async def run() -> None:
        callers = Callers(held.keys, Aside())
        assert await ask(callers, KNOWN) is ADA
        held.open.clear()  # the connection that is asked next hangs for good
        held.clock.advance(3)
        assert await ask(callers, KNOWN) is ADA
        await until(lambda: held.reads == 2)
        hanging, held.open = held.open, threading.Event()
        held.open.set()  # others answer
        held.ended = True
        with Stopwatch() as took:
            while await ask(callers, KNOWN) is not None:
                await asyncio.sleep(0.02)
                assert took.seconds < 5
        hanging.set()

    asyncio.run(run())


def test_a_flood_of_made_up_keys_lets_no_ended_key_go_on_and_leaves_room_for_those_who_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch)

    async def run() -> None:
        aside = Aside()
        callers = Callers(held.keys, aside)
        assert await ask(callers, KNOWN) is ADA
        held.open.clear()
        flood = [asyncio.create_task(ask(callers, f"cp_{n:043d}")) for n in range(1000)]
        await until(lambda: sum(one.done() for one in flood) >= 900)
        assert sum(one.done() for one in flood) == 900, "refused at once"
        assert len(aside._work) < 150
        assert held.keys.away is False, "that too many ask says nothing of the store"
        held.ended = True
        held.clock.advance(5.1)
        known = asyncio.create_task(ask(callers, KNOWN))
        held.open.set()
        assert await known is None
        assert [one for one in await asyncio.gather(*flood[:100]) if one is not None] == []

    asyncio.run(run())
