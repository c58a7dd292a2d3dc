"""The limits of one gateway process: asked before each call, told at its end, kept up with the store and the journal.

Order of an admission: rates, then the worst case reserved under every hard budget, then the intent line, which
says what is held. Of two processes that run while one replaces the other, only the holder of `run/limits.lock`
admits calls under hard budgets: the predecessor lets go of it when it begins to drain, the successor then reads what
is still held there and goes on. Until then its calls wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ultimate_lib.errors import Invalid, UltimateError, Unavailable
from ultimate_lib.limits import spent, words
from ultimate_lib.limits.counters import Hold, Refusal, Wait
from ultimate_lib.limits.memory import MemoryCounters
from ultimate_lib.limits.worst import Sold, worst_case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy_server.gateway.exchange import Exchange
    from proxy_server.gateway.headers import RequestHeaders
    from proxy_server.gateway.state import State
    from proxy_server.gateway.surfaces import Surface
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.spent import Limits, Seen
    from ultimate_lib.limits.worst import WorstCase
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord

log = logging.getLogger(__name__)

_Told = TypeVar("_Told")

_BEAT_S = 1.0
_SLOW_S = 2.0
_LARGE = 256 * 1024  # bytes of a body that is looked through on the loop, in a millisecond
_CLAIM_S = 0.05
_LATE_S = 0.2


class Admission:
    """Admits calls. `idle` is True while there is no limit at all."""

    def __init__(self, state: State) -> None:
        self._state = state
        settings = state.settings
        self.counters = MemoryCounters(settings, state.clock)
        self.waiting: set[Waiting] = set()
        self.called: set[Waiting] = set()  # let in, and not yet gone on
        self.idle = False  # until the limits are known
        self._alone = settings.server.gateways == 1
        self._elsewhere = spent.Elsewhere(settings, state.store, state.clock, state.journal.writer)
        self._sold: dict[str, Sold] = {}
        self._mark: tuple[object, ...] | None = None
        self._lock: int | None = None
        self._leaving = False
        self._late = False  # calls wait for the worker to add up a budget
        self._scales: ThreadPoolExecutor | None = None
        self._weighing_bytes = 0
        self.failure = ""
        """The code of why limits are not kept up with the store; empty: they are."""
        self.counters.own(owning=False)
        self._first_look()

    def _first_look(self) -> None:
        try:
            limits = spent.read(self._state.store)
            assert limits is not None  # noqa: S101 - nothing is known yet that could be the same
            self._check(limits)
            self._claim()
            self._set(limits)
            self._add(self._elsewhere.look(limits.budgets))
            self.counters.own(owning=self._lock is not None or not self._alone)
        except Unavailable as error:  # calls are refused until they can be read, all of it: what is spent as well
            self._mark = None
            self._let_go()
            self.failure = error.code
            log.warning("The limits cannot be read yet: %s", error)

    def _check(self, limits: Limits) -> None:
        hard = [budget for budget in limits.budgets if budget.hard and budget.enabled]
        if hard and not self._alone:
            raise Invalid(
                f"The budget {hard[0].title} is a hard one, which several gateway processes cannot keep.",
                hint="Set server.gateways = 1, or make the budget soft or disable it.",
                code="gateways_budget",
            )

    def _claim(self) -> bool:
        """Try to become the process that admits under hard budgets; say whether it is now and was not before."""
        if self._lock is not None or not self._alone or self._leaving:
            return False
        run = self._state.settings.run_dir
        run.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(run / "limits.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def _set(self, limits: Limits) -> None:
        self.counters.set(limits.budgets, limits.rates)
        self._mark = limits.mark
        self.idle = self.counters.idle

    def _add(self, seen: Seen) -> None:
        self.counters.add(seen.spent, seen.held, seen.begun)
        self._late = bool(seen.late)

    # -- keeping up ---------------------------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Each second: take what has changed in the store and in other writers' segments. Ends when cancelled."""
        while True:
            owning, claimed = self.counters.owning, False
            await asyncio.sleep(_CLAIM_S if not owning else _LATE_S if self._late else _BEAT_S)
            try:
                claimed = not owning and self._claim()
                if claimed or owning or self._mark is None:
                    await self._look()
                if not owning and not self._leaving and (claimed or not self._alone) and self._mark is not None:
                    self.counters.own(owning=True)
                self.failure = ""
            except (UltimateError, OSError) as error:
                if claimed:
                    self._let_go()
                self._fail(error.code if isinstance(error, UltimateError) else type(error).__name__, error)
                await asyncio.sleep(_BEAT_S)
            except Exception:
                if claimed:
                    self._let_go()  # or it would be claimed no more, and calls would wait in vain
                log.exception("Limits could not be renewed; it is tried again.")
                self.failure = "internal"
                await asyncio.sleep(_BEAT_S)

    async def _look(self) -> None:
        limits = await self._beside(partial(spent.read, self._state.store, self._mark))
        if limits is not None:
            self._set(limits)
        # from this instant on the calls of a new budget are counted here; what was before is read from the journal
        anew = self.counters.accounts.count_anew()
        position = self._state.journal.position
        budgets: list[Budget] = [account.budget for account in self.counters.accounts.values()]
        if budgets:
            self._add(await self._beside(partial(self._elsewhere.look, budgets, position, anew)))
        self.counters.expire()

    async def _beside(self, work: Callable[[], _Told]) -> _Told:
        """Do `work` in a thread of its own, which holds up no exit; say so while it takes too long, and wait on.

        What it says at last still holds: nothing else is asked meanwhile.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Told] = loop.create_future()

        def tell(value: Any, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(value)
            else:
                done.set_exception(error)

        def do() -> None:
            value, error = None, None
            try:
                value = work()
            except Exception as raised:  # noqa: BLE001 - told to who waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, value, error)

        threading.Thread(target=do, name="limits", daemon=True).start()
        while not (await asyncio.wait({done}, timeout=_SLOW_S))[0]:
            self._fail("limits_slow")
            self.counters.expire()
        return done.result()

    def _fail(self, code: str, told: object = "reading them takes long; the store may hang") -> None:
        if code != self.failure:  # told once, not each second
            log.warning("Limits stay as they were: %s", told)
        self.failure = code

    def leave(self) -> None:
        """Cease to admit calls under hard budgets, for a successor does now."""
        self._leaving = True
        self.counters.own(owning=False)
        for called in list(self.called):
            called.go_on()  # its hold stands in the journal before the successor reads it
        self._let_go()
        for waiting in list(self.waiting):
            waiting.refuse(_replaced())

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- calls --------------------------------------------------------------------------------------------------

    def enter(  # noqa: PLR0917 - what a call is made of
        self, exchange: Exchange, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord,
        told: RequestHeaders,
    ) -> None:  # fmt: skip
        """Let a call go on, now or when others have made room. Raises `Limited`, `Unavailable`."""
        if self._mark is None:
            raise Unavailable("The limits cannot be read yet.", hint="Try again in a few seconds.", code="limits")
        price_id, book = route.provider.price_id, self._state.book
        sold = self._sold.get(price_id)
        if sold is None or sold.book is not book:  # a change of stored keys brings another book
            sold = self._sold[price_id] = Sold(book, price_id)
        ask = worst_case(
            exchange.body, facts, record, exchange.method, sold, route.model, surface.bills, surface.generates
        )  # fmt: skip
        if len(exchange.body) > _LARGE and self.counters.prices(record):
            self._weigh(ask, exchange, partial(self._admit, ask, exchange, surface, facts, route, record, told))
            return
        answer = self.counters.admit(ask)
        if type(answer) is Hold:  # as most are
            exchange.go(surface, facts, route, record, told, answer)
        else:
            self._answer(answer, exchange, surface, facts, route, record, told)

    def _admit(  # noqa: PLR0917 - what a call is made of
        self, ask: WorstCase, exchange: Exchange, surface: Surface, facts: RequestFacts, route: Route,
        record: CallRecord, told: RequestHeaders,
    ) -> None:  # fmt: skip
        self._answer(self.counters.admit(ask), exchange, surface, facts, route, record, told)

    def _answer(  # noqa: PLR0917 - what a call is made of
        self, answer: Hold | Wait | Refusal | None, exchange: Exchange, surface: Surface, facts: RequestFacts,
        route: Route, record: CallRecord, told: RequestHeaders,
    ) -> None:  # fmt: skip
        if answer is None or isinstance(answer, Hold):
            exchange.go(surface, facts, route, record, told, answer)
        elif isinstance(answer, Refusal):
            exchange.refused(record, answer.error)  # raised, it would be a cycle that keeps the body a while
        elif self._leaving:
            self.counters.forget(answer)
            raise _replaced()
        else:
            Waiting(self, answer, exchange, surface, facts, route, record, told).start()

    def _weigh(self, ask: WorstCase, exchange: Exchange, admit: Callable[[], None]) -> None:
        """Look through a large body in a thread, one at a time, so that the loop goes on; then admit its call."""
        if self._weighing_bytes + ask.size > self._state.settings.limits.waiting_bytes:
            raise words.unweighed(self._weighing_bytes)
        if self._scales is None:
            self._scales = ThreadPoolExecutor(1, "scales")
        self._weighing_bytes += ask.size

        def weighed(_: object) -> None:
            self._weighing_bytes -= ask.size
            exchange.go_on(ask.record, admit)

        asyncio.get_running_loop().run_in_executor(self._scales, ask.weigh).add_done_callback(weighed)

    def settle(self, hold: Hold | None, record: CallRecord, reached: bool) -> Mapping[str, int] | None:
        """Charge a call that has ended; return what its line says beside its cost."""
        if hold is None and self.idle:
            return None
        return self.counters.settle(hold, record, reached)


class Waiting:
    """A call that waits for others' holds: let in, refused when its time is over, forgotten when its client left."""

    def __init__(  # noqa: PLR0917 - what a call is made of
        self, admission: Admission, wait: Wait, exchange: Exchange, surface: Surface, facts: RequestFacts,
        route: Route, record: CallRecord, told: RequestHeaders,
    ) -> None:  # fmt: skip
        self._admission = admission
        self._wait = wait
        self._exchange = exchange
        self._call = (surface, facts, route, record, told)
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._began = exchange.state.clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._answer: Hold | Refusal | None = None

    def start(self) -> None:
        """Begin to wait."""
        self._admission.waiting.add(self)
        self._timer = self._loop.call_later(self._wait.seconds, self._time_out)
        self._wait.ready = self._ready
        self._exchange.connection.set_close_callback(self._left)

    def _ready(self, answer: Hold | Refusal) -> None:
        """Take the answer, given while another call ends: what follows has its own turn on the loop."""
        self._end()
        self._answer = answer
        self._admission.called.add(self)
        self._loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Go on with the answer, once."""
        answer, self._answer = self._answer, None
        self._admission.called.discard(self)
        if answer is not None:
            self._go_on(answer)

    def _time_out(self) -> None:
        self._end()
        self._go_on(self._admission.counters.give_up(self._wait))

    def refuse(self, error: UltimateError) -> None:
        """Send the call away."""
        self._end()
        self._admission.counters.forget(self._wait)
        self._exchange.refused(self._record, error)

    def _end(self) -> None:
        self._admission.waiting.discard(self)
        self._wait.ready = None  # or they would know each other, and keep the body until they are collected
        if self._timer is not None:
            self._timer.cancel()

    def _go_on(self, answer: Hold | Refusal) -> None:
        exchange = self._exchange
        exchange.read_at += exchange.state.clock.monotonic() - self._began  # the wait is no work of ours
        if exchange.connection.gone:
            exchange.left(self._record)  # first: it takes the estimate of its input back, for nothing was sent
            if isinstance(answer, Hold):
                self._admission.counters.settle(answer, self._record, reached=False)
            return
        exchange.connection.set_close_callback(None)
        if isinstance(answer, Refusal):
            exchange.refused(self._record, answer.error)
        else:
            exchange.go(*self._call, answer)

    def _left(self) -> None:
        if self in self._admission.waiting:
            self._end()
            self._admission.counters.forget(self._wait)
            self._exchange.left(self._record)


def _replaced() -> Unavailable:
    return Unavailable("This process is being replaced.", hint="Try again; another one answers.", code="replaced")
