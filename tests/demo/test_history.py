"""What is said to be in the made-up calls is in the lake, and every face's numbers show it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from tests.demo.filled import NOW, book, rows
from tests.harness import ROOT
from ultimate_lib.clock import to_us
from ultimate_lib.demo import cast, history
from ultimate_lib.demo.names import SOURCE, TAG
from ultimate_lib.demo.planted import PLANTED, Planted
from ultimate_lib.lake import Lake, numbers, rollup
from ultimate_lib.lake.query import Query
from ultimate_lib.records import Usage

FIRST_START = NOW.date()
FIRST_DAY = history.first_day(FIRST_START)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def calls(filled: Lake) -> pl.DataFrame:
    return rows(filled)


@pytest.fixture(scope="module")
def usual(calls: pl.DataFrame) -> pl.DataFrame:
    """The calls without those that an anomaly adds."""
    added = pl.lit(value=False)
    for planted, app in (("spend-spike", "notebook"), ("runaway-key", "ci-review")):
        start, end = span(planted)
        mine = pl.col("notebook") == cast.CATALOG if app == "notebook" else pl.col("app") == app
        added |= pl.col("started_at").is_between(start, end, closed="left") & mine.fill_null(value=False)
    return calls.filter(~added)


def span(name: str) -> tuple[datetime, datetime]:
    start, end = next(one for one in PLANTED if one.name == name).span(FIRST_START)
    return start, end or NOW


def test_the_size_and_the_span_are_as_said(calls: pl.DataFrame) -> None:
    assert 100_000 < calls.height < 200_000
    days = calls["started_at"].dt.date()
    assert (days.min(), days.max(), days.n_unique()) == (FIRST_DAY, FIRST_START, cast.DAYS + 1)
    assert calls["started_at"].max() < NOW.replace(second=0)
    assert calls["call_id"].n_unique() == calls.height
    assert calls.filter(pl.col("started_at") >= NOW - timedelta(hours=1)).height > 20, "the last hour is not empty"


def test_the_rollups_are_built_with_the_first_filling(filled: Lake) -> None:
    done = rollup.update(filled)
    assert done.calls == 0, "nothing was left to roll"


def test_every_call_is_marked_as_made_up(calls: pl.DataFrame) -> None:
    assert calls["source"].unique().to_list() == [SOURCE]
    assert calls.select(pl.col("tags").list.contains(TAG).all()).item()


def test_each_day_of_each_workload_has_about_as_many_calls_as_expected(usual: pl.DataFrame) -> None:
    told = usual.group_by(pl.col("started_at").dt.date().alias("day"), "app").len()
    counted = {(day, app): count for day, app, count in told.iter_rows()}
    far = 0
    for number in range(cast.DAYS):
        day = FIRST_DAY + number * DAY
        for app in {workload.app for workload in cast.WORKLOADS}:
            mean = sum(
                history.expected(workload, number, day.weekday())
                for workload in cast.WORKLOADS
                if workload.app == app
            )
            off = abs(counted.get((day, app), 0) - mean) / max(mean, 1) ** 0.5
            far += off > 3
            assert off < 5.5, (day, app, mean)
    assert far <= 10, "Poisson: about one in 370 of 539 lies beyond three sigma"


def test_trend_week_and_day_are_seen_in_the_sums(usual: pl.DataFrame) -> None:
    days = usual.group_by(pl.col("started_at").dt.date().alias("day")).len().sort("day")["len"].to_numpy()[:-1]
    weeks = days.reshape(11, 7).sum(axis=1)
    slope, at_zero = np.polyfit(np.arange(11), weeks, 1)
    assert slope / at_zero * 11 == pytest.approx(cast.GROWTH, abs=0.06)
    weekday = usual.group_by(pl.col("started_at").dt.weekday().alias("day")).len().sort("day")["len"].to_numpy()
    assert weekday[5:].max() < 0.45 * weekday[:5].min()
    hour = usual.group_by(pl.col("started_at").dt.hour().alias("hour")).len().sort("hour")["len"].to_numpy()
    assert hour[9:12].mean() > 4 * hour[[0, 1, 5, 22, 23]].mean()


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one.name)
def test_each_planted_anomaly_shows_in_the_numbers(filled: Lake, planted: Planted) -> None:
    start, end = planted.span(FIRST_START)
    if end is None:
        week = 7 * DAY
        found, before = measured(filled, planted, start, start + 2 * week), [
            measured(filled, planted, start - 2 * week, start)
        ]  # fmt: skip
    else:
        found = measured(filled, planted, start, end)
        before = [measured(filled, planted, start - weeks * 7 * DAY, end - weeks * 7 * DAY) for weeks in (1, 2, 3)]
    usual = sum(before) / len(before)
    ratio = found / max(usual, 1e-9)
    assert ratio >= planted.factor if planted.factor > 1 else ratio <= planted.factor, (found, before)
    if planted.kind != "change":
        assert max(before) / max(min(before), 1e-9) < 12, "other weeks are alike, but for chance among few"


def measured(lake: Lake, planted: Planted, start: datetime, end: datetime) -> float:
    dimension, value = planted.where
    query = Query(metrics=(planted.metric,), start=start, end=end, where={dimension: (value,)})
    return float(numbers.aggregate(lake, query).frame[planted.metric][0] or 0)


def test_planted_anomalies_lie_in_the_history_apart_from_each_other() -> None:
    for number in range(7):
        first_start = FIRST_START + number * DAY
        spans = [one.span(first_start) for one in PLANTED]
        assert all(start.date() >= history.first_day(first_start) + 28 * DAY for start, _ in spans)
        closed = sorted((start, end) for start, end in spans if end is not None)
        assert all(end.date() < first_start for _, end in closed)
        assert all(one[1] <= other[0] for one, other in pairwise(closed))


def test_costs_are_what_the_price_list_says_to_the_nano_dollar(calls: pl.DataFrame) -> None:
    prices = {model.name: model.price_id for model in cast.MODELS}
    used = [name for name in Usage.__struct_fields__ if name != "cost_nano_usd"]
    parts = [f"{part}_cost_nano_usd" for part in ("input", "cache_read", "cache_write", "output", "other")]
    answered = calls.filter(pl.col("status").is_in(("ok", "cut")) & pl.col("model_requested").is_in(
        [name for name, price_id in prices.items() if price_id]
    ))  # fmt: skip
    assert answered["cost_nano_usd"].null_count() == 0
    for row in answered.sample(4000, seed=1).iter_rows(named=True):
        usage = Usage(**{name: row[name] for name in used})
        cost = book().cost(prices[row["model_requested"]], row["model_served"], usage, to_us(row["started_at"]))
        assert cost is not None
        assert row["cost_nano_usd"] == cost.total == row["list_cost_nano_usd"]
        assert [row[part] for part in parts] == [
            cost.input,
            cost.cache_read,
            cost.cache_write,
            cost.output,
            cost.other,
        ]
        assert row["price_id"] == cost.price_id
        assert row["cost_source"] == ("estimated" if row["status"] == "cut" else "table")
    assert answered.select((pl.sum_horizontal(parts) == pl.col("cost_nano_usd")).all()).item()
    rest = calls.join(answered, on="call_id", how="anti")
    assert rest["cost_nano_usd"].null_count() == rest.height
    assert rest["cost_source"].unique().to_list() == ["none"]


def test_calls_end_in_every_way_and_unknown_is_null(calls: pl.DataFrame) -> None:
    by = dict(calls.group_by("status").len().iter_rows())
    assert by.keys() == {"ok", "error", "cut", "refused"}
    assert by["ok"] / calls.height > 0.95
    unanswered = calls.filter(pl.col("status").is_in(("error", "refused")))
    for name in ("input_tokens", "output_tokens", "cost_nano_usd", "upstream_id", "model_served", "ttft_ms"):
        assert unanswered[name].null_count() == unanswered.height, name
    assert calls.filter(pl.col("status") == "refused")["provider"].null_count() == by["refused"]
    answered = calls.filter(pl.col("status") == "ok")
    assert answered.filter(pl.col("cache_read_tokens") > pl.col("input_tokens")).is_empty()
    assert answered.filter(pl.col("ttft_ms") > pl.col("duration_ms")).is_empty()
    assert answered.filter(pl.col("stream"))["ttft_ms"].null_count() == 0
    assert answered.filter(pl.col("operation") == "chat")["output_tokens"].min() > 0
    local = calls.filter(pl.col("billing") == "local")
    assert local.height > 500
    assert answered.filter(pl.col("provider") == "acme-inference", pl.col("cost_nano_usd").is_null()).height > 500
    for name in ("notebook", "cell_id", "kernel_id", "session_id", "end_user", "cache_hit"):
        assert calls[name].drop_nulls().n_unique() > 1, name


def test_the_same_seed_gives_the_same_calls_however_they_are_cut(calls: pl.DataFrame) -> None:
    start, cuts = NOW - 16 * DAY, (timedelta(hours=5), 3 * DAY, 9 * DAY, 16 * DAY)
    at, pieces = start, []
    for cut in cuts:
        pieces.append(history.calls(FIRST_START, at, start + cut, book()))
        at = start + cut
    whole = calls.filter(pl.col("started_at") >= start)
    until = NOW.replace(second=0)
    made = pl.concat(pieces).filter(pl.col("started_at") < until)
    assert made.sort("started_at", "call_id").equals(whole)
    other = history.calls(FIRST_START, at - DAY, at, book(), seed=2)
    assert other.height > 500
    assert not other["started_at"].is_in(whole["started_at"].implode()).any()


def test_the_shape_does_not_depend_on_when_it_runs() -> None:
    costs = pl.selectors.contains("cost", "price_id", "call_id")

    def week(first_start: date) -> pl.DataFrame:
        start = datetime.combine(history.first_day(first_start), NOW.time(), NOW.tzinfo) + 60 * DAY
        return history.calls(first_start, start, start + 7 * DAY, book()).drop(costs)

    later = week(FIRST_START + 28 * DAY).with_columns(pl.col("started_at") - 28 * DAY)
    assert later.equals(week(FIRST_START))


def test_the_page_about_the_demo_tells_what_is_planted() -> None:
    text = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    for planted in PLANTED:
        assert f"| `{planted.name}` | " in text
        assert planted.sentence in text
