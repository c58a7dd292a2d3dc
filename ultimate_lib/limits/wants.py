"""What a call needs of the hard budgets that it is under, and whether they have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.pricing.ceiling import MILLIONTHS, Ceiling

if TYPE_CHECKING:
    from ultimate_lib.limits.accounts import Account, Ledger  # noqa: TC004 - no fields' types are looked up


class Want(msgspec.Struct, eq=False):
    """What a call needs of one account; `most` is what its hold has of it."""

    account: Account
    ledger: Ledger
    need: Ceiling
    rule: str
    most: int = 0

    @property
    def left(self) -> int:
        """What is not spent."""
        return self.account.budget.amount - self.ledger.spent

    @property
    def free(self) -> int:
        """What is neither spent nor held."""
        return self.left - self.ledger.held - self.ledger.others


def fit(wants: list[Want], output: int) -> bool:
    """Say whether each budget has free what so much output needs of it, and is loaded; what that is becomes `most`.

    The sums are those of `Ceiling.at` and `Want.free`, spelled out: every call under a hard budget comes here.
    """
    for want in wants:
        need, ledger = want.need, want.ledger
        most = want.most = need.base - (-output * need.each // MILLIONTHS)
        if not ledger.loaded or most > want.account.budget.amount - ledger.spent - ledger.held - ledger.others:
            return False
    return True
