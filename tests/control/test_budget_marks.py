"""Where budgets will end: reckoned beside what asks, told in the status and on the bars, and absent where unknown."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from proxy_server.control.api import budget_marks
from proxy_server.control.api.predictive import BudgetOutlook
from proxy_server.control.pages import budgets as pages
from tests.calm import DAY, Calm
from tests.control import alone, calls
from tests.control.calls import call
from tests.harness import wait_until
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.limits.status import BudgetState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.control.alone import Alone

AT = Calm(DAY)
USD = 1_000_000_000
A_DAY = 4


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    """Forty days of four dollars each under one project, one call under another."""
    with alone.start(tmp_path_factory.mktemp("marks")) as running:
        made = [
            call(AT.today - timedelta(days=day) + timedelta(hours=9 + number), project="search", cost_nano_usd=USD)
            for day in range(1, 41)
            for number in range(A_DAY)
        ]
        made.append(call(AT.today - timedelta(hours=1), project="new", cost_nano_usd=USD))
        calls.write(running.bench.settings, *made)
        run_once(running.bench.lake)
        yield running


def budget(control: Alone, **told: Any) -> str:
    reply = control.ask(
        "POST", "/api/budgets", key=control.key, told={"subject": "project", "period": "month", **told}
    )
    assert reply.status == 201, reply.text
    name: str = reply.json["id"]
    return name


def outlook(control: Alone, name: str) -> dict[str, Any] | None:
    told = {one["id"]: one for one in control.get("/api/budgets/status").json["budgets"]}
    found: dict[str, Any] | None = told[name]["outlook"]
    return found


def reckoned(control: Alone) -> None:
    wait_until(lambda: 'id="budget-bars" data-pending' not in control.get("/admin/budgets").text, 20)


def test_a_month_ends_where_its_days_lead(control: Alone) -> None:
    name = budget(control, subject_id="search", amount=1000 * USD, name="roomy")
    reckoned(control)
    told = outlook(control, name)
    assert told is not None
    end = datetime.fromisoformat(told["period_end"])
    begin = end - timedelta(days=1)
    begin = begin.replace(day=1)
    days = (end - begin).days
    now = datetime.now(UTC)
    to_come = A_DAY * ((end - now) / timedelta(days=1))
    spent = A_DAY * min((AT.today - begin).days, 40)
    assert told["spent"] == spent * USD
    assert told["expected"] / USD == pytest.approx(spent + to_come, abs=1 + 0.1 * days)
    assert told["lower_80"] <= told["expected"] <= told["upper_80"]
    assert (told["probability"], told["exhausted_at"]) == (0.0, None)
    page = control.get("/admin/budgets").text
    assert 'class="likely"' in page
    assert "Expected by its end: <strong>$" in page
    home = control.get("/").text
    assert 'class="end"' in home


def test_a_budget_that_is_used_up_says_when(control: Alone) -> None:
    spent = A_DAY * 40
    name = budget(control, subject_id="search", amount=(spent + 2 * A_DAY + 2) * USD, period="total", name="pilot")
    reckoned(control)
    told = outlook(control, name)
    assert told is not None
    assert (told["expected"], told["period_end"]) == (None, None)
    assert told["probability"] > 0.95
    on = datetime.fromisoformat(told["exhausted_at"])
    assert AT.today + timedelta(days=1) <= on <= AT.today + timedelta(days=3)
    assert datetime.fromisoformat(told["earliest_80"]) <= on <= datetime.fromisoformat(told["latest_80"])
    page = control.get("/admin/budgets").text
    assert re.search(rf"Almost certain to be used up, on {on.day} {on:%b}", page)


def test_little_history_has_no_mark_and_no_error(control: Alone) -> None:
    for told in ({"subject_id": "new"}, {"subject_id": "nobody"}, {"subject_id": "new", "unit": "tokens"}):
        name = budget(control, amount=10 * USD, **told)
        reckoned(control)
        assert outlook(control, name) is None


def test_who_sees_no_amounts_is_told_no_outlook(control: Alone) -> None:
    name = budget(control, subject="global", amount=10_000 * USD)
    reckoned(control)
    assert outlook(control, name) is not None
    key = control.add_user("bob", "api_user")
    [told] = control.get("/api/budgets/status", key=key).json["budgets"]
    assert (told["amount"], told["outlook"]) == (None, None)


def state(**told: Any) -> BudgetState:
    plain: dict[str, Any] = {
        "id": "b", "name": "", "subject": "global", "subject_id": None, "unit": "nano_usd", "amount": 100 * USD,
        "period": "month", "period_start": AT.today.replace(day=1), "period_end": AT.today + timedelta(days=9),
        "hard": False, "enabled": True, "spent": 20 * USD, "held": 0, "left": 80 * USD, "used_ratio": 0.2,
    }  # fmt: skip
    return BudgetState(**{**plain, **told})


def test_nobody_waits_for_what_is_reckoned(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def slow(_bench: object, one: BudgetState) -> None:
        asked.append(one.spent)
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr(budget_marks, "reckon", slow)
    bench = control.bench
    assert budget_marks.marks(bench, [state()]) == ({}, {"b"}, set())
    assert begun.wait(10)
    assert budget_marks.marks(bench, [state()]).pending == {"b"}  # and is not asked for twice
    go_on.set()
    wait_until(lambda: not budget_marks.marks(bench, [state()]).pending, 10)
    assert asked == [20 * USD]
    budget_marks.marks(bench, [state(spent=24 * USD)])
    assert asked == [20 * USD], "little has moved"
    budget_marks.marks(bench, [state(spent=26 * USD)])
    wait_until(lambda: asked == [20 * USD, 26 * USD], 10)
    off = state(id="off", enabled=False), state(id="veiled", amount=None), state(id="unknown", spent=None)
    assert budget_marks.marks(bench, off) == ({}, set(), set())


def test_a_failure_is_no_lack_of_history_and_is_tried_again_soon(
    control: Alone, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def broken(_bench: object, one: BudgetState) -> None:
        asked.append(one.id)
        raise ZeroDivisionError

    monkeypatch.setattr(budget_marks, "reckon", broken)
    budget_marks.marks(control.bench, [state(id="broken")])
    wait_until(lambda: not budget_marks.marks(control.bench, [state(id="broken")]).pending, 10)
    assert "cannot be told" in caplog.text
    assert budget_marks.marks(control.bench, [state(id="broken")]).failed == {"broken"}
    assert asked == ["broken"], "not at once"
    monkeypatch.setattr(budget_marks, "_KEPT_FAILED_S", 0.0)
    budget_marks.marks(control.bench, [state(id="broken")])
    wait_until(lambda: asked == ["broken", "broken"], 10)


def test_the_bars_say_that_a_mark_failed(control: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_bench: object, _one: BudgetState) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(budget_marks, "reckon", broken)
    name = budget(control, subject_id="search", amount=777 * USD, name="broken")
    reckoned(control)
    assert "Where it will end cannot be told now." in control.get("/admin/budgets").text
    told = {one["id"]: one for one in control.get("/api/budgets/status").json["budgets"]}[name]
    assert (told["outlook"], told["outlook_failed"]) == (None, True)


def told(**more: Any) -> BudgetOutlook:
    plain: dict[str, Any] = {
        "id": "b", "name": "", "amount": 100 * USD, "unit": "nano_usd", "spent": 20 * USD,
        "period_end": datetime(2026, 12, 1, tzinfo=UTC), "until": datetime(2026, 12, 1, tzinfo=UTC),
        "expected": 90 * USD, "lower_80": 70 * USD, "upper_80": 130 * USD, "probability": 0.4,
        "exhausted_at": datetime(2026, 11, 27, tzinfo=UTC), "earliest_80": datetime(2026, 11, 26, tzinfo=UTC),
        "latest_80": datetime(2026, 11, 29, tzinfo=UTC), "risk_level": "medium",
    }  # fmt: skip
    return BudgetOutlook(**{**plain, **more})


def test_the_mark_in_words_and_in_the_picture() -> None:
    zone = ZoneInfo("UTC")
    mark = pages._mark(state(), told(), zone)
    assert mark["when"] == "40% likely to be used up, on 27 Nov (80 %: 26-29 Nov)"
    assert mark["expected"] == "$90.00 (80 %: $70.00 to $130.00)"
    assert (mark["mark_at"], mark["band_at"], mark["band_width"]) == (900.0, 700.0, 300.0)  # no further than the bar
    over = datetime(2026, 12, 2, tzinfo=UTC)
    assert pages._mark(state(), told(latest_80=over), zone)["when"].endswith("(80 %: 26 Nov-2 Dec)")
    day = datetime(2026, 11, 27, 15, tzinfo=UTC)
    hours = pages._mark(state(period="day"), told(exhausted_at=day, earliest_80=day, latest_80=day), zone)
    assert hours["when"] == "40% likely to be used up, at 15:00"
    assert pages._mark(state(), told(probability=0.004), zone)["when"] == ""
    ahead = pages._mark(state(spent=95 * USD), told(), zone)
    assert ahead["mark_at"] == 950.0, "never behind what is spent already"
    for nothing in (state(amount=0), state(spent=100 * USD), state(spent=None), state(amount=None)):
        assert pages._mark(nothing, told(), zone)["mark_at"] is None
    assert pages._mark(state(), None, zone)["mark_at"] is None
