"""Money, exact: nano-dollars are whole numbers, and what the proxy tells in dollars becomes them again.

The proxy sums whole nano-dollars and divides once, so the dollars it tells are the double next to that sum. Below
four million dollars two doubles are less than a nano-dollar apart, and the nearest whole number of nano-dollars is
the sum.
"""

from __future__ import annotations

from decimal import Decimal

NANO = 1_000_000_000
_CENTS = Decimal("0.01")


def nano_usd(usd: float | str | Decimal) -> int:
    """Return dollars as the nearest whole nano-dollars."""
    told = Decimal(repr(usd)) if isinstance(usd, float) else Decimal(usd)
    return int((told * NANO).to_integral_value())


def dollars(nano: int) -> Decimal:
    """Return nano-dollars as dollars, exactly."""
    return Decimal(nano) / NANO


def exact(nano: int) -> str:
    """Return an amount with every digit it has: `$0.000192`."""
    text = f"{dollars(abs(nano)):,f}"
    whole, _, part = text.partition(".")
    return f"{'-' if nano < 0 else ''}${whole}.{part.rstrip('0').ljust(2, '0')}"


def show(nano: int) -> str:
    """Return an amount as people read it: `$1,234.50`, `$0.0123`, `$0.000000021`.

    Cents from a dollar on; below that four decimals, and more of them until two digits are to be seen.
    """
    amount = dollars(abs(nano))
    sign = "-" if nano < 0 else ""
    if not nano:
        return "$0.00"
    if amount >= 1:
        return f"{sign}${amount.quantize(_CENTS):,f}"
    places = 4
    while places < 9 and round(amount, places) < Decimal(10) ** (1 - places):  # noqa: PLR2004 - nano-dollars
        places += 1
    return f"{sign}${round(amount, places):,f}"
