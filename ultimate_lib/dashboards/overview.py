"""The overview: what calls cost and how they do, over a span, with controls that every widget follows.

    overview.view(source)        # in a notebook: JupyterLab, Voila, papermill; a server makes an `Overview` itself

A look for news costs one small question (`Source.mark`); only when its answer has changed are widgets asked again.
"""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import panel as pn
from bokeh.models import InlineStyleSheet

from ultimate_lib.dashboards.asking import Asking, Failure
from ultimate_lib.dashboards.controls import Controls
from ultimate_lib.dashboards.places import Beat, Words, laid_out, style
from ultimate_lib.dashboards.question import FILTERS, SPANS, ask
from ultimate_lib.dashboards.tile import Tile
from ultimate_lib.dashboards.widget import WIDGETS, spanned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from bokeh.document import Document

    from ultimate_lib.dashboards.card import Drawn
    from ultimate_lib.dashboards.question import Question
    from ultimate_lib.dashboards.shapes import Picture
    from ultimate_lib.dashboards.source import Source

CHARTS_EVERY_S = 5.0
"""Charts follow a stream of calls no faster than this; the large numbers follow at once."""
_REST = 10  # times as long as charts took to come, so that many viewers slow down instead of keeping the machine busy
_TOTALS = "totals"
_MOST_OPTIONS = 200


def view(source: Source, *, told: Mapping[str, str] | None = None) -> Any:
    """Return the dashboard as a Panel object, for a notebook: its output is complete when the cell ends.

    `told` sets controls (span, group, model, provider, project, from, to).
    """
    shown = Overview(source, told=told or {})
    shown.refresh()
    return shown.panel


