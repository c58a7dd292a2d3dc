"""Steps over time as a Bokeh figure that is drawn once and then only given new values.

The axis counts steps instead of showing instants, and its labels come from here: days of 23 or 25 hours and zones at
half hours need nothing of the browser, and no function has to be compiled there (which a strict page forbids).
Texts and lines take their colours from CSS variables of the page, so that light and dark need no second figure.
"""

from __future__ import annotations

import math
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    GlobalInlineStyleSheet,
    HoverTool,
    Range1d,
)
from bokeh.plotting import figure

from ultimate_lib.dashboards import palette, units
from ultimate_lib.dashboards.places import style
from ultimate_lib.dashboards.shapes import OTHER
from ultimate_lib.dashboards.ticks import ticks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultimate_lib.dashboards.shapes import Steps

_HEIGHT_PX = 250
_BAR = 0.84
_RUNNING_ALPHA = 0.5
ROOM = 1.08  # above the highest value
_TIP = 'style="font:13px/1.5 system-ui,sans-serif;padding:2px 4px"'


def plain(height: int, x: Range1d, y: Range1d) -> figure:
    """Return an empty figure as all of ours look.

    Ranges and tickers are changed later and never replaced: with a new model Bokeh walks the whole document, 50 ms
    each time.
    """
    made = figure(
        height=height, sizing_mode="stretch_width", x_range=x, y_range=y, tools="",
        toolbar_location=None, background_fill_alpha=0, border_fill_alpha=0, outline_line_color=None,
        min_border_left=8, min_border_right=12, css_classes=["up-figure"],
        stylesheets=[GlobalInlineStyleSheet(css=style("tooltip"))],
    )  # fmt: skip
    made.xgrid.visible = False
    made.xaxis.minor_tick_line_color = made.yaxis.minor_tick_line_color = None
    made.yaxis.axis_line_color = made.yaxis.major_tick_line_color = None
    made.xaxis[0].ticker = FixedTicker()
    made.yaxis[0].ticker = FixedTicker()
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.major_label_text_font_size = axis.axis_label_text_font_size = "12px"
    return made


def upright(made: figure, top: float, unit: str) -> None:
    """Write what stands at the upright axis, from 0 to `top`."""
    marks = ticks(top, unit)
    mark(made.yaxis[0], dict(zip(marks.values, marks.labels, strict=True)))
    made.yaxis[0].axis_label = marks.axis


def mark(axis: Any, words: Mapping[float, str]) -> None:
    """Write words at places of an axis."""
    axis.ticker.ticks = list(words)
    axis.major_label_overrides = dict(words)


def tip(told: str) -> str:
    """Return what a pointer is shown: the step's name, and lines of `line`."""
    return f"<div {_TIP}><b>@when</b>{told}</div>"


def line(name: str, value: str, color: str | None = None) -> str:
    """Return a line of a tooltip. `@` and `$` in a name would be read as a column's name."""
    shown = escape(name).replace("@", "&#64;").replace("$", "&#36;")
    key = f'<span style="color:{color}">&#9632;</span> ' if color is not None else ""
    name_and_value = f"<span>{key}{shown}</span><b>{value}</b>"
    return f'<div style="display:flex;gap:1.2em;justify-content:space-between">{name_and_value}</div>'


