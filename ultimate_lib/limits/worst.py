"""The worst case of a call: what it may cost at most under a budget's unit and its rule for unknown prices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.pricing.ceiling import MILLIONTHS, UNSAID_OUTPUT, Ceiling, most_output
from ultimate_lib.protocols.body import UNREADABLE
from ultimate_lib.protocols.bounds import Bounds, bounds
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from ultimate_lib.limits.counters import TrueCost
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.records import CallRecord

PRICE_AS = "price_as:"
_FREE_METHODS = frozenset({"GET", "HEAD", "DELETE"})
_FREE = frozenset({"count_tokens"})


class Sold:
    """Under which prices the calls of a provider fall. `true` prices one that has ended as a rule has it."""

    __slots__ = ("book", "price_id", "true")

    def __init__(self, book: PriceBook, price_id: str) -> None:
        self.book = book
        self.price_id = price_id
        self.true: TrueCost = partial(priced, book, price_id)


class WorstCase:
    """A call that asks its limits. What its price needs is looked up when the first budget asks.

    One object with all there is to ask, for every call under a limit makes one.
    """

    __slots__ = (
        "_body", "_bounds", "_facts", "_free", "_model", "_read", "_sold", "asked", "choices", "output", "record",
        "size", "spliceable", "tokens", "true",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - what a worst case is made of
        self, body: bytes, facts: RequestFacts, record: CallRecord, method: str, sold: Sold, model: str, *,
        read: bool, generates: bool,
    ) -> None:  # fmt: skip
        """`read`: the body is of a protocol whose usage we know; others have no bound. `generates`: it writes."""
        self._body = body
        self._facts = facts
        self._sold = sold
        self._model = model
        self._free = method in _FREE_METHODS or record.operation in _FREE
        self._read = read
        self._bounds: Bounds | None = None
        self.record = record
        self.choices = facts.choices or 1  # none are fewer than one
        self.spliceable = generates
        most = facts.most_output
        if not generates:
            self.output, self.asked = 0, True
        elif most is not None:  # held as it is, also above what we know of its model
            self.output, self.asked = most, True
        else:
            self.output, self.asked = most_output(model) or UNSAID_OUTPUT, False
        self.tokens = facts.input_estimate + (facts.max_tokens or 0)
        self.true = sold.true
        self.size = len(body)

    def need(self, unit: str, rule: str) -> Ceiling | str:
        """Return the worst case, or why there is none."""
        if self._free:
            return Ceiling(0, 0)
        bound = self._bounds or self._look()
        if bound.unbound is not None and rule != "allow":
            return bound.unbound
        if unit == "tokens":
            return Ceiling(bound.input_tokens, self.choices * MILLIONTHS)
        sold, at_us = self._sold, self.record.started_at
        most = sold.book.ceiling(sold.price_id, self._model, at_us, bound.input_tokens, bound)
        if most is None and rule.startswith(PRICE_AS):
            price_id, model = _priced_as(sold.book, sold.price_id, rule)
            most = sold.book.ceiling(
                price_id, model, at_us, bound.input_tokens, msgspec.structs.replace(bound, tier=None)
            )
        if most is not None:
            return most if self.choices == 1 else Ceiling(most.base, most.each * self.choices)
        if rule == "allow":
            return Ceiling(0, 0)
        tier = f" with the service tier '{bound.tier}'" if bound.tier else ""
        return f"there is no price of '{self._model or 'a call that names no model'}'{tier}"

    def weigh(self) -> None:
        """Look through the body now, so that `need` knows its bounds; any thread may do it."""
        if not self._free and self._bounds is None:
            self._look()

    def _look(self) -> Bounds:
        if self._read:
            try:
                found = bounds(self._body, self._facts, self._model)
            except UNREADABLE:
                found = Bounds(self.size, unbound="its body cannot be read")
        else:
            found = Bounds(self.size, unbound="it is of a kind whose usage is not read")
        self._bounds = found
        return found


def priced(book: PriceBook, price_id: str, rule: str, record: CallRecord) -> int | None:
    """Return what a call's usage costs at the price of the model that a rule names."""
    if not rule.startswith(PRICE_AS):
        return None
    price_id, model = _priced_as(book, price_id, rule)
    usage = Usage(**{name: getattr(record, name) for name in _USAGE if name not in {"cost_nano_usd", "service_tier"}})
    cost = book.cost(price_id, model, usage, record.started_at)
    return None if cost is None else cost.total


_USAGE = tuple(field.name for field in msgspec.structs.fields(Usage))


def _priced_as(book: PriceBook, price_id: str, rule: str) -> tuple[str, str]:
    """Return (price id, model) of `price_as:[provider/]model`; the call's own provider goes first."""
    model = rule.removeprefix(PRICE_AS)
    if book.knows(price_id, model):
        return price_id, model
    provider, _, rest = model.partition("/")
    if rest and book.knows(provider, rest):
        return provider, rest
    sellers = book.sellers(model)
    return (sellers[0], model) if sellers else (price_id, model)
