"""Why a call costs what it does, part by part, or why its cost is not known. Pure.

The parts come from the record, which is what was booked; the list only says at which rate. Where the list that is
installed now would give other figures (another edition), the parts stand without rates, and that is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ultimate_lib.pricing.book import STANDARD_TIERS, hour_rate, parts_of, since
from ultimate_lib.pricing.unpriced import why_unpriced
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultimate_lib.pricing.table import Dated, PriceTable, Rate
    from ultimate_lib.records import CallRecord

_FEMTO_A_USD_PER_MILLION = 1_000_000_000
_FEMTO_A_NANO = 1_000_000
_PARTS = ("input", "cache_read", "cache_write", "output", "other")


class Line(NamedTuple):
    """One part of a cost. `usd_per_million` is a price of a million units; None where no single rate says it."""

    what: str
    quantity: int | None
    unit: str  # tokens | requests
    usd_per_million: float | None
    cost_nano_usd: int


class Explained(NamedTuple):
    """The parts, which sum to `total_nano_usd` exactly; no parts and None when the cost is not known."""

    lines: list[Line]
    total_nano_usd: int | None
    sentence: str


def explain(table: PriceTable, record: CallRecord, price_id: str | None) -> Explained:
    """Return why a call costs what it does.

    `price_id` is the provider's id in the price list as configured now, "" when it has none, None when the provider
    is not configured any more.
    """
    if record.cost_nano_usd is None:
        return Explained([], None, why_unpriced(table, record, price_id))
    if record.cost_nano_usd == 0 and record.price_id is None:
        return Explained([], 0, "This kind of request costs nothing: no model was asked for an answer.")
    if all(getattr(record, f"{part}_cost_nano_usd") is None for part in _PARTS):
        whole = Line("whole call", None, "tokens", None, record.cost_nano_usd)
        return Explained([whole], record.cost_nano_usd, "The cost was recorded without its parts.")
    booked = [getattr(record, f"{part}_cost_nano_usd") or 0 for part in _PARTS]
    rates = _rates(table, record)
    usage = _usage(record)
    repeatable = (
        record.cost_source != "provider" and rates is not None and list(parts_of(rates, usage) or ()) == booked
    )
    lines = [
        line
        for part, cost in zip(_PARTS, booked, strict=True)
        for line in _lines(part, cost, usage, rates if repeatable else None)
    ]
    rest = record.cost_nano_usd - sum(booked)
    if rest:  # a row that another program wrote without its parts
        lines.append(Line("not split", None, "tokens", None, rest))
    return Explained(lines, record.cost_nano_usd, _why_priced(table, record, repeatable=repeatable))


def _usage(record: CallRecord) -> Usage:
    return Usage(**{name: getattr(record, name) for name in Usage.__struct_fields__ if name != "cost_nano_usd"})


def _rates(table: PriceTable, record: CallRecord) -> dict[str, Rate] | None:
    """Return the rates that a record's `price_id` names, or None when the list does not hold them now."""
    owner, _, rest = (record.price_id or "").partition("/")
    model, _, day = rest.rpartition("@")
    seller = table.providers.get(owner)
    for known in seller.models if seller is not None else ():
        if known.id != model:
            continue
        dated = [price for price in known.prices if since(price.since_us) == day]
        if not dated:
            return None
        price: Dated = next((one for one in reversed(dated) if one.active(record.started_at)), dated[0])
        variants = [v for v in known.variants if v.tier == record.service_tier and v.active(record.started_at)]
        special = record.service_tier not in STANDARD_TIERS and variants
        return {**price.rates, **variants[0].rates} if special else price.rates
    return None


