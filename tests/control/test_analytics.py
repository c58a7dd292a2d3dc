"""Numbers over REST: parameters in, rows out, nobody sees more than they may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from proxy_server.control.api import span
from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.calls import DAY, call
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import Invalid
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.metrics import DIMENSIONS, METRICS

FAILED = {"status": "error", "http_status": 500, "cost_nano_usd": None, "input_tokens": None, "output_tokens": None}
ON = "start=2026-03-10&end=2026-03-10"


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Six committed calls on one day and one the day before, and one more that is in the journal alone."""
    with alone.start(tmp_path_factory.mktemp("numbers")) as running:
        settings = running.bench.settings
        ann = {"user_id": "user_ann", "project": "search"}
        bob = {"user_id": "user_bob", "project": "chat, of sorts"}
        calls.write(
            settings,
            call(DAY - timedelta(minutes=30), **ann),
            call(DAY + timedelta(hours=1), **ann),
            call(DAY + timedelta(hours=2), **ann, model_routed="claude-sonnet-4-5", cost_nano_usd=2_000_000_000),
            call(DAY + timedelta(hours=3), **bob, cost_nano_usd=None),
            call(DAY + timedelta(hours=4), **bob, **FAILED),
            call(DAY + timedelta(hours=23, minutes=59), **ann),
        )
        run_once(running.bench.lake)
        calls.write(settings, call(DAY + timedelta(hours=5), **bob))
        yield running


def rows(control: Alone, route: str, query: str, **more: Any) -> list[dict[str, Any]]:
    reply = control.get(f"/api/analytics/{route}?{query}", **more)
    assert reply.status == 200, reply.text
    found: list[dict[str, Any]] = reply.json["rows"]
    return found


def refused(control: Alone, route: str, query: str, **more: Any) -> dict[str, str]:
    reply = control.get(f"/api/analytics/{route}?{query}", **more)
    assert reply.status == 400, reply.text
    found: dict[str, str] = reply.json["error"]
    return found


def test_sums_of_a_day_tail_of_the_journal_included(control: Alone) -> None:
    reply = control.get(
        f"/api/analytics/aggregate?metrics=requests,input_tokens,cost_usd,errors,unpriced_requests&{ON}"
    )
    told = reply.json
    [row] = told["rows"]
    assert row["requests"] == 6
    assert row["input_tokens"] == 500
    assert row["cost_usd"] == pytest.approx(2.000081, rel=1e-12)
    assert (row["errors"], row["unpriced_requests"]) == (1, 1)
    assert (told["start"], told["end"]) == ("2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"), (
        "the end day is inclusive"
    )
    assert (told["time_zone"], told["grain"]) == ("UTC", None)
    assert told["missing"] == {"files": 0, "rows": 0}
    assert told["units"] == {
        "requests": "calls",
        "input_tokens": "tokens",
        "cost_usd": "usd",
        "errors": "calls",
        "unpriced_requests": "calls",
    }
    assert told["source"] in {"raw", "rollup", "both"}
    assert told["unpriced_requests"] == 1


def test_filters_are_or_within_and_between_dimensions(control: Alone) -> None:
    def count(*filters: str) -> int:
        query = urlencode([("metrics", "requests"), *(("filter", one) for one in filters)])
        found = rows(control, "aggregate", f"{query}&{ON}")
        return int(found[0]["requests"]) if found else 0

    assert count("project:search") == 3
    assert count("project:chat, of sorts") == 3, "a comma is part of a value"
    assert count("project:search", "project:chat, of sorts") == 6
    assert count("project:search", "model:claude-sonnet-4-5") == 1
    assert count("project:nothing") == 0
    assert count("team:") == 6, "calls without a team"


def test_unknown_stays_null(control: Alone) -> None:
    found = rows(control, "breakdown", f"metrics=requests,cost_usd&by=status&filter=user:user_bob&{ON}")
    by_status = {row["status"]: row for row in found}
    assert by_status["error"]["cost_usd"] is None
    assert by_status["ok"]["requests"] == 2


def test_the_shorter_names(control: Alone) -> None:
    [row] = rows(control, "aggregate", f"metrics=cost,tokens,error_rate,latency,cost_usd&{ON}")
    assert set(row) == {"cost_usd", "total_tokens", "error_ratio", "latency_p95_ms"}
    assert row["error_ratio"] == pytest.approx(1 / 6)
    assert row["latency_p95_ms"] == pytest.approx(800, rel=0.01)


