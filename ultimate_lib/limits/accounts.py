"""What a budget has spent and what is held of it, period by period."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ultimate_lib.limits.calendar import span
from ultimate_lib.limits.status import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultimate_lib.clock import Clock
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.counters import Wait
    from ultimate_lib.limits.spent import Amounts
    from ultimate_lib.settings import Billing

_MOST_AHEAD = 8


class Ledger:
    """One budget in one period, in its unit. `others` is what calls of other processes hold.

    `loaded` turns True once what was spent before this process knew the period has been added: until then nobody can
    say what is left, and calls under a hard budget wait.
    """

    __slots__ = ("end_us", "held", "loaded", "others", "spent", "start_us")

    def __init__(self, start_us: int, end_us: int, *, loaded: bool = False) -> None:
        self.start_us = start_us
        self.end_us = end_us
        self.spent = 0
        self.held = 0
        self.others = 0
        self.loaded = loaded


class Account:
    """A budget with the ledgers of its present and its last period, and the calls that wait for it.

    A call belongs to the period in which it started, also when it ends in the next one. A clock that went ahead and
    comes back leaves ledgers of periods to come; they are kept, for what they hold was spent.
    """

    __slots__ = ("_billing", "budget", "current", "ledgers", "queue", "rule")

    budget: Budget
    rule: str

    def __init__(self, budget: Budget, billing: Billing, at_us: int) -> None:
        self._billing = billing
        self.set(budget)
        self.current = Ledger(*span(budget.period, at_us, billing))
        self.ledgers = [self.current]
        self.queue: deque[Wait] = deque()

    def set(self, budget: Budget) -> None:
        """Go by this budget; `rule` is its own for unknown prices, or that of all."""
        self.budget = budget
        self.rule = budget.unpriced or self._billing.unpriced

    @property
    def loaded(self) -> bool:
        """Whether what was spent in the present period is known."""
        return self.current.loaded

    def ledger(self, at_us: int) -> Ledger | None:
        """Return the ledger of an instant, the next period's if it has begun; None for one that is not kept."""
        current = self.current
        if current.start_us <= at_us < current.end_us:
            return current
        for one in self.ledgers:
            if one.start_us <= at_us < one.end_us:
                return one
        if at_us < current.start_us:
            return None
        return self._begin(at_us, loaded=current.loaded)

    def follow(self, now_us: int) -> None:
        """Go to the period of this moment, also back to one; what was spent in one that is not kept is unknown."""
        found = self.ledger(now_us)
        self.current = found if found is not None else self._begin(now_us, loaded=False)

    def _begin(self, at_us: int, *, loaded: bool) -> Ledger:
        ahead = [one for one in self.ledgers if one.start_us > at_us and one is not self.current]
        begun = Ledger(*span(self.budget.period, at_us, self._billing), loaded=loaded)
        self.ledgers = [*ahead[-_MOST_AHEAD:], self.current, begun]
        self.current = begun
        return begun


class Accounts(dict[str, Account]):
    """The accounts of all budgets by their ids: what is counted here, and what is told of other processes."""

    def __init__(self, billing: Billing, clock: Clock) -> None:
        super().__init__()
        self._billing = billing
        self._clock = clock

    def set(self, budgets: Iterable[Budget]) -> None:
        """Keep accounts of these budgets from now on; what was counted under one that stays is kept. Nobody waits."""
        now_us = self._clock.now_us()
        before = dict(self)
        self.clear()
        for known in before.values():  # also of those that go: holds that know them are still to be settled
            known.queue.clear()
        for budget in budgets:
            account = before.get(budget.id) or Account(budget, self._billing, now_us)
            account.set(budget)
            self[budget.id] = account

    def count_anew(self) -> frozenset[str]:
        """Forget what was counted under budgets whose past is unknown: it will be read with it. Return their ids."""
        now_us = self._clock.now_us()
        for account in self.values():
            account.follow(now_us)
            for ledger in account.ledgers:
                if not ledger.loaded:
                    ledger.spent = 0
        return frozenset(name for name, account in self.items() if not account.loaded)

    def add(self, spent: Amounts, held: Amounts, begun: frozenset[str] | None = None) -> None:
        """Add what was spent elsewhere (budget, start of its period → amount); `held` takes the place of the last.

        `begun` are the budgets whose past is in it; None: all that wait for theirs.
        """
        for (name, start_us), value in spent.items():
            ledger = self._ledger(name, start_us) if value else None
            if ledger is not None and ledger.loaded != (begun is None or name in begun):
                ledger.spent += value
        for name, account in self.items():
            for ledger in account.ledgers:
                ledger.others = 0
                ledger.loaded = ledger.loaded or begun is None or name in begun
        for (name, start_us), value in held.items():
            ledger = self._ledger(name, start_us) if value else None
            if ledger is not None:
                ledger.others += value

    def _ledger(self, name: str, at_us: int) -> Ledger | None:
        account = self.get(name)
        return account.ledger(at_us) if account is not None else None

    def standings(self) -> list[Standing]:
        """Return how each budget stands now, of those whose past is known."""
        now_us = self._clock.now_us()
        found = []
        for name, account in self.items():
            ledger = account.ledger(now_us)
            if ledger is not None and ledger.loaded:
                found.append(Standing(name, ledger.start_us, ledger.spent, ledger.held + ledger.others))
        return found
