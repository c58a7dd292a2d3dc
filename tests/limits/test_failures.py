"""What fails while limits are read or calls are priced leaves nothing behind: no place taken, no amount lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy_server.gateway import admit
from proxy_server.gateway.admit import Admission, Waiting
from tests.gateway.limited import make_budget, make_rate, settings_of
from tests.limits.test_memory import ask, counters, ended, record
from tests.limits.test_memory import budget as limit
from tests.limits.test_sums import CLOCK, call, folder, writer
from tests.stopwatch import Stopwatch
from ultimate_lib.errors import Limited, Unavailable
from ultimate_lib.lake import Lake
from ultimate_lib.limits import spent
from ultimate_lib.limits.calls import RateLimit
from ultimate_lib.limits.counters import Hold, Refusal, Wait
from ultimate_lib.limits.spent import Elsewhere
from ultimate_lib.limits.sums import Sums
from ultimate_lib.limits.worst import Sold, WorstCase, worst_case
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.pricing.ceiling import Ceiling
from ultimate_lib.protocols import RequestFacts, openai_chat
from ultimate_lib.records import CallRecord
from ultimate_lib.store import Store

__all__ = ["folder"]


def admission(folder: Path, **told: Any) -> Admission:
    settings = settings_of(folder, **told)
    journal = SimpleNamespace(writer="0-own", position=(0, 0))
    state: Any = SimpleNamespace(
        settings=settings, clock=CLOCK, store=Store(settings.store_url), journal=journal, book=None
    )
    return Admission(state)


async def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    with Stopwatch() as waited:
        while not true():
            assert waited.seconds < within_s
            await asyncio.sleep(0.01)


def keep_up_until(made: Admission, true: Callable[[], bool]) -> None:
    async def some_time() -> None:
        task = asyncio.create_task(made.keep_up())
        await until(true)
        task.cancel()

    asyncio.run(some_time())


def keep_up_until_it_owns(made: Admission) -> None:
    keep_up_until(made, lambda: made.counters.owning)


def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)


def test_a_store_that_goes_away_in_the_middle_of_the_first_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_budget(folder, 100)
    with monkeypatch.context() as patch:
        failing(patch, Elsewhere, "_begin", Unavailable("away", code="store"))
        one = admission(folder)
    keep_up_until_it_owns(one)
    assert one.counters.accounts[made].loaded
    assert isinstance(one.counters.admit(ask(record(), base=101)), Refusal)


def test_an_unexpected_failure_of_a_look_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_budget(folder, 100)
    with monkeypatch.context() as patch:
        failing(patch, spent, "read", Unavailable("away", code="store"))
        one = admission(folder)
    with monkeypatch.context() as patch:
        failing(patch, spent, "read", RuntimeError("odd"))
        keep_up_until(one, lambda: one.failure == "internal")
    keep_up_until_it_owns(one)


def test_one_of_several_gateways_keeps_up_after_a_start_without_a_store(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_rate(folder, requests_per_minute=5)
    with monkeypatch.context() as patch:
        failing(patch, spent, "read", Unavailable("away", code="store"))
        one = admission(folder, **{"server.gateways": 2})
    keep_up_until_it_owns(one)
    assert not one.idle


def test_a_look_that_fails_half_way_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_budget(folder, 10**6)
    first, second = writer(folder), writer(folder)
    for one in (first, second):
        one.call(call())
        one.call(call())
    store = Store(settings_of(folder).store_url)
    limits = spent.read(store)
    assert limits is not None
    seen = Elsewhere(settings_of(folder), store, CLOCK, "")
    real, left = spent._read, [1]

    def few(*told: Any) -> Any:
        if not left:
            raise OSError(24, "Too many open files")
        left.pop()
        return real(*told)

    with monkeypatch.context() as patch:
        patch.setattr(spent, "_read", few)
        with pytest.raises(OSError, match="Too many"):
            seen.look(limits.budgets)
    found = seen.look(limits.budgets)
    assert {name: value for (name, _), value in found.spent.items()} == {made: 40}
    assert sum(seen.look(limits.budgets).spent.values()) == 0
    for one in (first, second):
        one.close()


def test_what_ended_before_a_second_try_is_not_counted_twice() -> None:
    made = counters()
    made.set([limit(amount=100)], ())
    made.settle(None, ended(record(), 10), reached=True)
    made.accounts.count_anew()  # its line lies before the journal's place of the second try
    made.add({("b1", made.accounts["b1"].current.start_us): 10}, {})
    made.accounts.count_anew()
    (one,) = made.accounts.standings()
    assert one.spent == 10


def test_a_call_that_cannot_be_priced_leaves_its_place() -> None:
    rate = RateLimit(id="r1", subject="global", subject_id="", concurrent=1, tokens_per_minute=100)
    made = counters(limit(amount=100), rates=(rate,))

    def odd(_unit: str, _rule: str) -> Any:
        raise RecursionError

    with pytest.raises(RecursionError):
        made.admit(ask(record(), price=odd, tokens=100))
    assert isinstance(made.admit(ask(record(), tokens=100)), Hold)


def test_a_body_that_is_no_json_has_no_worst_case() -> None:
    book: Any = None
    worst = worst_case(
        b"{broken", RequestFacts(model=""), record(), "POST", Sold(book, "openai"), "", read=True, generates=True
    )
    assert worst.need("nano_usd", "refuse") == "its body cannot be read"


def test_a_call_that_its_provider_refused_takes_no_tokens() -> None:
    rate = RateLimit(id="r1", subject="global", subject_id="", tokens_per_minute=100)
    made = counters(rates=(rate,))
    failed = record()
    hold = made.admit(ask(failed, tokens=100))
    assert isinstance(hold, Hold)
    failed.usage_source = "none"
    made.settle(hold, failed, reached=False)
    assert isinstance(made.admit(ask(record(), tokens=100)), Hold)


def test_who_was_let_in_goes_on_before_the_lock_is_let_go(folder: Path) -> None:
    made = make_budget(folder, 10)
    one = admission(folder)
    first = record()
    hold = one.counters.admit(ask(first))
    wait = one.counters.admit(ask(record()))
    assert isinstance(hold, Hold)
    assert isinstance(wait, Wait)
    gone_on: list[bool] = []

    class Connection:
        gone = False

        def set_close_callback(self, _: Any) -> None:
            pass

    def go(*_: Any) -> None:
        gone_on.append(one._lock is not None)

    exchange: Any = SimpleNamespace(
        state=SimpleNamespace(clock=CLOCK), connection=Connection(), read_at=0.0, go=go, refused=None
    )
    told: Any = None

    async def leave() -> None:
        Waiting(one, wait, exchange, told, told, told, wait.ask.record, told).start()
        one.counters.settle(hold, ended(first, 0), reached=True)
        one.leave()
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert gone_on == [True]
    assert one.counters.accounts[made].current.held == 10


def test_who_leaves_when_it_is_let_in_is_charged_nothing(folder: Path) -> None:
    """Nothing was sent: the estimate of its input is no spending, under a soft budget either."""
    make_budget(folder, 10)
    soft = make_budget(folder, 1000, unit="tokens", hard=False)
    one = admission(folder)
    first = record()
    hold = one.counters.admit(ask(first))
    call = record(CLOCK, input_tokens=50, usage_source="estimated")  # type: ignore[arg-type] # any clock
    wait = one.counters.admit(ask(call))
    assert isinstance(hold, Hold)
    assert isinstance(wait, Wait)

    class Connection:
        gone = False

        def set_close_callback(self, _: Any) -> None:
            pass

    def left(record: CallRecord) -> None:
        record.input_tokens, record.usage_source = None, "none"  # as the exchange does

    connection = Connection()
    exchange: Any = SimpleNamespace(state=SimpleNamespace(clock=CLOCK), connection=connection, read_at=0.0, left=left)
    told: Any = None

    async def leave() -> None:
        Waiting(one, wait, exchange, told, told, told, call, told).start()
        one.counters.settle(hold, ended(first, 0), reached=True)
        connection.gone = True
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert one.counters.accounts[soft].current.spent == 0


def test_a_store_that_hangs_is_told_and_holds_up_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store says at last still holds: nothing is read twice, nothing is lost."""
    monkeypatch.setattr(admit, "_SLOW_S", 0.1)
    make_budget(folder, 100)
    one = admission(folder)
    hangs, reads, expired = threading.Event(), [0], [0]
    real, expire = spent.read, one.counters.expire

    def slow(*told: Any) -> Any:
        reads[0] += 1
        hangs.wait(20)
        return real(*told)

    def seen() -> None:
        expired[0] += 1
        expire()

    monkeypatch.setattr(spent, "read", slow)
    monkeypatch.setattr(one.counters, "expire", seen)
    keep_up_until(one, lambda: expired[0] > 2)
    assert (one.failure, reads) == ("limits_slow", [1])
    assert isinstance(one.counters.admit(ask(record())), Hold)
    made = make_budget(folder, 50)

    async def some_time() -> None:
        task = asyncio.create_task(one.keep_up())
        await until(lambda: one.failure == "limits_slow" and reads[0] > 1)
        hangs.set()
        await until(lambda: not one.failure and made in one.counters.accounts)
        task.cancel()

    one.failure = ""
    asyncio.run(some_time())
    assert one.counters.accounts[made].loaded


