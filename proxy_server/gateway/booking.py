"""What an ended call writes into its record: usage and cost, the provider's own or an estimate marked as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceBook
    from ultimate_lib.protocols import ResponseFacts
    from ultimate_lib.providers import Route
    from ultimate_lib.records import CallRecord


def named(record: CallRecord, facts: ResponseFacts) -> None:
    """Write what the provider said of itself."""
    record.upstream_id = facts.upstream_id
    record.model_served = facts.model_served
    record.finish_reason = facts.finish_reason


def told(record: CallRecord, usage: Usage, route: Route, book: PriceBook) -> None:
    """Write the provider's usage and its cost."""
    record.usage_source = "provider"
    _book(record, usage, route, book)


def estimated(record: CallRecord, known: Usage | None, seen: int, route: Route, book: PriceBook) -> None:
    """Write what is known of a call's usage, filled up with estimates.

    The input is what the provider told, else the estimate made at admission; the output is what it told or the
    `seen` tokens that passed, whichever is more.
    """
    record.usage_source = "estimated"
    if known is None:
        usage = Usage(input_tokens=record.input_tokens, output_tokens=seen)
    else:
        usage = Usage(
            input_tokens=record.input_tokens if known.input_tokens is None else known.input_tokens,
            output_tokens=max(seen, known.output_tokens or 0),
            cache_read_tokens=known.cache_read_tokens,
            cache_write_5m_tokens=known.cache_write_5m_tokens,
            cache_write_1h_tokens=known.cache_write_1h_tokens,
            service_tier=known.service_tier,
        )
    _book(record, usage, route, book)


def free(record: CallRecord) -> None:
    """Write that a call costs nothing: token counting."""
    record.usage_source, record.cost_source, record.cost_nano_usd = "none", "table", 0


def unknown(record: CallRecord) -> None:
    """Write that neither usage nor cost is known: the call failed before anything was made, or it is not read."""
    record.input_tokens = record.output_tokens = None
    record.usage_source = record.cost_source = "none"


def _book(record: CallRecord, usage: Usage, route: Route, book: PriceBook) -> None:
    record.input_tokens = usage.input_tokens
    record.output_tokens = usage.output_tokens
    record.cache_read_tokens = usage.cache_read_tokens
    record.cache_write_5m_tokens = usage.cache_write_5m_tokens
    record.cache_write_1h_tokens = usage.cache_write_1h_tokens
    record.reasoning_tokens = usage.reasoning_tokens
    record.audio_input_tokens = usage.audio_input_tokens
    record.audio_output_tokens = usage.audio_output_tokens
    record.server_tool_requests = usage.server_tool_requests
    record.service_tier = usage.service_tier
    if usage.cache_read_tokens is not None:
        record.cache_hit = usage.cache_read_tokens > 0
    price_id = route.provider.price_id
    cost = book.cost(price_id, record.model_served or route.model, usage, record.started_at)
    if cost is None and record.model_served is not None:
        cost = book.cost(price_id, route.model, usage, record.started_at)
    if cost is None:
        record.cost_source = "none"
        return
    record.cost_nano_usd = cost.total
    record.input_cost_nano_usd = cost.input
    record.cache_read_cost_nano_usd = cost.cache_read
    record.cache_write_cost_nano_usd = cost.cache_write
    record.output_cost_nano_usd = cost.output
    record.other_cost_nano_usd = cost.other
    record.list_cost_nano_usd = cost.listed
    record.price_id = cost.price_id
    record.cost_source = "estimated" if record.usage_source == "estimated" else cost.source
