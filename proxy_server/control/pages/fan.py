"""A fan chart as inline SVG: what was, what is expected, and the bands that hold 80 % and 95 % of what may come."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from proxy_server.control.api.predictive import Past, Step

WIDTH, HEIGHT = 720, 240
_LEFT, _BOTTOM, _TOP = 64, 24, 8
_LINES = 4
_TICKS = 6


class Tick(NamedTuple):
    """A mark on an axis: its place and its words."""

    at: float
    label: str


class Fan(NamedTuple):
    """What the picture draws, in its own units."""

    past: list[str]  # lines; several where a step is unknown
    ahead: str
    naive: str
    band_80: str
    band_95: str
    begins: float  # where the forecast does
    values: list[Tick]
    times: list[Tick]


def draw(history: Sequence[Past], rows: Sequence[Step], told: Callable[[float], str]) -> Fan:
    """Return the fan chart of a history and the forecast behind it; `told` says a value in words."""
    count = len(history) + len(rows)
    known = [one.value for one in history if one.value is not None]
    # far bounds may be far indeed: what is higher than this leaves the picture
    most = max([*known, *(row.upper_80 for row in rows)]) * 1.1 or 1.0
    least = min(0.0, *known, *(row.lower_80 for row in rows)) if known else 0.0

    def x(step: int) -> float:
        return round(_LEFT + (WIDTH - _LEFT) * (step + 0.5) / count, 1)

    def y(value: float) -> float:
        inside = min(max(value, least), most)
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - (inside - least) / (most - least)), 1)

    def line(values: Sequence[float], first: int) -> str:
        return " ".join(f"{x(first + at)},{y(value)}" for at, value in enumerate(values))

    begin = len(history)
    before = [(begin - 1, history[-1].value)] if history and history[-1].value is not None else []
    joined = [value for _, value in before]

    def band(low: Sequence[float], high: Sequence[float]) -> str:
        back = [f"{x(begin + at)},{y(low[at])}" for at in reversed(range(len(low)))]
        return " ".join([line(high, begin), *back])

    return Fan(
        past=_parts([one.value for one in history], line),
        ahead=line([*joined, *(row.value for row in rows)], begin - len(joined)),
        naive=line([row.naive for row in rows], begin),
        band_80=band([row.lower_80 for row in rows], [row.upper_80 for row in rows]),
        band_95=band([row.lower_95 for row in rows], [row.upper_95 for row in rows]),
        begins=x(begin),
        values=[Tick(y(at), words) for words, at in {told(at): at for at in _marks(least, most)[::-1]}.items()],
        times=_times([*(one.step_at for one in history), *(row.step_at for row in rows)], x),
    )


def _marks(least: float, most: float) -> list[float]:
    """Return round values between two, some four apart."""
    rough = (most - least) / _LINES
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * part for part in (1.0, 2.0, 5.0, 10.0) if power * part >= rough)
    first = math.ceil(least / step)
    return [step * at for at in range(first, math.floor(most / step) + 1)]


def _parts(values: Sequence[float | None], line: Callable[[Sequence[float], int], str]) -> list[str]:
    """Return the lines between unknown steps."""
    found: list[str] = []
    part: list[float] = []
    for at, value in enumerate([*values, None]):
        if value is not None:
            part.append(value)
        elif part:
            found.append(line(part, at - len(part)))
            part = []
    return found


def _times(steps: Sequence[datetime], x: Callable[[int], float]) -> list[Tick]:
    every = max(len(steps) // _TICKS, 1)
    return [Tick(x(at), f"{step:%d %b}") for at, step in enumerate(steps) if at % every == every // 2]
