"""The guard of one gateway process: asked before a call goes out, told what it cost when it has ended.

What is usual comes from the worker's file, read anew when it changes; what counts against a key and model from the
log that all gateways share. Without either, and without caps, the guard is idle and costs nothing. A call's row says
`anomaly_score`, and as `anomaly_action` what the rule says of it, whatever was done about it: `warn` for one that
cost far more than usual or whose key spends faster than usual, `block` for one that was refused or, where the key's
action is not `block`, would have been.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from proxy_server.gateway.spending import Spending
from ultimate_lib.baseline import ANOMALOUS, score
from ultimate_lib.errors import Corrupt
from ultimate_lib.guard import events, known, pace, rule, words
from ultimate_lib.guard.events import Event, EventLog, Fold
from ultimate_lib.guard.pace import TooMuch
from ultimate_lib.guard.spend import WINDOWS
from ultimate_lib.pricing.ceiling import UNSAID_OUTPUT, most_output
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from proxy_server.gateway.exchange import Exchange
    from proxy_server.gateway.state import State
    from proxy_server.gateway.surfaces import Surface
    from ultimate_lib.guard.known import Known, Rate
    from ultimate_lib.guard.spend import Spend
    from ultimate_lib.guard.words import Reason
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Guard as GuardSettings
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

_BEAT_S = 1.0
_MOST_UNWRITTEN = 1000
_LONGEST_FIRST = tuple(reversed(range(len(WINDOWS))))
_NEW_S, _NEW_BEAT_S = 5.0, 0.1  # a predecessor may still be telling what its keys have spent
_LEARNING_US = 600_000_000  # how long the worker is waited for after calls were accepted as usual


class _Found(NamedTuple):
    """What a look at the files has found; None: as before."""

    baselines: known.Baselines | None
    mark: tuple[int, ...]
    anew: bool
    events: list[Event]
    spend: Spend | None
    failure: str
    told: str


class Guard:
    """Decides. For the loop's thread alone, but for `_look`."""

    def __init__(self, state: State) -> None:
        settings: Settings = state.settings
        self._state = state
        self._clock = state.clock
        self._told = told = settings.guard
        self._run_dir = settings.run_dir
        self._rule = rule.Rule.of(told)
        self._most_usd = (told.max_usd_per_minute, told.max_usd_per_hour, told.max_usd_per_day)
        self.spending = Spending(settings.run_dir, state.clock)
        self._spend_capped = any(self._most_usd)
        self._caps = bool(told.max_input_tokens or told.max_call_usd or self._spend_capped)
        self._rates: dict[str, Rate] = {}
        self._accepted: dict[tuple[str, str], int] = {}  # when somebody last accepted calls as usual
        self._known: dict[tuple[str, str], Known] = {}
        self._folds: dict[tuple[str, str], Fold] = {}
        self._log = EventLog(settings.run_dir)
        self._unwritten: list[Event] = []
        self._fresh: list[Event] = []  # counted since the last look at the files began
        self._mark: tuple[int, ...] = ()
        self.idle = True
        """Whether no call need be shown to it."""
        self.learnt_us: int | None = None
        """When what is usual was learnt; None: it never was."""
        self.failure = ""
        """The code of why it goes by what it knew before; empty: it does not."""
        self._began = self._clock.monotonic()
        if told.enabled:
            self._take(self._look())

    # -- before a call goes out ---------------------------------------------------------------------------------

    def enter(  # noqa: PLR0917 - what a call is made of
        self, exchange: Exchange, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord, asked: str
    ) -> None:  # fmt: skip
        """Mark, warn of or refuse a call. `asked` is its header `x-ultimate-guard`. Raises `Limited`."""
        if not surface.bills:
            return
        free = record.billing == "subscription"  # as for budgets
        capped = self._capped(surface, facts, route, record, free=free) if self._caps else None
        reason = capped if free else capped or self._unusual(facts, route, record)
        if reason is None:
            return
        action = _action(exchange, self._told)
        if reason.advisory:
            record.anomaly_action = "warn"
            if action != "observe":
                exchange.warning = reason.short
            return
        record.anomaly_action = "block"
        principal = exchange.principal
        assert principal is not None  # noqa: S101 - who is not known does not come so far
        overrides = asked.strip().lower() == words.OVERRIDE
        if overrides and "settings:manage" in principal.permissions:
            log.info("Call %s has got past the guard with an override: %s.", record.call_id, reason.short)
            return
        if capped is not None or action == "block":
            raise words.refused(reason, overridden=overrides)
        if action == "warn":
            exchange.warning = reason.short

    def _unusual(self, facts: RequestFacts, route: Route, record: CallRecord) -> Reason | None:
        """Return why a call is unlike others: what may be refused first, then what is only told of."""
        pair = _pair(record)
        now_us = self._clock.now_us()
        if self._folds:
            found = self._folds.get(pair)
            if found is not None and rule.cooling(found.standing, now_us):
                return words.cooldown(pair[1], found.standing.until_us, now_us, found.last)
        rate = self._rates.get(pair[0])
        quick = self._quick(rate, now_us) if rate is not None else None
        if quick is not None and not quick.advisory:
            return quick
        return self._large(pair, facts, route, record, now_us) or quick

    def _large(
        self, pair: tuple[str, str], facts: RequestFacts, route: Route, record: CallRecord, now_us: int
    ) -> Reason | None:
        """Return why a call's input is unlike any before, if it is."""
        usual = self._known.get(pair)
        if usual is None or usual.usual_tokens is None or facts.input_estimate < usual.usual_tokens:
            return None
        if not rule.ripe(usual.ripe_us, now_us) or self._to_be_learnt(pair, usual):
            return None
        least = _priced(self._state.book, route, record, facts.input_estimate, 0)
        if least is None or least <= self._rule.floor_nano_usd:
            return None
        return words.large_input(facts.input_estimate, usual.usual_tokens)

    def _quick(self, rate: Rate, now_us: int) -> Reason | None:
        """Return why a key spends too quickly for this hour of the week, if it does."""
        key_id = rate.key_id
        spent = self.spending.within(key_id, now_us, since_end=True)
        found = pace.too_quick(rate, spent, self._rule.floor_nano_usd, now_us)
        if found is None or not rule.ripe(rate.ripe_us, now_us):
            return None
        advisory = not self._told.block_spend_rate
        after_s = None if advisory else self.spending.rolls_off_s(key_id, found, now_us, since_end=True)
        return words.spend(
            WINDOWS[found.window].name, found.spent / 1e9, found.most / 1e9, after_s, advisory=advisory
        )

    def _capped(
        self, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord, *, free: bool
    ) -> Reason | None:  # fmt: skip
        told = self._told
        if 0 < told.max_input_tokens < facts.input_estimate:
            return words.cap("max_input_tokens", f"about {facts.input_estimate} tokens", str(told.max_input_tokens))
        if free:
            return None
        if told.max_call_usd and (reason := self._dear(surface, facts, route, record)) is not None:
            return reason
        if self._spend_capped and record.key_id is not None:
            now_us = self._clock.now_us()
            spent = self.spending.within(record.key_id, now_us)
            for number in _LONGEST_FIRST:
                most, nano = self._most_usd[number], spent[number]
                if most and nano >= most * 1e9:
                    window = WINDOWS[number].name
                    value = f"{words.usd(nano / 1e9)} spent in the last {window}"
                    name = f"max_usd_per_{window}"
                    found = TooMuch(number, nano, most * 1e9)
                    return words.cap(
                        name, value, words.usd(most), self.spending.rolls_off_s(record.key_id, found, now_us)
                    )
        return None

    def _dear(self, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord) -> Reason | None:
        output = (facts.most_output or most_output(route.model) or UNSAID_OUTPUT) if surface.generates else 0
        most = words.usd(self._told.max_call_usd)
        if facts.odd_counts and self._state.settings.billing.unpriced != "allow":
            return words.cap("max_call_usd", "a maximum in it is no number", most)
        worst = _priced(self._state.book, route, record, facts.input_estimate, output * max(facts.choices or 1, 1))
        if worst is None:
            if self._state.settings.billing.unpriced == "allow":
                return None
            return words.cap("max_call_usd", f"the price of '{route.model}' is not known", most)
        if worst <= self._told.max_call_usd * 1e9:
            return None
        return words.cap("max_call_usd", f"this call may cost {words.usd(worst / 1e9)}", most)

    # -- when a call has ended ----------------------------------------------------------------------------------

    def settle(self, exchange: Exchange, record: CallRecord) -> None:
        """Score a call's true cost and write the score into its record. What is unknown has none."""
        cost = record.cost_nano_usd
        if cost is None or record.key_id is None or record.billing == "subscription":
            return
        if self._spend_capped or record.key_id in self._rates:
            self.spending.add(record.key_id, self._clock.now_us(), cost)
        pair = _pair(record)
        usual = self._known.get(pair)
        if usual is None or usual.cost is None:
            return
        found = round(score(usual.cost, cost / 1e9), 3)
        record.anomaly_score = found
        if found < ANOMALOUS:
            if record.anomaly_action is None:
                record.anomaly_action = "none"
            return
        if record.anomaly_action is None:
            record.anomaly_action = "warn"
        ended_us = record.started_at + (record.duration_ms or 0) * 1000
        call = rule.Call(record.call_id, record.started_at, ended_us, cost, found)
        if not rule.counts(self._rule, call, usual.ripe_us) or self._to_be_learnt(pair, usual):
            return
        told = Event(
            key_id=pair[0], model=pair[1], at_us=ended_us, call_id=record.call_id, started_us=record.started_at,
            cost_usd=cost / 1e9, usual_usd=usual.usual_usd or 0.0,
        )  # fmt: skip
        if not exchange.warning and _action(exchange, self._told) == "warn":
            exchange.warning = f"cost {words.usd(told.cost_usd)}, usual at most {words.usd(told.usual_usd)}"
        self._count(pair, told)

    def _to_be_learnt(self, pair: tuple[str, str], usual: Known) -> bool:
        """Return whether calls were accepted as usual that what is known is not learnt from yet."""
        at_us = self._accepted.get(pair, 0)
        return (usual.accepted_us or 0) < at_us and 0 <= self._clock.now_us() - at_us < _LEARNING_US

    def _count(self, pair: tuple[str, str], told: Event) -> None:
        before = self._folds.get(pair, Fold())
        after = events.fold(self._rule, before, told, self._clock.now_us())
        if after is before:
            return
        self._folds[pair] = after
        self._fresh.append(told)
        self._write(told)
        if after.standing.until_us != before.standing.until_us:
            log.warning(
                "Calls of key %s to %s cost far more than usual: a cool-down of %g min begins.",
                *pair, self._told.cooldown_minutes,
            )  # fmt: skip

    def _write(self, told: Event) -> None:
        """Write an event before the call's own line; while that cannot be done it is tried again each second."""
        try:
            self._log.append(told)
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                self._fail("guard_log", f"guard.log cannot be written ({error})")
            self._unwritten.append(told)
            del self._unwritten[:-_MOST_UNWRITTEN]

    # -- keeping up ---------------------------------------------------------------------------------------------

    async def keep_up(self) -> None:
        """Each second: take what the worker has learnt and what other gateways have seen. Ends when cancelled."""
        while self._told.enabled:
            young = self._clock.monotonic() - self._began < _NEW_S
            await asyncio.sleep(_NEW_BEAT_S if young else _BEAT_S)
            try:
                unwritten, self._unwritten = self._unwritten, []
                for told in unwritten:
                    self._write(told)
                self._fresh = []
                self._take(await asyncio.to_thread(self._look))
                self._forget()
                if self.spending.due():
                    await asyncio.to_thread(self.spending.keep)
            except Exception:
                log.exception("The guard could not look at its files; it is tried again.")
                self.failure = "internal"

    def _look(self) -> _Found:
        """Read what has changed. In any thread, one at a time."""
        baselines, mark, failure, told = None, self._mark, "", ""
        try:
            seen = known.path(self._run_dir).stat()
            mark = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
        except FileNotFoundError:
            mark = ()
        except OSError as error:
            failure, told = "baselines", str(error)
        if mark != self._mark:
            try:
                baselines = known.read(self._run_dir)
            except (Corrupt, OSError) as error:
                failure, told = "baselines", str(error)
        elif mark and self.failure == "baselines":
            failure = "baselines"  # still the same file
        anew, found = False, list[Event]()
        try:
            if self._log.moved():
                anew, found = self._log.read()
        except OSError as error:
            failure, told = "guard_log", f"guard.log cannot be read ({error})"
        if self._log.bad and not failure:
            failure, told = (
                "guard_log",
                f"lines of guard.log cannot be read ({self._log.bad}), until the worker clears them",
            )
        return _Found(baselines, mark, anew, found, self.spending.read(), failure, told)

    def _take(self, found: _Found) -> None:
        self._mark = found.mark
        self.spending.take(found.spend)
        if found.baselines is not None:
            self._known = found.baselines.known
            self._rates = {
                name: one for name, one in found.baselines.rates.items() if len(one.shares) == known.WEEK_H
            }
            self.learnt_us = found.baselines.about.made_us
        if found.anew:
            self._folds = {}
            for one in self._unwritten:
                self._fold(one)
        for one in found.events:
            self._fold(one)
        if found.anew:
            for one in self._fresh:  # the log may have been read before they were in it
                self._fold(one)
        self.idle = not (self._known or self._rates or self._folds or self._caps)
        if found.failure:
            self._fail(found.failure, found.told)
        elif not self._unwritten:
            self.failure = "guard_spend" if self.spending.unkept else ""

    def _fold(self, one: Event) -> None:
        pair, now_us = (one.key_id, one.model), self._clock.now_us()
        if events.ahead(one, now_us):
            return
        self._folds[pair] = events.fold(self._rule, self._folds.get(pair, Fold()), one, now_us)
        if one.by:
            self.spending.forgive(one.key_id, one.at_us)
        if one.since_us:
            self._accepted[pair] = max(one.at_us, self._accepted.get(pair, 0))

    def _forget(self) -> None:
        """Forget what no longer matters, so that memory does not grow with keys that have ended."""
        oldest = self._clock.now_us() - self._rule.window_us - self._rule.cooldown_us
        old = [
            pair
            for pair, one in self._folds.items()
            if one.standing.until_us < oldest and all(anomaly.ended_us < oldest for anomaly in one.standing.counted)
        ]
        for pair in old:
            del self._folds[pair]
        self.spending.forget()
        oldest = self._clock.now_us() - _LEARNING_US
        self._accepted = {pair: at_us for pair, at_us in self._accepted.items() if at_us >= oldest}

    def _fail(self, code: str, told: str) -> None:
        if code != self.failure:  # told once, not each second
            goes = "goes by what it knew before" if code == "baselines" else "may not know of all anomalies"
            log.warning("The guard %s: %s", goes, told)
        self.failure = code


def _action(exchange: Exchange, told: GuardSettings) -> str:
    return (exchange.principal.guard if exchange.principal is not None else None) or told.action


def _pair(record: CallRecord) -> tuple[str, str]:
    return record.key_id or "", record.model_routed or record.model_requested or ""


def _priced(book: PriceBook, route: Route, record: CallRecord, tokens: int, output: int) -> int | None:
    """Return what so many tokens cost, in nano-dollars, if their price is known."""
    usage = Usage(input_tokens=tokens, output_tokens=output)
    cost = book.cost(route.provider.price_id, route.model, usage, record.started_at)
    return None if cost is None else cost.total
