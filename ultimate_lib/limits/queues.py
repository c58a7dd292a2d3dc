"""The calls that wait: each stands in the queues of those budgets alone that lack what it needs."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from ultimate_lib.limits import words

if TYPE_CHECKING:
    from ultimate_lib.errors import Limited
    from ultimate_lib.limits.accounts import Account
    from ultimate_lib.limits.counters import Wait

MOST = 1000
MOST_OF_ONE = 100  # of these places, for a key and for a user: nobody takes them all
_number = attrgetter("number")


def lacking(wait: Wait, output: int) -> list[Account]:
    """Return the accounts that keep a call waiting: with less than it needs, not loaded, or with others before it."""
    found = []
    for want in wait.needs:
        queue = want.account.queue
        before = queue and queue[0].number < wait.number
        if before or not want.ledger.loaded or want.need.at(output) > want.free:
            found.append(want.account)
    return found


class Queues:
    """The calls that wait, in the order of arrival. The first of each queue is one that its account is short of.

    `waits` is for looking at: a call that ends asks whether somebody waits, which a method would make dearer.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.waits: dict[Wait, None] = {}
        self._bytes = 0
        self._places: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self.waits)

    def full(self, wait: Wait) -> Limited | None:
        """Return why there is no place for a call, if there is none."""
        for subject, name in _subjects(wait):
            if self._places[subject, name] >= MOST_OF_ONE:
                return words.crowded_by_one(MOST_OF_ONE, subject)
        if len(self.waits) >= MOST or self._bytes + wait.ask.size > self._most_bytes:
            return words.crowded(len(self.waits), self._bytes)
        return None

    def enter(self, wait: Wait, accounts: list[Account]) -> None:
        """Begin a wait in the queues of these accounts."""
        self.waits[wait] = None
        self._bytes += wait.ask.size
        self._places.update(_subjects(wait))
        wait.stands = []
        self.move(wait, accounts)

    def move(self, wait: Wait, accounts: list[Account]) -> list[Account]:
        """Have a call stand in the queues of these accounts, where its arrival puts it; return those that it left."""
        left = [account for account in wait.stands if account not in accounts]
        for account in left:
            account.queue.remove(wait)
        for account in accounts:
            if account not in wait.stands:
                insort(account.queue, wait, key=_number)
        wait.stands = accounts
        return left

    def leave(self, wait: Wait) -> list[Account]:
        """End a wait; return the accounts in whose queues it stood."""
        del self.waits[wait]
        self._bytes -= wait.ask.size
        self._places -= Counter(_subjects(wait))  # those of whom nobody waits are forgotten
        return self.move(wait, [])

    def clear(self) -> list[Wait]:
        """End all waits; return them in the order of arrival. Their accounts' queues are cleared by who asks."""
        waits = list(self.waits)
        self.waits.clear()
        self._bytes = 0
        self._places.clear()
        return waits


def _subjects(wait: Wait) -> list[tuple[str, str]]:
    record = wait.ask.record
    return [(kind, name) for kind, name in (("key", record.key_id), ("user", record.user_id)) if name]
