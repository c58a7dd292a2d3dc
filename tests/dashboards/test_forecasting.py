"""Forecasting without a browser: what each kind of answer looks like, and each kind of failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import panel as pn
import pytest
from bokeh.document import Document
from bokeh.models.css import ImportedStyleSheet

from claude_proxy.client import ClaudeProxyClient
from proxy_server.control.app import open_workbench
from proxy_server.control.dashboard_source import PredictingLocalSource
from tests.calm import HOUR, Calm
from tests.control import calls
from tests.control.calls import call
from ultimate_lib.access.principal import Principal
from ultimate_lib.dashboards import RemoteSource, places, predicted, shapes
from ultimate_lib.dashboards.asking import Pause
from ultimate_lib.dashboards.cells_figure import CellsFigure
from ultimate_lib.dashboards.fan_figure import FanFigure
from ultimate_lib.dashboards.forecasting import Forecasting
from ultimate_lib.dashboards.shapes import Ahead, Cell, Cells, Fan
from ultimate_lib.errors import Denied, Invalid, Unavailable
from ultimate_lib.settings import load

AT = Calm(HOUR)
START = datetime(2026, 3, 10, tzinfo=UTC)
MAY = frozenset({"dashboards:view", "analytics:view"})


def days_of_calls(days: int, **told: Any) -> list[Any]:
    """Return calls of the last days, an hour apart by day, with one day that is dearer by far."""
    dice = random.Random(7)
    return [
        call(
            AT.hour + timedelta(minutes=30) - timedelta(days=day, hours=hour),
            cost_nano_usd=int(dice.uniform(0.8, 1.2) * 1e9 * (30 if day == 2 else 1)),
            **told,
        )
        for day in range(1, days + 1)
        for hour in range(8)
    ]


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Forecasting]:
    def make(*written: Any, permissions: frozenset[str] = MAY, **told: str) -> Forecasting:
        settings = load(environ={}, overrides={"data.folder": str(tmp_path / "data")})
        settings.journal_dir.mkdir(parents=True)
        calls.write(settings, *written)
        who = Principal(user_id="u", user_name="u", permissions=permissions, view="all")
        bench = open_workbench(settings)
        bench.store.migrate()
        shown = Forecasting(PredictingLocalSource(bench, who), told=told)
        shown.refresh()
        return shown

    return make


def body(found: Forecasting, name: str) -> str:
    card = found.cards[name]
    return card._above.html + card._body.html


def visible(found: Forecasting) -> set[str]:
    return {name for name, card in found.cards.items() if card.panel.visible}


def test_a_forecast_with_all_that_belongs_to_it(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(20))
    told = shown._source.forecast(metric="cost_usd", days=7, grain="day", where={})
    assert f"${told['summary']['total']:,.2f}" in body(shown, "figures")
    assert told["risk_level"] in body(shown, "figures")
    assert "in four of five futures between" in body(shown, "fan")
    assert f'<td class="up-n" title="{told["backtest"]["origins"]}">' in body(shown, "tested")
    assert next(iter(told["members"])) in body(shown, "members")
    assert "No budget counts exactly these calls." in body(shown, "budgets")
    assert shown.cards["fan"]._chart.visible
    assert shown.cards["calendar"]._chart.visible
    assert not [name for name, card in shown.cards.items() if "up-loading" in card.panel.css_classes]


def test_each_control_changes_what_is_asked_and_the_address(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(20, project="a"))
    week = body(shown, "figures")
    shown.controls.picks["days"].value = "14"
    assert "Next 14 days" in body(shown, "figures") != week
    shown.controls.picks["metric"].value = "requests"
    assert "Calls, next 14 days by day" in shown.cards["fan"]._title.html
    shown.controls.picks["calendar"].value = "day:91"
    assert shown.cards["calendar"]._title.html == "<h2>Anomalies of calls, last 13 weeks by day</h2>"
    assert shown.address.value == "metric=requests&days=14&calendar=day%3A91"
    assert list(shown.controls.filters["project"].options) == ["All projects", "a"]
    shown.controls.picks["metric"].value = "latency_p95_ms"
    assert "This does not add up." in body(shown, "budgets")
    assert "Mean of the next 14 days" in body(shown, "figures")


def test_a_wrong_address_is_the_plain_page(page: Callable[..., Forecasting]) -> None:
    shown = page(metric="x", days="100", grain="<script>", calendar="hour:9")
    assert shown.address.value == ""
    assert shown.controls.wanted.days == 7


def test_no_data_no_match_and_not_enough_are_three_different_things(page: Callable[..., Forecasting]) -> None:
    few = page(*days_of_calls(2, project="a"))
    assert "Not enough data yet." in body(few, "fan")
    assert "needs at least 5" in body(few, "fan")
    assert visible(few) == {"fan", "calendar"}
    few.controls.offer("project", ["a", "gone"])
    few.controls.filters["project"].value = "gone"
    assert "No call matches these filters." in body(few, "fan")
    assert "No call matches these filters." in body(few, "calendar")


def test_without_any_call_it_says_so(page: Callable[..., Forecasting]) -> None:
    none = page()
    assert "No data yet." in body(none, "fan")
    assert "No data yet." in body(none, "calendar")
    assert "up-failed" not in body(none, "fan")


def test_who_may_not_ask_is_told_so(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(8), permissions=frozenset({"dashboards:view"}))
    assert "You may not see this." in body(shown, "fan")
    assert "analytics:view" in body(shown, "fan")
    assert 'role="alert"' in body(shown, "calendar")


@pytest.mark.parametrize(
    ("failure", "head"),
    [
        (Unavailable("No proxy answers at <x>.", hint="Start it.", code="unreachable"), "The proxy does not answer."),
        (Unavailable("The lake is away.", hint="Wait."), "This could not be made."),
        (Denied("Not you.", hint="Ask."), "You may not see this."),
        (Invalid("What?", hint="Else."), "This cannot be asked."),
        (ZeroDivisionError("a secret detail"), "This could not be made."),
    ],
)
def test_each_failure_has_words_of_its_own_and_ends_by_itself(
    page: Callable[..., Forecasting], failure: Exception, head: str
) -> None:
    shown = page(*days_of_calls(8))
    real = shown._source.forecast

    def fail(**_: Any) -> None:
        raise failure

    shown._source.forecast = fail  # type: ignore[method-assign]
    shown.refresh()
    told = body(shown, "fan")
    assert head in told
    assert "secret" not in told
    assert "<x>" not in told
    assert visible(shown) == {"fan", "calendar"}
    assert "anomal" in body(shown, "calendar"), "one question's failure is no other's"
    shown._source.forecast = real  # type: ignore[method-assign]
    shown.pulse.value = "1"
    assert not shown._failed
    if head in {"The proxy does not answer.", "This could not be made."}:  # the next look finds it
        assert "in four of five futures" in body(shown, "fan")
        assert visible(shown) == set(shown.cards)


def test_without_a_proxy_there_is_one_sentence_and_nothing_that_seems_to_load() -> None:
    shown = Forecasting(RemoteSource(ClaudeProxyClient("http://127.0.0.1:9", "cp_x", timeout=1)), told={})
    shown.refresh()
    assert "The proxy does not answer." in shown._title.html
    assert "ultimate-proxy up" in shown._title.html
    assert not shown._grid.visible


def test_a_look_asks_nothing_until_an_hour_has_passed(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(8))
    asked: list[int] = []
    real = shown._source.forecast
    shown._source.forecast = lambda **told: (asked.append(1), real(**told))[1]  # type: ignore[method-assign]
    shown.pulse.value = "1"
    assert asked == []
    assert shown._hour is not None
    shown._hour -= timedelta(hours=1)
    shown.pulse.value = "2"
    assert asked == [1]


def test_what_a_browser_sends_may_be_anything(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(8))
    with pytest.raises(Invalid):
        shown._source.forecast(metric="cost_usd", days=10_000, grain="day", where={})
    with pytest.raises(Invalid):
        shown._source.anomalies(metric="cost_usd", days=3, grain="century", where={})


def test_no_style_sheet_comes_from_anywhere_else(page: Callable[..., Forecasting]) -> None:
    shown = page(*days_of_calls(8))
    root = shown.panel.get_root(Document())
    sheets = [sheet for model in root.references() for sheet in getattr(model, "stylesheets", None) or []]
    assert sheets
    assert not [sheet.url for sheet in sheets if isinstance(sheet, ImportedStyleSheet)]


def test_what_is_asked_several_times_within_a_moment_is_done_once() -> None:
    done: list[int] = []
    pause = Pause(0.02, lambda: done.append(1))

    async def ask() -> None:
        for _ in range(5):
            pause.ask()
        assert done == []
        await asyncio.sleep(0.2)

    asyncio.run(ask())
    assert done == [1]


def test_what_a_front_end_sends_back_late_undoes_nothing(page: Callable[..., Forecasting]) -> None:
    places._keep_echoes_out()
    shown = page(*days_of_calls(8))
    widget = pn.ipywidget(shown.panel)
    models = widget._model.references()
    card = next(model for model in models if "up-is-fan" in (getattr(model, "css_classes", None) or ()))
    days = next(model for model in models if getattr(model, "title", None) == "How far")

    def sent(model: Any, attr: str, new: Any) -> None:
        told = {"event": "jsevent", "kind": "ModelChanged", "model": {"id": model.id}, "attr": attr, "new": new}
        widget._handle_custom_msg(told, [])

    before = list(card.css_classes)
    sent(card, "css_classes", [*before, "up-loading"])
    assert list(card.css_classes) == before
    sent(days, "value", days.options[2][0])
    assert "Next 14 days" in body(shown, "figures")


# -- pictures -----------------------------------------------------------------------------------------------------


def fan(*past: float | None, ahead: int = 2) -> Fan:
    first = START + timedelta(days=len(past))
    steps = tuple(Ahead(first + timedelta(days=at), 3.0, 2.0, 4.0, 1.0, 9.0, 2.5) for at in range(ahead))
    before = tuple((START + timedelta(days=at), value) for at, value in enumerate(past))
    return Fan("usd", "day", before, steps, "UTC", "It rises.")


def test_bands_begin_at_the_last_value_that_is_known() -> None:
    drawn = FanFigure(fan(1.0, None, 2.0), 10)
    assert drawn._ahead.data["i"] == [2.0, 3.0, 4.0]
    assert drawn._ahead.data["high95"] == [2.0, 9.0, 9.0]
    drawn.update(fan(1.0, None, ahead=1))
    assert len(drawn._ahead.data["i"]) == 2, "a band of one step still has a width"
    drawn.update(fan(ahead=1))
    assert drawn._now.location == -0.5
    assert drawn._told.data["when"] == ["Tue Mar 10, 2026, still running"]


def test_far_bounds_leave_the_picture_and_every_step_is_in_the_table() -> None:
    picture = fan(1.0, None)
    assert picture.top == 4.0
    table = shapes.table(picture)
    assert table.rows[0] == ("Thu Mar 12, 2026 (still running)", "$3.00", "$2.00", "$4.00", "$1.00", "$9.00", "$2.50")
    assert shapes.summary(picture) == "It rises."


def answer(judged: int, *odd: int) -> dict[str, Any]:
    rows = [
        {
            "step_at": (START + timedelta(hours=at)).isoformat(), "value": 7.0, "within": False, "expected_low": 0.0,
            "expected_high": None, "score": 5.0, "reason": "novelty",
            "made_by": [
                {"dimension": "model", "value": "m<b>", "share": 0.9},
                {"dimension": "notebook", "value": None, "share": 1.0},
            ],
        }
        for at in odd
    ]  # fmt: skip
    return {"unit": "usd", "grain": "hour", "time_zone": "UTC", "learnt": 5, "judged": judged, "anomalies": rows}


def test_a_calendar_tells_value_range_reason_and_who() -> None:
    steps = [START + timedelta(hours=at) for at in range(30)]
    picture = predicted.calendar(answer(10, 25), steps, [None, *[1.0] * 24, 7.0, *[1.0] * 4])
    assert picture.words == ("1 anomaly among 10 hours, the newest on Wed Mar 11, 01:00: $7.00, expected $0 to —.")
    assert [cell.judged for cell in picture.cells].count(True) == 10
    row = ("Wed Mar 11, 01:00", "$7.00", "$0 to —", "unlike any value before", "model m<b> (90%)")
    assert shapes.table(picture).rows == (row,)
    drawn = CellsFigure(picture, 10)
    assert (drawn._odd.data["x"], drawn._odd.data["y"]) == ([1], [1])
    assert drawn._plain.data["alpha"][0] == 0.0, "unknown is no pale colour"
    assert drawn._plain.data["judged"][1] == "learnt from, not judged"
    days = Cells("usd", "day", (Cell(START, 1.0, judged=True),), "UTC", "")
    assert drawn.ordered(days) is None
    assert CellsFigure(days, 10)._plain.data["y"] == [1], "a Tuesday"


def test_nothing_unusual_and_nothing_judged_are_different_things() -> None:
    steps, values = [START], [1.0]
    assert predicted.calendar(answer(1), steps, values).words == "Nothing unusual among 1 hour."
    assert "could be judged yet" in predicted.calendar(answer(0), steps, values).words
