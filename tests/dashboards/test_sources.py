"""The lake of this machine and a proxy's REST interface give the same frames, to the last digit and type."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from claude_proxy.client import ClaudeProxyClient
from proxy_server.control.dashboard_source import PredictingLocalSource
from tests.control import alone, calls
from tests.control.alone import Alone
from tests.control.calls import DAY, call
from ultimate_lib.access.principal import Principal
from ultimate_lib.dashboards import LocalSource, RemoteSource
from ultimate_lib.errors import Denied, Invalid, NotEnoughData, Unavailable
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.metrics import METRICS

SPAN: dict[str, Any] = {"start": DAY, "end": DAY + timedelta(days=1)}
FAILED = {"status": "error", "http_status": 500, "cost_nano_usd": None, "input_tokens": None, "output_tokens": None}
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("aggregate", {"metrics": tuple(METRICS)}),
    ("aggregate", {"metrics": ("cost_usd",), "where": {"project": (None, "chat, of sorts"), "status": ("ok",)}}),
    ("timeseries", {"metrics": ("requests", "cost_usd", "latency_p95_ms"), "grain": "hour"}),
    ("timeseries", {"metrics": ("cost_usd",), "grain": "day", "by": ("model",), "time_zone": "Asia/Kolkata"}),
    ("breakdown", {"metrics": ("cost_usd", "requests"), "by": ("project",), "limit": 8, "order_by": "requests"}),
    ("calls", {"limit": 3}),
    ("calls", {"where": {"user": ("user_bob",)}}),
]


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with alone.start(tmp_path_factory.mktemp("sources")) as running:
        calls.write(
            running.bench.settings,
            call(DAY + timedelta(hours=1), user_id="user_ann", project="search"),
            call(DAY + timedelta(hours=2), user_id="user_ann", model_routed="gpt-5.1", cost_nano_usd=2_000_000_001),
            call(DAY + timedelta(hours=3), user_id="user_bob", project="chat, of sorts", cost_nano_usd=None),
            call(DAY + timedelta(hours=4), user_id="user_bob", project="chat, of sorts", **FAILED),
        )
        run_once(running.bench.lake)
        calls.write(running.bench.settings, call(DAY + timedelta(hours=5), user_id="user_bob", ttft_ms=12))
        yield running


def local(control: Alone, *, sees_all: bool = True, user: str = "user_admin") -> LocalSource:
    view = frozenset({"dashboards:view"})
    return LocalSource(
        control.bench, Principal(user_id=user, user_name=user, permissions=view, view="all" if sees_all else "own")
    )


def remote(control: Alone, key: str | None = None) -> RemoteSource:
    return RemoteSource(ClaudeProxyClient(base_url=f"http://{control.host}", api_key=key or control.key))


@pytest.mark.parametrize(("shape", "asked"), QUESTIONS)
def test_both_answer_the_same(control: Alone, shape: str, asked: dict[str, Any]) -> None:
    one: pl.DataFrame = getattr(local(control), shape)(**SPAN, **asked)
    other: pl.DataFrame = getattr(remote(control), shape)(**SPAN, **asked)
    assert one.height, "else this would say nothing"
    assert_frame_equal(one, other, check_exact=True)


def test_both_tell_the_same_about_themselves(control: Alone) -> None:
    one, other = local(control).about(), remote(control).about()
    assert (one.zone, one.sees_all, one.demo) == (other.zone, other.sees_all, other.demo) == ("UTC", True, False)
    assert local(control).missing_files(**SPAN) == remote(control).missing_files(**SPAN) == 0


def test_a_call_changes_the_mark_and_nothing_else_does(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultimate_lib.dashboards.source.MARK_S", 0.0)
    sources = (local(control), remote(control))
    before = [found.mark(**SPAN) for found in sources]
    assert [found.mark(**SPAN) for found in sources] == before
    calls.write(control.bench.settings, call(DAY + timedelta(hours=6), user_id="user_carl"))
    after = [found.mark(**SPAN) for found in sources]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_who_sees_only_its_own_calls_gets_those_alone(control: Alone) -> None:
    control.add_user("ann", "api_user")
    own = local(control, sees_all=False, user="user_ann")
    assert own.aggregate(**SPAN, metrics=("requests",))["requests"].item() == 2
    assert set(own.calls(**SPAN)["call_id"]) < set(local(control).calls(**SPAN)["call_id"])
    assert own.calls(**SPAN).height == 2
    with pytest.raises(Denied, match="own calls"):
        own.aggregate(**SPAN, metrics=("requests",), where={"user": ("user_bob",)})
    with pytest.raises(Denied, match="own calls"):
        own.calls(**SPAN, where={"user": (None,)})


def test_kept_pages_of_calls_are_nobody_elses_and_never_old(control: Alone) -> None:
    everyone, own = local(control), local(control, sees_all=False, user="user_dora")
    before = everyone.calls(**SPAN).height
    assert own.calls(**SPAN).is_empty(), "asked after one who sees all"
    calls.write(control.bench.settings, call(DAY + timedelta(hours=7), user_id="user_dora"))
    assert everyone.calls(**SPAN).height == before + 1
    assert own.calls(**SPAN).height == 1


def test_without_the_permission_there_is_no_local_source(control: Alone) -> None:
    nobody = Principal(user_id="u", user_name="nobody", permissions=frozenset({"analytics:view"}))
    with pytest.raises(Denied, match="dashboards:view"):
        LocalSource(control.bench, nobody)


def test_both_forecast_the_same_and_refuse_the_same(control: Alone) -> None:
    now = datetime.now(UTC)
    calls.write(
        control.bench.settings,
        *(call(now - timedelta(days=1 + hour // 4, hours=hour % 4), project="ahead") for hour in range(60)),
    )
    who = Principal(
        user_id="a", user_name="a", permissions=frozenset({"dashboards:view", "analytics:view"}), view="all"
    )
    here, there = PredictingLocalSource(control.bench, who), remote(control)
    asked: Any = {"metric": "cost_usd", "days": 7, "grain": "day", "where": {"project": ("ahead",)}}
    one, other = here.forecast(**asked), there.forecast(**asked)
    assert one == {**other, "budgets": one["budgets"]}
    assert len(one["rows"]) == 7
    asked["grain"] = "hour"
    one, other = here.anomalies(**asked), there.anomalies(**asked)
    moment = {name: one[name] for name in ("start", "judged_from")}  # of the asking
    assert one == {**other, **moment}
    assert one["judged"]
    asked["where"] = {"project": ("nothing",)}
    for source in (here, there):
        with pytest.raises(NotEnoughData, match="No call lies in the 60 days"):
            source.forecast(**asked)
        with pytest.raises(Invalid):
            source.forecast(**{**asked, "metric": "none"})


def test_a_proxy_that_refuses_raises_what_it_raised_and_one_that_is_not_there_is_unavailable(control: Alone) -> None:
    with pytest.raises(Denied) as wrong:
        remote(control, "cp_" + "x" * 43).aggregate(**SPAN, metrics=("requests",))
    assert wrong.value.http_status == 401
    own = remote(control, control.add_user("dora", "api_user"))
    with pytest.raises(Denied) as few:
        own.aggregate(**SPAN, metrics=("requests",), where={"user": ("user_bob",)})
    assert few.value.http_status == 403
    gone = RemoteSource(ClaudeProxyClient(base_url="http://127.0.0.1:9", api_key="cp_x", timeout=1))
    with pytest.raises(Unavailable) as away:
        gone.about()
    assert away.value.hint, "it says what to do"
