"""A forecast as a Bokeh figure: what was, what is expected, the bands of what may come, the naive beside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bokeh.models import ColumnDataSource, HoverTool, Range1d
from bokeh.models.annotations import Span

from ultimate_lib.dashboards import palette, units
from ultimate_lib.dashboards.figures import ROOM, line, mark, plain, tip, upright
from ultimate_lib.dashboards.shapes import step_name

if TYPE_CHECKING:
    from ultimate_lib.dashboards.shapes import Fan

_HEIGHT_PX = 320
_HALF = 0.4
_BANDS = (("low95", "high95", palette.FAR), ("low80", "high80", palette.NEAR))


class FanFigure:
    """A figure for any forecast; it is drawn once and then only given new values."""

    def __init__(self, picture: Fan, labels: int) -> None:
        self._labels = labels
        self._was, self._ahead, self._said = ColumnDataSource(), ColumnDataSource(), ColumnDataSource()
        self._told = ColumnDataSource()
        self._x, self._y = Range1d(), Range1d(start=0)
        self.figure = plain(_HEIGHT_PX, self._x, self._y)
        self._now = Span(dimension="height", line_color=palette.REST.color, line_dash=[2, 3], line_width=1)
        self.figure.add_layout(self._now)
        self.update(picture)
        self._draw()

    def ordered(self, picture: Fan) -> Fan:
        """Return the picture: any one fits."""
        return picture

    def update(self, picture: Fan) -> None:
        """Show another forecast."""
        begin = len(picture.past)
        self._was.data = _was(picture)
        self._ahead.data = _lines(picture)
        full = picture.top * ROOM or 1.0
        self._said.data = {
            "i": list(range(begin)),
            "full": [full] * begin,
            "when": [step_name(at, picture.grain) for at, _ in picture.past],
            "value": [units.exact(value, picture.unit) for _, value in picture.past],
        }
        self._told.data = _told(picture, full)
        count = begin + len(picture.ahead)
        self._x.update(start=-0.6, end=count - 0.4)
        self._y.end = full
        self._now.location = begin - 0.5
        mark(self.figure.xaxis[0], self._marks(picture))
        upright(self.figure, picture.top, picture.unit)

    def _marks(self, picture: Fan) -> dict[float, str]:
        """Return the steps with a word at the axis: days, and hours where all are of few days."""
        steps = picture.steps
        whole = [at for at, step in enumerate(steps) if picture.grain == "day" or step.hour == 0]
        if len(whole) < self._labels // 2:
            every = max(1, math.ceil(len(steps) / self._labels))
            return {at: f"{steps[at]:%H:%M}" for at in range(0, len(steps), every)}
        every = max(1, math.ceil(len(whole) / self._labels))
        return {at: f"{steps[at]:%b} {steps[at].day}" for at in whole[::every]}

    def _draw(self) -> None:
        made, blue, orange = self.figure, palette.LOOKS[0], palette.LOOKS[1]
        for low, high, alpha in _BANDS:
            made.varea(x="i", y1=low, y2=high, source=self._ahead, fill_color=blue.color, fill_alpha=alpha)
        made.line(x="i", y="value", source=self._was, line_color=palette.REST.color, line_width=2)
        made.line(
            x="i", y="naive", source=self._ahead, line_color=orange.color, line_width=2, line_dash=list(orange.dash)
        )
        made.line(x="i", y="value", source=self._ahead, line_color=blue.color, line_width=3)
        was = tip(line("has been", "@value", palette.REST.color))
        ahead = tip(
            line("expected", "@value", blue.color)
            + line("80 % between", "@between80")
            + line("95 % between", "@between95")
            + line("naive", "@naive", orange.color)
        )
        for source, told in ((self._said, was), (self._told, ahead)):
            step = made.vbar(
                x="i", width=1, bottom=0, top="full", source=source, fill_alpha=0, line_alpha=0,
                hover_fill_color=palette.REST.color, hover_fill_alpha=0.12, hover_line_alpha=0,
            )  # fmt: skip
            made.add_tools(
                HoverTool(renderers=[step], mode="vline", tooltips=told, point_policy="follow_mouse", visible=False)
            )


def _was(picture: Fan) -> dict[str, list[Any]]:
    values = [math.nan if value is None else value for _, value in picture.past]
    return {"i": list(range(len(values))), "value": values}


def _lines(picture: Fan) -> dict[str, list[Any]]:
    """Return the lines and bands, which begin at the last value that was, where it is known."""
    begin = len(picture.past)
    parts = {
        "value": [one.value for one in picture.ahead],
        "naive": [one.naive for one in picture.ahead],
        "low80": [one.lower_80 for one in picture.ahead],
        "high80": [one.upper_80 for one in picture.ahead],
        "low95": [one.lower_95 for one in picture.ahead],
        "high95": [one.upper_95 for one in picture.ahead],
    }
    at: list[float] = [float(begin + number) for number in range(len(picture.ahead))]
    last = picture.past[-1][1] if picture.past else None
    if last is not None:
        return {"i": [begin - 1.0, *at], **{name: [last, *values] for name, values in parts.items()}}
    if len(at) == 1:  # a band needs two ends
        return {"i": [begin - _HALF, begin + _HALF], **{name: values * 2 for name, values in parts.items()}}
    return {"i": at, **parts}


def _told(picture: Fan, full: float) -> dict[str, list[Any]]:
    def said(value: float) -> str:
        return units.exact(value, picture.unit)

    when = [step_name(one.at, picture.grain) for one in picture.ahead]
    when[0] += ", still running"
    begin = len(picture.past)
    return {
        "i": list(range(begin, begin + len(when))),
        "full": [full] * len(when),
        "when": when,
        "value": [said(one.value) for one in picture.ahead],
        "between80": [f"{said(one.lower_80)} and {said(one.upper_80)}" for one in picture.ahead],
        "between95": [f"{said(one.lower_95)} and {said(one.upper_95)}" for one in picture.ahead],
        "naive": [said(one.naive) for one in picture.ahead],
    }
