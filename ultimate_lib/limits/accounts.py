"""What a budget has spent and what is held of it, period by period."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ultimate_lib.limits.calendar import span

if TYPE_CHECKING:
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.counters import Wait
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

    __slots__ = ("_billing", "budget", "current", "ledgers", "queue")

    def __init__(self, budget: Budget, billing: Billing, at_us: int) -> None:
        self.budget = budget
        self._billing = billing
        self.current = Ledger(*span(budget.period, at_us, billing))
        self.ledgers = [self.current]
        self.queue: deque[Wait] = deque()

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
