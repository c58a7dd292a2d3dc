"""From usage, model and date to a cost in nano-dollars, part by part."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.pricing.ceiling import dearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultimate_lib.pricing.ceiling import Asked, Ceiling, Dearest
    from ultimate_lib.pricing.table import Dated, Model, PriceTable, Rate
    from ultimate_lib.records import Usage

_FEMTO_A_NANO = 1_000_000
STANDARD_TIERS = frozenset({None, "", "standard", "default", "auto", "standard_only", "on_demand"})
_MOST_CACHED = 10_000
_MINUTE_US = 60_000_000  # prices change on whole minutes at most


class Cost(NamedTuple):
    """A call's cost in nano-dollars; the five parts sum to `total`."""

    total: int
    input: int
    cache_read: int
    cache_write: int
    output: int
    other: int
    listed: int
    price_id: str
    source: str  # provider | table


class PriceBook:
    """Costs by (price id of the provider, model, instant). Lookups are kept, so a known model costs microseconds."""

    def __init__(self, table: PriceTable) -> None:
        self._table = table
        self._dearest: dict[tuple[object, ...], tuple[int, int, Dearest]] = {}  # with the minute that it is of
        self._found: dict[tuple[str, str], tuple[str, Model] | None] = {}

    @property
    def edition(self) -> str:
        """Which price list this is."""
        return self._table.edition

    def knows(self, price_id: str, model: str) -> bool:
        """Say whether the list has a price for a provider's model."""
        return self._find(price_id, model) is not None

    def cost(self, price_id: str, model: str, usage: Usage, at_us: int) -> Cost | None:
        """Return what a call cost, or None: unknown model, unknown usage, or a tier without a price.

        A bill that the provider itself sent is believed; the list then says how it splits.
        """
        listed = self._listed(price_id, model, usage, at_us)
        if usage.cost_nano_usd is None:
            return listed
        return _billed(usage.cost_nano_usd, listed)

    def ceiling(self, price_id: str, model: str, at_us: int, input_tokens: int, about: Asked) -> Ceiling | None:
        """Return the most that a call with at most so many input tokens can cost; None: a price is not known."""
        key = (price_id, model, about.tier, about.caches, about.caches_hour, about.sound)
        kept = self._dearest.get(key)
        if kept is not None:
            since_us, until_us, most = kept
            if since_us <= at_us < until_us and most.over < input_tokens <= most.until:
                return most.of(input_tokens)
        found = self._find(price_id, model)
        if found is None:
            return None
        info = found[1]
        dated = [_active(info.prices, at_us)]
        if about.tier not in STANDARD_TIERS:
            variants = [v for v in info.variants if v.tier == about.tier and v.active(at_us)]
            if not variants:
                return None
            dated += variants
        found_most = dearest([one.rates for one in dated], input_tokens, about)
        if found_most is None:
            return None
        if len(self._dearest) >= _MOST_CACHED:
            self._dearest.clear()
        since_us = at_us // _MINUTE_US * _MINUTE_US
        self._dearest[key] = (since_us, since_us + _MINUTE_US, found_most)
        return found_most.of(input_tokens)

    def sellers(self, model: str) -> list[str]:
        """Return the price ids under which the list knows a model."""
        return [name for name in self._table.providers if self._find(name, model) is not None]

    def models(self, price_ids: Iterable[str] | None = None) -> list[str]:
        """Return the names under which the list has the models of some price ids, or all, to tell the right ones."""
        listed = self._table.providers
        wanted = listed if price_ids is None else price_ids
        owners = [owner for one in wanted if one in listed for owner in (one, *listed[one].also)]
        return list(dict.fromkeys(model.id for owner in owners if owner in listed for model in listed[owner].models))

    def _find(self, price_id: str, model: str) -> tuple[str, Model] | None:
        key = (price_id, model)
        if key not in self._found:
            if len(self._found) >= _MOST_CACHED:  # model names come from clients
                self._found.clear()
            self._found[key] = self._table.find(price_id, model)
        return self._found[key]

    def _listed(self, price_id: str, model: str, usage: Usage, at_us: int) -> Cost | None:
        found = self._find(price_id, model)
        if found is None or usage.input_tokens is None:
            return None
        owner, info = found
        price = _active(info.prices, at_us)
        rates = price.rates
        if usage.service_tier not in STANDARD_TIERS:
            variants = [v for v in info.variants if v.tier == usage.service_tier and v.active(at_us)]
            if not variants:
                return None
            rates = {**rates, **variants[0].rates}
        parts = parts_of(rates, usage)
        if parts is None:
            return None
        total = sum(parts)
        return Cost(total, *parts, total, f"{owner}/{info.id}@{since(price.since_us)}", "table")


