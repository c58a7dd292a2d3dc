"""The price table: plain values, small to keep and quick to load, made once from the price list.

Rates are integers in femto-dollars (1e-15 USD) a unit, exact for every list price; a tier applies to all tokens of a
call whose input exceeds its threshold (the "cliff" rule of the providers' price pages).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Clause = list[Any]
"""`[kind, text]`, or `["or" | "and", [clauses]]`, as the price list matches model names."""


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """Femto-dollars a unit, and the tiers above it as (input tokens above, femto-dollars)."""

    base: int
    tiers: tuple[tuple[int, int], ...] = ()

    def at(self, input_tokens: int) -> int:
        """Return the rate of a call with so many input tokens."""
        rate = self.base
        for above, price in self.tiers:
            if input_tokens > above:
                rate = price
        return rate


class Dated(msgspec.Struct, frozen=True, array_like=True):
    """Rates and when they hold: from a day on (µs since 1970 UTC), or within a daily interval (s of the UTC day)."""

    rates: dict[str, Rate]
    since_us: int | None = None
    daily_s: tuple[int, int] | None = None
    tier: str = ""  # service tier the rates are for; empty: standard

    def active(self, at_us: int) -> bool:
        """Say whether the rates hold at an instant."""
        if self.since_us is not None and at_us < self.since_us:
            return False
        if self.daily_s is None:
            return True
        start, end = self.daily_s
        second = at_us // 1_000_000 % 86_400
        return start <= second < end if start <= end else second >= start or second < end


class Model(msgspec.Struct, frozen=True, array_like=True):
    """A model of the list: how its names are matched and what it costs, oldest price first."""

    id: str
    match: Clause
    prices: tuple[Dated, ...]
    variants: tuple[Dated, ...] = ()


class Provider(msgspec.Struct, frozen=True, array_like=True):
    """A provider of the list and whose models it also sells."""

    models: tuple[Model, ...]
    also: tuple[str, ...] = ()


class PriceTable(msgspec.Struct, frozen=True, array_like=True):
    """Every provider's prices, and which edition of the list they come from."""

    edition: str
    providers: dict[str, Provider]

    def find(self, provider: str, model: str) -> tuple[str, Model] | None:
        """Return (provider id, model) for a model name as a provider's API writes it; None when it is unknown."""
        seller = self.providers.get(provider)
        if seller is None:
            return None
        name = model.lower()
        for spelled in (name, _COMPACT_DATE.sub(r"-\1-\2-\3", name)):
            for owner in (provider, *seller.also):
                for candidate in self.providers[owner].models if owner in self.providers else ():
                    if matches(candidate.match, spelled):
                        return owner, candidate
        return None

    def only(self, providers: frozenset[str]) -> PriceTable:
        """Return the table cut down to some providers and those whose models they sell."""
        wanted = set(providers)
        for name in providers:
            if name in self.providers:
                wanted.update(self.providers[name].also)
        kept = {name: value for name, value in self.providers.items() if name in wanted}
        return PriceTable(self.edition, kept)


_COMPACT_DATE = re.compile(r"-(\d{4})(\d{2})(\d{2})(?=$|[^\d])")


def matches(clause: Clause, name: str) -> bool:
    """Say whether a clause of the price list matches a lower-case model name."""
    kind, value = clause
    return _MATCH[kind](name, value)


_MATCH: dict[str, Callable[[str, Any], bool]] = {
    "equals": lambda name, value: bool(name == value),
    "starts": lambda name, value: name.startswith(value),
    "ends": lambda name, value: name.endswith(value),
    "contains": lambda name, value: value in name,
    "regex": lambda name, value: re.search(value, name) is not None,
    "or": lambda name, parts: any(matches(part, name) for part in parts),
    "and": lambda name, parts: all(matches(part, name) for part in parts),
}


def encode(table: PriceTable) -> bytes:
    """Return the table as bytes to keep."""
    return msgspec.msgpack.encode(table)


def decode(data: bytes) -> PriceTable:
    """Return a kept table; raises msgspec.DecodeError when it is not one."""
    return msgspec.msgpack.decode(data, type=PriceTable)
