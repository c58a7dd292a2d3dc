"""Why a call has no cost, and what to do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.pricing.book import STANDARD_TIERS

if TYPE_CHECKING:
    from ultimate_lib.pricing.table import PriceTable
    from ultimate_lib.records import CallRecord

_UNASKED = frozenset({"count_tokens", "models"})


def why_unpriced(table: PriceTable, record: CallRecord, price_id: str | None) -> str:
    """Return one or two sentences. `price_id` is as in `explain`."""
    return _nothing_to_price(record) or _no_usage(record) or _no_price(table, record, price_id)


def _nothing_to_price(record: CallRecord) -> str:
    if record.status in {"refused", "blocked"}:
        return "This call was turned away before it reached a provider, so there is nothing to price."
    if record.operation in _UNASKED:
        return "This request asked no model for an answer, so there is nothing to price."
    if record.billing == "local":
        return "The model runs on your own computer, which sends no bill; the tokens are counted all the same."
    return ""


def _no_usage(record: CallRecord) -> str:
    if record.error_type == "process_ended":
        return (
            "The proxy's process ended while this call ran; the input is an estimate, and what the provider charged "
            "is not known. Its own bill tells."
        )
    if record.input_tokens is not None and record.usage_source != "none":
        return ""
    if record.status == "cut":
        return "The call was cut before the provider had told what it used. Its own bill tells what it charged."
    if record.status == "error":
        return "The call failed before the provider had told any usage; most providers do not charge for that."
    return (
        'The provider told no usage. For streams, set stream_usage = "inject" for this provider if its interface '
        "takes stream_options; calls from then on are priced."
    )


def _no_price(table: PriceTable, record: CallRecord, price_id: str | None) -> str:
    model = record.model_served or record.model_routed or record.model_requested
    provider = record.provider or "unknown"
    if price_id is None:
        return f"No price was known when the call was made, and the provider '{provider}' is not configured any more."
    if not price_id:
        return (
            f"The provider '{provider}' has no price list. Set providers.{provider}.price_id, or "
            'billing = "local" when it costs nothing; calls from then on are priced.'
        )
    if model is None or table.find(price_id, model) is None:
        return (
            f"The price list ({table.edition}) does not know the model '{model or 'unknown'}' of '{price_id}'. "
            "Upgrade the package genai-prices; calls from then on are priced."
        )
    if record.service_tier not in STANDARD_TIERS:
        return f"The list ({table.edition}) has no price for the service tier '{record.service_tier}' of '{model}'."
    return (
        f"The price list ({table.edition}) has no rate for something that this call used, or learnt of '{model}' "
        "only after the call. A cost is never changed afterwards."
    )
