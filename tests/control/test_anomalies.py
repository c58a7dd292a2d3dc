"""Anomalies per minute and per group over REST, and their calendar as a page."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from proxy_server.control.pages.anomalies import Asked, _links
from tests.calm import HOUR, Calm
from tests.control import alone, calls
from tests.control.calls import call
from ultimate_lib.lake.ingest import run_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.control.alone import Alone

AT = Calm(HOUR)


def odd_hour() -> datetime:
    return AT.hour - timedelta(days=4, hours=3)


def odd_minute() -> datetime:
    return AT.minute - timedelta(hours=20)


def usual() -> int:
    """Return the calls of `b` in an hour such as the odd one."""
    return 3 if 8 <= odd_hour().hour < 18 else 1


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Thirty days of three models, one of them rare; one hour of `b` and one minute of `a` are odd."""
    with alone.start(tmp_path_factory.mktemp("anomalies")) as running:
        made = []
        for hour in range(1, 30 * 24):
            at = AT.hour - timedelta(hours=hour)
            for model, count in (("a", 6), ("b", 3 if 8 <= at.hour < 18 else 1)):
                made += [call(at + timedelta(minutes=7 * one), model_routed=model) for one in range(count)]
        made += [call(AT.minute - timedelta(minutes=one), project="quick") for one in range(1, 4 * 24 * 60, 4)]
        made += [call(odd_hour() + timedelta(seconds=one), model_routed="b", project="odd") for one in range(12)]
        made += [call(odd_minute() + timedelta(seconds=one), project="quick") for one in range(30)]
        made += [call(AT.hour - timedelta(days=9), model_routed="rare")]
        calls.write(running.bench.settings, *made)
        run_once(running.bench.lake)
        yield running


def found(control: Alone, query: str) -> dict[str, Any]:
    reply = control.get(f"/api/predictive/anomaly-history?metric=requests&{query}")
    assert reply.status == 200, reply.text
    told: dict[str, Any] = reply.json
    return told


def test_each_value_of_a_dimension_is_a_series_of_its_own(control: Alone) -> None:
    told = found(control, "by=model&groups=3&days=10&filter=project:&filter=project:odd")
    assert [(one["value"], one["anomalies"]) for one in told["groups"]] == [("a", 0), ("b", 1), ("rare", 0)]
    assert sum(one["share"] for one in told["groups"]) == pytest.approx(1.0)
    [one] = told["anomalies"]
    assert (one["group"], datetime.fromisoformat(one["step_at"])) == ("b", odd_hour())
    assert one["value"] == usual() + 12
    assert [(part["dimension"], part["value"]) for part in one["made_by"]] == [("project", "odd")]
    assert told["left_out"] == {"groups": 0, "share": 0.0}


def test_small_groups_are_left_out_and_told(control: Alone) -> None:
    told = found(control, "by=model&groups=1&filter=project:&filter=project:odd")
    assert [one["value"] for one in told["groups"]] == ["a"]
    assert told["left_out"]["groups"] == 2
    assert told["left_out"]["share"] == pytest.approx(1 - told["groups"][0]["share"])
    both = found(control, "by=model&filter=model:a&filter=model:b&filter=project:&filter=project:odd&days=10")
    assert {one["value"] for one in both["groups"]} == {"a", "b"}
    assert [(part["dimension"], part["share"]) for part in both["anomalies"][0]["made_by"]] == [
        ("project", pytest.approx(12 / (12 + usual())))
    ]


def test_a_metric_that_does_not_add_up_goes_by_the_calls(control: Alone) -> None:
    told = found(control, "by=model").keys()
    latency = control.get("/api/predictive/anomaly-history?metric=latency&by=model").json
    assert latency.keys() == told
    assert latency["groups"][0]["share"] > 0.5
    assert latency["anomalies"] == []


