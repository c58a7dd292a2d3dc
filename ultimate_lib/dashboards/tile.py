"""One widget of the overview in its place, in one of four states: loading, no data, failed, data."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ultimate_lib.dashboards.card import Card

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.dashboards.card import Drawn
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.shapes import Picture
    from ultimate_lib.dashboards.widget import Widget


class Tile(Card):
    """A widget's place."""

    def __init__(self, name: str, widget: Widget, sheet: Any, soon: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(name, widget.size, sheet, soon)
        self.widget = widget

    def loading(self, question: Question) -> None:
        """Say that another answer is on its way; what is shown stays, paler."""
        self.wait(self.widget.title(question))

    def show(self, picture: Picture | None, question: Question, figure: Drawn | None) -> None:
        """Show an answer; None says that there are no calls. `figure` is what `figure_for` made for it."""
        if picture is not None:
            self.put(picture, self.widget.title(question), figure)
            return
        what = "Choose a longer span, or make a call."
        if question.where:
            what = "Clear the filters, or choose a longer span."
        words = f"<strong>No calls in this span: {escape(question.words)}.</strong>{what}"
        self.tell(f'<div class="up-told">{words}</div>', self.widget.title(question))

    def fail(self, message: str, hint: str, question: Question) -> None:
        """Show that the question failed, and what to do."""
        told = f"<strong>This could not be read.</strong> {escape(message)} {escape(hint)}"
        self.tell(f'<div class="up-failed" role="alert">{told}</div>', self.widget.title(question))
