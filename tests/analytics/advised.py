"""Calls at list prices for tests of advice, and the advice on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

import polars as pl

from ultimate_lib.analytics.advice.advise import Found, advise
from ultimate_lib.analytics.advice.evidence import Evidence
from ultimate_lib.analytics.advice.prices import Prices
from ultimate_lib.analytics.advice.told import Advice
from ultimate_lib.lake import schema
from ultimate_lib.pricing import PriceBook, PriceTable, pricelist
from ultimate_lib.records import CallRecord, Usage, as_mapping

SINCE = datetime(2026, 10, 20, tzinfo=UTC)
DAYS = 20
UNTIL = SINCE + timedelta(days=DAYS)
SONNET, HAIKU, MINI, GPT = "claude-sonnet-4-5", "claude-haiku-4-5", "gpt-5.4-mini", "gpt-5.4"
_hashes = count(1_000_000)


@cache
def table() -> PriceTable:
    return pricelist.load()


@cache
def book() -> PriceBook:
    return PriceBook(table())


def call(at: datetime, model: str = MINI, **told: Any) -> CallRecord:
    """Return an answered call at its list price, whose request no other call has sent."""
    number = next(_hashes)
    provider, protocol = ("anthropic", "anthropic-messages") if "claude" in model else ("openai", "openai-chat")
    plain: dict[str, Any] = {
        "billing": "metered", "operation": "chat", "provider": provider, "protocol_out": protocol, "status": "ok",
        "model_routed": model, "key_id": "key_a", "user_id": "user_a", "input_tokens": 1000, "output_tokens": 100,
        "cache_read_tokens": 0, "request_hash": number, "stream": True, "attempts": 1,
    }  # fmt: skip
    values = {**plain, **told}
    us = int(at.timestamp() * 1_000_000)
    usage = Usage(**{name: values.get(name) for name in Usage.__struct_fields__ if name != "cost_nano_usd"})
    cost = book().cost(provider, model, usage, us)
    if cost is not None:
        values = {
            "cost_nano_usd": cost.total, "input_cost_nano_usd": cost.input, "output_cost_nano_usd": cost.output,
            "cache_read_cost_nano_usd": cost.cache_read, "other_cost_nano_usd": cost.other, "cost_source": "table",
            "price_id": cost.price_id, **values,
        }  # fmt: skip
    return CallRecord(call_id=f"{us:020}-{number}", started_at=us, **values)


def usual(a_day: int = 8, **told: Any) -> list[CallRecord]:
    """Return unlike calls on every day, at office hours: nothing in them to advise on."""
    return [
        call(SINCE + timedelta(days=day, hours=8 + number * 1.3), **told)
        for day in range(DAYS)
        for number in range(a_day)
    ]  # fmt: skip


def frame(calls: list[CallRecord]) -> pl.LazyFrame:
    rows = [as_mapping(one) for one in calls]
    types = {**schema.POLARS, "started_at": pl.Int64}
    made = pl.DataFrame(rows, schema=types)
    return made.with_columns(pl.col("started_at").cast(pl.Datetime("us", "UTC"))).lazy()


def evidence(calls: list[CallRecord], **told: Any) -> Evidence:
    return Evidence(calls=frame(calls), prices=Prices(table()), since=SINCE, until=UNTIL, **told)


def found(calls: list[CallRecord], *kinds: str, **told: Any) -> Found:
    return advise(evidence(calls, **told), kinds)


def one(calls: list[CallRecord], kind: str, **told: Any) -> Advice:
    """Return the only advice of a kind; its filters show as many calls as it says."""
    told_ = found(calls, kind, **told)
    assert [advice.kind for advice in told_.advice] == [kind], told_
    (advice,) = told_.advice
    if advice.saving_usd is not None:
        assert advice.lower_usd is not None
        assert advice.upper_usd is not None
        assert advice.saved_in_span_usd is not None
        assert advice.paid_in_span_usd is not None
        assert advice.lower_usd <= advice.saving_usd <= advice.upper_usd
        assert advice.saved_in_span_usd <= advice.paid_in_span_usd + 1e-12
    return advice


def silent(calls: list[CallRecord], kind: str, **told: Any) -> None:
    """Assert that a kind looked and found nothing."""
    told_ = found(calls, kind, **told)
    assert not told_.advice, told_.advice
    assert [looked.state for looked in told_.kinds] == ["nothing"], told_.kinds