def test_a_changed_calendar_makes_its_budget_wait_and_nothing_else(folder: Path) -> None:
    """Until the worker has read the new period's past; none of its calls is refused meanwhile."""
    make_budget(folder, 100, period="month")
    one = admission(folder, **{"billing.time_zone": "Asia/Tokyo"})
    keep_up_until_it_owns(one)
    wait = one.counters.admit(ask(record(CLOCK)))  # type: ignore[arg-type] # any clock
    assert isinstance(wait, Wait)
    got: list[object] = []
    wait.ready = got.append
    moved = settings_of(folder, **{"billing.time_zone": "Asia/Tokyo"})
    Sums().update(Lake.open(moved, CLOCK), one._state.store)
    keep_up_until(one, lambda: bool(got))
    assert isinstance(got[0], Hold)


def test_a_call_is_priced_by_the_book_of_its_moment(folder: Path) -> None:
    """Stored keys that change bring providers and prices that the book before does not know."""
    make_budget(folder, 10**12)
    one = admission(folder)
    table = pricelist.load()
    body = b'{"model":"gpt-4o","max_tokens":10}'
    route: Any = SimpleNamespace(provider=SimpleNamespace(price_id="openai"), model="gpt-4o")
    surface: Any = SimpleNamespace(bills=True, generates=True)
    told: Any = None
    holds: list[Hold] = []
    exchange: Any = SimpleNamespace(body=body, method="POST", go=lambda *told: holds.append(told[-1]))

    def enter() -> None:
        one.enter(exchange, surface, openai_chat.read_request(body), route, record(CLOCK), told)  # type: ignore[arg-type] # any clock

    one._state.book = PriceBook(table.only(frozenset({"anthropic"})))
    refused: list[Limited] = []
    exchange.refused = lambda _, error: refused.append(error)
    enter()
    assert "no price of 'gpt-4o'" in str(refused[0])
    one._state.book = PriceBook(table.only(frozenset({"openai"})))
    enter()
    (hold,) = holds
    assert sum(hold.amounts.values()) > 0
    assert hold.true("price_as:gpt-4o", record(CLOCK, usage_source="provider", input_tokens=9, output_tokens=9))  # type: ignore[arg-type] # any clock


