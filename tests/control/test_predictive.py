"""Forecasts over REST: from calls in the lake to days ahead, budgets and risk; nobody learns of another's calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import later_of, left_of
from tests.calm import DAY, Calm
from tests.control import alone, calls
from tests.control.calls import call
from ultimate_lib.lake.ingest import run_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control.alone import Alone

AT = Calm(DAY)
DAYS = 40
PER_CALL = 1_500_000_000  # nano-dollars


def cost(day: int) -> int:
    """Return the calls of a day, `day` before today: four on five days, one on two."""
    return 1 if day % 7 in {0, 1} else 4


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Forty days of Ann's calls, and three of Bob's."""
    with alone.start(tmp_path_factory.mktemp("predictive")) as running:
        made = [
            call(
                AT.today - timedelta(days=day) + timedelta(hours=9 + number), user_id="user_ann", project="search",
                cost_nano_usd=PER_CALL,
            )
            for day in range(1, DAYS + 1)
            for number in range(cost(day))
        ]  # fmt: skip
        made += [call(AT.today - timedelta(days=day) + timedelta(hours=1), user_id="user_bob") for day in (1, 2, 3)]
        made += [
            call(AT.today - timedelta(days=day) + timedelta(hours=1), user_id="user_ann", project="young")
            for day in range(1, 7)
            for number in range(2 * cost(day))
        ]
        calls.write(running.bench.settings, *made)
        run_once(running.bench.lake)
        yield running


