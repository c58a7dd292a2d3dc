"""One call: every column of its record, and why it costs what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from proxy_server import prices
from proxy_server.control.api.analytics import plain
from proxy_server.control.api.providers import offered_now
from ultimate_lib.access import views
from ultimate_lib.clock import to_us
from ultimate_lib.errors import NotFound
from ultimate_lib.pricing.explain import explain
from ultimate_lib.records import CallRecord

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

CallId = Annotated[str, Meta(description="The call's id, as lists and the header x-ultimate-call-id tell it.")]


class OneCall(Struct, kw_only=True):
    """Which call."""

    id: CallId


class PriceLine(Struct, kw_only=True):
    """One part of a cost. `usd_per_million` of its unit is null where no single rate says it."""

    what: str
    tokens: int | None  # null for what is not counted in tokens
    count: int | None
    unit: str  # tokens | requests
    usd_per_million: float | None
    cost_nano_usd: int


class Price(Struct, kw_only=True):
    """Why a call costs what it does. The lines sum to `total_nano_usd` exactly; it is null when unknown."""

    price_id: str | None  # which dated price was used
    source: str | None  # provider | table | estimated | none
    edition: str  # of the price list that is installed now
    lines: list[PriceLine]
    total_nano_usd: int | None
    sentence: str


class CallTold(Struct, kw_only=True):
    """One call with every column of the record, and its price."""

    call: dict[str, Any]
    price: Price


def call(bench: Workbench, caller: Caller, asked: OneCall) -> CallTold:
    """Return one call. Raises `NotFound` for unknown ids and for calls that are not the caller's to see."""
    row = find(bench, caller, asked.id)
    return CallTold(call={name: plain(value) for name, value in row.items()}, price=price_of(bench, row))


def find(bench: Workbench, caller: Caller, call_id: str) -> dict[str, Any]:
    """Return a call's row if the caller may see it. Raises `NotFound`: nobody learns that another's call exists."""
    from ultimate_lib.lake.calls import one  # noqa: PLC0415 - the lake's libraries load with the first question

    row = one(bench.lake, call_id)
    if row is None or not views.may_see(caller.known, row):
        raise NotFound(
            f"There is no call '{call_id[:60]}' that you may see.",
            hint="Ids stand in the list of calls; calls older than record.keep_days are gone.",
            code="call_unknown",
        )
    return row


def price_of(bench: Workbench, row: dict[str, Any]) -> Price:
    """Return why a call with these columns costs what it does."""
    record = CallRecord(**{**row, "started_at": to_us(row["started_at"])})
    table = prices.whole_table(bench.settings.run_dir)
    provider = offered_now(bench).get(record.provider or "")
    told = explain(table, record, provider.price_id if provider is not None else None)
    lines = [
        PriceLine(
            what=line.what,
            tokens=line.quantity if line.unit == "tokens" else None,
            count=line.quantity,
            unit=line.unit,
            usd_per_million=line.usd_per_million,
            cost_nano_usd=line.cost_nano_usd,
        )
        for line in told.lines
    ]
    return Price(
        price_id=record.price_id,
        source=record.cost_source,
        edition=table.edition,
        lines=lines,
        total_nano_usd=told.total_nano_usd,
        sentence=told.sentence,
    )
