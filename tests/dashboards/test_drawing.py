"""What is drawn: colours that everyone can tell apart, figures that keep theirs, tiles with four states."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from bokeh.document import Document
from bokeh.models.css import ImportedStyleSheet
from panel.io.state import set_curdoc

from tests.control.calls import call
from tests.dashboards.test_widgets import source
from ultimate_lib.dashboards import palette
from ultimate_lib.dashboards.figures import StepsFigure
from ultimate_lib.dashboards.overview import Overview
from ultimate_lib.dashboards.shapes import OTHER, Series, Steps
from ultimate_lib.dashboards.source import LocalSource
from ultimate_lib.errors import Unavailable

NORMAL = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
BLIND = (  # Machado, Oliveira, Fernandes 2009, severity 1: protanopia, deuteranopia, tritanopia
    ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
)
START = datetime(2026, 3, 10, tzinfo=UTC)


def linear(color: str) -> list[float]:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one: str, other: str) -> float:
    light, dark = sorted(
        sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear(c), strict=True)) for c in (one, other)
    )[::-1]
    return (light + 0.05) / (dark + 0.05)


def seen(color: str, eye: tuple[tuple[float, ...], ...]) -> tuple[float, float, float]:
    """Return a colour in CIELAB as an eye sees it."""
    r, g, b = (min(1.0, max(0.0, sum(m * p for m, p in zip(row, linear(color), strict=True)))) for row in eye)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def test_colours_stand_out_from_both_backgrounds() -> None:
    for look in (*palette.LOOKS, palette.REST):
        for background in palette.BACKGROUNDS:
            assert contrast(look.color, background) >= 3, (look.color, background)


def test_neighbours_differ_for_every_eye_and_all_patterns_differ() -> None:
    looks = (*palette.LOOKS, palette.REST)
    for one, other in itertools.pairwise(looks):
        for eye in (NORMAL, *BLIND):
            assert math.dist(seen(one.color, eye), seen(other.color, eye)) >= 12, (one.color, other.color)
    assert len({look.hatch for look in looks}) == len({look.dash for look in looks}) == len(looks)


def steps(*series: Series, stacked: bool = True) -> Steps:
    count = len(series[0].values)
    starts = tuple(START + timedelta(hours=n) for n in range(count))
    return Steps("usd", "hour", starts, series, stacked=stacked, runs=True, zone="UTC")


def test_a_series_keeps_its_place_when_another_overtakes_it() -> None:
    a, b = Series("a", (3.0, 1.0)), Series("b", (1.0, 1.0))
    drawn = StepsFigure(steps(a, b), 4)
    again = drawn.ordered(steps(replace(b, values=(9.0, 9.0)), a))
    assert again is not None
    assert [series.name for series in again.series] == ["a", "b"]
    assert drawn.ordered(steps(a, Series("c", (0.0, 0.0)))) is None
    assert drawn.ordered(steps(a, b, stacked=False)) is None


def test_unknown_values_are_gaps_and_dashes_and_the_running_step_is_pale() -> None:
    drawn = StepsFigure(steps(Series("a", (1.0, None)), Series(OTHER, (2.0, None))), 4)
    data = drawn._source.data
    assert data["t0"] == ["$1.00", "—"]
    assert data["all"] == ["$3.00", "—"]
    assert (data["b1"][0], data["e1"][0]) == (1.0, 3.0)
    assert data["alpha"][0] > data["alpha"][1]
    assert data["when"][1].endswith("still running")
    line = StepsFigure(steps(Series("p50", (1.0, None)), stacked=False), 4)
    assert math.isnan(line._source.data["v0"][1])


def test_a_name_in_a_tooltip_is_no_column_and_no_markup() -> None:
    drawn = StepsFigure(steps(Series("model@t0 <b>$y", (1.0,))), 4)
    told = drawn.figure.hover[0].tooltips
    assert "model&#64;t0 &lt;b&gt;&#36;y" in told
    assert told.count("@t0") == 1, "only the value's own"


# -- the whole page, without a browser -----------------------------------------------------------------------------


class Breaking(LocalSource):
    """A source in which one kind of question fails."""

    failure: Exception | None = None

    def timeseries(self, **asked: Any) -> pl.DataFrame:
        if self.failure is not None:
            raise self.failure
        return super().timeseries(**asked)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[..., Overview]]:
    def make(*written: Any, **told: str) -> Overview:
        found = source(tmp_path / "data", *written)
        found.__class__ = Breaking
        shown = Overview(found, told=told)
        shown.refresh()
        return shown

    return make


def body(found: Overview, name: str) -> str:
    tile = found.tiles[name]
    return tile._above.html + tile._body.html


def test_loading_no_data_failed_and_data_are_four_different_things(page: Callable[..., Overview]) -> None:
    now = datetime.now(UTC)
    shown = page(call(now - timedelta(days=3)))
    assert "No calls in this span: the last 24 hours." in body(shown, "spend")
    assert "Choose a longer span" in body(shown, "spend")
    shown.controls.span.value = "7d"
    assert "$0.000027 in all" in body(shown, "spend")
    assert shown.tiles["spend"]._chart.visible
    shown._source.failure = Unavailable("The disk is <gone>.", hint="Mount it.")
    shown.refresh()
    assert "The disk is &lt;gone&gt;." in body(shown, "spend")
    assert "Mount it." in body(shown, "spend")
    assert 'role="alert"' in body(shown, "spend")
    assert not shown.tiles["spend"]._chart.visible
    assert "$0.000027" in body(shown, "totals"), "one tile's failure is no other's"
    shown._source.failure = None
    shown.tiles["spend"].loading(shown._question)
    assert "up-loading" in shown.tiles["spend"].panel.css_classes
    shown.refresh()
    assert "up-loading" not in shown.tiles["spend"].panel.css_classes
    assert shown.tiles["spend"]._chart.visible


def test_a_failure_of_ours_is_logged_and_tells_nothing(
    page: Callable[..., Overview], caplog: pytest.LogCaptureFixture
) -> None:
    shown = page()
    shown._source.failure = ZeroDivisionError("a secret detail")
    shown.refresh()
    assert "secret" not in body(shown, "spend")
    assert "a secret detail" in caplog.text


def test_when_nothing_can_be_asked_there_are_no_tiles_that_seem_to_load(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC)))
    real = shown._source.about

    def fail() -> None:
        raise Unavailable("No proxy answers.", hint="Start it.")

    shown._source.about = fail
    shown.refresh()
    assert "No proxy answers. Start it." in shown._title.html
    assert not shown._grid.visible
    shown._source.about = real
    shown.pulse.value = "1"
    assert shown._grid.visible, "the next look finds it"
    assert "No proxy" not in shown._title.html


def test_a_chart_is_a_table_too(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC)))
    tile = shown.tiles["latency"]
    tile._as_table.panel.value = ["Show as table"]
    assert not tile._chart.visible
    assert "<table" in body(shown, "latency")
    tile._as_table.panel.value = []
    assert tile._chart.visible


def test_news_are_looked_for_and_asked_for_only_when_there_are_some(
    page: Callable[..., Overview], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ultimate_lib.dashboards.source.MARK_S", 0.0)
    shown = page(call(datetime.now(UTC)))
    asked: list[str] = []
    shown._source.__class__ = type("Counting", (Breaking,), {})
    for name in ("mark", "aggregate", "timeseries", "breakdown", "calls"):
        real = getattr(shown._source, name)
        setattr(shown._source, name, lambda _name=name, _real=real, **more: (asked.append(_name), _real(**more))[1])
    shown.pulse.value = "1"
    assert asked == ["mark"], "nothing new: one small question"
    from tests.control import calls

    calls.write(shown._source._bench.settings, call(datetime.now(UTC)))
    shown.pulse.value = "2"
    assert asked == ["mark", "mark", "aggregate", "aggregate"], (
        "the numbers follow at once, the charts when five seconds have passed"
    )
    shown._charts_at -= 5
    shown.pulse.value = "3"
    assert {"timeseries", "breakdown", "calls"} <= set(asked)
    assert ">2<" in body(shown, "totals")
    before = len(asked)
    shown.controls.live.panel.value = []
    shown.pulse.value = "4"
    assert len(asked) == before


def test_the_address_holds_the_state_and_brings_it_back(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC), project="a b&c"), span="7d", group="project", project="a b&c")
    assert shown.address.value == "project=a+b%26c&group=project&span=7d"
    assert shown.controls.where == {"project": ("a b&c",)}
    assert shown.tiles["spend"].widget.title(shown._question) == "Spend by project"


def test_a_wrong_address_is_the_plain_page(page: Callable[..., Overview]) -> None:
    shown = page(span="ever", group="<script>", **{"from": "x", "live": "?"})
    assert shown.address.value == ""
    assert shown.controls.span.value == "24h"


def test_own_days_begin_as_a_week_and_say_how_they_are_written(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC) - timedelta(days=2)))
    shown.controls.span.value = "custom"
    assert shown.controls.first.visible
    assert "in all" in body(shown, "spend")
    first, last = shown.controls.days or (None, None)
    assert shown.address.value == f"span=custom&from={first}&to={last}"
    shown.controls.first.value = "the first"
    assert "Write both as 2026-11-24." in shown._title.html
    shown.controls.first.value = f" {first} "
    assert "in all" in body(shown, "spend")
    shown.controls.last.value = "2020-01-01"
    assert "is before" in shown._title.html


def test_filters_offer_what_there_is_and_keep_what_is_chosen(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC), project="a"), call(datetime.now(UTC), project=None), project="gone")
    assert list(shown.controls.filters["project"].options) == ["All projects", "none given", "a", "gone"] or set(
        shown.controls.filters["project"].options
    ) == {"All projects", "none given", "a", "gone"}
    assert "Clear the filters" in body(shown, "spend")


def test_made_up_numbers_and_own_numbers_are_said(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC)))
    assert "demo data" not in shown._title.html
    about = shown._source.about()
    shown._source.about = lambda: replace(about, demo=True, sees_all=False, who="ann<")
    shown.refresh()
    assert "demo data" in shown._title.html
    assert "only the calls of ann&lt;" in shown._title.html
    assert "UTC" in shown._title.html
    assert "damaged" not in shown._title.html
    shown._source.missing_files = lambda **_: 2
    shown.refresh()
    assert "2 damaged files could not be read" in shown._title.html


def test_no_style_sheet_comes_from_anywhere_else_also_after_changes(page: Callable[..., Overview]) -> None:
    shown = page(call(datetime.now(UTC), project="a"))
    document = Document()
    root = shown.panel.get_root(document)
    document.add_root(root)
    shown.controls.group.value = "project"
    shown.controls.group.value = "status"
    sheets = [sheet for model in root.references() for sheet in getattr(model, "stylesheets", None) or []]
    assert sheets
    assert not [sheet.url for sheet in sheets if isinstance(sheet, ImportedStyleSheet)]


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = "import sys, ultimate_lib.dashboards as d; d.__all__; print([m for m in ('panel','bokeh','polars') if m in sys.modules])"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_questions_that_nobody_waits_for_any_more_are_not_asked() -> None:
    """Whoever turns a control to and fro fills the pool of everybody else."""
    asked: list[int] = []
    gate = threading.Event()

    class Counting:
        every_s = 1.0

        def about(self) -> object:
            asked.append(1)
            raise Unavailable("Not now.")

    doc = Document()
    with ThreadPoolExecutor(1) as pool, set_curdoc(doc):
        pool.submit(gate.wait, 10)
        overview = Overview(Counting(), pool=pool, told={})  # type: ignore[arg-type]
        for _ in range(30):
            overview.refresh()
        gate.set()
    assert len(asked) == 1
