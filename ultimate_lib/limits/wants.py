"""What a call needs of the hard budgets that it is under, and whether they have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.limits.counters import MILLIONTHS

if TYPE_CHECKING:
    from ultimate_lib.limits.accounts import Account, Ledger
    from ultimate_lib.limits.counters import Need


class Want(NamedTuple):
    """What a call needs of one account."""

    account: Account
    ledger: Ledger
    need: Need
    rule: str

    @property
    def left(self) -> int:
        """What is not spent."""
        return self.account.budget.amount - self.ledger.spent

    @property
    def free(self) -> int:
        """What is neither spent nor held."""
        return self.left - self.ledger.held - self.ledger.others


def fitting(wants: list[Want], output: int) -> list[int] | None:
    """Return what so much output needs of each budget, or None when one has not so much free, or is not loaded.

    The sums are those of `Need.at` and `Want.free`, spelled out: every call under a hard budget comes here.
    """
    needed = []
    for account, ledger, need, _ in wants:
        most = need.base - (-output * need.each // MILLIONTHS)
        if not ledger.loaded or most > account.budget.amount - ledger.spent - ledger.held - ledger.others:
            return None
        needed.append(most)
    return needed
