"""What advice is made from: the calls of a span, lazily, with their rates; keys and budgets; the span in blocks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ultimate_lib.analytics.advice import prices as pricing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import TypeAlias

    from numpy.typing import NDArray

    from ultimate_lib.analytics.advice.prices import Prices

    Floats: TypeAlias = NDArray[np.float64]

MONTH_DAYS = 30
_DRAWS = 2000
_MOSTLY = 0.25
_WHOLE_DAYS = 7  # from so many days of calls on days are drawn, below that hours
_DAY = timedelta(days=1)

MODEL = pl.coalesce("model_routed", "model_requested", "model_served").alias("model")
"""The model as filters name it."""
SPENT = ~pl.col("billing").is_in(["subscription", "local"]).fill_null(value=False) & (pl.col("cost_nano_usd") > 0)
"""Calls that somebody pays for by the token; those of an unknown cost are none."""
COUNTED = ~pl.col("operation").is_in(["count_tokens", "models"]).fill_null(value=False)
_TOKENS = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@dataclass(frozen=True)
class Evidence:
    """Calls that started in [since, until), as the record's columns; keys and budgets as their kinds describe them.

    `keys` and `budgets` may be None: not asked. `routes` are (provider, seller in the price list, model) that are
    configured beside those that calls show.
    """

    calls: pl.LazyFrame
    prices: Prices
    since: datetime
    until: datetime
    keys: pl.DataFrame | None = None
    budgets: pl.DataFrame | None = None
    routes: Sequence[tuple[str, str, str]] = ()
    why_not: str = ""  # why keys and budgets are None

    @cached_property
    def survey(self) -> pl.DataFrame:
        """A row a (provider, model, price_id, service_tier): `calls`, `first`."""
        return (
            self.calls.filter(COUNTED)
            .group_by("provider", MODEL, "price_id", "service_tier")
            .agg(pl.len().alias("calls"), pl.col("started_at").min().alias("first"))
            .collect(engine="streaming")
        )

    @cached_property
    def total(self) -> int:
        """How many calls there are."""
        return int(self.survey["calls"].sum())

    @cached_property
    def first(self) -> datetime:
        """When the first call started; the end of the span without one."""
        found: datetime | None = self.survey["first"].min()  # type: ignore[assignment] # a column of instants
        return found if found is not None else self.until

    @cached_property
    def days(self) -> float:
        """From the first call to the end of the span."""
        return (self.until - self.first) / _DAY

    @cached_property
    def block(self) -> timedelta:
        """What is drawn anew for intervals: days, or hours where there are few days."""
        return _DAY if self.days >= _WHOLE_DAYS else timedelta(hours=1)

    @cached_property
    def blocks(self) -> int:
        """How many blocks the calls span."""
        return max(-(-(self.until - self.first) // self.block), 1)

    @property
    def block_of(self) -> pl.Expr:
        """The number of the block that a call lies in."""
        microseconds = self.block // timedelta(microseconds=1)
        passed = (pl.col("started_at") - pl.lit(self.first)).dt.total_microseconds()
        return (passed // microseconds).alias("block")

    @cached_property
    def _draws(self) -> Floats:
        dice = np.random.default_rng(1)
        drawn = dice.multinomial(self.blocks, np.full(self.blocks, 1 / self.blocks), size=_DRAWS)
        return np.asarray(drawn, dtype=np.float64)

    def series(self, frame: pl.DataFrame, column: str) -> Floats:
        """Return a sum for each block of the span."""
        told = np.zeros(self.blocks)
        np.add.at(told, frame["block"].to_numpy(), frame[column].fill_null(0).to_numpy())
        return told

    def month(self, series: Floats) -> tuple[float, float, float]:
        """Return the sum as of 30 days, and the bounds that hold 95 % of spans whose blocks are drawn from these."""
        scale = MONTH_DAYS / self.days
        lower, upper = np.quantile(self._draws @ series, [0.025, 0.975]) * scale
        return float(series.sum() * scale), float(lower), float(upper)

    def pays(self, series: Floats) -> bool:
        """Whether a saving that has days of loss is one all the same in three of four spans drawn from its blocks."""
        return series.min() >= 0 or float(np.quantile(self._draws @ series, _MOSTLY)) > 0

    @cached_property
    def edges(self) -> list[int]:
        """Numbers of input tokens at which a price changes."""
        return self.prices.edges([*self._price_ids, *(one.price_id for one in self.known.values())])

    @cached_property
    def _price_ids(self) -> list[str]:
        return self.survey["price_id"].drop_nulls().unique().sort().to_list()

    @cached_property
    def known(self) -> dict[tuple[str, str], pricing.Priced]:
        """The configured models beside those of the calls, with today's price."""
        found = {}
        for provider, owner, model in self.routes:
            priced = self.prices.now(owner, model, self._until_us)
            if priced is not None:
                found[provider, model] = priced
        return found

    @property
    def _until_us(self) -> int:
        return int(self.until.timestamp() * 1_000_000)

    @cached_property
    def rates(self) -> pl.DataFrame:
        """The rates of the calls' prices."""
        pairs = self.survey.filter(pl.col("price_id").is_not_null()).select("price_id", "service_tier").unique()
        return self.prices.frame(pairs.rows(), self.edges, self._until_us)

    def standard_rates(self, tier: str | None, prefix: str) -> pl.DataFrame:
        """Return `price_id`, `band` and a tier's rates, for the prices of the calls and the configured models."""
        ids = dict.fromkeys([*self._price_ids, *(one.price_id for one in self.known.values())])
        frame = self.prices.frame([(one, tier) for one in ids], self.edges, self._until_us, prefix)
        return frame.drop("service_tier")

    def priced(self, *columns: str | pl.Expr) -> pl.LazyFrame:
        """Return the calls that are paid for and whose price the list holds, with tokens apart and rates joined.

        `uncached`, `cached`, `written_5m`, `written_1h`, `made` are tokens; `fair` is paid over listed; what is
        priced otherwise (server tools, audio) is left out.
        """
        read, write_5m, write_1h = (pl.col(name).fill_null(0) for name in _TOKENS)
        tokens = [
            (pl.col("input_tokens") - read - write_5m - write_1h).clip(lower_bound=0).alias("uncached"),
            read.alias("cached"), write_5m.alias("written_5m"), write_1h.alias("written_1h"),
            pl.col("output_tokens").fill_null(0).alias("made"),
        ]  # fmt: skip
        return (
            self.calls.filter(
                COUNTED, SPENT, pl.col("input_tokens") > 0, pl.col("other_cost_nano_usd").fill_null(0) == 0
            )
            .select(
                "started_at", "key_id", "provider", MODEL, "price_id", "service_tier", "cost_nano_usd",
                pricing.band(self.edges), self.block_of, *tokens, *columns,
            )
            .join(self.rates.lazy(), on=["price_id", "service_tier", "band"], nulls_equal=True)
            .with_columns(pricing.listed().alias("listed"))
            .filter(pl.col("listed") > 0)
            .with_columns((pl.col("cost_nano_usd") / pl.col("listed")).alias("fair"))
        )  # fmt: skip

    def name_of(self, key_id: str | None) -> str:
        """Return how a title names a key."""
        if key_id is None:
            return "no key"
        if self.keys is not None and self.keys.height:
            found = self.keys.filter(pl.col("id") == key_id)
            if found.height and found["name"][0]:
                return f"key '{found['name'][0]}'"
        return f"key {key_id}"
