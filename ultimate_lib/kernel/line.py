"""What calls cost, in one line: `3 calls · 4,210 tokens · $0.0123 · 2.1 s · 1 cache hit`. Pure.

Rows are those of `/api/analytics/calls`. Unknown is told as unknown, never as 0, and what carries no bill
(subscriptions) is no spend.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

UNCOUNTED_OPERATIONS = ("count_tokens", "models")
"""Ask no model for an answer: no calls (as in `ultimate_lib.metrics`, which a kernel does not load)."""
_DIGITS = 3
_NANO = 9


@dataclass(frozen=True, slots=True)
class Sums:
    """What some calls came to. None: not known of any of them."""

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_nano_usd: int | None
    unpriced: int
    subscription: int  # calls that a subscription pays for
    cache_hits: int
    errors: int  # of the provider, or cut
    refused: int  # by the proxy
    took_ms: float | None  # time during which at least one of them was under way


def sums(rows: Sequence[dict[str, Any]]) -> Sums:
    """Return what the rows come to."""
    rows = [row for row in rows if row.get("operation") not in UNCOUNTED_OPERATIONS]
    spend = [row for row in rows if row.get("billing") != "subscription"]
    return Sums(
        calls=len(rows),
        input_tokens=_sum(rows, "input_tokens"),
        output_tokens=_sum(rows, "output_tokens"),
        cost_nano_usd=_sum(spend, "cost_nano_usd"),
        unpriced=sum(_unpriced(row) for row in rows),
        subscription=len(rows) - len(spend),
        cache_hits=sum(row.get("cache_hit") is True for row in rows),
        errors=sum(row.get("status") in {"error", "cut"} for row in rows),
        refused=sum(row.get("status") in {"refused", "blocked"} for row in rows),
        took_ms=_took(rows),
    )


def text(told: Sums, *, running: int = 0, missing: int = 0, direct: int = 0) -> str:
    """Return the line, empty when there is nothing to tell.

    `running` calls have not ended, `missing` ended but have no row yet, `direct` went past the proxy.
    """
    count = told.calls + running + missing
    if not count:
        return f"{_count(direct, 'call')} went directly to the provider, unrecorded" if direct else ""
    parts = [_count(count, "call")]
    if told.calls:
        tokens = _total(told.input_tokens, told.output_tokens)
        parts += [f"{tokens:,} tokens" if tokens is not None else "— tokens", _cost(told)]
        parts += [seconds(told.took_ms)] if told.took_ms is not None else []
    remarks = (
        (told.subscription, "by subscription"),
        (told.cache_hits, "cache hit" if told.cache_hits == 1 else "cache hits"),
        (told.unpriced if told.cost_nano_usd is not None else 0, "unpriced"),
        (told.errors, "error" if told.errors == 1 else "errors"),
        (told.refused, "refused"),
        (running, "still running"),
        (missing, "not recorded yet"),
        (direct, "more went directly, unrecorded"),
    )
    return " · ".join([*parts, *(f"{number:,} {what}" for number, what in remarks if number)])


def usd(nano_usd: int) -> str:
    """Return an amount of nano-dollars as people write it: cents from a dollar on, three digits below."""
    amount = Decimal(nano_usd).scaleb(-_NANO)
    if not amount:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    rounded = amount.quantize(Decimal(1).scaleb(max(amount.adjusted() - _DIGITS + 1, -_NANO)))
    whole, _, cents = f"{rounded:f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def seconds(ms: float) -> str:
    """Return a time as people read it."""
    return f"{ms / 1000:.1f} s" if ms >= 100 else f"{ms:.0f} ms"  # noqa: PLR2004 - 0.1 s, the least that shows


def _cost(told: Sums) -> str:
    if told.cost_nano_usd is not None:
        return usd(told.cost_nano_usd)
    if told.unpriced:
        return "cost unknown (unpriced model)" if told.unpriced == told.calls else f"{told.unpriced} unpriced"
    return "no cost"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _total(*numbers: int | None) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _sum(rows: Sequence[dict[str, Any]], column: str) -> int | None:
    return _total(*(row.get(column) for row in rows))


def _unpriced(row: dict[str, Any]) -> bool:
    """Say whether a bill is to be expected whose amount is not known (as in `ultimate_lib.metrics`)."""
    if row.get("cost_nano_usd") is not None or row.get("billing") in {"subscription", "local"}:
        return False
    status = row.get("status")
    return status not in {"refused", "blocked"} and (status != "error" or (row.get("output_tokens") or 0) > 0)


def _took(rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the length in ms of the union of the calls' times."""
    spans = []
    for row in rows:
        if row.get("duration_ms") is not None:
            start = datetime.fromisoformat(str(row["started_at"])).timestamp() * 1000
            spans.append((start, start + row["duration_ms"]))
    if not spans:
        return None
    took, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        took += max(end - max(start, until), 0.0)
        until = max(until, end)
    return took
