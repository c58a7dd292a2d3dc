"""What a budget has spent and what is held of it, period by period."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ultimate_lib.limits.calendar import span

if TYPE_CHECKING:
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.counters import Wait
    from ultimate_lib.settings import Billing


class Ledger:
    """One budget in one period, in its unit. `others` is what calls of other processes hold."""

    __slots__ = ("end_us", "held", "others", "spent", "start_us")

    def __init__(self, start_us: int, end_us: int) -> None:
        self.start_us = start_us
        self.end_us = end_us
        self.spent = 0
        self.held = 0
        self.others = 0


class Account:
    """A budget with the ledgers of its present and its last period, and the calls that wait for it.

    A call belongs to the period in which it started, also when it ends in the next one. `loaded` turns True once
    what was spent before this process knew the budget has been added; a hard budget is enforced from then on.
    """

    __slots__ = ("_billing", "budget", "current", "last", "loaded", "queue")

    def __init__(self, budget: Budget, billing: Billing, at_us: int) -> None:
        self.budget = budget
        self._billing = billing
        self.current = Ledger(*span(budget.period, at_us, billing))
        self.last: Ledger | None = None
        self.queue: deque[Wait] = deque()
        self.loaded = False

    def ledger(self, at_us: int) -> Ledger | None:
        """Return the ledger of an instant, the next period's if it has begun; None for one that is over too long."""
        current = self.current
        if at_us < current.start_us:
            last = self.last
            return last if last is not None and last.start_us <= at_us else None
        if at_us >= current.end_us:
            self.last = current
            current = self.current = Ledger(*span(self.budget.period, at_us, self._billing))
        return current
