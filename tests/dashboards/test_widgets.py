"""Each widget's view on frames as they come: without calls, one, unknown values, names that are long or many."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from proxy_server.control.app import open_workbench
from tests.control import calls
from tests.control.calls import call
from ultimate_lib.access.principal import Principal
from ultimate_lib.dashboards import markup, shapes, units
from ultimate_lib.dashboards.question import Question, ask
from ultimate_lib.dashboards.shapes import Bars, Figures, Grid, Steps
from ultimate_lib.dashboards.source import LocalSource
from ultimate_lib.dashboards.widget import MOST_LAYERS, WIDGETS
from ultimate_lib.settings import load

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
LONG = "a-model-with-a-name-that-no-column-is-wide-enough-for/" * 4 + "<b>&\"'@t0$"
WHO = Principal(user_id="u", user_name="u", permissions=frozenset({"dashboards:view"}), view="all")


def source(folder: Path, *written: Any) -> LocalSource:
    settings = load(environ={}, overrides={"data.folder": str(folder)})
    settings.journal_dir.mkdir(parents=True)
    calls.write(settings, *written)
    return LocalSource(open_workbench(settings), WHO)


def question(**more: Any) -> Question:
    return ask("24h", NOW, "Europe/Berlin", **more)


def shown(found: LocalSource, name: str, **more: Any) -> Any:
    widget, asked = WIDGETS.get(name), question(**more)
    return widget.view(widget.query(found, asked), asked)


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[LocalSource]:
    return source(tmp_path / "data")


def test_every_widget_is_complete_and_found_by_its_folder() -> None:
    names = set(WIDGETS)
    assert {"totals", "spend", "requests", "tokens", "latency", "cost_by_model", "top_calls"} <= names
    assert not [name for name in names if name.startswith("_")]
    orders = [WIDGETS.get(name).order for name in names]
    assert len(set(orders)) == len(orders), "two widgets want the same place"
    assert all(WIDGETS.get(name).title(question()) for name in names)


@pytest.mark.parametrize("name", sorted(set(WIDGETS) - {"totals"}))
def test_no_calls_is_no_picture(nothing: LocalSource, name: str) -> None:
    assert shown(nothing, name) is None


def test_no_calls_are_zero_requests_and_unknown_latency(nothing: LocalSource) -> None:
    picture = shown(nothing, "totals")
    told = {one.label: units.short(one.value, one.unit) for one in picture.figures}
    assert told == {"Spend": "$0", "Requests": "0", "Tokens": "0", "Errors": "0", "Latency p95": "—"}


@pytest.mark.parametrize("name", sorted(WIDGETS))
def test_one_call_with_nothing_known_of_it(tmp_path: Path, name: str) -> None:
    told = dict.fromkeys(("input_tokens", "output_tokens", "cost_nano_usd", "duration_ms", "provider"))
    picture = shown(source(tmp_path / "data", call(NOW, **told, project=None)), name)
    assert picture is not None, "a call without a price is a call"
    table = shapes.table(picture)
    cells = [cell for row in table.rows for cell in row]
    assert not [cell for cell in cells if "None" in cell or "nan" in cell.lower()]
    assert shapes.summary(picture) == "" or shapes.summary(picture)[-1] == "."
    html = markup.grid(table, "x")
    assert "—" in html or name == "requests", "unknown is a dash"


def test_unpriced_calls_are_told_under_the_spend(tmp_path: Path) -> None:
    found = source(tmp_path / "data", call(NOW), call(NOW, cost_nano_usd=None), call(NOW, cost_nano_usd=None))
    spend = shown(found, "totals").figures[0]
    assert (spend.value, spend.note) == (0.000027, "without 2 unpriced calls")
    assert "2 unpriced" in shown(found, "cost_by_model").bars[0].note


def test_the_span_before_is_as_long_up_to_now(tmp_path: Path) -> None:
    found = source(tmp_path / "data", call(NOW), call(NOW - timedelta(days=1)), call(NOW - timedelta(hours=23)))
    requests = shown(found, "totals").figures[1]
    assert (requests.value, requests.before) == (2, 1)


def test_the_step_that_runs_is_told(tmp_path: Path) -> None:
    picture = shown(source(tmp_path / "data", call(NOW)), "spend")
    assert picture.runs
    assert picture.steps[-1].hour == 13, "half past twelve is half past one in Berlin"
    assert shapes.table(picture).rows[-1][0] == "Tue Mar 10, 13:00 (still running)"
    assert shapes.table(picture).header[0] == "Hour (Europe/Berlin)"


def test_two_hundred_models_are_seven_and_the_rest_and_add_up(tmp_path: Path) -> None:
    many = [call(NOW, model_routed=f"model-{n:03d}", cost_nano_usd=1_000_000 * (n + 1)) for n in range(200)]
    found = source(tmp_path / "data", *many)
    picture = shown(found, "spend")
    assert next(series.name for series in picture.series) == "model-199"
    assert len(picture.series) == MOST_LAYERS + 1
    assert picture.series[-1].name == shapes.OTHER
    total = sum(value or 0 for series in picture.series for value in series.values)
    assert total == pytest.approx(sum(range(1, 201)) / 1000)
    bars = shown(found, "cost_by_model")
    assert sum(bar.value for bar in bars.bars) == pytest.approx(total)
    assert bars.bars[-1].name == shapes.OTHER
    assert bars.bars[-1].note == "192 calls"


@pytest.mark.parametrize("name", sorted(WIDGETS))
def test_names_are_text_and_never_markup(tmp_path: Path, name: str) -> None:
    found = source(tmp_path / "data", call(NOW, model_routed=LONG, project=LONG, notebook=LONG, provider=LONG))
    picture = shown(found, name)
    html = markup.grid(shapes.table(picture), LONG)
    if isinstance(picture, Bars):
        html += markup.bars(picture)
    if isinstance(picture, Steps):
        html += markup.legend(picture)
    assert "<b>" not in html
    assert LONG not in html


def test_answered_errors_and_refused_add_up(tmp_path: Path) -> None:
    bad = call(NOW, status="error", http_status=500)
    away = call(NOW, status="refused", http_status=429, cost_nano_usd=None)
    picture = shown(source(tmp_path / "data", call(NOW), call(NOW), bad, away), "requests")
    assert [sum(series.values) for series in picture.series] == [2, 1, 1]


def test_cached_input_is_counted_once(tmp_path: Path) -> None:
    found = source(tmp_path / "data", call(NOW, input_tokens=100, cache_read_tokens=60, output_tokens=7))
    picture = shown(found, "tokens")
    assert [sum(value or 0 for value in series.values) for series in picture.series] == [40, 60, 7]


def test_filters_reach_every_widget(tmp_path: Path) -> None:
    found = source(tmp_path / "data", call(NOW, project="a"), call(NOW, project="b"), call(NOW, project="b"))
    where: Any = {"project": ("b",)}
    assert shown(found, "totals", where=where).figures[1].value == 2
    assert len(shown(found, "top_calls", where=where).rows) == 2
    assert [bar.name for bar in shown(found, "cost_by_project", where=where).bars] == ["b"]


def test_the_costliest_come_first_and_the_unpriced_last(tmp_path: Path) -> None:
    found = source(
        tmp_path / "data", call(NOW, cost_nano_usd=None), call(NOW, cost_nano_usd=5), call(NOW, cost_nano_usd=9)
    )
    picture = shown(found, "top_calls")
    assert isinstance(picture, Grid)
    assert [row[7] for row in picture.rows] == ["$0.000000009", "$0.000000005", "—"]


@pytest.mark.parametrize(
    ("value", "unit", "long", "brief"),
    [
        (None, "usd", "—", "—"),
        (0, "usd", "$0", "$0"),
        (1234.5, "usd", "$1,234.50", "$1,234.50"),
        (0.000027, "usd", "$0.000027", "$0.000027"),
        (0.5, "usd", "$0.50", "$0.50"),
        (0.99954, "usd", "$1.00", "$1.00"),
        (2_500_000, "tokens", "2,500,000", "2.50 M"),
        (61_000, "ms", "61,000 ms", "61 s"),
        (450, "ms", "450 ms", "450 ms"),
        (0.0314, "ratio", "3.1%", "3.1%"),
    ],
)
def test_numbers_for_people(value: float | None, unit: str, long: str, brief: str) -> None:
    assert (units.exact(value, unit), units.short(value, unit)) == (long, brief)


def test_changes_in_words() -> None:
    assert units.change(None, 1) == units.change(1, None) == units.change(0, 0) == ""
    assert units.change(1, 0) == "none before"
    assert (units.change(1, 1), units.change(2, 1), units.change(0.95, 1)) == ("as before", "▲ 100%", "▼ 5.0%")


def test_a_picture_of_figures_has_a_table_too(nothing: LocalSource) -> None:
    picture = shown(nothing, "totals")
    assert isinstance(picture, Figures)
    assert shapes.table(picture).rows[0][0] == "Spend"
    assert isinstance(pl.DataFrame(shapes.table(picture).rows, orient="row"), pl.DataFrame)
