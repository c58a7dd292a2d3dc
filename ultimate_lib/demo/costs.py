"""What the made-up calls cost, each by the price list of its day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceBook

_USED = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "reasoning_tokens", "service_tier",
)  # fmt: skip
_COSTS = (
    "cost_nano_usd", "input_cost_nano_usd", "cache_read_cost_nano_usd", "cache_write_cost_nano_usd",
    "output_cost_nano_usd", "other_cost_nano_usd", "list_cost_nano_usd",
)  # fmt: skip


def priced(rows: pl.DataFrame, book: PriceBook) -> pl.DataFrame:
    """Return the calls with cost, split, price id and source of cost, as a gateway books them; some 7 µs a call.

    `price_of` says whose price a call has and is dropped; what the list does not know stays null.
    """
    found: list[tuple[int | str | None, ...]] = []
    unpriced = (*(None for _ in _COSTS), None, "none")
    told = rows.select(
        "price_of",
        pl.coalesce("model_served", "model_routed"),
        pl.col("started_at").dt.epoch("us"),
        pl.col("usage_source") == "estimated",
        *_USED,
    )
    for price_id, model, at_us, estimated, *used in told.iter_rows():
        cost = None
        if price_id and model:
            cost = book.cost(price_id, model, Usage(**dict(zip(_USED, used, strict=True))), at_us)
        if cost is None:
            found.append(unpriced)
            continue
        parts = (cost.input, cost.cache_read, cost.cache_write, cost.output, cost.other)
        found.append((cost.total, *parts, cost.listed, cost.price_id, "estimated" if estimated else cost.source))
    names = (*_COSTS, "price_id", "cost_source")
    types = {name: pl.String if name in {"price_id", "cost_source"} else pl.Int64 for name in names}
    return rows.drop("price_of").hstack(pl.DataFrame(found, schema=types, orient="row"))
