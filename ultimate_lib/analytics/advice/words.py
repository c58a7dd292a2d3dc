"""Numbers as sentences say them."""

from __future__ import annotations

NANO = 1e9
_MILLION = 1_000_000


def usd(value: float) -> str:
    """Return dollars: cents where there are dollars, below at least cents and three significant digits."""
    if value < 0:
        return f"-{usd(-value)}"
    if value >= 1 or value == 0:
        return f"${value:,.2f}"
    whole, _, cents = f"{float(f'{value:.3g}'):.9f}".partition(".")
    return f"${whole}.{cents[:2]}{cents[2:].rstrip('0')}"


def calls(number: int) -> str:
    """Return a number of calls."""
    return f"{number:,} call{'' if number == 1 else 's'}"


def model(name: str | None) -> str:
    """Return how a title names a model; calls may have come without one."""
    return name if name is not None else "an unknown model"


def per_million(nano: float) -> str:
    """Return the price of a million tokens."""
    return usd(nano * _MILLION / NANO)