def test_minutes_of_the_last_days(control: Alone) -> None:
    told = found(control, "grain=minute&filter=project:quick")
    assert [datetime.fromisoformat(one["step_at"]) for one in told["anomalies"]] == [odd_minute()]
    assert told["anomalies"][0]["value"] >= 30
    assert told["learnt"] == 1440
    judged = datetime.fromisoformat(told["judged_from"])
    assert abs(judged - (AT.minute - timedelta(days=3))) < timedelta(minutes=10)
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(told["end"]) < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("grain=minute&days=4", 400, "last 3 days"),
        ("by=colour", 400, "no dimension 'colour'"),
        ("groups=21&by=model", 400, "groups"),
        ("by=model&filter=project:nothing", 422, "No call lies"),
    ],
)
def test_what_cannot_be_judged_is_said(control: Alone, query: str, status: int, words: str) -> None:
    reply = control.get(f"/api/predictive/anomaly-history?{query}")
    assert reply.status == status, reply.text
    assert words in reply.json["error"]["message"]


def test_nobody_learns_of_anothers_groups(control: Alone) -> None:
    key = control.add_user("bob", "api_user")
    reply = control.get("/api/predictive/anomaly-history?by=model", key=key)
    assert (reply.status, "model" in reply.json) == (422, False)


def test_the_page_marks_the_hour_and_leads_to_its_calls(control: Alone) -> None:
    page = control.get("/anomalies?metric=requests&by=model&project=odd")
    assert page.status == 200, page.text
    page = control.get("/anomalies?metric=requests&by=model&model=b")
    [link] = set(re.findall(r'href="(/calls[^"]+model=b[^"]*)"', page.text))
    assert f"{odd_hour():%Y-%m-%d %H}:00: 1 anomaly" in page.text
    listed = control.get(html.unescape(link))
    assert listed.text.count('data-call="') == 12 + usual()
    quiet = control.get("/anomalies?metric=requests&model=a&grain=day")
    assert "Nothing unusual in calls" in quiet.text
    assert "heat0" in quiet.text


def test_calls_without_a_project_are_led_to_and_no_others(control: Alone) -> None:
    """The odd hour's calls of `odd` are none of those without a project."""
    none = _links("", Asked(by="project"))(odd_hour(), "hour", None)
    listed = control.get(none).text.count('data-call="')
    assert listed == 6 + usual()
    assert control.get(_links("", Asked(by="project"))(odd_hour(), "hour")).text.count('data-call="') > listed
    odd = control.get(_links("", Asked(by="project"))(odd_hour(), "hour", "odd"))
    assert odd.text.count('data-call="') == 12


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("model=vanished", 200, "Nothing to judge yet"),
        ("days=many", 400, "no number of days"),
        ("grain=minute&days=9", 400, "last 3 days"),
        ("by=colour", 400, "nothing to go by"),
        ("grain=month", 400, "no steps of"),
        ("model=rare&grain=day", 200, "none could be judged yet"),
    ],
)
def test_the_page_says_what_it_cannot_show(control: Alone, query: str, status: int, words: str) -> None:
    page = control.get(f"/anomalies?{query}")
    assert page.status == status, page.text
    assert words in html.unescape(page.text)


def test_what_is_usual_by_itself_has_no_range_and_minutes_without_a_call_are_none(tmp_path: Path) -> None:
    begin = AT.hour - timedelta(days=45)
    with alone.start(tmp_path) as control:
        made = []
        for day in range(45):
            if (begin + timedelta(days=day)).weekday() == 0:
                at = (begin + timedelta(days=day)).replace(hour=9)
                made += [call(at + timedelta(minutes=one), cost_nano_usd=10**8) for one in range(50)]
        calls.write(control.bench.settings, *made)
        run_once(control.bench.lake)
        whole, groups = (found(control, f"grain=hour&days=30{by}") for by in ("", "&by=model"))
    assert whole["anomalies"]
    for one in whole["anomalies"]:
        inside = one["expected_low"] is not None and one["expected_low"] <= one["value"] <= one["expected_high"]
        assert not inside
        assert one["within"] == (one["expected_high"] is None)
    assert any(one["within"] for one in whole["anomalies"])
    assert not [one for one in groups["anomalies"] if one["value"] == 0]
