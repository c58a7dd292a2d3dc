"""Numbers for people. Unknown is a dash, never 0."""

from __future__ import annotations

UNKNOWN = "—"
_THOUSAND, _MILLION, _BILLION = 1_000, 1_000_000, 1_000_000_000
_CENT_DIGITS = 3
_NANO_DIGITS = 9
_MINUTE_S = 60

AXES = {"usd": "US dollars", "tokens": "tokens", "calls": "calls", "ms": "milliseconds", "ratio": "share"}
"""Unit → the words at an axis."""


def exact(value: float | None, unit: str) -> str:
    """Return the value with all that is known of it: for tooltips and tables."""
    if value is None:
        return UNKNOWN
    if unit == "usd":
        return usd(value)
    if unit == "ratio":
        return f"{value:.1%}"
    if unit == "ms":
        return f"{value:,.0f} ms"
    return f"{value:,.0f}"


def whole(value: float | None, unit: str) -> str:
    """Return the value to its last digit, money to the nano-dollar: what stands behind large print."""
    if value is None or unit != "usd":
        return exact(value, unit)
    dollars, _, digits = f"{value:,.{_NANO_DIGITS}f}".partition(".")
    return f"${dollars}.{digits.rstrip('0'):0<2}"


def short(value: float | None, unit: str) -> str:
    """Return the value in a few characters: for large print and sentences."""
    if value is None:
        return UNKNOWN
    if unit == "usd":
        return usd(value) if value < _MILLION else f"${value / _MILLION:,.2f} M"
    if unit == "ms":
        return _duration(value)
    if unit == "ratio":
        return f"{value:.1%}"
    for size, letter in ((_BILLION, "B"), (_MILLION, "M")):
        if value >= size:
            return f"{value / size:,.2f} {letter}"
    return f"{value:,.0f}"


def usd(value: float) -> str:
    """Return dollars: cents, and below a dollar three significant digits."""
    if value == 0:
        return "$0"
    if value >= 1:
        return f"${value:,.2f}"
    whole, _, cents = f"{float(f'{value:.{_CENT_DIGITS}g}'):.9f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def change(now: float | None, before: float | None) -> str:
    """Return how much more or less than before, in words; empty when either is not known."""
    if now is None or before is None:
        return ""
    if before == 0:
        return "" if now == 0 else "none before"
    ratio = now / before - 1
    if abs(ratio) < 0.0005:  # noqa: PLR2004 - rounds to nothing
        return "as before"
    sign = "▲" if ratio > 0 else "▼"
    return f"{sign} {abs(ratio):.0%}" if abs(ratio) >= 0.1 else f"{sign} {abs(ratio):.1%}"  # noqa: PLR2004 - digits


def _duration(ms: float) -> str:
    if ms < _THOUSAND:
        return f"{ms:,.0f} ms"
    seconds = ms / _THOUSAND
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s" if seconds >= _MINUTE_S else f"{seconds:.1f} s"  # noqa: PLR2004
