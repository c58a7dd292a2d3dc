"""The protocol of counters: admit a call or say why not, and settle it at its end.

    answer = counters.admit(ask)
    Hold     the worst case is reserved: go on, and `settle` at the end, however it ends
    Wait     only others' holds stand in the way (or the answer comes from elsewhere): `wait.ready` is called once
             with a Hold or a Refusal; `give_up` ends the wait when its time is over, `forget` when nobody waits
    Refusal  it cannot be now: the reason, and when asking again may help

Nothing here awaits: counters in a store answer with a Wait at once and call `ready` when they know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence  # noqa: TC004 - no fields' types are looked up

    from ultimate_lib.errors import Limited
    from ultimate_lib.limits.calls import Budget
    from ultimate_lib.limits.gauges import Taken  # noqa: TC004 - likewise
    from ultimate_lib.limits.wants import Want  # noqa: TC004 - likewise
    from ultimate_lib.pricing.ceiling import Ceiling
    from ultimate_lib.records import CallRecord

TrueCost: TypeAlias = "Callable[[str, CallRecord], int | None]"
"""(rule for unknown prices, ended call) → its cost in nano-dollars where the list has none, if the rule gives one."""


class Ask(Protocol):
    """A call that wants in."""

    record: CallRecord
    output: int  # tokens that it may write at most, each choice
    asked: bool  # its own max_tokens says so; False: it has none, and takes what there is
    spliceable: bool  # its body can be given another max_tokens
    tokens: int  # estimate for the rates

    @property
    def size(self) -> int:
        """Bytes of its body, which stay in memory while it waits."""
        ...

    @property
    def true(self) -> TrueCost:
        """What it costs once it has ended, by a rule."""
        ...

    def need(self, unit: str, rule: str) -> Ceiling | str:
        """Return its worst case in a budget's unit under its rule for unknown prices, or why there is none."""
        ...


class Hold(msgspec.Struct, eq=False):
    """A reserved worst case. `amounts` stands on the intent line; `output` is what max_tokens becomes, if it does.

    `accounts` are all that concern the call, in that edition of the limits; of `wants` it holds the most.
    """

    call_id: str
    true: TrueCost
    edition: int
    accounts: list[Any]
    amounts: dict[str, int] = {}
    output: int | None = None
    expires: float = 0.0
    expired: bool = False
    wants: Sequence[Want] = ()
    rates: Sequence[Taken] = ()

    def remaining_nano_usd(self) -> int | None:
        """Return what is left of the USD budgets that the call is under, holds subtracted; None without one."""
        left: int | None = None
        for want in self.wants:
            budget = want.account.budget
            if budget.unit == "nano_usd":
                ledger = want.ledger
                free = budget.amount - ledger.spent - ledger.held - ledger.others
                if left is None or free < left:
                    left = free
        return left if left is None or left > 0 else 0


def charge(hold: Hold, budget: Budget, record: CallRecord, plain: int) -> int:
    """Return what a call that held something is charged: its true cost, or what it held where that is not known."""
    if budget.unit == "tokens":
        known = record.usage_source == "provider"
    else:
        known = record.cost_nano_usd is not None and record.cost_source != "estimated"
        if not known and record.usage_source == "provider" and record.cost_nano_usd is None:
            (rule,) = [want.rule for want in hold.wants if want.account.budget.id == budget.id]
            told = hold.true(rule, record)
            if told is not None:
                return told
    return plain if known else max(plain, hold.amounts[budget.id])


class Refusal(NamedTuple):
    """Why a call is not admitted."""

    error: Limited


class Wait:
    """A call in a queue; `seconds` is how long it may stay there, `number` its place in the order of arrival.

    `stands` are the accounts in whose queues it stands, or stood last.
    """

    __slots__ = ("ask", "hold", "needs", "number", "ready", "seconds", "stands")

    def __init__(self, ask: Ask, hold: Hold, needs: list[Any], seconds: float, number: int) -> None:
        self.ask = ask
        self.hold = hold
        self.needs = needs
        self.seconds = seconds
        self.number = number
        self.stands: list[Any] = []
        self.ready: Callable[[Hold | Refusal], None] | None = None


class Counters(Protocol):
    """Counts calls against limits."""

    def admit(self, ask: Ask) -> Hold | Wait | Refusal | None:
        """Reserve a call's worst case; None: no limit concerns it."""
        ...

    def give_up(self, wait: Wait) -> Hold | Refusal:
        """End a wait whose time is over: with less output where that is allowed, else with the reason."""
        ...

    def forget(self, wait: Wait) -> None:
        """End a wait for a call that nobody wants any more."""
        ...

    def settle(self, hold: Hold | None, record: CallRecord, reached: bool) -> Mapping[str, int]:
        """Charge an ended call and free what it held; return the charges that are not its plain cost.

        `reached` says that its provider may have worked on it; otherwise it costs nothing.
        """
        ...
