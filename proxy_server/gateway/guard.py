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
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ultimate_lib.baseline import ANOMALOUS, score
from ultimate_lib.errors import Corrupt
from ultimate_lib.guard import events, known, rule, words
from ultimate_lib.guard.events import Event, EventLog, Fold
from ultimate_lib.guard.spend import WINDOWS, Kept, Spend
from ultimate_lib.pricing.ceiling import UNSAID_OUTPUT, most_output
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from pathlib import Path

    from proxy_server.gateway.exchange import Exchange
    from proxy_server.gateway.state import State
    from proxy_server.gateway.surfaces import Surface
    from ultimate_lib.guard.known import Known, Rate
    from ultimate_lib.guard.words import Reason
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Guard as GuardSettings
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

_BEAT_S = 1.0
_FREE = "count_tokens"
_TRY_LATER_S = 60.0
_MOST_UNWRITTEN = 1000
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_THURSDAY_H = 72  # 1970 began on one; the hours of a week are counted from Monday
_KEEP_S = 10.0
_LEARNING_US = 600_000_000  # how long the worker is waited for after calls were accepted as usual


class _Found(NamedTuple):
    """What a look at the files has found; None: as before."""

    baselines: known.Baselines | None
    mark: tuple[int, ...]
    anew: bool
    events: list[Event]
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
        self._spend = Spend()
        self._spend_capped = any(self._most_usd)
        self._caps = bool(told.max_input_tokens or told.max_call_usd or self._spend_capped)
        self._rates: dict[str, Rate] = {}
        self._let_go: dict[str, int] = {}  # when somebody last ended a cool-down of a key
        self._accepted: dict[tuple[str, str], int] = {}  # when somebody last accepted calls as usual
        self._known: dict[tuple[str, str], Known] = {}
        self._folds: dict[tuple[str, str], Fold] = {}
        self._log = EventLog(settings.run_dir)
        self._unwritten: list[Event] = []
        self._mark: tuple[int, ...] = ()
        self.idle = True
        """Whether no call need be shown to it."""
        self.learnt_us: int | None = None
        """When what is usual was learnt; None: it never was."""
        self.failure = ""
        """The code of why it goes by what it knew before; empty: it does not."""
        self._kept = self._run_dir / f"guard-spend-{state.slot}.json"
        self._keep_at = self._clock.monotonic() + _KEEP_S
        self._unkept = False
        if told.enabled:
            self._take(self._look())
            self._spend.take(_read_kept(self._kept), self._clock.now_us())

    # -- before a call goes out ---------------------------------------------------------------------------------

    def enter(  # noqa: PLR0917 - what a call is made of
        self, exchange: Exchange, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord, asked: str
    ) -> None:  # fmt: skip
        """Mark, warn of or refuse a call. `asked` is its header `x-ultimate-guard`. Raises `Limited`."""
        if record.operation == _FREE:
            return
        capped = self._capped(surface, facts, route, record) if self._caps and surface.bills else None
        reason = capped or self._unusual(facts, route, record)
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
            raise words.refused(reason, overridden=overrides, wait_s=_TRY_LATER_S)
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
        spent = self._spend.within(rate.key_id, now_us)
        if not spent[-1] > self._rule.floor_nano_usd or not rule.ripe(rate.ripe_us, now_us):
            return None
        share = rate.shares[(now_us // _HOUR_US + _THURSDAY_H) % known.WEEK_H]
        let_go = self._let_go.get(rate.key_id, 0)
        for window, usual, nano in zip(WINDOWS, rate.usual_usd, spent, strict=True):
            if usual is None or nano <= self._rule.floor_nano_usd:
                continue
            if now_us - let_go <= window.part_us * (window.parts + 1):
                continue  # what led to the cool-down that was ended is in it
            most = usual if window is WINDOWS[-1] else usual * share
            if nano >= most * 1e9:
                advisory = not self._told.block_spend_rate
                return words.spend(window.name, nano / 1e9, most, window.part_us / 1e6, advisory=advisory)
        return None

    def _capped(self, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord) -> Reason | None:
        told = self._told
        if 0 < told.max_input_tokens < facts.input_estimate:
            return words.cap("max_input_tokens", f"about {facts.input_estimate} tokens", str(told.max_input_tokens))
        if told.max_call_usd and (reason := self._dear(surface, facts, route, record)) is not None:
            return reason
        if self._spend_capped and record.key_id is not None:
            spent = self._spend.within(record.key_id, self._clock.now_us())
            for window, most, nano in zip(WINDOWS, self._most_usd, spent, strict=True):
                if most and nano >= most * 1e9:
                    value = f"{words.usd(nano / 1e9)} spent in the last {window.name}"
                    name = f"max_usd_per_{window.name}"
                    return words.cap(name, value, words.usd(most), window.part_us / 1e6)
        return None

    def _dear(self, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord) -> Reason | None:
        output = (facts.most_output or most_output(route.model) or UNSAID_OUTPUT) if surface.generates else 0
        most = words.usd(self._told.max_call_usd)
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
        if cost is None or record.key_id is None:
            return
        if self._spend_capped or record.key_id in self._rates:
            self._spend.add(record.key_id, self._clock.now_us(), cost)
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
        return (usual.accepted_us or 0) < at_us and self._clock.now_us() - at_us < _LEARNING_US

    def _count(self, pair: tuple[str, str], told: Event) -> None:
        before = self._folds.get(pair, Fold())
        after = events.fold(self._rule, before, told)
        if after is before:
            return
        self._folds[pair] = after
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
            await asyncio.sleep(_BEAT_S)
            try:
                unwritten, self._unwritten = self._unwritten, []
                for told in unwritten:
                    self._write(told)
                self._take(await asyncio.to_thread(self._look))
                self._forget()
                if self._clock.monotonic() >= self._keep_at and not self._state.draining:
                    await asyncio.to_thread(self.keep)
            except Exception:
                log.exception("The guard could not look at its files; it is tried again.")
                self.failure = "internal"

    def keep(self) -> None:
        """Write what keys have spent lately, so that a successor goes on from there; in any thread."""
        self._keep_at = self._clock.monotonic() + _KEEP_S
        told = self._spend.kept()
        if not told:
            return
        making = self._kept.with_suffix(f".{os.getpid()}")
        try:
            with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(told))
            making.replace(self._kept)
        except OSError as error:
            if not self._unkept:  # told once
                log.warning("What keys have spent cannot be kept: %s", error)
            self._unkept = True
        else:
            self._unkept = False

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
            failure, told = "guard_log", f"guard.log has {self._log.bad} lines that are none of its own"
        return _Found(baselines, mark, anew, found, failure, told)

    def _take(self, found: _Found) -> None:
        self._mark = found.mark
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
        self.idle = not (self._known or self._rates or self._folds or self._caps)
        if found.failure:
            self._fail(found.failure, found.told)
        elif not self._unwritten:
            self.failure = "guard_spend" if self._unkept else ""

    def _fold(self, one: Event) -> None:
        pair = (one.key_id, one.model)
        self._folds[pair] = events.fold(self._rule, self._folds.get(pair, Fold()), one)
        if one.by:
            self._let_go[one.key_id] = max(one.at_us, self._let_go.get(one.key_id, 0))
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
        oldest = self._clock.now_us() - 2 * _DAY_US
        self._let_go = {key_id: at_us for key_id, at_us in self._let_go.items() if at_us >= oldest}
        oldest = self._clock.now_us() - _LEARNING_US
        self._accepted = {pair: at_us for pair, at_us in self._accepted.items() if at_us >= oldest}

    def _fail(self, code: str, told: str) -> None:
        if code != self.failure:  # told once, not each second
            log.warning("The guard goes by what it knew before: %s", told)
        self.failure = code


def _read_kept(path: Path) -> Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:  # sums of a day at most: they begin anew
        log.warning("What keys have spent lately cannot be read, and begins at zero: %s", error)
        return {}


def _action(exchange: Exchange, told: GuardSettings) -> str:
    return (exchange.principal.guard if exchange.principal is not None else None) or told.action


def _pair(record: CallRecord) -> tuple[str, str]:
    return record.key_id or "", record.model_routed or record.model_requested or ""


def _priced(book: PriceBook, route: Route, record: CallRecord, tokens: int, output: int) -> int | None:
    """Return what so many tokens cost, in nano-dollars, if their price is known."""
    usage = Usage(input_tokens=tokens, output_tokens=output)
    cost = book.cost(route.provider.price_id, route.model, usage, record.started_at)
    return None if cost is None else cost.total
