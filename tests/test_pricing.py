"""Costs are right to the nano-dollar, sum up, follow dates and tiers, and are null rather than guessed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from ultimate_lib import pricing
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.records import Usage

TABLE = pricelist.load()
BOOK = PriceBook(TABLE)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


NOW = us("2026-11-01T12:00:00")


@pytest.mark.parametrize(
    ("model", "usage", "usd"),
    [
        ("claude-3-7-sonnet-20250219", Usage(input_tokens=3 + 12304, cache_write_5m_tokens=12304, output_tokens=550),
         "0.054399"),
        ("claude-3-5-haiku-20241022", Usage(input_tokens=4 + 2455, cache_read_tokens=2455, output_tokens=23),
         "0.0002916"),
        ("claude-sonnet-4-5-20250929", Usage(input_tokens=4 + 2455, cache_read_tokens=2455, output_tokens=23),
         "0.0010935"),
    ],
)  # fmt: skip
def test_golden_vectors(model: str, usage: Usage, usd: str) -> None:
    cost = BOOK.cost("anthropic", model, usage, NOW)
    assert cost is not None
    assert Decimal(cost.total) / 10**9 == Decimal(usd)
    assert cost.total == sum(cost[1:6])


def test_an_hour_of_cache_costs_twice_five_minutes_a_quarter_more_a_read_a_tenth() -> None:
    def total(**tokens: int) -> int:
        cost = BOOK.cost("anthropic", "claude-sonnet-4-5", Usage(output_tokens=0, **tokens), NOW)
        assert cost is not None
        return cost.total

    plain = total(input_tokens=1000)
    assert total(input_tokens=1000, cache_write_1h_tokens=1000) == 2 * plain
    assert total(input_tokens=1000, cache_write_5m_tokens=1000) == plain * 5 // 4
    assert total(input_tokens=1000, cache_read_tokens=1000) == plain // 10


def test_unknown_is_null_never_zero() -> None:
    usage = Usage(input_tokens=10, output_tokens=10)
    assert BOOK.cost("anthropic", "nobody-knows-this", usage, NOW) is None
    assert BOOK.cost("nobody", "claude-sonnet-4-5", usage, NOW) is None
    assert BOOK.cost("anthropic", "claude-sonnet-4-5", Usage(output_tokens=10), NOW) is None
    assert BOOK.cost("anthropic", "claude-sonnet-4-5", Usage(input_tokens=10), NOW) is None
    odd_tier = Usage(input_tokens=10, output_tokens=10, service_tier="moonlight")
    assert BOOK.cost("anthropic", "claude-sonnet-4-5", odd_tier, NOW) is None
    assert not BOOK.knows("openai", "nobody-knows-this")
    assert BOOK.knows("openai", "gpt-4o-mini-2024-07-18")


def test_a_providers_own_bill_is_believed_and_split() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100, cost_nano_usd=1_234_567)
    cost = BOOK.cost("anthropic", "claude-sonnet-4-5", usage, NOW)
    assert cost is not None
    assert (cost.total, cost.source) == (1_234_567, "provider")
    assert sum(cost[1:6]) == cost.total
    assert cost.listed == 1000 * 3000 + 100 * 15000
    unknown = BOOK.cost("openrouter", "nobody/knows-this", usage, NOW)
    assert unknown is not None
    assert (unknown.total, unknown.other) == (1_234_567, 1_234_567)


def test_the_kept_table_is_the_loaded_one() -> None:
    assert pricing.decode(pricing.encode(TABLE)) == TABLE
    small = TABLE.only(frozenset({"anthropic"}))
    usage = Usage(input_tokens=10, output_tokens=10)
    assert PriceBook(small).cost("anthropic", "claude-sonnet-4-5", usage, NOW) == BOOK.cost(
        "anthropic", "claude-sonnet-4-5", usage, NOW
    )
    assert not PriceBook(small).knows("openai", "gpt-4o-mini")


def test_the_price_in_force_is_the_one_of_the_day() -> None:
    changed = [
        (owner, model)
        for owner, provider in TABLE.providers.items()
        for model in provider.models
        if len(model.prices) > 1
        and all(price.daily_s is None for price in model.prices)
        and all("input_mtok" in price.rates and "output_mtok" in price.rates for price in model.prices)
        and model.prices[-1].since_us is not None
        and model.match[0] == "equals"
    ]
    assert changed, "the list has no model whose price has changed"
    for owner, model in changed:
        since = model.prices[-1].since_us
        assert since is not None
        usage = Usage(input_tokens=10**6, output_tokens=10**6)
        before = BOOK.cost(owner, model.match[1], usage, since - 1)
        after = BOOK.cost(owner, model.match[1], usage, since)
        assert before is not None
        assert after is not None
        assert before.price_id != after.price_id


MODELS = [
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-1"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5"),
    ("google", "gemini-2.5-pro"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-large-latest"),
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.integers(0, 400_000),
    st.integers(0, 100_000),
    st.integers(0, 50_000),
    st.integers(0, 50_000),
)
def test_the_parts_sum_to_the_whole_and_the_whole_is_the_price_lists_own(
    model: tuple[str, str], uncached: int, output: int, read: int, write: int
) -> None:
    provider, name = model
    write = write if provider == "anthropic" else 0
    usage = Usage(
        input_tokens=uncached + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_5m_tokens=write,
    )
    cost = BOOK.cost(provider, name, usage, NOW)
    assert cost is not None
    assert sum(cost[1:6]) == cost.total
    listed = calc_price(
        ListUsage(
            input_tokens=uncached + read + write,
            cache_read_tokens=read,
            cache_write_tokens=write,
            output_tokens=output,
        ),
        name,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(NOW / 1e6, UTC),
    )
    assert abs(Decimal(cost.total) - listed.total_price * 10**9) <= 3


def test_the_price_list_itself_is_not_loaded_by_a_process_that_keeps_the_table() -> None:
    code = "import sys, ultimate_lib.pricing; print('genai_prices' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
