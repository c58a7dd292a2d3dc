"""A calendar as a Bokeh figure: a cell a step, deeper the more there was, a diamond where it was unlike others."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bokeh.models import ColumnDataSource, HoverTool, Range1d

from ultimate_lib.dashboards import palette, units
from ultimate_lib.dashboards.figures import line, mark, plain, tip
from ultimate_lib.dashboards.shapes import step_name

if TYPE_CHECKING:
    from datetime import date

    from ultimate_lib.dashboards.shapes import Cell, Cells

_HEIGHTS_PX = {"hour": 360, "day": 230}
_DOWN = {"hour": 24, "day": 7}
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EVERY_HOURS = 3
_PALEST, _FULLEST = 0.06, 0.85
_OFTEN = 0.95  # of the known values lie below the one that has the full colour
_UNJUDGED = 0.5


class CellsFigure:
    """A figure for calendars with the same steps (hours or days)."""

    def __init__(self, picture: Cells, labels: int) -> None:
        self._labels = labels
        self._grain = picture.grain
        self._plain, self._odd = ColumnDataSource(), ColumnDataSource()
        self._x = Range1d()
        down = Range1d(start=_DOWN[picture.grain] - 0.5, end=-0.5)
        self.figure = plain(_HEIGHTS_PX[picture.grain], self._x, down)
        self.figure.ygrid.visible = False
        self._beside()
        self.update(picture)
        self._draw()

    def ordered(self, picture: Cells) -> Cells | None:
        """Return the picture; None: its steps are others."""
        return picture if picture.grain == self._grain else None

    def update(self, picture: Cells) -> None:
        """Show another calendar."""
        first = _first(picture)
        full = _full(picture)
        self._plain.data = _columns(picture, [one for one in picture.cells if not one.anomaly], first, full)
        self._odd.data = _columns(picture, [one for one in picture.cells if one.anomaly], first, full)
        count = _place(picture.grain, picture.cells[-1], first)[0] + 1
        self._x.update(start=-0.5, end=count - 0.5)
        every = max(1, math.ceil(count / self._labels))
        length = timedelta(days=1 if self._grain == "hour" else 7)
        named = {at: first + at * length for at in range((count - 1) % every, count, every)}
        mark(self.figure.xaxis[0], {at: f"{day:%b} {day.day}" for at, day in named.items()})

    def _beside(self) -> None:
        hours: dict[float, str] = {hour: f"{hour:02}:00" for hour in range(0, 24, _EVERY_HOURS)}
        mark(self.figure.yaxis[0], hours if self._grain == "hour" else {**dict(enumerate(_WEEKDAYS))})

    def _draw(self) -> None:
        made, orange = self.figure, palette.LOOKS[1].color
        usual = made.rect(
            x="x", y="y", width=0.92, height=0.88, source=self._plain, fill_color="color", fill_alpha="alpha",
            line_color=None, hover_line_color=palette.REST.color,
        )  # fmt: skip
        odd = made.rect(
            x="x", y="y", width=0.92, height=0.88, source=self._odd, fill_color="color", fill_alpha="alpha",
            line_color=orange, line_width=2,
        )  # fmt: skip
        made.scatter(
            x="x", y="y", source=self._odd, marker="diamond", size=13, fill_color=orange, line_color="#ffffff",
            line_width=1,
        )  # fmt: skip
        told = line("value", "@value")
        why = line("expected", "@expected") + line("why", "@why") + line("mostly\u00a0by", "@who")
        for renderer, words in ((usual, told + line("", "@judged")), (odd, told + why)):
            made.add_tools(HoverTool(renderers=[renderer], tooltips=tip(words), visible=False))


def _first(picture: Cells) -> date:
    """Return the day of the first column."""
    day = picture.cells[0].at.date()
    return day if picture.grain == "hour" else day - timedelta(days=day.weekday())


def _place(grain: str, cell: Cell, first: date) -> tuple[int, int]:
    days = (cell.at.date() - first).days
    return (days, cell.at.hour) if grain == "hour" else (days // 7, cell.at.weekday())


def _full(picture: Cells) -> float:
    """Return the value from which on a cell has its full colour: one spike would leave all others pale."""
    known = sorted(cell.value for cell in picture.cells if cell.value is not None)
    return known[int(_OFTEN * (len(known) - 1))] if known else 0.0


def _columns(picture: Cells, cells: list[Cell], first: date, full: float) -> dict[str, list[Any]]:
    places = [_place(picture.grain, cell, first) for cell in cells]
    return {
        "x": [at for at, _ in places],
        "y": [at for _, at in places],
        "alpha": [_alpha(cell, full) for cell in cells],
        "color": [(palette.LOOKS[0] if cell.judged else palette.REST).color for cell in cells],
        "when": [step_name(cell.at, picture.grain) for cell in cells],
        "value": [units.exact(cell.value, picture.unit) for cell in cells],
        "judged": ["" if cell.judged else "learnt from, not judged" for cell in cells],
        "expected": [cell.expected for cell in cells],
        "why": [cell.why for cell in cells],
        "who": [cell.who or units.UNKNOWN for cell in cells],
    }


def _alpha(cell: Cell, full: float) -> float:
    if cell.value is None:
        return 0.0
    share = min(1.0, max(0.0, cell.value / full)) if full > 0 else float(cell.value > 0)
    return (_PALEST + (_FULLEST - _PALEST) * share) * (1.0 if cell.judged else _UNJUDGED)