class Caller:
    """What a call comes from, with the close callback that it has been given, as a connection keeps it."""

    method = "POST"

    def __init__(self, one: Admission, size: int) -> None:
        self.body = bytes(size)
        self.state = one._state
        self.connection = SimpleNamespace(gone=False, set_close_callback=self.keep)
        self.read_at = 0.0
        self.told: list[object] = []

    def keep(self, callback: object) -> None:
        self.connection.callback = callback

    def go(self, *told: Any) -> None:
        self.told.append(told[-1])

    def refused(self, _: CallRecord, error: object) -> None:
        self.told.append(error)

    def go_on(self, _: CallRecord, step: Callable[[], None]) -> None:
        step()


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_call_that_is_refused_or_has_waited_keeps_no_body(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Not even until the next collection: that may be long after, and waiting_bytes would not count it."""
    make_budget(folder, 10)
    one = admission(folder)
    needs = [Ceiling(11, 0), Ceiling(10, 0), Ceiling(10, 0)]
    monkeypatch.setattr(WorstCase, "weigh", lambda _: None)
    monkeypatch.setattr(WorstCase, "need", lambda *_: needs[0])
    surface: Any = SimpleNamespace(bills=True, generates=False)
    route: Any = SimpleNamespace(provider=SimpleNamespace(price_id="x"), model="x")
    told: Any = None

    def kept_by() -> list[WorstCase]:
        return [each for each in gc.get_objects() if isinstance(each, WorstCase)]

    async def call() -> Caller:
        caller: Any = Caller(one, size)
        one.enter(caller, surface, RequestFacts(model="x"), route, record(CLOCK), told)  # type: ignore[arg-type] # any clock
        await until(lambda: bool(caller.told) or bool(one.waiting))
        needs.pop(0)
        return caller

    async def calls() -> None:
        refused = await call()
        assert isinstance(refused.told[0], Limited)
        await until(lambda: not kept_by())  # the scales' thread lets go of it, too
        first = await call()
        (hold,) = first.told
        second = await call()
        assert len(kept_by()) == 1
        assert isinstance(hold, Hold)
        one.counters.settle(hold, ended(record(), 0), reached=True)
        await until(lambda: bool(second.told))
        await until(lambda: not kept_by(), 3.0)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(calls())
    finally:
        gc.enable()


def test_a_large_body_is_weighed_in_a_thread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_budget(folder, 10**12)
    one = admission(folder, **{"limits.waiting_bytes": 500_000})
    threads: list[str] = []
    monkeypatch.setattr(WorstCase, "weigh", lambda _: threads.append(threading.current_thread().name))
    monkeypatch.setattr(WorstCase, "need", lambda *_: Ceiling(1, 0))
    gone_on: list[object] = []
    surface: Any = SimpleNamespace(bills=True, generates=False)
    route: Any = SimpleNamespace(provider=SimpleNamespace(price_id="x"), model="x")
    told: Any = None

    def enter(size: int) -> None:
        call = record(CLOCK)  # type: ignore[arg-type] # any clock
        exchange: Any = SimpleNamespace(
            body=bytes(size), method="POST", go=lambda *told: gone_on.append(told[-1]), go_on=lambda _, step: step()
        )
        one.enter(exchange, surface, RequestFacts(model="x"), route, call, told)

    async def calls() -> None:
        enter(200_000)
        assert (len(gone_on), threads) == (1, [])
        enter(300_000)
        assert len(gone_on) == 1
        with pytest.raises(Limited, match="looked through first"):
            enter(300_000)
        await until(lambda: len(gone_on) > 1)
        enter(300_000)
        await until(lambda: len(gone_on) > 2)

    asyncio.run(calls())
    assert all(isinstance(each, Hold) for each in gone_on)
    assert [name.startswith("scales") for name in threads] == [True, True]
