"""The worst case of a call: what it may cost at most under a budget's unit and its rule for unknown prices."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.errors import Invalid
from ultimate_lib.limits.counters import TrueCost
from ultimate_lib.pricing.ceiling import MILLIONTHS, UNSAID_OUTPUT, Ceiling, most_output
from ultimate_lib.protocols import RequestFacts
from ultimate_lib.protocols.bounds import Bounds, bounds
from ultimate_lib.records import CallRecord, Usage

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceBook

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


class WorstCase(msgspec.Struct, eq=False):
    """A call that asks its limits, see `Ask`. What its price needs is looked up when the first budget asks."""

    record: CallRecord
    output: int
    asked: bool
    spliceable: bool
    tokens: int
    true: TrueCost
    body: bytes
    facts: RequestFacts
    sold: Sold
    model: str
    free: bool
    read: bool
    bound: Bounds | None = None

    @property
    def size(self) -> int:
        """Bytes of its body."""
        return len(self.body)

    def need(self, unit: str, rule: str) -> Ceiling | str:
        """Return the worst case, or why there is none."""
        if self.free:
            return Ceiling(0, 0)
        bound = self.bound
        if bound is None:
            bound = self.bound = bounds(self.body, self.facts, self.model, self.read)
        if bound.unbound is not None and rule != "allow":
            return bound.unbound
        choices = self.facts.choices or 1  # none are fewer than one
        if unit == "tokens":
            return Ceiling(bound.input_tokens, choices * MILLIONTHS)
        sold = self.sold
        most = sold.book.ceiling(sold.price_id, self.model, self.record.started_at, bound.input_tokens, bound)
        if most is None:
            stead = self._stead(bound, rule)
            if isinstance(stead, str):
                return stead
            most = stead
        return most if choices == 1 else Ceiling(most.base, most.each * choices)

    def _stead(self, bound: Bounds, rule: str) -> Ceiling | str:
        """Return what stands for a price that the list does not have."""
        sold = self.sold
        if rule.startswith(PRICE_AS):
            price_id, model = _priced_as(sold.book, sold.price_id, rule)
            most = sold.book.ceiling(
                price_id, model, self.record.started_at, bound.input_tokens, msgspec.structs.replace(bound, tier=None)
            )  # fmt: skip
            if most is not None:
                return most
        if rule == "allow":
            return Ceiling(0, 0)
        tier = f" with the service tier '{bound.tier}'" if bound.tier else ""
        stead = (
            f", nor of '{rule.removeprefix(PRICE_AS)}', by which it says to count it"
            if rule.startswith(PRICE_AS)
            else ""
        )
        return f"there is no price of '{self.model or 'a call that names no model'}'{tier}{stead}"

    def weigh(self) -> None:
        """Look through the body now, so that `need` knows its bounds; any thread may do it."""
        if not self.free and self.bound is None:
            self.bound = bounds(self.body, self.facts, self.model, self.read)


def worst_case(  # noqa: PLR0917 - every call under a limit comes here, and keywords cost it
    body: bytes, facts: RequestFacts, record: CallRecord, method: str, sold: Sold, model: str,
    read: bool, generates: bool,
) -> WorstCase:  # fmt: skip
    """Return what a call asks of its limits.

    `read`: the body is of a protocol whose usage we know; others have no bound. `generates`: it writes.
    """
    most = facts.most_output
    if not generates:
        output, asked = 0, True
    elif most is not None:  # held as it is, also above what we know of its model
        output, asked = most, True
    else:
        output, asked = most_output(model) or UNSAID_OUTPUT, False
    free = method in _FREE_METHODS or record.operation in _FREE
    tokens = facts.input_estimate + (facts.max_tokens or 0)
    return WorstCase(record, output, asked, generates, tokens, sold.true, body, facts, sold, model, free, read)


def priced(book: PriceBook, price_id: str, rule: str, record: CallRecord) -> int | None:
    """Return what a call's usage costs at the price of the model that a rule names."""
    if not rule.startswith(PRICE_AS):
        return None
    price_id, model = _priced_as(book, price_id, rule)
    usage = Usage(**{name: getattr(record, name) for name in _USAGE if name not in {"cost_nano_usd", "service_tier"}})
    cost = book.cost(price_id, model, usage, record.started_at)
    return None if cost is None else cost.total


def check_price_as(book: PriceBook, rule: str, at_us: int) -> None:
    """Refuse a rule whose model has no price now, which would refuse every call that it is for. Raises `Invalid`."""
    named = rule.removeprefix(PRICE_AS)
    for own in ("", *book.sellers(named)):  # a call's own provider goes first, and may have a price where none has
        price_id, model = _priced_as(book, own, rule)
        if book.ceiling(price_id, model, at_us, 1, Bounds(1)) is not None:
            return
    close = difflib.get_close_matches(named, book.models(), n=3)
    raise Invalid(
        f"No provider that is configured has a price of '{named}'.",
        hint=f"Nearest: {', '.join(close)}." if close else "Name a model of theirs, as the price list calls it.",
        code="unpriced",
    )


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
