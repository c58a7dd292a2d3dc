"""Where the marks of an upright axis stand and what is written at them: round numbers, with the unit people read."""

from __future__ import annotations

import math
from typing import NamedTuple

from ultimate_lib.dashboards import units

_MARKS = 5
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
_SIZES = ((1e9, 1e9, " B"), (1e6, 1e6, " M"), (1e4, 1e3, " k"))  # from, unit, letter
_SECONDS_FROM_MS = 2000
_WHOLE = {"calls", "tokens"}


class Ticks(NamedTuple):
    """Values from 0 on, the text at each, and the words at the axis."""

    values: list[float]
    labels: list[str]
    axis: str


def ticks(top: float, unit: str) -> Ticks:
    """Return marks from 0 to `top` (in `unit`: usd, tokens, calls, ms or ratio), about five of them.

    >>> ticks(5_200_000, "tokens").labels
    ['0', '2 M', '4 M']
    """
    step = _step(top, whole=unit in _WHOLE)
    values = [index * step for index in range(int(top / step + 1e-9) + 1)]
    if unit == "ms":
        in_seconds = top >= _SECONDS_FROM_MS
        size, axis = (1000.0, "seconds") if in_seconds else (1.0, units.AXES[unit])
        return Ticks(values, [_plain(value / size, step / size) for value in values], axis)
    large = [one[1:] for one in _SIZES if unit in _WHOLE and top >= one[0]]
    size, letter = large[0] if large else (1.0, "")
    if unit == "ratio":
        labels = [f"{value:.0%}" if step >= 0.01 else f"{value:.1%}" for value in values]  # noqa: PLR2004 - a percent
    else:
        sign = "$" if unit == "usd" else ""
        labels = [f"{sign}{_plain(value / size, step / size)}{letter if value else ''}" for value in values]
    return Ticks(values, labels, units.AXES[unit])


def _step(top: float, *, whole: bool) -> float:
    """Return the round distance that leaves about five marks below `top`."""
    if not top > 0:
        return 1.0
    rough = top / _MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in _ROUND if power * part >= rough * 0.999)
    if whole and (step < 1 or step != int(step)):
        return max(1.0, math.ceil(step))
    return step


def _plain(value: float, step: float) -> str:
    """Return a mark with as many digits as its step needs."""
    if value == 0:
        return "0"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, digits) != step and not math.isclose(round(step, digits), step, rel_tol=1e-6):
        digits += 1  # 2.5 and its kin
    return f"{value:,.{digits}f}"
