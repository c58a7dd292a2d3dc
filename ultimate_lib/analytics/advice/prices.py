"""List prices of the calls' own models as a small frame to join calls with, so that millions are repriced at once.

A call names its price (`price_id`, seller/model@day); rates depend on that, on the service tier and, where a model
costs more above so many input tokens, on the band that the call's input falls into. Rates are nano-dollars a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from ultimate_lib.pricing.book import STANDARD_TIERS, hour_rate, since

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ultimate_lib.pricing.table import Model, PriceTable, Rate

_FEMTO_A_NANO = 1e6
RATES = ("input", "read", "write_5m", "write_1h", "output")
_KEYS = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok", "output_mtok")
BATCH = "batch"


class Priced(NamedTuple):
    """A model of the price list with the id of its price now."""

    price_id: str
    input: float
    output: float


class Prices:
    """Rates by price id, tier and band of input tokens; None where the installed list does not hold one."""

    def __init__(self, table: PriceTable) -> None:
        self._table = table

    def edges(self, price_ids: Iterable[str]) -> list[int]:
        """Return every number of input tokens above which one of these prices changes, ascending."""
        found: set[int] = set()
        for price_id in price_ids:
            model = self._model(price_id)
            for dated in (*model.prices, *model.variants) if model is not None else ():
                found.update(above for rate in dated.rates.values() for above, _ in rate.tiers)
        return sorted(found)

    def now(self, owner: str, model: str, at_us: int) -> Priced | None:
        """Return the price of a seller's model as the list has it at an instant, for the fewest input tokens."""
        found = self._table.find(owner, model)
        if found is None:
            return None
        active = [one for one in found[1].prices if one.active(at_us)] or list(found[1].prices[:1])
        price_id = f"{found[0]}/{found[1].id}@{since(active[-1].since_us)}"
        rates = self.rates(price_id, None, 0, at_us)
        if rates is None or rates[0] is None or rates[4] is None:
            return None
        return Priced(price_id, rates[0], rates[4])

    def rates(self, price_id: str, tier: str | None, tokens: int, at_us: int) -> tuple[float | None, ...] | None:
        """Return the rates in the order of `RATES` for a call of so many input tokens.

        Prices that change within a day have none here: one call would have another than the next. A batch price is
        told as of `at_us`.
        """
        model = self._model(price_id)
        if model is None:
            return None
        day = price_id.rpartition("@")[2]
        dated = [one for one in model.prices if since(one.since_us) == day]
        if len(dated) != 1 or dated[0].daily_s is not None:
            return None
        rates = dated[0].rates
        if tier not in STANDARD_TIERS:
            variants = [one for one in model.variants if one.tier == tier and one.active(at_us)]
            if not variants:
                return None
            rates = {**rates, **variants[0].rates}
        return _told(rates, tokens)

    def frame(
        self, pairs: Sequence[tuple[str, str | None]], edges: Sequence[int], at_us: int, prefix: str = ""
    ) -> pl.DataFrame:
        """Return a row for each (price id, tier) and band: `price_id`, `service_tier`, `band` and the rates."""
        rows = []
        for price_id, tier in pairs:
            for band, tokens in enumerate([0, *(edge + 1 for edge in edges)]):
                rates = self.rates(price_id, tier, tokens, at_us)
                if rates is not None:
                    rows.append((price_id, tier, band, *rates))
        schema = {"price_id": pl.String, "service_tier": pl.String, "band": pl.UInt32}
        return pl.DataFrame(
            rows, schema={**schema, **{f"{prefix}{name}": pl.Float64 for name in RATES}}, orient="row"
        )

    def _model(self, price_id: str) -> Model | None:
        owner, _, rest = price_id.partition("/")
        name = rest.rpartition("@")[0]
        seller = self._table.providers.get(owner)
        return next((one for one in seller.models if one.id == name), None) if seller is not None else None


def band(edges: Sequence[int]) -> pl.Expr:
    """Return which band of input tokens a call falls into, as `Prices.frame` counts them."""
    tokens = pl.col("input_tokens")
    above = [(tokens > edge).cast(pl.UInt32) for edge in edges]
    return (pl.sum_horizontal(above) if above else pl.lit(0)).cast(pl.UInt32).alias("band")


_PARTS = ("uncached", "cached", "written_5m", "written_1h", "made")
_HELD = _PARTS[1:4]


def listed(prefix: str = "", fewest: str = "") -> pl.Expr:
    """Return what a call costs by the joined rates; null where one that it needs is not known.

    `fewest` names a column with the least prefix that the model caches: what was cached or written of a shorter one
    is plain input there.
    """
    short = pl.sum_horizontal(_HELD) < pl.col(fewest) if fewest else pl.lit(value=False)
    told = []
    for part, rate in zip(_PARTS, RATES, strict=True):
        price = pl.col(f"{prefix}{rate}")
        if part in _HELD:
            price = pl.when(short).then(pl.col(f"{prefix}input")).otherwise(price)
        told.append(pl.when(pl.col(part) > 0).then(pl.col(part) * price).otherwise(0.0))
    return pl.sum_horizontal(told, ignore_nulls=False)


def _told(rates: dict[str, Rate], tokens: int) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for key in _KEYS:
        if key in rates:
            found.append(rates[key].at(tokens) / _FEMTO_A_NANO)
        elif key == "cache_write_1h_mtok" and "cache_write_mtok" in rates:
            found.append(hour_rate(rates, tokens) / _FEMTO_A_NANO)
        elif key in {"cache_read_mtok", "cache_write_mtok"} and "input_mtok" in rates:
            found.append(rates["input_mtok"].at(tokens) / _FEMTO_A_NANO)  # as a call is priced: book.parts_of
        else:
            found.append(None)
    return tuple(found)
