"""Why spend changed, where it is going and what to alert about, over REST."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from proxy_server.control.api.patterns import days_of
from proxy_server.control.api.predictive import History
from tests.calm import DAY, Calm
from tests.control import alone, calls
from tests.control.calls import call
from ultimate_lib.lake.ingest import run_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control.alone import Alone

AT = Calm(DAY)
WEEK = timedelta(days=7)
SMALL, LARGE = 1_000_001, 20_000_003  # nano-dollars a call
GIANTS = (12, 33)  # days before today


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Two weeks of Ann's that differ in their models, and sixty days of Eve's with a slope and two giants."""
    with alone.start(tmp_path_factory.mktemp("explained")) as running:
        made = []
        for week, (small, large) in ((2, (30, 10)), (1, (10, 30))):
            begin = AT.monday - week * WEEK
            for number in range(small + large):
                is_small = number < small
                made.append(
                    call(
                        begin + timedelta(days=number % 7, hours=9, minutes=number), user_id="user_ann",
                        project="search", team="red" if number % 2 else None,
                        model_routed="small" if is_small else "large", cost_nano_usd=SMALL if is_small else LARGE,
                    )
                )  # fmt: skip
        made.append(
            call(AT.monday - WEEK, user_id="user_ann", project="search", model_routed="odd", cost_nano_usd=None)
        )
        for day in range(1, 61):
            count = 40 if day in GIANTS else 10 + (60 - day) // 12
            made += [
                call(
                    AT.today - timedelta(days=day) + timedelta(hours=10, seconds=number), project="eve",
                    cost_nano_usd=10**9,
                )
                for number in range(count)
            ]  # fmt: skip
        calls.write(running.bench.settings, *made)
        run_once(running.bench.lake)
        yield running


def explained(control: Alone, query: str = "") -> dict[str, Any]:
    reply = control.get(f"/api/predictive/analyze-cost?{query}")
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_a_planted_change_of_models_is_told_as_one_exactly(control: Alone) -> None:
    told = explained(control, "filter=project:search")
    assert datetime.fromisoformat(told["after"]["end"]) == AT.monday
    assert datetime.fromisoformat(told["before"]["start"]) == AT.monday - 2 * WEEK
    change = (10 * SMALL + 30 * LARGE) - (30 * SMALL + 10 * LARGE)
    assert told["change_nano_usd"] == change
    assert told["effects"] == {
        "volume_nano_usd": 0, "model_mix_nano_usd": change, "tokens_per_request_nano_usd": 0, "price_nano_usd": 0,
        "tokens_or_price_nano_usd": 0,
    }  # fmt: skip
    for one in told["dimensions"]:
        assert sum(mover["change_nano_usd"] for mover in one["movers"]) + one["rest_nano_usd"] == change
        for mover in one["movers"]:
            assert sum(mover["effects"].values()) == mover["change_nano_usd"]
    by = {one["dimension"]: one["movers"] for one in told["dimensions"]}
    assert [(one["value"], one["change_nano_usd"]) for one in by["model"]] == [
        ("large", 20 * LARGE), ("small", -20 * SMALL),
    ]  # fmt: skip
    assert {one["value"] for one in by["team"]} == {"red", None}


def test_calls_without_a_price_are_told_apart(control: Alone) -> None:
    told = explained(control, "filter=project:search")
    after = told["after"]
    assert (after["requests"], after["priced_requests"], after["unpriced_requests"]) == (41, 40, 1)
    assert any("cost of 0 calls before and 1 after" in one for one in told["notes"])
    none_known = explained(control, "filter=project:search&filter=model:odd")
    assert (none_known["after"]["cost_usd"], none_known["change_nano_usd"]) == (None, 0)


def test_a_mover_leads_to_its_calls(control: Alone) -> None:
    told = explained(control, "filter=project:search&by=model,team&limit=1")
    model, team = told["dimensions"]
    page = control.get(model["movers"][0]["calls"])
    assert page.status == 200
    assert "large" in page.text
    assert page.text.count('data-call="') == 30
    rest = model["rest_nano_usd"]
    assert (rest, model["rest_values"]) == (-20 * SMALL, 1)
    links = {one["value"]: one["calls"] for one in explained(control, "by=team")["dimensions"][0]["movers"]}
    assert links[None] is None
    assert control.get(links["red"]).status == 200
    assert team["dimension"] == "team"


def test_spans_may_be_told(control: Alone) -> None:
    day = f"{AT.monday - WEEK:%Y-%m-%d}"
    told = explained(control, f"start={day}&end={day}&filter=project:search")
    assert datetime.fromisoformat(told["before"]["start"]) == AT.monday - WEEK - timedelta(days=1)
    before = f"{AT.monday - 2 * WEEK:%Y-%m-%d}"
    other = explained(control, f"start={day}&end={day}&before_start={before}&filter=project:search")
    assert any("not equally long" in one for one in other["notes"])


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("by=tag", 400, "several of 'tag'"),
        ("by=colour", 400, "no dimension 'colour'"),
        ("end=2026-01-01", 400, "needs its start"),
        ("before_start=2026-01-01", 400, "needs its start"),
        ("start=2026-01-05&end=2026-01-06&before_start=2026-01-01&before_end=2026-01-05", 400, "has begun"),
        ("start=0001-01-02&end=2000-01-01", 400, "longer than twenty years"),
        ("start=0001-01-02&end=0001-12-01", 400, "the first year"),
        ("filter=project:nothing", 422, "No call lies"),
        ("limit=0", 400, "limit"),
    ],
)
def test_what_cannot_be_explained_is_said(control: Alone, query: str, status: int, words: str) -> None:
    reply = control.get(f"/api/predictive/analyze-cost?{query}")
    assert reply.status == status, reply.text
    assert words in reply.json["error"]["message"]


