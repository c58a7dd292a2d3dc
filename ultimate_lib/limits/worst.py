"""The worst case of a call: what it may cost at most under a budget's unit and its rule for unknown prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.limits.counters import MILLIONTHS, Need
from ultimate_lib.pricing.ceiling import Asked, most_output
from ultimate_lib.protocols.body import UNREADABLE
from ultimate_lib.protocols.bounds import Bounds, bounds
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.pricing.ceiling import Ceiling
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.records import CallRecord

PRICE_AS = "price_as:"
_FREE_METHODS = frozenset({"GET", "HEAD", "DELETE"})
_FREE = frozenset({"count_tokens"})


class WorstCase:
    """Prices one call. What it looks up is looked up when the first budget asks."""

    __slots__ = ("_at_us", "_body", "_book", "_bounds", "_facts", "_free", "_model", "_price_id", "_read", "choices")

    def __init__(  # noqa: PLR0917 - what a worst case is made of
        self, body: bytes, facts: RequestFacts, record: CallRecord, method: str, book: PriceBook, price_id: str,
        model: str, *, read: bool,
    ) -> None:  # fmt: skip
        """`read`: the body is of a protocol whose usage we know; others have no bound."""
        self._body = body
        self._facts = facts
        self._at_us = record.started_at
        self._book = book
        self._price_id = price_id
        self._model = model
        self._free = method in _FREE_METHODS or record.operation in _FREE
        self._read = read
        self._bounds: Bounds | None = None
        self.choices = max(facts.choices or 1, 1)

    def need(self, unit: str, rule: str) -> Need | str:
        """Return the worst case, or why there is none."""
        if self._free:
            return Need(0, 0)
        bound = self._bound()
        if bound.unbound is not None and rule != "allow":
            return bound.unbound
        if unit == "tokens":
            return Need(bound.input_tokens, self.choices * MILLIONTHS)
        about = Asked(bound.tier, bound.caches, bound.caches_hour, bound.sound)
        most = self._ceiling(bound, about, rule)
        if most is not None:
            return Need(most.base, most.each * self.choices)
        if rule == "allow":
            return Need(0, 0)
        tier = f" with the service tier '{bound.tier}'" if bound.tier else ""
        return f"there is no price of '{self._model or 'a call that names no model'}'{tier}"

    def weigh(self) -> None:
        """Look through the body now, so that `need` knows its bounds; any thread may do it."""
        if not self._free:
            self._bound()

    def _bound(self) -> Bounds:
        if self._bounds is None:
            if self._read:
                try:
                    self._bounds = bounds(self._body, self._facts, self._model)
                except UNREADABLE:
                    self._bounds = Bounds(len(self._body), unbound="its body cannot be read")
            else:
                self._bounds = Bounds(len(self._body), unbound="it is of a kind whose usage is not read")
        return self._bounds

    def _ceiling(self, bound: Bounds, about: Asked, rule: str) -> Ceiling | None:
        most = self._book.ceiling(self._price_id, self._model, self._at_us, bound.input_tokens, about)
        if most is None and rule.startswith(PRICE_AS):
            price_id, model = self._other(rule)
            most = self._book.ceiling(price_id, model, self._at_us, bound.input_tokens, about._replace(tier=None))
        return most

    def _other(self, rule: str) -> tuple[str, str]:
        return _priced_as(self._book, self._price_id, rule)

    def most_output(self) -> int | None:
        """Return the model's own limit of output tokens, if it is known."""
        return most_output(self._model)


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