def test_a_series_in_a_named_zone(control: Alone) -> None:
    found = rows(control, "timeseries", "metrics=requests&grain=day&start=2026-03-10&end=2026-03-10")
    assert [(row["step_at"], row["requests"]) for row in found] == [("2026-03-10T00:00:00Z", 6)]
    india = rows(
        control,
        "timeseries",
        "metrics=requests&grain=day&time_zone=Asia/Kolkata&start=2026-03-10&end=2026-03-11",
    )
    told = {row["step_at"]: row["requests"] for row in india}
    assert told["2026-03-10T00:00:00+05:30"] == 6, "one of the day before in UTC, and not the last one"
    assert told["2026-03-11T00:00:00+05:30"] == 1
    reply = control.get("/api/analytics/timeseries?metrics=requests&start=2026-03-10&end=2026-03-10").json
    assert reply["grain"] == "hour", "a step that fits the span when none is asked for"
    assert sum(row["requests"] or 0 for row in reply["rows"]) == 6


def test_the_largest_groups_first(control: Alone) -> None:
    found = rows(control, "breakdown", f"metrics=cost_usd,requests&by=model&{ON}")
    assert [row["model"] for row in found] == ["claude-sonnet-4-5", "gpt-4o-mini"]
    by_count = rows(control, "breakdown", f"metrics=cost_usd,requests&by=model&order_by=requests&{ON}")
    assert [row["model"] for row in by_count] == ["gpt-4o-mini", "claude-sonnet-4-5"]
    assert len(rows(control, "breakdown", f"metrics=requests&by=model&limit=1&{ON}")) == 1
    least = rows(control, "breakdown", f"metrics=cost_usd&by=model&order_by=-cost&{ON}")
    assert least[0]["model"] == "gpt-4o-mini"
    assert refused(control, "breakdown", "by=&metrics=requests")["code"] == "parameter_missing"


