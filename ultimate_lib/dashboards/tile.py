"""One widget on the page, in one of four states: loading, no data, failed, data. Panel's part of a widget."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from bokeh.models.layouts import Column

from ultimate_lib.dashboards import markup, shapes
from ultimate_lib.dashboards.figures import StepsFigure
from ultimate_lib.dashboards.places import Choice, Words, style
from ultimate_lib.dashboards.shapes import Bars, Figures, Steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.shapes import Picture
    from ultimate_lib.dashboards.widget import Widget

_LABELS = {"third": 4, "half": 5, "most": 8, "full": 10}  # at the axis of time


class Tile:
    """A widget's place. `panel` is what is shown.

    All methods run where Bokeh's document may be changed; `soon` brings a click of Panel's there. Parts that come and
    go are Bokeh's: Panel sends its changes past Bokeh's, so that one may arrive before what it is a change of.
    """

    def __init__(self, name: str, widget: Widget, sheet: Any, soon: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self.widget = widget
        self._picture: Picture | None = None
        self._figure: StepsFigure | None = None
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
        self._classes = ["up-tile", f"up-is-{name}", f"up-{widget.size}"]
        self.panel = pn.Column(
            head, self._above.panel, chart, self._body.panel, css_classes=[*self._classes, "up-loading"],
            stylesheets=[style("tile")], margin=0, sizing_mode="stretch_width",
        )  # fmt: skip

    def loading(self, question: Question) -> None:
        """Say that another answer is on its way; what is shown stays, paler."""
        self._name(question)
        self.panel.css_classes = [*self._classes, "up-loading"]

    def figure_for(self, picture: Picture | None) -> StepsFigure | None:
        """Return a figure for a picture that the one here cannot take; may be called in any thread (30 ms)."""
        if not isinstance(picture, Steps) or (self._figure is not None and self._figure.ordered(picture) is not None):
            return None
        return StepsFigure(picture, _LABELS[self.widget.size])

    def show(self, picture: Picture | None, question: Question, figure: StepsFigure | None) -> None:
        """Show an answer; None says that there are no calls. `figure` is what `figure_for` made for it."""
        self.panel.css_classes = self._classes
        if picture is None:
            self._name(question)
            what = "Choose a longer span, or make a call."
            if question.where:
                what = "Clear the filters, or choose a longer span."
            words = f"<strong>No calls in this span: {escape(question.words)}.</strong>{what}"
            self._say(f'<div class="up-told">{words}</div>')
            return
        if picture == self._picture:  # the lake has changed, but nothing that is shown here
            self._name(question)
            return
        self._picture = picture
        if figure is not None:
            self._figure = figure
            self._chart.children = [figure.figure]
        self._name(question)
        self._as_table.panel.visible = isinstance(picture, Steps)
        self._draw()

    def fail(self, message: str, hint: str, question: Question) -> None:
        """Show that the question failed, and what to do."""
        self._name(question)
        self.panel.css_classes = self._classes
        told = f"<strong>This could not be read.</strong> {escape(message)} {escape(hint)}"
        self._say(f'<div class="up-failed" role="alert">{told}</div>')

    def _draw(self) -> None:
        picture = self._picture
        if isinstance(picture, Steps):
            self._steps(picture)
        elif isinstance(picture, Bars):
            self._body.html = markup.bars(picture)
        elif isinstance(picture, Figures):
            self._body.html = markup.figures(picture)
        elif picture is not None:
            self._body.html = markup.grid(picture, self._words)

    def _steps(self, picture: Steps) -> None:
        as_table = self._as_table.on
        assert self._figure is not None  # noqa: S101 - `figure_for` has made one
        drawn = self._figure.ordered(picture) or picture
        self._figure.update(drawn)
        self._above.html = f'<p class="up-quiet">{escape(shapes.summary(drawn))}</p>' + (
            "" if as_table else markup.legend(drawn)
        )
        self._chart.visible = not as_table
        if as_table:
            self._body.html = markup.grid(shapes.table(drawn), self._words)
        else:
            self._body.html = f'<p class="up-quiet">{escape(drawn.note)}</p>' if drawn.note else ""

    def _say(self, html: str) -> None:
        self._picture = None
        self._chart.visible = False
        self._as_table.panel.visible = False
        self._above.html = ""
        self._body.html = html

    def _name(self, question: Question) -> None:
        self._words = self.widget.title(question)
        hidden = ' class="up-hidden"' if isinstance(self._picture, Figures) else ""  # large numbers say what they are
        title = f"<h2{hidden}>{escape(self._words)}</h2>"
        self._title.html = title