class StepsFigure:
    """A figure for pictures with the same series, `labels` at its axis; `ordered` tells whether another one fits."""

    def __init__(self, picture: Steps, labels: int) -> None:
        self._labels = labels
        self._names = _names(picture)
        self._stacked = picture.stacked
        self._unit = picture.unit
        self._source = ColumnDataSource(_columns(picture))
        self._x, self._y = Range1d(), Range1d(start=0)
        self.figure = plain(_HEIGHT_PX, self._x, self._y)
        (self._layers if picture.stacked else self._lines)()
        self._hover()
        self.update(picture)

    def ordered(self, picture: Steps) -> Steps | None:
        """Return the picture with its series in the order drawn, each in its colour; None: other series."""
        if (picture.stacked, picture.unit, set(_names(picture))) != (self._stacked, self._unit, set(self._names)):
            return None
        by_name = {series.name: series for series in picture.series}
        return replace(picture, series=tuple(by_name[name] for name in self._names))

    def update(self, picture: Steps) -> None:
        """Show other values of the same series, in their order."""
        columns = _columns(picture)
        self._source.data = columns
        count = len(picture.steps)
        self._x.update(start=-0.6, end=count - 0.4)
        top = max((value for value in columns["top"] if math.isfinite(value)), default=0.0)
        self._y.end = top * ROOM or 1
        every = max(1, math.ceil(count / self._labels))
        marked = list(range((count - 1) % every, count, every))
        mark(self.figure.xaxis[0], {step: picture.label(step, axis=True) for step in marked})
        upright(self.figure, top, picture.unit)

    def _layers(self) -> None:
        keys = [f"v{index}" for index in range(len(self._names))]
        for index, (key, name) in enumerate(zip(keys, self._names, strict=True)):
            look = palette.REST if name == OTHER else palette.look(index)
            self.figure.vbar(
                x="i", width=_BAR, bottom=f"b{index}", top=f"e{index}", source=self._source, fill_color=look.color,
                line_color=None, fill_alpha="alpha", hatch_pattern=look.hatch, hatch_color="white", hatch_alpha=0.45,
                hatch_scale=8, hatch_weight=1, name=key,
            )  # fmt: skip

    def _lines(self) -> None:
        for index in range(len(self._names)):
            look = palette.look(index)
            self.figure.line(
                x="i", y=f"v{index}", source=self._source, line_color=look.color, line_width=2.5,
                line_dash=list(look.dash) or "solid",
            )  # fmt: skip
            self.figure.scatter(x="i", y=f"v{index}", source=self._source, color=look.color, size=4)

    def _hover(self) -> None:
        """Show the exact values of a step wherever the pointer is above it, empty steps included."""
        all_of_it = self.figure.vbar(
            x="i", width=1, bottom=0, top="full", source=self._source, fill_alpha=0, line_alpha=0,
            hover_fill_color="#80859a", hover_fill_alpha=0.12, hover_line_alpha=0,
        )  # fmt: skip
        names = [*self._names, "All"] if self._stacked and len(self._names) > 1 else list(self._names)
        told = "".join(self._row(name, index) for index, name in enumerate(names))
        self.figure.add_tools(
            HoverTool(
                renderers=[all_of_it], mode="vline", tooltips=tip(told),
                point_policy="follow_mouse", visible=False,
            )
        )  # fmt: skip

    def _row(self, name: str, index: int) -> str:
        look = self._look(index)
        return line(name, f"@t{index}" if look is not None else "@all", look.color if look is not None else None)

    def _look(self, index: int) -> palette.Look | None:
        """Return how a series is drawn; None for what is no series."""
        if index >= len(self._names):
            return None
        return palette.REST if self._names[index] == OTHER else palette.look(index)


def _names(picture: Steps) -> tuple[str, ...]:
    return tuple(series.name for series in picture.series)


def _columns(picture: Steps) -> dict[str, list[Any]]:
    count = len(picture.steps)
    columns: dict[str, list[Any]] = {"i": list(range(count))}
    base = [0.0] * count
    known = [False] * count
    highest = [0.0] * count
    for index, series in enumerate(picture.series):
        columns[f"v{index}"] = [math.nan if value is None else float(value) for value in series.values]
        columns[f"t{index}"] = [units.exact(value, picture.unit) for value in series.values]
        columns[f"b{index}"] = list(base)
        for at, value in enumerate(series.values):
            if value is not None:
                known[at] = True
                base[at] += value
                highest[at] = max(highest[at], value)
        columns[f"e{index}"] = list(base)
    columns["top"] = base if picture.stacked else highest
    full = (max(columns["top"], default=0.0) * ROOM) or 1.0
    columns["full"] = [full] * count
    columns["all"] = [
        units.exact(total if fine else None, picture.unit) for total, fine in zip(base, known, strict=True)
    ]
    columns["when"] = [picture.label(at) for at in range(count)]
    columns["alpha"] = [1.0] * count
    if picture.runs and count:
        columns["when"][-1] += ", still running"
        columns["alpha"][-1] = _RUNNING_ALPHA
    return columns
