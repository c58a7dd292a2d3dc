"""The price list of the genai-prices package, turned into our table. The one place that knows that package.

Importing its data costs some 30 MB and a quarter of a second, so long-lived processes keep the table instead.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from ultimate_lib.pricing.table import Clause, Dated, Model, PriceTable, Provider, Rate

_FEMTO_A_TOKEN = Decimal(10) ** 9  # USD per million tokens → femto-dollars a token
_DEMO_SELLS = ("anthropic", "openai", "google", "mistral")  # the scripted provider costs what its models cost
_FEMTO_A_PIECE = Decimal(10) ** 12  # USD per thousand pieces → femto-dollars a piece


def edition() -> str:
    """Return which edition of the list is installed."""
    return f"genai-prices {version('genai-prices')}"


def load() -> PriceTable:
    """Return the whole list as a table."""
    from genai_prices import data, types  # noqa: PLC0415 - 30 MB that most processes never need

    def clause(logic: Any) -> Clause:
        simple = {
            types.ClauseEquals: ("equals", "equals"),
            types.ClauseStartsWith: ("starts", "starts_with"),
            types.ClauseEndsWith: ("ends", "ends_with"),
            types.ClauseContains: ("contains", "contains"),
        }
        for kind, (name, member) in simple.items():
            if isinstance(logic, kind):
                return [name, str(getattr(logic, member)).lower()]
        if isinstance(logic, types.ClauseRegex):
            pattern = logic.regex
            return ["regex", getattr(pattern, "pattern", pattern)]
        if isinstance(logic, types.ClauseOr):
            return ["or", [clause(part) for part in logic.or_]]
        return ["and", [clause(part) for part in logic.and_]]

    def model(info: Any) -> Model:
        stated = info.prices if isinstance(info.prices, list) else [None]
        prices = tuple(
            _dated(info.prices, None, "") if price is None else _dated(price.prices, price.constraint, "")
            for price in stated
        )
        variants = tuple(
            _dated(variant.prices, variant.constraint, variant.when["processing"])
            for variant in info.price_variants or ()
            if set(variant.when) == {"processing"}
        )
        return Model(info.id, clause(info.match), prices, variants)

    providers = {
        provider.id: Provider(
            tuple(model(info) for info in provider.models),
            tuple(provider.fallback_model_providers or ()),
        )
        for provider in data.providers
    }
    providers["demo"] = Provider((), _DEMO_SELLS)
    return PriceTable(edition(), providers)


def _dated(prices: Any, constraint: Any, tier: str) -> Dated:
    rates = {key: _rate(key, value) for key, value in vars(prices).items() if value is not None and key[0] != "_"}
    since_us = daily_s = None
    if hasattr(constraint, "start_date"):
        start = datetime.combine(constraint.start_date, datetime.min.time(), UTC)
        since_us = int(start.timestamp()) * 1_000_000
    elif constraint is not None:
        daily_s = (_second(constraint.start_time), _second(constraint.end_time))
    return Dated(rates, since_us, daily_s, tier)


def _second(moment: Any) -> int:
    offset = moment.utcoffset()
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second - (offset.total_seconds() if offset else 0)
    return int(seconds) % 86_400


def _rate(key: str, value: Any) -> Rate:
    scale = _FEMTO_A_TOKEN if key.endswith("_mtok") else _FEMTO_A_PIECE
    if isinstance(value, Decimal):
        return Rate(int(value * scale))
    return Rate(int(value.base * scale), tuple((tier.start, int(tier.price * scale)) for tier in value.tiers))
