"""What a call needs of a hard budget that it is under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ultimate_lib.limits.accounts import Account, Ledger  # noqa: TC004 - no fields' types are looked up
    from ultimate_lib.pricing.ceiling import Ceiling  # noqa: TC004 - likewise


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