def forecast(control: Alone, query: str = "", **more: Any) -> dict[str, Any]:
    reply = control.get(f"/api/predictive/forecast?{query}", **more)
    assert reply.status == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_the_week_ahead_is_the_week_before_with_its_total_and_its_test(control: Alone) -> None:
    told = forecast(control, "days=7&filter=project:search")
    assert [row["step_at"] for row in told["rows"]] == [
        (AT.today + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ") for day in range(7)
    ]
    expected = [1.5 * cost(-day % 7) for day in range(7)]
    assert [row["value"] for row in told["rows"]] == pytest.approx(expected, rel=0.1)
    assert told["summary"]["total_cost"] == told["cost_prediction"] == pytest.approx(sum(expected), rel=0.05)
    assert told["summary"]["lower_80"] <= told["summary"]["total"] <= told["summary"]["upper_80"]
    assert [one["value"] for one in told["history"]] == pytest.approx([1.5 * cost(day) for day in range(DAYS, 0, -1)])
    assert told["backtest"]["origins"] >= 2
    assert told["backtest"]["ratio_to_naive"] is None  # last week again makes no error here
    assert (told["unit"], told["grain"], told["unpriced_requests"]) == ("usd", "day", 0)
    assert sum(told["members"].values()) == pytest.approx(1, abs=0.01)


def test_hours_and_other_metrics(control: Alone) -> None:
    told = forecast(control, "metric=requests&grain=hour&days=1&filter=project:search")
    assert len(told["rows"]) == 24
    assert told["summary"]["total_cost"] is None
    assert told["summary"]["total"] == pytest.approx(sum(row["value"] for row in told["rows"]))
    each = forecast(control, "metric=cost_per_request_usd&days=7&filter=project:search")
    assert (each["summary"]["total"], each["summary"]["mean"]) == (None, pytest.approx(1.5, rel=0.01))
    far = forecast(control, "grain=hour&days=90&filter=project:search")
    assert len(far["rows"]) == 90 * 24
    by_latency = forecast(control, "metric=latency&days=2&filter=project:search")
    assert by_latency["metric"] == "latency_p95_ms"
    assert (by_latency["summary"]["total"], by_latency["risk_level"]) == (None, "unknown")
    assert by_latency["summary"]["mean"] > 0


@pytest.fixture(scope="module")
def budget(control: Alone) -> None:
    """Nine calls' worth is left for the project of Ann's calls."""
    spent = sum(cost(day) for day in range(1, DAYS + 1))
    told = {
        "subject": "project", "subject_id": "search", "amount": (spent + 9) * PER_CALL, "period": "total",
        "name": "search",
    }  # fmt: skip
    made = control.ask("POST", "/api/budgets", key=control.key, told=told)
    assert made.status == 201, made.text


@pytest.mark.usefixtures("budget")
def test_a_budget_says_when_it_will_be_spent(control: Alone) -> None:
    told = forecast(control, "days=7&filter=project:search")
    [one] = told["budgets"]
    assert one["probability"] > 0.95
    assert (told["risk_level"], one["risk_level"]) == ("high", "high")
    assert "search" in told["risk_reason"]
    last = datetime.fromisoformat(one["exhausted_at"])
    assert AT.today + timedelta(days=1) < last <= AT.today + timedelta(days=8)
    assert one["earliest_80"] <= one["exhausted_at"] <= one["latest_80"]
    assert forecast(control, "days=7")["budgets"] == []  # it counts fewer calls than those


def test_a_young_filter_takes_the_week_of_the_other_calls(control: Alone) -> None:
    told = forecast(control, "metric=requests&days=7&filter=project:young")
    assert told["method"] == "others' week at the level so far"
    assert [row["value"] for row in told["rows"]] == pytest.approx([2 * cost(-day % 7) for day in range(7)], rel=0.15)
    weekly = control.get("/api/predictive/thresholds?metric=requests&period=week&filter=project:young")
    assert weekly.json["method"] == "others' week at the level so far"
    assert "others" not in forecast(control, "metric=requests&days=7&filter=project:search")["method"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("metric=nonsense", 400, "no metric 'nonsense'"),
        ("days=0", 400, "days"),
        ("days=91", 400, "days"),
        ("grain=month", 400, "grain"),
        ("filter=project", 400, "dimension:value"),
        ("time_zone=Mars/Base", 400, "time zone"),
        ("filter=project:nothing", 422, "No call lies"),
        ("filter=user:user_bob", 422, "at least 5"),
    ],
)
def test_what_cannot_be_answered_is_said(control: Alone, query: str, status: int, words: str) -> None:
    reply = control.get(f"/api/predictive/forecast?{query}")
    assert reply.status == status, reply.text
    assert words in reply.json["error"]["message"]
    assert reply.json["error"]["hint"] or status == 400


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_thresholds_of_the_running_period(control: Alone, period: str) -> None:
    reply = control.get(f"/api/predictive/thresholds?period={period}&filter=project:search")
    assert reply.status == 200, reply.text
    told = reply.json
    start, end = (datetime.fromisoformat(told[name]) for name in ("period_start", "period_end"))
    assert start <= datetime.now(UTC) < end
    passed = [day for day in range(1, DAYS + 1) if AT.today - timedelta(days=day) >= start]
    assert told["so_far"] == pytest.approx(sum(1.5 * cost(day) for day in passed))
    assert told["so_far"] <= told["expected"] <= told["warning"] <= told["critical"]
    to_come = sum(1.5 * cost(-day % 7) for day in range((end - AT.today).days))
    assert told["expected"] <= told["so_far"] + 1.1 * to_come  # of today only what is left of it


def test_patterns_of_days_and_weeks(control: Alone) -> None:
    reply = control.get("/api/predictive/patterns?metric=requests&filter=project:search")
    assert reply.status == 200, reply.text
    told = reply.json
    assert told["daily"]["there"]
    assert told["weekly"]["there"]
    assert told["peak_hours"] == [9, 10, 11, 12]
    assert told["changes"] == []
    assert told["last_day"] == (AT.today - timedelta(days=1)).strftime("%Y-%m-%d")
    nothing = control.get("/api/predictive/patterns?filter=project:nothing")
    assert (nothing.status, "No call" in nothing.json["error"]["message"]) == (422, True)


def test_thresholds_are_of_what_adds_up(control: Alone) -> None:
    reply = control.get("/api/predictive/thresholds?metric=latency")
    assert (reply.status, "does not add up" in reply.json["error"]["message"]) == (400, True)
    assert control.get("/api/predictive/thresholds?period=year").status == 400


def test_a_days_clock_change_moves_no_midnight() -> None:
    zone = zone_of("Europe/Berlin")
    now = datetime(2026, 3, 27, 15, tzinfo=zone)
    assert {one.hour for one in later_of(now, zone, "day", 5)} == {0}
    hours = later_of(datetime(2026, 3, 28, 23, 30, tzinfo=zone), zone, "hour", 6)
    assert [one.hour for one in hours] == [23, 0, 1, 3, 4, 5, 6]


