"""Why a call costs what it does: the parts sum to what was booked, whatever was used; and why a cost is not known."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ultimate_lib.pricing import PriceBook, PriceTable, pricelist
from ultimate_lib.pricing.explain import explain
from ultimate_lib.records import CallRecord, Usage

AT_US = 1_780_000_000_000_000


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return pricelist.load()


def booked(table: PriceTable, price_id: str, model: str, usage: Usage, **told: Any) -> CallRecord:
    """Return the record that a gateway writes for this usage."""
    cost = PriceBook(table).cost(price_id, model, usage, AT_US)
    record = CallRecord(call_id="x", started_at=AT_US, provider=price_id, model_served=model, status="ok", **told)
    for name in usage.__struct_fields__:
        if name != "cost_nano_usd":
            setattr(record, name, getattr(usage, name))
    record.usage_source = "provider"
    if cost is not None:
        record.cost_nano_usd, record.cost_source, record.price_id = cost.total, cost.source, cost.price_id or None
        for part in ("input", "cache_read", "cache_write", "output", "other"):
            setattr(record, f"{part}_cost_nano_usd", getattr(cost, part))
    return record


def test_the_lines_of_a_plain_call_are_tokens_times_price(table: PriceTable) -> None:
    told = explain(
        table,
        booked(table, "anthropic", "claude-sonnet-4-5", Usage(input_tokens=1000, output_tokens=50)),
        "anthropic",
    )
    assert [line[:4] for line in told.lines] == [("input", 1000, "tokens", 3.0), ("output", 50, "tokens", 15.0)]
    assert [line.cost_nano_usd for line in told.lines] == [3_000_000, 750_000]
    assert told.total_nano_usd == 3_750_000
    assert "claude-sonnet-4-5" in told.sentence
    assert table.edition in told.sentence


def test_any_usage_of_any_model_sums_exactly(table: PriceTable) -> None:
    dice = random.Random(3)
    models = [(name, model.id) for name, seller in table.providers.items() for model in seller.models]
    priced = rated = 0
    for _ in range(3000):
        price_id, model = dice.choice(models)
        cached = [dice.choice([0, 0, dice.randrange(3_000)]) for _ in range(4)]
        usage = Usage(
            input_tokens=sum(cached) + dice.choice([0, 1, dice.randrange(400_000)]),
            output_tokens=dice.randrange(9_000),
            cache_read_tokens=cached[0],
            cache_write_5m_tokens=cached[1],
            cache_write_1h_tokens=cached[2],
            audio_input_tokens=cached[3],
            server_tool_requests=dice.choice([None, 0, 3]),
            cost_nano_usd=dice.choice([None, None, None, dice.randrange(10**9)]),
        )
        record = booked(table, price_id, model, usage)
        told = explain(table, record, price_id)
        assert told.total_nano_usd == record.cost_nano_usd
        if record.cost_nano_usd is None:
            assert told.lines == []
            continue
        priced += 1
        assert sum(line.cost_nano_usd for line in told.lines) == record.cost_nano_usd
        for line in told.lines:
            if line.usd_per_million is not None and line.quantity is not None:
                rated += 1
                assert abs(line.quantity * line.usd_per_million * 1000 - line.cost_nano_usd) <= 2, line
    assert priced > 1000
    assert rated > 1000


def test_a_bill_of_the_provider_has_no_rates(table: PriceTable) -> None:
    usage = Usage(input_tokens=1000, output_tokens=50, cost_nano_usd=1_000_001)
    told = explain(table, booked(table, "anthropic", "claude-sonnet-4-5", usage), "anthropic")
    assert "own bill" in told.sentence
    assert {line.usd_per_million for line in told.lines} == {None}
    assert sum(line.cost_nano_usd for line in told.lines) == 1_000_001


def test_another_edition_of_the_list_leaves_the_parts_without_rates(table: PriceTable) -> None:
    record = booked(table, "anthropic", "claude-sonnet-4-5", Usage(input_tokens=1000, output_tokens=50))
    record.input_cost_nano_usd = 1
    record.cost_nano_usd = 750_001
    told = explain(table, record, "anthropic")
    assert "says otherwise" in told.sentence
    assert [line.usd_per_million for line in told.lines] == [None, None]
    assert sum(line.cost_nano_usd for line in told.lines) == 750_001
    record.price_id = "anthropic/gone-model@2020-01-01"
    assert "says otherwise" in explain(table, record, "anthropic").sentence


@pytest.mark.parametrize(
    ("told", "price_id", "words"),
    [
        ({"status": "refused"}, "anthropic", "turned away"),
        ({"operation": "count_tokens"}, "anthropic", "asked no model"),
        ({"billing": "local"}, "", "sends no bill"),
        ({"status": "cut", "usage_source": "none"}, "anthropic", "cut before"),
        ({"status": "error", "usage_source": "none"}, "anthropic", "failed before"),
        ({"status": "ok", "usage_source": "none"}, "anthropic", "told no usage"),
        ({"status": "cut", "error_type": "process_ended"}, "anthropic", "process ended"),
        ({}, None, "not configured any more"),
        ({}, "", "no price list"),
        ({"model_served": "never-heard-of"}, "anthropic", "does not know the model 'never-heard-of'"),
        ({"service_tier": "gold"}, "anthropic", "service tier 'gold'"),
        ({}, "anthropic", "never changed afterwards"),
    ],
)
def test_an_unknown_cost_says_why(table: PriceTable, told: dict[str, Any], price_id: str | None, words: str) -> None:
    plain = {
        "status": "ok",
        "provider": "p",
        "input_tokens": 5,
        "usage_source": "provider",
        "model_served": "claude-sonnet-4-5",
    }
    found = explain(table, CallRecord(call_id="x", started_at=AT_US, **{**plain, **told}), price_id)
    assert (found.lines, found.total_nano_usd) == ([], None)
    assert words in found.sentence


def test_a_cost_that_was_recorded_without_parts_or_price_is_told_as_that(table: PriceTable) -> None:
    plain = {"call_id": "x", "started_at": AT_US, "provider": "openai", "input_tokens": 5, "output_tokens": 5}
    told = explain(table, CallRecord(**plain, cost_nano_usd=108_000), "openai")
    assert [(line.what, line.cost_nano_usd) for line in told.lines] == [("whole call", 108_000)]
    assert "without its parts" in told.sentence
    told = explain(table, CallRecord(**plain, cost_nano_usd=108_000, input_cost_nano_usd=100_000), "openai")
    assert sum(line.cost_nano_usd for line in told.lines) == 108_000
    assert "without naming the price" in told.sentence


def test_what_costs_nothing_says_so(table: PriceTable) -> None:
    record = CallRecord(call_id="x", started_at=AT_US, operation="count_tokens", cost_nano_usd=0, cost_source="table")
    assert explain(table, record, "anthropic").sentence.startswith("This kind of request costs nothing")