class Overview(Asking):
    """One dashboard of one viewer. `panel` is what is shown; nothing is asked before the first `refresh`.

    May be made in any thread.
    """

    def __init__(
        self,
        source: Source,
        *,
        told: Mapping[str, str],
        pool: Executor | None = None,
        document: Document | None = None,
    ) -> None:
        super().__init__(pool, document)
        self._source = source
        self._seen: tuple[Question, object] | None = None
        self._missing = 0  # files that had to be left out of the numbers
        self._charts_at = 0.0
        self._charts_due = self._drawing = False
        self._took_s = 0.0  # from asking for charts to the last of them
        self.controls = Controls(told, self.refresh, lambda: self._soon(self._head))
        sheet = InlineStyleSheet(css=style("text"))
        self._title = Words("<h1>Overview</h1>", sheet)
        self.tiles = {name: Tile(name, widget, sheet, self._soon) for name, widget in _widgets()}
        self.pulse = pn.widgets.TextInput(value="", visible=False, css_classes=["up-pulse"])
        self.pulse.param.watch(lambda _: self.tick(), "value")
        self._beat = Beat(self.pulse, source.every_s) if pool is None else None
        self.address = pn.widgets.TextInput(value="", visible=False, css_classes=["up-address"])
        hidden = [self._beat.panel] if self._beat is not None else []
        self.panel, self._grid = laid_out(
            self._title.panel, self.controls.panel, (one.panel for one in self.tiles.values()),
            self.pulse, self.address, *hidden,
        )  # fmt: skip

    # -- asking -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask everything anew: a control has changed."""
        self._begin()
        self._seen = None
        if self._beat is not None:
            self._beat.start()
        self._run(self._ask, self._asked)

    def tick(self) -> None:
        """Look for news, unless the last look is still under way or nobody wants any."""
        if self.controls.live.on and not self._waiting:
            self._run(self._look, self._looked)

    def _ask(self) -> Question:
        """Return the question that the controls and the clock make."""
        controls = self.controls
        about = self._source.about()
        now = datetime.now(UTC)
        return ask(
            controls.span.value, now, about.zone, group=controls.group.value, where=controls.where, days=controls.days
        )

    def _asked(self, question: Question | Failure) -> None:
        if isinstance(question, Failure):
            self._title.html = (
                f'<h1>Overview</h1><div class="up-failed" role="alert"><strong>The numbers cannot be read.</strong> '
                f"{escape(question.message)} {escape(question.hint)}</div>"
            )
            self._grid.visible = False  # tiles would look as if they were still loading
            return
        self._grid.visible = True
        self._question = question
        self._head()
        for tile in self.tiles.values():
            tile.loading(question)
        self._run(functools.partial(self._mark, question), functools.partial(self._saw, question))
        self._draw(list(self.tiles))
        self._run(functools.partial(self._lost, question), self._tell_lost)
        for name in FILTERS:
            self._run(functools.partial(self._there_is, question, name), functools.partial(self._offer, name))

    def _look(self) -> tuple[Question, object]:
        question = self._ask()
        return question, self._mark(question)

    def _mark(self, question: Question) -> object:
        return self._source.mark(**spanned(question))

    def _lost(self, question: Question) -> int:
        return self._source.missing_files(**spanned(question))

    def _looked(self, answer: tuple[Question, object] | Failure) -> None:
        if isinstance(answer, Failure):
            self._asked(answer)
            return
        question, found = answer
        stale = self._seen is None or replace(self._seen[0], now=question.now) != question
        if stale:
            self.refresh()
            return
        assert self._seen is not None  # noqa: S101 - else it were stale
        if found != self._seen[1]:
            self._seen = (question, found)
            self._question = question
            self._charts_due = True
            self._draw([_TOTALS])
        rest = max(CHARTS_EVERY_S, self._took_s * _REST)
        if self._charts_due and time.monotonic() - self._charts_at >= rest:
            self._draw([name for name in self.tiles if name != _TOTALS])

    def _saw(self, question: Question, found: object) -> None:
        if not isinstance(found, Failure):
            self._seen = (question, found)

    def _draw(self, names: list[str]) -> None:
        question = self._question
        if len(names) > 1:
            self._charts_at, self._charts_due, self._drawing = time.monotonic(), False, True
        for name in names:
            self._run(functools.partial(self._picture, name, question), functools.partial(self._show, name, question))

    def _picture(self, name: str, question: Question) -> tuple[Picture | None, Drawn | None]:
        tile = self.tiles[name]
        picture = tile.widget.view(tile.widget.query(self._source, question), question)
        return picture, tile.figure_for(picture)

    def _there_is(self, question: Question, name: str) -> list[str | None]:
        others = {key: value for key, value in question.where.items() if key != name}
        asked = spanned(replace(question, where=others), "requests")
        return self._source.breakdown(**asked, by=(name,), limit=_MOST_OPTIONS)[name].to_list()

    # -- showing ------------------------------------------------------------------------------------------------

    def _show(self, name: str, question: Question, made: tuple[Picture | None, Drawn | None] | Failure) -> None:
        if isinstance(made, Failure):
            self.tiles[name].fail(made.message, made.hint, question)
        else:
            self.tiles[name].show(made[0], question, made[1])

    def _tell_lost(self, files: int | Failure) -> None:
        if not isinstance(files, Failure):  # the tiles tell of it
            self._missing = files
            self._head()

    def _offer(self, name: str, values: list[str | None] | Failure) -> None:
        if not isinstance(values, Failure):  # the tiles tell of it
            self.controls.offer(name, values)

    def _head(self) -> None:
        about, question = self._source.about(), self._question
        zone = ZoneInfo(question.zone)
        start, end = question.start.astimezone(zone), question.until.astimezone(zone)
        until = "now" if question.runs else f"{end:%a %b} {end.day}, {end:%H:%M}"
        span = (
            f"{SPANS[self.controls.span.value]}: {start:%a %b} {start.day}, {start:%H:%M} to {until}, {question.zone}"
        )
        demo = '<span class="up-pill">demo data</span>' if about.demo else ""
        own = "" if about.sees_all else f" · only the calls of {escape(about.who)}"
        html = f'<h1>Overview{demo}</h1><p class="up-quiet" role="status">{escape(span)}{own}</p>'
        if self._missing:
            many = "s" if self._missing > 1 else ""
            html += f'<p class="up-failed">{self._missing} damaged file{many} could not be read and are left out.</p>'
        self._title.html = html
        if self.address.value != self.controls.query:
            self.address.value = self.controls.query

    def _settled(self) -> None:
        self._took_s = time.monotonic() - self._charts_at if self._drawing else self._took_s
        self._drawing = False


def _widgets() -> list[tuple[str, Any]]:
    found = [(name, WIDGETS.get(name)) for name in WIDGETS]
    return sorted(found, key=lambda one: (one[1].order, one[0]))