def test_who_sees_its_own_calls_alone_gets_no_forecast_of_anothers(control: Alone) -> None:
    key = control.add_user("bob", "api_user")
    own = control.get("/api/predictive/forecast?days=7", key=key)
    assert own.status == 422, own.text
    assert "3 days are known" in own.json["error"]["message"]  # his own, and not Ann's forty
    assert control.get("/api/predictive/forecast?filter=user:user_ann", key=key).status == 403


@pytest.mark.parametrize(
    ("utc", "left"), [("2026-10-25T00:30", 0.5), ("2026-10-25T01:15", 0.75), ("2026-03-29T00:30", 0.5)]
)
def test_what_is_left_of_an_hour_is_time_also_when_clocks_change(utc: str, left: float) -> None:
    zone = zone_of("Europe/Berlin")
    now = datetime.fromisoformat(f"{utc}+00:00").astimezone(zone)
    assert left_of(later_of(now, zone, "hour", 1), now) == pytest.approx(left)


@pytest.mark.usefixtures("budget")
def test_a_forecast_is_the_same_with_a_budget_that_looks_further(control: Alone) -> None:
    before = forecast(control, "days=3&filter=model:gpt-4o-mini&filter=project:search")
    assert before["budgets"] == []  # two filters: no budget counts these
    alone = forecast(control, "days=3&filter=project:search")
    assert alone["budgets"]
    assert [row["value"] for row in alone["rows"]] == [row["value"] for row in before["rows"]]


def test_an_hour_unlike_others_is_found_with_who_made_it(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        begin = AT.today - timedelta(days=30)
        made = [
            call(begin + timedelta(hours=hour, minutes=number), project="search", cost_nano_usd=PER_CALL)
            for hour in range(int((datetime.now(UTC) - begin) / timedelta(hours=1)) + 1)
            for number in range(3 if 8 <= hour % 24 < 18 else 1)
        ]
        odd = begin + timedelta(days=25, hours=14)
        made += [
            call(
                odd + timedelta(seconds=one),
                project="runaway",
                model_routed="claude",
                cost_nano_usd=PER_CALL,
            )
            for one in range(60)
        ]
        calls.write(control.bench.settings, *made)
        run_once(control.bench.lake)
        told = control.get("/api/predictive/anomaly-history?days=20").json
        assert [datetime.fromisoformat(one["step_at"]) for one in told["anomalies"]] == [odd]
        [one] = told["anomalies"]
        assert one["value"] == pytest.approx(63 * 1.5)
        assert one["expected_high"] < 10
        assert one["score"] > told["threshold"]
        by = {part["dimension"]: part for part in one["made_by"]}
        assert by["project"]["value"] == "runaway"
        assert by["project"]["share"] == pytest.approx(60 / 63)
        assert control.get("/api/predictive/anomaly-history?days=3").json["anomalies"] == []
        plain = control.get("/api/predictive/anomaly-history?days=20&method=zscore").json
        assert odd in [datetime.fromisoformat(one["step_at"]) for one in plain["anomalies"]]
        assert control.get("/api/predictive/anomaly-history?method=magic").status == 400
        assert control.get("/api/predictive/anomaly-history?filter=project:nothing").status == 422


def test_thresholds_over_a_cost_that_is_not_known_are_unknown_and_not_zero(tmp_path: Path) -> None:
    with alone.start(tmp_path) as control:
        now = datetime.now(UTC)
        made = [
            call(AT.today - timedelta(days=day) + timedelta(hours=9), cost_nano_usd=PER_CALL) for day in range(1, 40)
        ]
        calls.write(
            control.bench.settings, *made, call(max(AT.today, now - timedelta(seconds=1)), cost_nano_usd=None)
        )
        run_once(control.bench.lake)
        told = control.get("/api/predictive/thresholds?period=day").json
        assert [told[name] for name in ("so_far", "expected", "warning", "critical")] == [None] * 4
        assert control.get("/api/predictive/thresholds?period=day&metric=requests").json["so_far"] == 1