def test_a_span_that_is_not_over_is_compared_as_far_as_it_has_come(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    hours = range(1, 24 * 14)
    with alone.start(tmp_path) as control:
        every = [
            call(now - timedelta(hours=one, minutes=5), user_id="user_ann", cost_nano_usd=10**9) for one in hours
        ]
        calls.write(control.bench.settings, *every)
        run_once(control.bench.lake)
        start, end = AT.today - timedelta(days=1), AT.today + timedelta(days=5)
        told = explained(control, f"start={start:%Y-%m-%d}&end={end:%Y-%m-%d}")
        assert abs(told["change_nano_usd"]) <= 10**9
        assert datetime.fromisoformat(told["before"]["start"]) == start - WEEK
        assert any("not over" in one for one in told["notes"])
        later = control.get(f"/api/predictive/analyze-cost?start={end:%Y-%m-%d}&end={end:%Y-%m-%d}")
        assert later.status == 400
        assert "none of it has been yet" in later.json["error"]["message"]


def test_calls_without_a_price_do_not_look_like_longer_ones(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        made = []
        for week in (2, 1):
            for number in range(10):
                at = AT.monday - week * WEEK + timedelta(hours=number)
                made.append(call(at, user_id="user_ann", model_routed="m", cost_nano_usd=10**6))
                if week == 1:
                    long = call(
                        at, user_id="user_ann", model_routed="m", cost_nano_usd=None, price_id=None,
                        input_tokens=100_000,
                    )  # fmt: skip
                    made.append(long)
        calls.write(control.bench.settings, *made)
        run_once(control.bench.lake)
        told = explained(control)
    assert told["effects"] == {
        "volume_nano_usd": 0, "model_mix_nano_usd": 0, "tokens_per_request_nano_usd": None, "price_nano_usd": None,
        "tokens_or_price_nano_usd": 0,
    }  # fmt: skip
    assert told["after"]["usd_per_million_tokens"] is None
    assert told["before"]["usd_per_million_tokens"] is not None
    assert any("dearer tokens are one part" in one for one in told["notes"])


def test_a_trend_in_numbers_and_words(control: Alone) -> None:
    told = control.get("/api/predictive/trend-analysis?metric=requests&filter=project:eve").json
    assert told["direction"] == "up"
    assert told["words"].startswith("requests per day: up by ")
    assert told["lower_95"] <= told["slope_per_week"] <= told["upper_95"]
    assert told["slope_per_week"] == pytest.approx(7 / 12, rel=0.3)
    assert (told["known_steps"], len(told["rows"]), told["cycle"], told["changes"]) == (60, 60, "week", [])
    this = sum(40 if day in GIANTS else 10 + (60 - day) // 12 for day in range(1, 8))
    assert told["this_period"]["value"] == this
    assert told["last_period"]["value"] == sum(40 if day in GIANTS else 10 + (60 - day) // 12 for day in range(8, 15))
    short = control.get("/api/predictive/trend-analysis?metric=requests&filter=project:eve&days=12").json
    assert (short["known_steps"], short["last_period"]["value"]) == (12, None)
    hours = control.get("/api/predictive/trend-analysis?metric=requests&grain=hour&filter=project:eve").json
    assert hours["direction"] == "none"
    assert hours["words"].startswith("No trend can be told")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("days=2", 400), ("grain=week", 400), ("grain=hour&days=61", 400), ("metric=x", 400),
        ("days=5&filter=project:eve", 422), ("filter=model:vanished", 422),
    ],
)  # fmt: skip
def test_what_has_no_trend_to_tell_is_said(control: Alone, query: str, status: int) -> None:
    reply = control.get(f"/api/predictive/trend-analysis?{query}")
    assert reply.status == status, reply.text


def proposed(control: Alone, **told: Any) -> dict[str, Any]:
    reply = control.ask("POST", "/api/predictive/smart-alert", key=control.key, told=told)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_a_rule_is_proposed_with_the_days_on_which_it_would_have_fired(control: Alone) -> None:
    told = proposed(control, filter=["project:eve"], alerts_per_month=1)
    assert told["condition"] == f"cost_usd > {told['threshold']:g}"
    days = {day: 40 if day in GIANTS else 10 + (60 - day) // 12 for day in range(1, 61)}
    by_hand = [AT.today - timedelta(days=day) for day, count in sorted(days.items()) if count > told["threshold"]]
    replay = told["replay"]
    assert [datetime.fromisoformat(one["at"]) for one in replay["firings"]] == by_hand
    assert (replay["fired"], replay["windows"], replay["unknown"]) == (len(by_hand), 60, 0)
    assert replay["per_month"] == pytest.approx(len(by_hand) / 2)
    assert set(GIANTS) <= {(AT.today - at).days for at in by_hand}
    assert told["expected_per_month"] <= 1
    assert proposed(control, filter=["project:eve"], alerts_per_month=8)["threshold"] <= told["threshold"]


def test_a_rule_fires_no_more_often_in_its_replay_than_is_wanted(tmp_path: Path) -> None:
    dice = np.random.default_rng(4)
    with alone.start(tmp_path) as control:
        made = []
        for day in range(1, 91):  # it was dearer until a month ago, which the futures have forgotten
            cost = int(10**9 * (4 if day > 30 else 1) * dice.lognormal(0, 0.2))
            made.append(
                call(AT.today - timedelta(days=day) + timedelta(hours=9), user_id="user_ann", cost_nano_usd=cost)
            )
        calls.write(control.bench.settings, *made)
        run_once(control.bench.lake)
        told = proposed(control, alerts_per_month=1)
    assert told["replay"]["per_month"] <= 1
    assert told["expected_per_month"] <= 1
    assert told["replay"]["fired"] == 3
    assert told["severity"] == "high"  # by the replay: the futures alone have none
    assert any("By the futures alone" in one for one in told["notes"])


def test_a_rule_of_hours_says_so(control: Alone) -> None:
    told = proposed(control, metric="tokens", window="hour", filter=["project:eve"])
    assert told["condition"] == f"total_tokens > {told['threshold']:.0f} over 1h"
    assert told["filter"] == ["project:eve"]
    assert control.get("/api/predictive/smart-alert").status == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"alerts_per_month": 0}, 400), ({"alerts_per_month": "NaN"}, 400), ({"window": "week"}, 400),
        ({"metric": "x"}, 400), ({"filter": ["project:nothing"]}, 422),
        ({"filter": ["user:user_ann"], "metric": "errors"}, 422),
    ],
)  # fmt: skip
def test_what_cannot_be_proposed_is_said(control: Alone, body: dict[str, Any], status: int) -> None:
    reply = control.ask("POST", "/api/predictive/smart-alert", key=control.key, told=body)
    assert reply.status == status, reply.text


