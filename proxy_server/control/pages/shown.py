"""How values look to people. What is unknown is a dash, never a zero."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from zoneinfo import ZoneInfo

UNKNOWN = "—"
_MILLION = 1_000_000
_MS_A_SECOND = 1000
_KILO = 1024
_CENTI = 0.01


def usd(value: float | None) -> str:
    """Return dollars for people: cents, and below a dollar three significant digits; a dash if unknown."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "$0"
    if value >= 1:
        return f"${value:,.2f}"
    whole, _, cents = f"{float(f'{value:.3g}'):.9f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def rate(value: float | None) -> str:
    """Return a price to its last digit."""
    if value is None:
        return UNKNOWN
    whole, _, cents = f"{value:,.6g}".partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def nano_usd(value: int | None) -> str:
    """Return nano-dollars as dollars to the last digit."""
    if value is None:
        return UNKNOWN
    whole, rest = divmod(abs(value), 1_000_000_000)
    return f"{'-' if value < 0 else ''}${whole:,}.{rest:09d}"


def count(value: float | None) -> str:
    """Return a number of things; from ten millions on, in millions."""
    if value is None:
        return UNKNOWN
    if value >= 10 * _MILLION:
        return f"{value / _MILLION:,.1f} M"
    return f"{value:,.0f}"


def percent(ratio: float | None) -> str:
    """Return a part of a whole; what is a little is not nothing, and what is not all is less."""
    if ratio is None:
        return UNKNOWN
    if 0 < ratio < _CENTI:
        return "under 1%"
    if 1 - _CENTI < ratio < 1:
        return "over 99%"
    return f"{ratio:.0%}"


def took(duration_ms: float | None) -> str:
    """Return a length of time."""
    if duration_ms is None:
        return UNKNOWN
    if duration_ms >= _MS_A_SECOND:
        return f"{duration_ms / _MS_A_SECOND:.1f} s"
    return f"{duration_ms} ms" if duration_ms == int(duration_ms) else f"{duration_ms:.2f} ms"


def size(value: int | None) -> str:
    """Return a number of bytes."""
    if value is None:
        return UNKNOWN
    return f"{value} bytes" if value < _KILO else f"{value / _KILO:,.1f} KiB"


def aware(instant: datetime) -> datetime:
    """Return an instant of the lake with its zone."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def row(call: dict[str, Any], zone: ZoneInfo, today: date, people: Mapping[str, str]) -> dict[str, str]:
    """Return a call as a row of the tables of calls; who is none of these people stands there by id."""
    started = aware(call["started_at"])
    local = started.astimezone(zone)
    nano = call.get("cost_nano_usd")
    return {
        "id": call["call_id"],
        "instant": started.isoformat(),
        "at": f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M}",
        "who": people.get(call.get("user_id") or "", call.get("user_id") or UNKNOWN),
        "model": call.get("model_served") or call.get("model_routed") or call.get("model_requested") or UNKNOWN,
        "provider": call.get("provider") or UNKNOWN,
        "project": call.get("project") or "",
        "notebook": call.get("notebook") or "",
        "status": call.get("status") or UNKNOWN,
        "input": count(call.get("input_tokens")),
        "output": count(call.get("output_tokens")),
        "cost": usd(nano / 1e9 if nano is not None else None),
        "took": took(call.get("duration_ms")),
    }


def day(instant: datetime, zone: ZoneInfo) -> str:
    """Return the day of an instant."""
    return f"{aware(instant).astimezone(zone):%Y-%m-%d}"


def minute(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant to the minute."""
    return f"{aware(instant).astimezone(zone):%Y-%m-%d %H:%M}"