def test_calls_page_by_page_newest_first_each_once(control: Alone) -> None:
    seen: list[str] = []
    times: list[str] = []
    cursor = ""
    for _ in range(10):
        page = control.get(f"/api/analytics/calls?limit=2&{ON}" + (f"&cursor={cursor}" if cursor else "")).json
        seen += [row["call_id"] for row in page["rows"]]
        times += [row["started_at"] for row in page["rows"]]
        assert len(page["rows"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 6
    assert times == sorted(times, reverse=True)
    assert refused(control, "calls", f"cursor=nonsense&{ON}")["message"]


def test_what_does_not_exist_is_named_with_what_does(control: Alone) -> None:
    metric = refused(control, "aggregate", "metrics=request")
    assert "request" in metric["message"]
    assert all(name in metric["hint"] for name in METRICS)
    dimension = refused(control, "aggregate", "metrics=requests&by=colour")
    assert all(name in dimension["hint"] for name in DIMENSIONS)
    assert refused(control, "aggregate", "metrics=requests&filter=colour:red")["hint"]
    assert refused(control, "aggregate", "metrics=requests&filter=red")["code"] == "filter"
    assert "Europe/Berlin" in refused(control, "aggregate", "time_zone=Mars/Olympus")["hint"]
    assert "hour" in refused(control, "timeseries", "grain=fortnight")["hint"]
    assert refused(control, "aggregate", "metrics=")["message"]


def test_a_caller_who_sees_only_its_own_cannot_widen_that(control: Alone) -> None:
    ann = control.add_user("ann", "api_user")
    assert rows(control, "aggregate", f"metrics=requests&{ON}", key=ann) == [{"requests": 3}]
    assert rows(control, "aggregate", f"metrics=requests&filter=user:user_ann&{ON}", key=ann) == [{"requests": 3}]
    own = rows(control, "calls", ON, key=ann)
    assert {row["user_id"] for row in own} == {"user_ann"}
    by_user = rows(control, "breakdown", f"metrics=requests&by=user&{ON}", key=ann)
    assert [row["user"] for row in by_user] == ["user_ann"]
    for route in ("aggregate", "timeseries", "calls"):
        for wish in ("filter=user:user_bob", "filter=user:user_ann&filter=user:user_bob", "filter=user:"):
            reply = control.get(f"/api/analytics/{route}?{wish}&{ON}", key=ann)
            assert (reply.status, reply.json["error"]["code"]) == (403, "own_calls"), (route, wish)
    both = control.add_user("eve", "api_user", "viewer")
    assert rows(control, "aggregate", f"metrics=requests&{ON}", key=both) == [{"requests": 6}], "a viewer sees all"


def test_no_permission_no_numbers(control: Alone) -> None:
    told = {"name": "calls only", "scopes": ["proxy:call"]}
    key = control.ask("POST", "/api/keys", key=control.key, told=told).json["key"]
    assert control.get("/api/analytics/aggregate", key=key).status == 403


def test_an_answer_that_is_the_same_is_not_sent_again(control: Alone) -> None:
    path = f"/api/analytics/aggregate?metrics=requests&{ON}"
    etag = control.get(path).headers["ETag"]
    assert control.get(path, headers={"If-None-Match": etag}).status == 304


def test_nothing_asked_for_means_the_last_day_and_an_empty_lake_answers(tmp_path: Any) -> None:
    with alone.start(tmp_path) as empty:
        told = empty.get("/api/analytics/aggregate").json
        length = datetime.fromisoformat(told["end"]) - datetime.fromisoformat(told["start"])
        assert length == timedelta(days=1)
        assert all(row["requests"] == 0 and row["cost_usd"] is None for row in told["rows"])
        assert empty.get("/api/analytics/calls").json["rows"] == []
        assert empty.get("/api/analytics/breakdown?by=model").json["rows"] == []
        assert empty.get("/api/analytics/timeseries?grain=hour").status == 200


def test_damaged_files_are_told_with_every_number(tmp_path: Any) -> None:
    with alone.start(tmp_path) as control:
        calls.write(control.bench.settings, call(DAY), call(DAY + timedelta(days=1)))
        run_once(control.bench.lake)
        damaged = next((tmp_path / "lake/calls/date=2026-03-10").glob("*.parquet"))
        data = bytearray(damaged.read_bytes())
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
        span_ = "start=2026-03-10&end=2026-03-12"
        told = control.get(f"/api/analytics/aggregate?metrics=requests&{span_}").json
        assert told["missing"] == {"files": 1, "rows": 1}
        assert told["rows"] == [{"requests": 1}]
        assert control.get(f"/api/analytics/calls?{span_}").json["missing"]["files"] == 1


# -- spans ---------------------------------------------------------------------------------------------------------

CLOCK = SteppedClock(datetime(2026, 3, 29, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("start", "end", "zone", "expected"),
    [
        ("2026-03-29", "2026-03-29", "Europe/Berlin", ("2026-03-28T23:00", "2026-03-29T22:00")),  # 23 hours
        ("2026-10-25", "2026-10-25", "Europe/Berlin", ("2026-10-24T22:00", "2026-10-25T23:00")),  # 25 hours
        ("2026-03-29T08:00", "2026-03-29T09:00Z", "Asia/Kolkata", ("2026-03-29T02:30", "2026-03-29T09:00")),
        ("", "", "UTC", ("2026-03-28T12:00", "2026-03-29T12:00")),
        ("", "2026-03-01", "UTC", ("2026-03-01T00:00", "2026-03-02T00:00")),
        ("2026-03-29", "", "UTC", ("2026-03-29T00:00", "2026-03-29T12:00")),
    ],
)
def test_days_and_instants(start: str, end: str, zone: str, expected: tuple[str, str]) -> None:
    found = span.read(start, end, zone, clock=CLOCK, default=timedelta(days=1))
    assert (found.start.isoformat()[:16], found.end.isoformat()[:16]) == expected


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("yesterday", "", "UTC"),
        ("2026-02-30", "", "UTC"),
        ("2026-03-02", "2026-03-01", "UTC"),
        ("2026-03-01T10:00Z", "2026-03-01T10:00Z", "UTC"),
        ("0001-01-01", "", "Asia/Tokyo"),
        ("9999-12-31", "9999-12-31", "UTC"),
        ("", "", "../etc/passwd"),
        ("", "", "Nowhere"),
    ],
)
def test_spans_that_mean_nothing_are_refused(start: str, end: str, zone: str) -> None:
    with pytest.raises(Invalid) as told:
        span.read(start, end, zone, clock=CLOCK, default=timedelta(days=1))
    assert told.value.hint
