"""Forecasting: what comes, how sure that is, when budgets end, and what has been unlike the rest.

    forecasting.view(source)     # in a notebook: JupyterLab, Voila, papermill; a server makes a `Forecasting` itself

A forecast changes when a step has passed; until then a look for news asks nothing.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, time, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import panel as pn
from bokeh.models import InlineStyleSheet

from ultimate_lib.dashboards import predicted
from ultimate_lib.dashboards.asking import Asking, Failure
from ultimate_lib.dashboards.card import Card
from ultimate_lib.dashboards.forecasting_controls import METRICS, ForecastingControls
from ultimate_lib.dashboards.places import Beat, Words, laid_out, style
from ultimate_lib.dashboards.question import FILTERS
from ultimate_lib.dashboards.source import STEP
from ultimate_lib.errors import NotEnoughData
from ultimate_lib.metrics import METRICS as KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from bokeh.document import Document

    from ultimate_lib.dashboards.card import Drawn
    from ultimate_lib.dashboards.forecasting_controls import Wanted
    from ultimate_lib.dashboards.shapes import Cells, Picture
    from ultimate_lib.dashboards.source import About, PredictingSource

_BACK = timedelta(days=800)  # as far as a forecast looks
_MOST_OPTIONS = 200
_NO_CALLS, _NO_MATCH = "no_calls", "no_match"
_TITLES = {
    "figures": "In short",
    "tested": "How the same way has done before",
    "members": "Methods and their weights",
    "budgets": "When budgets are spent",
}
_SIZES = {
    "figures": "full", "fan": "full", "tested": "half", "members": "half", "budgets": "full", "calendar": "full",
}  # fmt: skip
_OF_FORECAST = ("figures", "fan", "tested", "members", "budgets")


class Made(NamedTuple):
    """A forecast's pictures by card, or the words that stand there instead, and the fan's figure."""

    pictures: dict[str, Picture | str]
    figure: Drawn | None


def view(source: PredictingSource, *, told: Mapping[str, Any] | None = None) -> Any:
    """Return the page as a Panel object, for a notebook: its output is complete when the cell ends.

    `told` sets controls (metric, days, grain, calendar, model, provider, project).
    """
    given = {name: str(value) for name, value in (told or {}).items() if value not in {None, ""}}
    shown = Forecasting(source, told=given)
    shown.refresh()
    return shown.panel


class Forecasting(Asking):
    """One page of one viewer. `panel` is what is shown; nothing is asked before the first `refresh`.

    May be made in any thread.
    """

    def __init__(
        self,
        source: PredictingSource,
        *,
        told: Mapping[str, str],
        pool: Executor | None = None,
        document: Document | None = None,
    ) -> None:
        super().__init__(pool, document)
        self._source = source
        self._about: About | None = None
        self._hour: datetime | None = None  # of the last answers; None: some are missing
        self._failed = False
        self.controls = ForecastingControls(told, lambda: self._soon(self._loading), lambda: self._soon(self.refresh))
        sheet = InlineStyleSheet(css=style("text"))
        self._title = Words("<h1>Forecasting</h1>", sheet)
        self.cards = {name: Card(name, size, sheet, self._soon) for name, size in _SIZES.items()}
        self.pulse = pn.widgets.TextInput(value="", visible=False, css_classes=["up-pulse"])
        self.pulse.param.watch(lambda _: self.tick(), "value")
        self._beat = Beat(self.pulse, source.every_s) if pool is None else None
        self.address = pn.widgets.TextInput(value="", visible=False, css_classes=["up-address"])
        hidden = [self._beat.panel] if self._beat is not None else []
        self.panel, self._grid = laid_out(
            self._title.panel, self.controls.panel, (one.panel for one in self.cards.values()),
            self.pulse, self.address, *hidden,
        )  # fmt: skip

    # -- asking -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask everything anew: a control has changed, or a step has passed."""
        self._begin()
        self._failed = False
        self._hour = _hour()
        if self._beat is not None:
            self._beat.start()
        self._loading()
        self._run(self._source.about, self._known)

    def tick(self) -> None:
        """Look for news: an hour has passed, or what failed may work by now."""
        if not self._waiting and (self._failed or self._hour != _hour()):
            self.refresh()

    def _known(self, about: About | Failure) -> None:
        wanted = self.controls.wanted
        if self.address.value != self.controls.query:  # not sooner: Panel's change would come before the page has it
            self.address.value = self.controls.query
        if isinstance(about, Failure):
            self._failed = True
            self._title.html = f"<h1>Forecasting</h1>{_failure(about)}"
            self._grid.visible = False  # cards would look as if they were still loading
            return
        self._about = about
        self._grid.visible = True
        self._run(functools.partial(self._forecast, wanted, about), functools.partial(self._show, wanted))
        self._run(functools.partial(self._calendar, wanted, about), functools.partial(self._show_calendar, wanted))
        for name in FILTERS:
            self._run(functools.partial(self._there_is, wanted, name), functools.partial(self._offer, name))

    def _forecast(self, wanted: Wanted, about: About) -> Made:
        """Return the forecast's pictures. Raises `NotEnoughData` with a code that says whether there are calls."""
        try:
            told = self._source.forecast(
                metric=wanted.metric, days=wanted.days, grain=wanted.grain, where=wanted.where
            )
        except NotEnoughData as error:
            raise self._too_little(error, wanted, about) from error
        fan = predicted.fan(told)
        adds = KNOWN[wanted.metric].adds
        pictures: dict[str, Picture | str] = {
            "figures": predicted.figures(told),
            "fan": fan,
            "tested": predicted.tested(told) or _UNTESTED,
            "members": predicted.members(told),
            "budgets": predicted.budgets(told) or (_NO_BUDGET if adds else _NO_SUM),
        }
        return Made(pictures, self.cards["fan"].figure_for(fan))

    def _too_little(self, error: NotEnoughData, wanted: Wanted, about: About) -> NotEnoughData:
        """Return the error, with a code of its own where there are no calls, or none that the filters let by."""
        now = datetime.now(UTC)
        asked: Any = {"metrics": ("requests",), "start": now - _BACK, "end": now, "time_zone": about.zone}
        if self._source.aggregate(**asked, where=wanted.where)["requests"].item():
            return error
        any_other = bool(wanted.where) and bool(self._source.aggregate(**asked)["requests"].item())
        return NotEnoughData(error.message, hint=error.hint, code=_NO_MATCH if any_other else _NO_CALLS)

    def _calendar(self, wanted: Wanted, about: About) -> tuple[Cells, Drawn | None]:
        """Return the calendar; the values are those the anomalies were looked for in."""
        try:
            told = self._source.anomalies(
                metric=wanted.metric, days=wanted.calendar_days, grain=wanted.calendar_grain, where=wanted.where
            )
        except NotEnoughData as error:
            raise self._too_little(error, wanted, about) from error
        start, end = _span(wanted, datetime.now(ZoneInfo(about.zone)))
        frame = self._source.timeseries(
            metrics=tuple(dict.fromkeys((wanted.metric, "requests"))), start=start, end=end,
            grain=wanted.calendar_grain, where=wanted.where, time_zone=about.zone,
        ).sort(STEP)  # fmt: skip
        none = 0.0 if KNOWN[wanted.metric].adds else None  # where no call was made nothing was spent: that is known
        values = [
            value if count else none for value, count in zip(frame[wanted.metric], frame["requests"], strict=True)
        ]
        picture = predicted.calendar(told, frame[STEP].to_list(), values)
        return picture, self.cards["calendar"].figure_for(picture)

    def _there_is(self, wanted: Wanted, name: str) -> list[str | None]:
        now = datetime.now(UTC)
        others = {key: value for key, value in wanted.where.items() if key != name}
        found = self._source.breakdown(
            metrics=("requests",), start=now - _BACK, end=now, by=(name,), where=others, limit=_MOST_OPTIONS
        )
        return found[name].to_list()

    # -- showing ------------------------------------------------------------------------------------------------

    def _loading(self) -> None:
        """Say that answers are on their way."""
        self._head("Making the forecast …")
        for name, card in self.cards.items():
            card.wait(_title(name, self.controls.wanted))

    def _show(self, wanted: Wanted, made: Made | Failure) -> None:
        for name in _OF_FORECAST:
            card, title = self.cards[name], _title(name, wanted)
            card.panel.visible = name == "fan" or not isinstance(made, Failure)
            if not isinstance(made, Failure):
                one = made.pictures[name]
                if isinstance(one, str):
                    card.tell(one, title)
                else:
                    card.put(one, title, made.figure if name == "fan" else None)
        if isinstance(made, Failure):
            self._failed = self._failed or made.status >= _SERVER
            self.cards["fan"].tell(_failure(made), _title("fan", wanted))
        self._head()

    def _show_calendar(self, wanted: Wanted, made: tuple[Cells, Drawn | None] | Failure) -> None:
        title = _title("calendar", wanted)
        if isinstance(made, Failure):
            self._failed = self._failed or made.status >= _SERVER
            self.cards["calendar"].tell(_failure(made), title)
        else:
            self.cards["calendar"].put(made[0], title, made[1])

    def _offer(self, name: str, values: list[str | None] | Failure) -> None:
        if not isinstance(values, Failure):  # the cards tell of it
            self.controls.offer(name, values)

    def _head(self, state: str = "") -> None:
        about, wanted = self._about, self.controls.wanted
        demo = '<span class="up-pill">demo data</span>' if about is not None and about.demo else ""
        calls = ", ".join(f"{name} {values[0] or 'none given'}" for name, values in wanted.where.items())
        whose = "" if about is None or about.sees_all else f" · only the calls of {about.who}"
        told = state or f"{METRICS[wanted.metric]}, {calls or 'all calls'}, {wanted.days} days ahead{whose}"
        if state or wanted.days == 1:
            told = told.replace("1 days", "1 day")
        self._title.html = f'<h1>Forecasting{demo}</h1><p class="up-quiet" role="status">{escape(told)}</p>'