def _active(prices: tuple[Dated, ...], at_us: int) -> Dated:
    """Return the price in force; the list's rule: the last that is active, else the first."""
    for price in reversed(prices):
        if price.active(at_us):
            return price
    return prices[0]


@lru_cache
def since(since_us: int | None) -> str:
    """Return how a price id names the day from which a price holds."""
    if since_us is None:
        return "listed"
    return datetime.fromtimestamp(since_us / 1_000_000, UTC).date().isoformat()


def parts_of(rates: dict[str, Rate], usage: Usage) -> tuple[int, int, int, int, int] | None:
    """Return nano-dollars for (input, cache read, cache write, output, other), or None where a rate is missing.

    Only what was used is looked up: most calls have input and output alone.
    """
    total = usage.input_tokens or 0
    read, write_5m = usage.cache_read_tokens or 0, usage.cache_write_5m_tokens or 0
    write_1h, audio_in = usage.cache_write_1h_tokens or 0, usage.audio_input_tokens or 0
    audio_out, searches = usage.audio_output_tokens or 0, usage.server_tool_requests or 0
    if usage.output_tokens is None and "output_mtok" in rates:
        return None
    try:
        uncached = _priced(total - read - write_5m - write_1h - audio_in, rates, total, "input_mtok")
        cached = _priced(read, rates, total, "cache_read_mtok", "input_mtok")
        written = _priced(write_5m, rates, total, "cache_write_mtok", "input_mtok")
        if write_1h:
            written += write_1h * hour_rate(rates, total)
        output = _priced((usage.output_tokens or 0) - audio_out, rates, total, "output_mtok")
        other = _priced(1, rates, total, "requests_kcount") if "requests_kcount" in rates else 0
        if audio_in or audio_out or searches:
            other += _priced(audio_in, rates, total, "input_audio_mtok", "input_mtok")
            other += _priced(audio_out, rates, total, "output_audio_mtok", "output_mtok")
            other += _priced(searches, rates, total, "web_searches_kcount")
    except KeyError:
        return None
    return _nano(uncached), _nano(cached), _nano(written), _nano(output), _nano(other)


def _priced(count: int, rates: dict[str, Rate], total: int, key: str, otherwise: str = "") -> int:
    """Return femto-dollars of `count` units at the rate `key`, else at `otherwise`. Raises KeyError without both."""
    if count <= 0:
        return 0
    rate = rates.get(key)
    return count * (rates[otherwise or key] if rate is None else rate).at(total)


def hour_rate(rates: dict[str, Rate], total: int) -> int:
    """Return what a token costs that is cached for an hour: twice the input price where the list does not say it."""
    stated = rates.get("cache_write_1h_mtok")
    if stated is not None:
        return stated.at(total)
    if "cache_write_mtok" not in rates:
        return rates["input_mtok"].at(total)
    write = rates["cache_write_mtok"].at(total)
    return max(2 * rates["input_mtok"].at(total), write) if "input_mtok" in rates else write


def _nano(femto: int) -> int:
    return (femto + _FEMTO_A_NANO // 2) // _FEMTO_A_NANO


def _billed(bill: int, listed: Cost | None) -> Cost:
    """Split the provider's own bill in the proportions of the list; what does not divide is `other`."""
    if listed is None or listed.total <= 0:
        return Cost(
            bill, 0, 0, 0, 0, bill, listed.listed if listed else bill, listed.price_id if listed else "", "provider"
        )
    own, read, write, output = (
        part * bill // listed.total for part in (listed.input, listed.cache_read, listed.cache_write, listed.output)
    )
    rest = bill - own - read - write - output
    return Cost(bill, own, read, write, output, rest, listed.listed, listed.price_id, "provider")
