"""One widget on the page, in one of four states: loading, no data, failed, data. Panel's part of a widget."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn

from ultimate_lib.dashboards import markup, shapes
from ultimate_lib.dashboards.figures import StepsFigure
from ultimate_lib.dashboards.places import Words, own_styles, style
from ultimate_lib.dashboards.shapes import Bars, Figures, Steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.shapes import Picture
    from ultimate_lib.dashboards.widget import Widget

_LABELS = {"third": 4, "half": 5, "most": 8, "full": 10}  # at the axis of time
_TABLE, _CHART = "Show as table", "Show as chart"


class Tile:
    """A widget's place. `panel` is what is shown.

    All methods run where Bokeh's document may be changed; `soon` brings a click of Panel's there.
    """

    def __init__(self, name: str, widget: Widget, sheet: Any, soon: Callable[[Callable[[], None]], None]) -> None:
        self.name = name
        self.widget = widget
        self._picture: Picture | None = None
        self._figure: StepsFigure | None = None
        self._title = Words("", sheet)
        self._toggle = pn.widgets.Button(
            label=_TABLE,
            css_classes=["up-small"],
            stylesheets=[style("control")],
            visible=False,
            margin=0,
            width_policy="min",
        )
        self._toggle.on_click(lambda _: soon(self._turn))
        self._above = Words("", sheet)
        self._chart = pn.Column(
            pn.Spacer(height=0), visible=False, hooks=[own_styles], margin=0, sizing_mode="stretch_width"
        )
        self._body = Words("", sheet)
        head = pn.Row(
            self._title.panel,
            self._toggle,
            css_classes=["up-head"],
            stylesheets=[style("head")],
            margin=0,
            sizing_mode="stretch_width",
        )
        self._classes = ["up-tile", f"up-is-{name}", f"up-{widget.size}"]
        self.panel = pn.Column(
            head, self._above.panel, self._chart, self._body.panel, css_classes=[*self._classes, "up-loading"],
            stylesheets=[style("tile")], margin=0, sizing_mode="stretch_width",
        )  # fmt: skip

    def loading(self, question: Question) -> None:
        """Say that another answer is on its way; what is shown stays, paler."""
        self._name(question)
        self.panel.css_classes = [*self._classes, "up-loading"]

    def show(self, picture: Picture | None, question: Question) -> None:
        """Show an answer; None says that there are no calls."""
        self.panel.css_classes = self._classes
        if picture is None:
            self._name(question)
            what = "Choose a longer span, or make a call."
            if question.where:
                what = "Clear the filters, or choose a longer span."
            words = f"<strong>No calls in this span: {escape(question.words)}.</strong>{what}"
            self._say(f'<div class="up-told">{words}</div>')
            return
        self._picture = picture
        self._name(question)
        self._toggle.visible = isinstance(picture, Steps)
        self._draw()

    def fail(self, message: str, hint: str, question: Question) -> None:
        """Show that the question failed, and what to do."""
        self._name(question)
        self.panel.css_classes = self._classes
        told = f"<strong>This could not be read.</strong> {escape(message)} {escape(hint)}"
        self._say(f'<div class="up-failed" role="alert">{told}</div>')

    def _turn(self) -> None:
        self._toggle.label = _CHART if self._toggle.label == _TABLE else _TABLE
        self._draw()

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
        as_table = self._toggle.label == _CHART
        drawn = self._figure.ordered(picture) if self._figure is not None else None
        if drawn is None:
            drawn = picture
            self._figure = StepsFigure(picture, _LABELS[self.widget.size])
            self._chart.objects = [pn.pane.Bokeh(self._figure.figure, margin=0, sizing_mode="stretch_width")]
        elif self._figure is not None:
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
        self._chart.visible = self._toggle.visible = False
        self._above.html = ""
        self._body.html = html

    def _name(self, question: Question) -> None:
        self._words = self.widget.title(question)
        hidden = ' class="up-hidden"' if isinstance(self._picture, Figures) else ""  # large numbers say what they are
        title = f"<h2{hidden}>{escape(self._words)}</h2>"
        self._title.html = title
