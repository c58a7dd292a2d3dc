"""Exact counters in the memory of the one gateway process. Not safe for several threads.

Hard budgets need every call to pass here. With several gateway processes each counts its own calls alone, so a hard
budget is not enforced half-way: a gateway of several refuses to start while there is one, and refuses the calls of
one that is made later; shares of amount / N would refuse calls that the budget pays for, and a restart would not know
whose share was spent. Rates and calls at a time, where a little more does no harm, are divided by the number of
gateways; soft budgets refuse nothing. Counters in a store will lift this.

While a reload replaces this process, two run for a moment: `owning` says which of them may admit calls under hard
budgets (a lock decides, see proxy_server/gateway/admit.py); the calls of the other one wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.limits import words
from ultimate_lib.limits.accounts import Accounts
from ultimate_lib.limits.calls import Index, amount, counts
from ultimate_lib.limits.counters import Hold, Refusal, Wait, charge
from ultimate_lib.limits.gauges import Gauge, give_back, settle, take
from ultimate_lib.limits.queues import Queues, lacking
from ultimate_lib.limits.wants import Want
from ultimate_lib.pricing.ceiling import MILLIONTHS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.clock import Clock
    from ultimate_lib.errors import Limited
    from ultimate_lib.limits.accounts import Account, Ledger
    from ultimate_lib.limits.calls import Budget, RateLimit
    from ultimate_lib.limits.counters import Ask
    from ultimate_lib.limits.spent import Amounts
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Settings

LEAST_OUTPUT = 16  # tokens; an answer cut shorter than this helps nobody
MARGIN_S = 60.0  # a hold expires so long after the longest call
_OWNED_WAIT_S = 10.0
_MOST_FOUND = 10_000
_UP = MILLIONTHS - 1


class MemoryCounters:
    """Counts the calls of this process. `idle` is True while no limit exists: then nothing needs to be asked."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._gateways = settings.server.gateways
        self._hold_s = settings.limits.total_s + MARGIN_S
        self.accounts = Accounts(settings.billing, clock)
        self._gauges: dict[str, Gauge] = {}
        self._budgets: Index[Account] = Index.of(())
        self._rates: Index[Gauge] = Index.of(())
        self._holds: dict[str, Hold] = {}
        self._found: dict[tuple[object, ...], tuple[list[Gauge], list[Account], list[Account]]] = {}
        self._edition = 0
        self._waits = Queues(settings.limits.waiting_bytes)
        self._arrived = 0
        self.owning = True
        self.idle = True

    def set(self, budgets: Iterable[Budget], rates: Iterable[RateLimit]) -> None:
        """Go by these limits from now on; what was counted under one that stays is kept."""
        self.accounts.set(budgets)
        gauges, self._gauges = self._gauges, {}
        for limit in rates:
            gauge = gauges.get(limit.id) or Gauge()
            gauge.set(limit, self._gateways if isinstance(self._gateways, int) else 1)
            self._gauges[limit.id] = gauge
        self._budgets = Index.of((a.budget.subject, a.budget.subject_id, a) for a in self.accounts.values())
        self._rates = Index.of((g.limit.subject, g.limit.subject_id, g) for g in self._gauges.values())
        self._found.clear()
        self._edition += 1
        self.idle = not self.accounts and not self._gauges
        self._reconsider()

    def prices(self, record: CallRecord) -> bool:
        """Say whether a call's worst case will be asked for."""
        return bool(self._concerning(record)[2])

    def _concerning(self, record: CallRecord) -> tuple[list[Gauge], list[Account], list[Account]]:
        """Return the rates and the budgets that a call is under, and the hard ones among these."""
        tags = tuple(record.tags) if record.tags and self._budgets["tag"] else None
        of = (record.key_id, record.user_id, record.team, record.project, tags, record.billing)
        found = self._found.get(of)
        if found is None:
            accounts = self._budgets.of_call(record) if record.billing != "subscription" else []
            hard = [one for one in accounts if one.budget.hard and one.budget.enabled]
            found = self._rates.of_call(record), accounts, hard
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[of] = found
        return found

    # -- admitting ----------------------------------------------------------------------------------------------

    def admit(self, ask: Ask) -> Hold | Wait | Refusal | None:
        """Reserve a call's worst case; None: no limit concerns it."""
        record = ask.record
        gauges, accounts, hard = self._concerning(record)
        if not gauges and not hard:
            return None
        hold = Hold(record.call_id, ask.true, self._edition, accounts)
        now = self._clock.monotonic()
        if gauges:
            refused = take(gauges, ask, hold, now)
            if refused is not None:
                return refused
        if not hard:
            return hold
        try:
            wants = self._wants(hard, ask)
        except BaseException:
            give_back(hold)
            raise
        if isinstance(wants, Refusal):
            give_back(hold)
            return wants
        if not wants or (self.owning and not self._waits.waits and self._reserve(wants, ask.output, ask, hold, now)):
            return hold
        return self._admit_late(wants, ask, hold)

    def _admit_late(self, wants: list[Want], ask: Ask, hold: Hold) -> Hold | Wait | Refusal:
        """Go on with a call for which one of its hard budgets has not enough free, or while others wait."""
        at_once = self.owning and not any(want.account.queue for want in wants)  # nobody overtakes who waits
        answer: Hold | Wait | Refusal | None = self._decide(wants, ask, hold) if at_once else None
        if answer is None:
            self._arrived += 1
            answer = self._queue(Wait(ask, hold, wants, self._wait_s(wants), self._arrived))
        if isinstance(answer, Refusal):
            give_back(hold)
        return answer

    def _wants(self, hard: list[Account], ask: Ask) -> list[Want] | Refusal:
        """Return what a call needs of each hard budget; those of which it needs nothing are left out."""
        if hard and self._gateways != 1:
            return Refusal(words.several_gateways(hard[0].budget))
        wants = []
        at_us = ask.record.started_at
        for account in hard:
            need = ask.need(account.budget.unit, account.rule)
            if isinstance(need, str):
                return Refusal(words.unpriced(account.budget, need))
            if need.base or need.each:
                ledger = account.current
                if at_us < ledger.start_us or at_us >= ledger.end_us:
                    ledger = self._ledger(account, at_us)
                wants.append(Want(account, ledger, need, account.rule))
        return wants

    def _ledger(self, account: Account, at_us: int) -> Ledger:
        """Return the ledger that a call is admitted under which did not start in the present period."""
        ledger = account.ledger(at_us)
        if ledger is None:  # it came before this period did, or the clock went back
            account.follow(self._clock.now_us())
            ledger = account.current
        return ledger

    def _decide(self, wants: list[Want], ask: Ask, hold: Hold, *, last: bool = False) -> Hold | Refusal | None:
        """Take what a call needs; None: others' holds stand in the way. `last`: what is free now has to do."""
        now = self._clock.monotonic()
        if self._reserve(wants, ask.output, ask, hold, now):
            return hold
        most = self._most(wants, ask, last=last)
        if isinstance(most, Refusal):
            return most
        return hold if self._reserve(wants, most, ask, hold, now) else None

    def _reserve(self, wants: list[Want], output: int, ask: Ask, hold: Hold, now: float) -> bool:
        """Take what a call with so much output needs, if each budget is loaded and has it free; else nothing.

        The sums are those of `Ceiling.at` and `Want.free`, spelled out: every call under a hard budget comes here.
        The hold has nothing of them yet, and no two wants are of one budget.
        """
        amounts = hold.amounts
        for want in wants:
            need, ledger, budget = want.need, want.ledger, want.account.budget
            want.most = most = need.base + (output * need.each + _UP) // MILLIONTHS
            if not ledger.loaded or most > budget.amount - ledger.spent - ledger.held - ledger.others:
                for taken in wants[: len(amounts)]:
                    taken.ledger.held -= taken.most
                amounts.clear()
                return False
            ledger.held += most
            amounts[budget.id] = most
        hold.wants = wants
        if (output < ask.output or not ask.asked) and ask.spliceable:
            hold.output = output
        hold.expires = now + self._hold_s
        self._holds[hold.call_id] = hold
        return True

    def _most(self, wants: list[Want], ask: Ask, *, last: bool = False) -> int | Refusal:
        """Return how much output its budgets pay for, others' holds apart unless it is the last chance."""
        output = ask.output
        for want in wants:
            if not want.ledger.loaded:
                if last:
                    return Refusal(words.unread(want.account.budget))
                continue
            can = want.need.fits(want.free if last else want.left)
            if can < output:
                flexible = ask.spliceable and (not ask.asked or want.account.budget.when_short == "clamp")
                if not flexible or can < min(LEAST_OUTPUT, ask.output):
                    return Refusal(self._short(want, ask))
                output = can
        return output

    def _short(self, want: Want, ask: Ask) -> Limited:
        ledger = want.ledger
        if want.account.budget.period == "total" or want.need.at(ask.output) <= want.left:
            after = None
        else:
            after = (ledger.end_us - self._clock.now_us()) / 1e6
        return words.short(
            want.account.budget,
            need=want.need.at(ask.output),
            left=want.left,
            held=ledger.held + ledger.others,
            fits=max(want.need.fits(want.free), 0) if ask.spliceable else None,
            after_s=after,
        )

    # -- waiting ------------------------------------------------------------------------------------------------

    def _wait_s(self, wants: list[Want]) -> float:
        default = self._settings.limits.hold_wait_s
        own = [want.account.budget.hold_wait_s for want in wants]
        seconds = min(default if one is None else one for one in own)
        at_once = self.owning and all(want.ledger.loaded for want in wants)
        return seconds if at_once else max(seconds, _OWNED_WAIT_S)

    def _queue(self, wait: Wait) -> Wait | Refusal:
        lacks = self._lacks(wait)
        if isinstance(lacks, Refusal):
            return lacks
        if wait.seconds <= 0:
            wait.stands = lacks
            return self._in_vain(wait)
        full = self._waits.full(wait)
        if full is not None:
            return Refusal(full)
        self._waits.enter(wait, lacks)
        return wait

    def _lacks(self, wait: Wait) -> list[Account] | Refusal:
        """Return the accounts for which a call has to wait; without the lock all of them. Or it waits in vain."""
        if not self.owning:
            return [want.account for want in wait.needs]
        output = self._most(wait.needs, wait.ask)
        return output if isinstance(output, Refusal) else lacking(wait, output)

    def _reconsider(self) -> None:
        """Ask again what each call that waits needs, in the order of arrival: budgets may have gone or come."""
        answers: list[tuple[Wait, Hold | Refusal]] = []
        for wait in self._waits.clear():
            _, accounts, hard = self._concerning(wait.ask.record)
            wait.hold.edition, wait.hold.accounts = self._edition, accounts
            wants = self._wants(hard, wait.ask)
            if wants and not isinstance(wants, Refusal):
                wait.needs = wants
                self._waits.enter(wait, [want.account for want in wants])  # it leaves those that have room below
            else:
                answers.append((wait, wants or wait.hold))  # type: ignore[arg-type] # an empty list is not told
        self._pump(*self.accounts.values())
        for wait, answer in answers:
            self._answer(wait, answer)

    @staticmethod
    def _answer(wait: Wait, answer: Hold | Refusal) -> None:
        if isinstance(answer, Refusal):
            give_back(wait.hold)
        if wait.ready is not None:
            wait.ready(answer)

    def _in_vain(self, wait: Wait) -> Refusal:
        """Return why a call is refused that has waited: the budget that stands most in the way."""
        stands: list[Want] = [want for want in wait.needs if want.account in wait.stands]
        worst = min(stands, key=lambda want: want.free - want.need.at(wait.ask.output))
        return Refusal(self._short(worst, wait.ask))

    def give_up(self, wait: Wait) -> Hold | Refusal:
        """End a wait whose time is over: with less output where that is allowed, else with the reason."""
        answer: Hold | Refusal | None = None
        if self.owning:
            answer = self._decide(wait.needs, wait.ask, wait.hold, last=True)
        if answer is None:
            answer = self._in_vain(wait)
        if isinstance(answer, Refusal):
            give_back(wait.hold)
        self._pump(*self._waits.leave(wait))
        return answer

    def forget(self, wait: Wait) -> None:
        """End a wait for a call that nobody wants any more."""
        give_back(wait.hold)
        self._pump(*self._waits.leave(wait))

    def own(self, *, owning: bool) -> None:
        """Begin or cease to admit calls under hard budgets."""
        self.owning = owning
        if owning:
            self._pump(*self.accounts.values())

    def _pump(self, *accounts: Account) -> None:
        """Let in who waits first, as long as there is room: in the order of arrival, so that all get their turn."""
        pending = list(accounts) if self._waits.waits and self.owning else []
        while pending:
            account = pending.pop()
            if not account.queue:
                continue
            wait = account.queue[0]
            answer = self._lacks(wait)
            if isinstance(answer, list) and answer:
                pending += self._waits.move(wait, answer)
                continue
            told = answer if isinstance(answer, Refusal) else self._decide(wait.needs, wait.ask, wait.hold)
            assert told is not None  # noqa: S101 - nothing is lacking
            pending += self._waits.leave(wait)
            self._answer(wait, told)

    # -- settling -----------------------------------------------------------------------------------------------

    def settle(  # noqa: C901, PLR0912 - in one piece: every call under a limit ends here, and steps cost it
        self, hold: Hold | None, record: CallRecord, reached: bool
    ) -> Mapping[str, int]:
        """Charge an ended call and free what it held; return the charges that are not its plain cost.

        `reached` says that its provider may have worked on it; otherwise what it held comes back. What is not known,
        or only estimated, is charged as it was held.
        """
        charges: Mapping[str, int] = {}
        if hold is None:
            accounts = self._under(record)
        else:
            accounts = hold.accounts if hold.edition == self._edition else self._under(record)
            if hold.rates:
                settle(hold, record, reached)
            if hold.wants and self._holds.pop(hold.call_id, None) is not None:
                for want in hold.wants:
                    if hold.expired:
                        want.ledger.spent -= want.most
                    else:
                        want.ledger.held -= want.most
            if hold.amounts and not (
                reached
                and record.usage_source == "provider"
                and record.cost_nano_usd is not None
                and record.cost_source != "estimated"
            ):  # not the provider's usage and the list's price, which it is charged as they are
                charges = _charges(hold, accounts, record, reached)
        at_us, nano_usd = record.started_at, record.cost_nano_usd or 0
        for account in accounts:
            budget = account.budget
            cost = nano_usd if budget.unit == "nano_usd" else amount(record, budget.unit)
            if charges:
                cost = charges.get(budget.id, cost)
            ledger = account.current
            if ledger.start_us <= at_us < ledger.end_us:
                ledger.spent += cost
            elif (kept := account.ledger(at_us)) is not None:
                kept.spent += cost
        if self._waits.waits and hold is not None:
            self._pump(*(want.account for want in hold.wants))
        return charges

    def _under(self, record: CallRecord) -> list[Account]:
        """Return the budgets that an ended call counts under."""
        return self._budgets.of_call(record) if counts(record) else []

    def expire(self) -> None:
        """Charge holds that nobody has settled in time; a settlement that comes late corrects it."""
        now = self._clock.monotonic()
        for hold in self._holds.values():
            if hold.expires <= now and not hold.expired:
                hold.expired = True
                for want in hold.wants:
                    want.ledger.held -= want.most
                    want.ledger.spent += want.most

    def add(self, spent: Amounts, held: Amounts, begun: frozenset[str] | None = None) -> None:
        """Add what was spent elsewhere, as the accounts take it, and let in whom that leaves room for."""
        self.accounts.add(spent, held, begun)
        self._pump(*self.accounts.values())


def _charges(hold: Hold, accounts: list[Account], record: CallRecord, reached: bool) -> dict[str, int]:
    """Return what budgets of which a call held something are charged, where that is not its plain cost."""
    charges = {}
    for account in accounts:
        budget = account.budget
        if budget.id in hold.amounts:
            plain = amount(record, budget.unit)
            cost = charge(hold, budget, record, plain) if reached else 0
            if cost != plain:
                charges[budget.id] = cost
    return charges
