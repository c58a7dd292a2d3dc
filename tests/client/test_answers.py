"""Answers by key and by attribute, pages, frames, money to the nano-dollar."""

from __future__ import annotations

import copy
import json
import pickle
import random
import subprocess
import sys
from decimal import Decimal

import polars as pl
import pytest

from claude_proxy import Answer, ClaudeProxyClient, Rows, frames, money
from tests.client.fake import Fake, told
from ultimate_lib.lake import schema

ROWS = Rows(
    rows=[
        Answer(step_at="2026-03-28T23:00:00Z", model="a", requests=2, cost_usd=0.000576, latency_p95_ms=1.5),
        Answer(step_at="2026-03-29T22:00:00Z", model=None, requests=0, cost_usd=None, latency_p95_ms=None),
    ],
    time_zone="Europe/Berlin",
    units={"requests": "calls", "cost_usd": "usd", "latency_p95_ms": "ms"},
)


def test_members_are_there_by_key_and_by_attribute() -> None:
    answer = Answer(risk_level="high", summary=Answer(total_cost=1.5), keys=["k"])
    assert answer["summary"]["total_cost"] == answer.summary.total_cost == 1.5
    assert answer["keys"] == ["k"]
    with pytest.raises(AttributeError, match="It has: risk_level, summary"):
        _ = answer.cost
    assert copy.deepcopy(answer) == pickle.loads(pickle.dumps(answer)) == answer


def test_rows_become_a_frame_with_instants_in_their_zone_and_nulls_kept() -> None:
    frame = ROWS.to_polars()
    assert frame.schema == {
        "step_at": pl.Datetime("us", "Europe/Berlin"), "model": pl.String, "requests": pl.Int64,
        "cost_usd": pl.Float64, "latency_p95_ms": pl.Float64,
    }  # fmt: skip
    assert frame["step_at"].dt.day().to_list() == [29, 30], "two days, across the change of the clock"
    assert frame["cost_usd"].to_list() == [0.000576, None]


def test_rows_become_a_pandas_frame() -> None:
    frame = ROWS.to_pandas()
    assert str(frame["requests"].dtype) == "Int64"
    assert str(frame["step_at"].dtype).endswith("Europe/Berlin]")
    assert frame["cost_usd"].isna().tolist() == [False, True]


def test_no_rows_are_a_frame_with_its_metrics() -> None:
    empty = Rows(rows=[], time_zone="UTC", units={"requests": "calls", "cost_usd": "usd"})
    assert empty.to_polars().schema == {"requests": pl.Int64, "cost_usd": pl.Float64}
    assert list(empty.to_pandas().columns) == ["requests", "cost_usd"]


def test_a_column_of_a_call_of_which_nothing_is_known_has_its_type_all_the_same() -> None:
    nothing = dict.fromkeys(schema.POLARS)
    frame = frames.to_polars([nothing])
    loose = {pl.Int16: pl.Int64, pl.Int32: pl.Int64, pl.Float32: pl.Float64}
    for name, kind in schema.POLARS.items():
        wanted = loose.get(kind, kind)  # type: ignore[call-overload] # classes among the keys
        told = frame.schema[name]
        if isinstance(kind, pl.List):
            assert told in {pl.String, kind}, name
        elif isinstance(kind, pl.Datetime):
            assert isinstance(told, pl.Datetime), name
        else:
            assert told == wanted, name


@pytest.mark.parametrize("package", ["polars", "pandas"])
def test_a_package_that_is_not_there_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        getattr(ROWS, f"to_{package}")()


def page(first: int, number: int, cursor: str | None) -> dict[str, object]:
    rows = [{"call_id": f"c{at}", "started_at": "2026-01-01T00:00:00Z"} for at in range(first, first + number)]
    return {"rows": rows, "start": "2026-01-01T00:00:00Z", "missing": {"files": 0, "rows": 0}, "next_cursor": cursor}


def test_calls_come_page_by_page_as_they_are_needed(fake: Fake, client: ClaudeProxyClient) -> None:
    route = "GET /api/analytics/calls"
    fake.on(route, told(page(0, 2, "x.1")), told(page(2, 2, "x.2")), told(page(4, 1, None)))
    calls = client.calls(page_size=2)
    assert fake.asked_for(route) == []
    assert next(calls).call_id == "c0"
    assert len(fake.asked_for(route)) == 1
    assert [call.call_id for call in calls] == ["c1", "c2", "c3", "c4"]
    asked = [one.path.partition("?")[2] for one in fake.asked_for(route)]
    later = "start=2026-01-01T00%3A00%3A00Z&limit=2&cursor="
    assert asked == ["limit=2", later + "x.1", later + "x.2"], "a span that moves with the clock is fixed by page one"


def test_no_more_calls_are_asked_for_than_are_wanted(fake: Fake, client: ClaudeProxyClient) -> None:
    fake.on("GET /api/analytics/calls", told(page(0, 2, "x.1")), told(page(2, 1, "x.2")))
    assert client.calls(limit=3, page_size=2).to_polars()["call_id"].to_list() == ["c0", "c1", "c2"]
    assert fake.asked[-1].path.endswith("limit=1&cursor=x.1")
    assert list(client.calls(limit=0)) == []


def test_dollars_become_the_nano_dollars_they_were() -> None:
    draw = random.Random(7)
    for digits in range(1, 16):
        for _ in range(500):
            nano = draw.randrange(10**digits)
            sent = json.loads(json.dumps(nano / money.NANO))
            assert money.nano_usd(sent) == nano
    assert money.nano_usd(4_000_000 + 1e-9) == 4_000_000 * money.NANO + 1
    assert money.nano_usd(Decimal(2)) == 2 * money.NANO


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"), (12_300_000, "$0.0123"), (1_234_500_000_000, "$1,234.50"), (21, "$0.000000021"),
        (1_240_000_000, "$1.24"), (500_000_000, "$0.5000"), (999_999_999, "$1.0000"), (-12_300_000, "-$0.0123"),
        (1, "$0.000000001"), (192_000, "$0.00019"),
    ],
)  # fmt: skip
def test_money_is_readable(nano: int, text: str) -> None:
    assert money.show(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "$0.00"), (192_000, "$0.000192"), (1_500_000_000_001, "$1,500.000000001"), (-(10**9), "-$1.00")],
)
def test_a_price_has_every_digit(nano: int, text: str) -> None:
    assert money.exact(nano) == text


def test_importing_the_client_loads_no_http_library_and_takes_little() -> None:
    code = (
        "import requests, sys, time; began = time.process_time(); import claude_proxy;"
        "print(time.process_time() - began)"
    )
    spent = min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))
    assert spent < 0.030, f"{1e3 * spent:.1f} ms beyond requests"
    code = "import sys, claude_proxy; print(sorted({'requests', 'urllib3', 'polars', 'pandas'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code]).strip() == b"[]"
