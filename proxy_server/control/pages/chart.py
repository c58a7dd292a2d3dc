"""A small bar chart as inline SVG, with the sentence that says the same to those who do not see it."""

from __future__ import annotations

from typing import NamedTuple

from proxy_server.control.pages.shown import usd

WIDTH, HEIGHT = 720, 120
_GAP = 4
_LEAST = 2.0  # what is not zero can be seen


class Bar(NamedTuple):
    """One step of time. `value` is None where calls have no known cost; 0 is a fact."""

    label: str  # shown in the table, and as the bar's own title
    tick: str  # shown under the chart, often empty
    value: float | None
    requests: int
    unpriced: int


class Drawn(NamedTuple):
    """A bar with its place in the picture."""

    bar: Bar
    x: float
    y: float
    width: float
    height: float
    unknown: bool
    value: str


class Chart(NamedTuple):
    """All bars, the highest value, and the sentence."""

    bars: list[Drawn]
    most: str
    summary: str


def draw(bars: list[Bar], span: str) -> Chart:
    """Return bars of dollars in a picture of `WIDTH` by `HEIGHT`; `span` is said as in "the last 24 hours"."""
    known = [bar.value for bar in bars if bar.value is not None]
    most = max(known, default=0.0)
    step = WIDTH / max(len(bars), 1)
    drawn = []
    for number, bar in enumerate(bars):
        unknown = bar.value is None and bar.requests > 0
        height = HEIGHT * (bar.value or 0.0) / most if most else 0.0
        height = max(height, _LEAST) if bar.value else height
        height = HEIGHT / 8 if unknown else height
        place = round(number * step + _GAP / 2, 2)
        drawn.append(
            Drawn(
                bar,
                place,
                round(HEIGHT - height, 2),
                round(step - _GAP, 2),
                round(height, 2),
                unknown,
                usd(bar.value) if bar.value is not None or bar.requests else usd(0),
            )
        )
    return Chart(drawn, usd(most), _summary(bars, sum(known), span))


def _summary(bars: list[Bar], total: float, span: str) -> str:
    requests, unpriced = sum(bar.requests for bar in bars), sum(bar.unpriced for bar in bars)
    if not requests:
        return f"No calls in {span}."
    told = f"{usd(total)} in {span}, from {requests:,} call{'s' if requests > 1 else ''}."
    highest = max(bars, key=lambda bar: bar.value or 0.0)
    if highest.value:
        told += f" The most, {usd(highest.value)}, at {highest.label}."
    if unpriced:
        told += f" The cost of {unpriced:,} call{'s is' if unpriced > 1 else ' is'} not known and not in it."
    return told