def _lines(part: str, cost: int, usage: Usage, rates: dict[str, Rate] | None) -> list[Line]:
    """Return the lines of one booked part; their costs sum to `cost`."""
    counted = list(_counted(part, usage))
    if not counted or (rates is None and len(counted) > 1):
        whole = sum(count for _, count, unit, _ in counted if unit == "tokens") or None
        return [Line(_NAMES[part], whole, "tokens", None, cost)] if cost else []
    lines: list[Line] = []
    for what, count, unit, keys in counted:
        rate = _rate(keys, rates, usage.input_tokens or 0) if rates is not None else None
        nano = (count * rate + _FEMTO_A_NANO // 2) // _FEMTO_A_NANO if rate is not None else cost
        lines.append(Line(what, count, unit, rate / _FEMTO_A_USD_PER_MILLION if rate is not None else None, nano))
    if "requests_kcount" in (rates or {}) and part == "other":
        rate = rates["requests_kcount"].at(usage.input_tokens or 0) if rates else 0
        lines.insert(0, Line("per request", 1, "requests", rate / _FEMTO_A_USD_PER_MILLION, rate // _FEMTO_A_NANO))
    rounding = cost - sum(line.cost_nano_usd for line in lines)
    lines[-1] = lines[-1]._replace(
        cost_nano_usd=lines[-1].cost_nano_usd + rounding
    )  # parts are rounded once, together
    return lines


_Counted: TypeAlias = tuple[str, int, str, tuple[str, ...]]
_NAMES = {
    "input": "input",
    "cache_read": "cache reads",
    "cache_write": "cache writes",
    "output": "output",
    "other": "other",
}


def _counted(part: str, usage: Usage) -> Iterator[_Counted]:
    """Yield what a part is made of: its name, how many, of what, and the rates by which it is priced, in turn."""
    total, audio_in = usage.input_tokens or 0, usage.audio_input_tokens or 0
    read, write_5m = usage.cache_read_tokens or 0, usage.cache_write_5m_tokens or 0
    write_1h, audio_out = usage.cache_write_1h_tokens or 0, usage.audio_output_tokens or 0
    told: list[_Counted]
    if part == "input":
        told = [("input", total - read - write_5m - write_1h - audio_in, "tokens", ("input_mtok",))]
    elif part == "cache_read":
        told = [("cache reads", read, "tokens", ("cache_read_mtok", "input_mtok"))]
    elif part == "cache_write":
        told = [
            ("cache writes, 5 minutes", write_5m, "tokens", ("cache_write_mtok", "input_mtok")),
            ("cache writes, 1 hour", write_1h, "tokens", ("cache_write_1h_mtok",)),
        ]
    elif part == "output":
        told = [("output", (usage.output_tokens or 0) - audio_out, "tokens", ("output_mtok",))]
    else:
        told = [
            ("audio input", audio_in, "tokens", ("input_audio_mtok", "input_mtok")),
            ("audio output", audio_out, "tokens", ("output_audio_mtok", "output_mtok")),
            ("server tools", usage.server_tool_requests or 0, "requests", ("web_searches_kcount",)),
        ]
    for what, count, unit, keys in told:
        if count > 0:
            yield what, count, unit, keys


def _rate(keys: tuple[str, ...], rates: dict[str, Rate], input_tokens: int) -> int | None:
    if keys == ("cache_write_1h_mtok",):
        return hour_rate(rates, input_tokens)
    return next((rates[key].at(input_tokens) for key in keys if key in rates), None)


def _why_priced(table: PriceTable, record: CallRecord, *, repeatable: bool) -> str:
    if record.cost_source == "provider":
        how = "The provider sent its own bill, and that is the cost"
        split = "; it is split in the proportions of the list price" if record.price_id else ""
        return f"{how}{split}."
    if not record.price_id:
        return "The cost was recorded without naming the price that it was made with."
    owner, _, rest = record.price_id.partition("/")
    model, _, day = rest.rpartition("@")
    when = f"in force since {day}" if day and day != "listed" else "as listed"
    what = f"Tokens times the list price of {model} at {owner}, {when}"
    if not repeatable:
        return f"{what}, in the edition of the list of that time; {table.edition}, which is here now, says otherwise."
    if record.cost_source == "estimated":
        return f"{what} ({table.edition}). The tokens are our own estimate: the provider did not get to tell them."
    return f"{what} ({table.edition})."
