"""A place on a dashboard for one picture: loading, told in words, failed, or drawn. Panel's part of a picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from bokeh.models.layouts import Column

from ultimate_lib.dashboards import markup, shapes
from ultimate_lib.dashboards.cells_figure import CellsFigure
from ultimate_lib.dashboards.fan_figure import FanFigure
from ultimate_lib.dashboards.figures import StepsFigure
from ultimate_lib.dashboards.places import Choice, Words, style
from ultimate_lib.dashboards.shapes import Bars, Cells, Fan, Figures, Steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ultimate_lib.dashboards.shapes import Picture

    Drawn: TypeAlias = StepsFigure | FanFigure | CellsFigure

_LABELS = {"third": 4, "half": 5, "most": 8, "full": 10}  # at the axis of time
_FIGURES: dict[type, type[Drawn]] = {Steps: StepsFigure, Fan: FanFigure, Cells: CellsFigure}


class Card:
    """A picture's place. `panel` is what is shown.

    All methods run where Bokeh's document may be changed; `soon` brings a click of Panel's there. Parts that come and
    go are Bokeh's: Panel sends its changes past Bokeh's, so that one may arrive before what it is a change of.
    """

    def __init__(self, name: str, size: str, sheet: Any, soon: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self._size = size
        self._picture: Picture | None = None
        self._figure: Drawn | None = None
        self._words = ""
        self._title = Words("", sheet)
        self._as_table = Choice("Show as table", lambda: soon(self._draw), small=True)
        self._as_table.panel.visible = False
        self._above = Words("", sheet)
        self._chart = Column(visible=False, sizing_mode="stretch_width")
        self._body = Words("", sheet)
        chart = pn.pane.Bokeh(self._chart, margin=0, sizing_mode="stretch_width")
        head = pn.Row(
            self._title.panel,
            self._as_table.panel,
            css_classes=["up-head"],
            stylesheets=[style("head")],
            margin=0,
            sizing_mode="stretch_width",
        )
        self._classes = ["up-tile", f"up-is-{name}", f"up-{size}"]
        self.panel = pn.Column(
            head, self._above.panel, chart, self._body.panel, css_classes=[*self._classes, "up-loading"],
            stylesheets=[style("tile")], margin=0, sizing_mode="stretch_width",
        )  # fmt: skip

    def wait(self, title: str) -> None:
        """Say that another answer is on its way; what is shown stays, paler."""
        self._name(title)
        self.panel.css_classes = [*self._classes, "up-loading"]

    def figure_for(self, picture: Picture | None) -> Drawn | None:
        """Return a figure for a picture that the one here cannot take; may be called in any thread (30 ms)."""
        kind = _FIGURES.get(type(picture))
        if kind is None:
            return None
        there: Any = self._figure
        if type(self._figure) is kind and there.ordered(picture) is not None:
            return None
        make: Any = kind  # each takes its own pictures
        made: Drawn = make(picture, _LABELS[self._size])
        return made

    def put(self, picture: Picture, title: str, figure: Drawn | None) -> None:
        """Show a picture. `figure` is what `figure_for` made for it."""
        self.panel.css_classes = self._classes
        if picture == self._picture:  # something has changed, but nothing that is shown here
            self._name(title)
            return
        self._picture = picture
        if figure is not None:
            self._figure = figure
            self._chart.children = [figure.figure]
        self._name(title)
        self._as_table.panel.visible = type(picture) in _FIGURES
        self._draw()

    def tell(self, html: str, title: str) -> None:
        """Show words where a picture would be."""
        self._picture = None
        self._name(title)
        self.panel.css_classes = self._classes
        self._chart.visible = False
        self._as_table.panel.visible = False
        self._above.html = ""
        self._body.html = html

    def _draw(self) -> None:
        picture = self._picture
        if isinstance(picture, (Steps, Fan, Cells)):
            self._drawn(picture)
        elif isinstance(picture, Bars):
            self._body.html = markup.bars(picture)
        elif isinstance(picture, Figures):
            self._body.html = markup.figures(picture)
        elif picture is not None:
            self._body.html = markup.grid(picture, self._words)

    def _drawn(self, picture: Steps | Fan | Cells) -> None:
        as_table = self._as_table.on
        figure: Any = self._figure
        assert figure is not None  # noqa: S101 - `figure_for` has made one
        drawn = figure.ordered(picture) or picture
        figure.update(drawn)
        self._above.html = f'<p class="up-quiet">{escape(shapes.summary(drawn))}</p>' + (
            "" if as_table else markup.legend(drawn)
        )
        self._chart.visible = not as_table
        if as_table:
            self._body.html = markup.grid(shapes.table(drawn), self._words)
        else:
            self._body.html = f'<p class="up-quiet">{escape(drawn.note)}</p>' if drawn.note else ""

    def _name(self, title: str) -> None:
        self._words = title
        hidden = ' class="up-hidden"' if isinstance(self._picture, Figures) else ""  # large numbers say what they are
        self._title.html = f"<h2{hidden}>{escape(title)}</h2>"