def test_who_sees_own_calls_alone_learns_nothing_of_others(control: Alone) -> None:
    key = control.add_user("bob", "api_user")
    for path in ("analyze-cost", "trend-analysis"):
        reply = control.get(f"/api/predictive/{path}", key=key)
        assert (reply.status, "No call" in reply.json["error"]["message"]) == (422, True), reply.text
    asked = control.ask("POST", "/api/predictive/smart-alert", key=key, told={})
    assert asked.status == 422, asked.text


def test_weeks_are_whole_by_the_wall_clock_also_when_clocks_change(tmp_path: Path) -> None:
    with alone.start(tmp_path, **{"billing.time_zone": "Europe/Berlin"}) as control:
        late = datetime(2026, 3, 29, 21, 30, tzinfo=UTC)  # 23:30 in Berlin, on the day of 23 hours
        made = [call(late, cost_nano_usd=SMALL), call(late + timedelta(hours=1), cost_nano_usd=3 * SMALL)]
        calls.write(control.bench.settings, *made)
        run_once(control.bench.lake)
        told = explained(control, "start=2026-03-30&end=2026-04-05")
        assert [datetime.fromisoformat(told["before"][name]) for name in ("start", "end")] == [
            datetime(2026, 3, 22, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC),
        ]  # fmt: skip
        assert (told["before"]["cost_nano_usd"], told["after"]["cost_nano_usd"]) == (SMALL, 3 * SMALL)
        assert told["effects"]["price_nano_usd"] == 2 * SMALL


def test_an_hour_keeps_its_place_when_clocks_change() -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 3, 28, tzinfo=zone).astimezone(UTC)
    at = [(begin + timedelta(hours=hour)).astimezone(zone) for hour in range(71)]
    values = np.array([float(one.hour) for one in at])
    first, hours = days_of(History(values=values, tokens=values, at=at, answer=None), adds=True)
    assert (f"{first}", len(hours)) == ("2026-03-28", 72)
    assert np.flatnonzero(np.isnan(hours)).tolist() == [26]  # 02:00 of the 29th, which was not
    known = ~np.isnan(hours)
    assert (hours[known] == (np.arange(72) % 24)[known]).all()


@pytest.mark.parametrize(("adds", "twice"), [(True, 99.0 + 1.0), (False, 1.0)])
def test_of_an_hour_that_comes_twice_no_spend_is_lost(adds: bool, twice: float) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 10, 24, tzinfo=zone).astimezone(UTC)
    at = [(begin + timedelta(hours=hour)).astimezone(zone) for hour in range(73)]
    values = np.ones(73)
    values[26] = 99.0  # 02:00 of the 25th, summer time
    _, hours = days_of(History(values=values, tokens=values, at=at, answer=None), adds=adds)
    assert (len(hours), hours[26]) == (72, twice)