_SERVER = 500
_NOT_ALLOWED = {401, 403}
_UNTESTED = '<div class="up-told"><strong>Too little history to test it.</strong>Take the forecast as a guess.</div>'
_NO_BUDGET = (
    '<div class="up-told"><strong>No budget counts exactly these calls.</strong>'
    "Make one for all calls, or for what the filter names: the page /admin/budgets, or claude-proxy budgets.</div>"
)
_NO_SUM = '<div class="up-told"><strong>This does not add up.</strong>Budgets are of dollars and of tokens.</div>'


def _title(name: str, wanted: Wanted) -> str:
    words = METRICS[wanted.metric]
    if name == "fan":
        return f"{words}, next {predicted.days(wanted.days)} by {wanted.grain}"
    if name == "calendar":
        span = "13 weeks" if wanted.calendar_grain == "day" else f"{wanted.calendar_days} days"
        return f"Anomalies of {words.lower()}, last {span} by {wanted.calendar_grain}"
    return _TITLES[name]


def _failure(one: Failure) -> str:
    """Return why there is no answer, and what to do: each kind in words of its own."""
    said = f"{escape(one.message)} {escape(one.hint)}"
    few = {
        _NO_CALLS: ("No data yet.", "Make calls through the proxy: each counts from the first on."),
        _NO_MATCH: ("No call matches these filters.", "Clear a filter, or choose another."),
    }
    if one.code in few:
        head, hint = few[one.code]
        return f'<div class="up-told"><strong>{head}</strong>{hint}</div>'
    if one.status == NotEnoughData.http_status:
        return f'<div class="up-told"><strong>Not enough data yet.</strong>{said}</div>'
    if one.status in _NOT_ALLOWED:
        head = "You may not see this."
    elif one.code in {"unreachable", "timeout"}:
        head = "The proxy does not answer."
    elif one.status < _SERVER:
        head = "This cannot be asked."
    else:
        head = "This could not be made."
    return f'<div class="up-failed" role="alert"><strong>{head}</strong> {said}</div>'


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _span(wanted: Wanted, now: datetime) -> tuple[datetime, datetime]:
    """Return the calendar's span: whole days or weeks back from now, up to the last step that has ended."""
    zone = now.tzinfo
    back = wanted.calendar_days - 1
    if wanted.calendar_grain == "day":
        back = wanted.calendar_days - 7 + now.weekday()
    start = datetime.combine(now.date() - timedelta(days=back), time(), zone)
    end = now.replace(hour=now.hour if wanted.calendar_grain == "hour" else 0, minute=0, second=0, microsecond=0)
    return start.astimezone(UTC), end.astimezone(UTC)
