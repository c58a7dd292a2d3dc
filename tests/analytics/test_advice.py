"""The other eight kinds where the truth is planted, and silence where it is not; bad input; what overlaps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tests.analytics.advised import (
    DAYS,
    GPT,
    HAIKU,
    MINI,
    SINCE,
    SONNET,
    UNTIL,
    call,
    evidence,
    found,
    one,
    silent,
    usual,
)
from ultimate_lib.analytics.advice.advise import KINDS, WITHOUT_CALLS, advise
from ultimate_lib.errors import Invalid
from ultimate_lib.records import CallRecord

CALL = 1000 * 0.75e-6 + 100 * 4.5e-6  # what a usual call costs
SMALL = {"input_tokens": 400, "output_tokens": 50}
LARGE = {"input_tokens": 40_000, "output_tokens": 3000}


def monthly(in_span: float, hour: float = 8) -> float:
    return in_span * 30 / (DAYS - hour / 24)


# -- cheaper model -------------------------------------------------------------------------------------------------


def test_short_simple_calls_are_repriced_as_the_next_cheaper_model_in_use() -> None:
    calls = usual(4, model=HAIKU, **SMALL) + usual(4, model=SONNET, **SMALL) + usual(2, model=SONNET, **LARGE)
    advice = one(calls, "cheaper_model")
    was, would = 400 * 3e-6 + 50 * 15e-6, 400 * 1e-6 + 50 * 5e-6
    assert advice.saved_in_span_usd == pytest.approx(80 * (was - would), abs=1e-6)
    assert advice.saving_usd == pytest.approx(monthly(80 * (was - would)), rel=1e-3)
    assert advice.who["instead"] == HAIKU
    assert advice.calls is not None
    assert (advice.calls.affected, advice.calls.count) == (80, 120)
    assert any("not judged" in told for told in advice.assumptions)


@pytest.mark.parametrize("more", [{"has_tools": True}, {"reasoning_tokens": 40}, {"has_images": True}, LARGE])
def test_calls_that_are_not_short_and_simple_keep_their_model(more: dict[str, Any]) -> None:
    silent(usual(4, model=HAIKU, **SMALL) + usual(4, model=SONNET, **{**SMALL, **more}), "cheaper_model")


def test_without_a_cheaper_model_that_is_known_here_there_is_nothing_to_tell() -> None:
    calls = usual(4, model=SONNET, **SMALL) + usual(4, model=MINI, **SMALL)  # another provider's
    silent(calls, "cheaper_model")
    configured = one(calls, "cheaper_model", routes=[("anthropic", "anthropic", HAIKU)])
    assert configured.who["instead"] == HAIKU
    assert "configured" in configured.assumptions[1]


@pytest.mark.parametrize("held", [{"cache_read_tokens": 3900}, {"cache_write_5m_tokens": 3900}])
def test_a_prefix_that_the_cheaper_model_does_not_cache_is_plain_input_there(held: dict[str, Any]) -> None:
    usual_of_haiku = usual(4, model=HAIKU, input_tokens=5000, output_tokens=100)
    cached = usual(4, model=SONNET, input_tokens=4000, output_tokens=100, **held)
    told = found([*usual_of_haiku, *cached], "cheaper_model").advice
    would = 4000 * 1e-6 + 100 * 5e-6  # 3,900 tokens are too few for Haiku's cache
    was = 100 * 3e-6 + 100 * 15e-6 + 3900 * (0.3e-6 if "cache_read_tokens" in held else 3.75e-6)
    assert [one_.saved_in_span_usd for one_ in told] == ([pytest.approx(80 * (was - would))] if was > would else [])


def test_calls_that_would_be_dearer_count_against_those_that_would_be_cheaper() -> None:
    usual_of_haiku = usual(4, model=HAIKU, input_tokens=5000, output_tokens=100)
    cached = usual(4, model=SONNET, input_tokens=4000, output_tokens=100, cache_read_tokens=3900)
    advice = one([*usual_of_haiku, *cached, *usual(12, model=SONNET, **SMALL)], "cheaper_model")
    dearer = 3900 * (1e-6 - 0.3e-6) - 100 * 2e-6 - 100 * 10e-6
    assert advice.saved_in_span_usd == pytest.approx(240 * (400 * 2e-6 + 50 * 10e-6) - 80 * dearer)


def test_a_prefix_that_the_cheaper_model_caches_too_is_read_there() -> None:
    usual_of_haiku = usual(4, model=HAIKU, input_tokens=7000, output_tokens=100)
    advice = one(
        [*usual_of_haiku, *usual(4, model=SONNET, input_tokens=6000, cache_read_tokens=5900)], "cheaper_model"
    )
    saves = 100 * 2e-6 + 5900 * 0.2e-6 + 100 * 10e-6
    assert advice.saved_in_span_usd == pytest.approx(80 * saves)


# -- duplicates, retries -------------------------------------------------------------------------------------------


def copies(times: int, apart: timedelta, **told: Any) -> list[CallRecord]:
    return [call(SINCE + timedelta(days=3, hours=9) + apart * turn, request_hash=77, **told) for turn in range(times)]


def test_copies_of_an_answered_request_cost_all_but_the_first() -> None:
    advice = one([*usual(), *copies(40, timedelta(hours=3))], "duplicate_calls")
    assert advice.saved_in_span_usd == pytest.approx(39 * CALL, abs=1e-9)
    assert advice.calls is not None
    assert advice.calls.filters == ["key:key_a", f"model:{MINI}", "request:77"]
    assert (advice.calls.count, advice.calls.affected) == (40, 39)


def test_equal_calls_at_once_were_not_answered_before_and_that_is_said() -> None:
    fan = one([*usual(), *copies(40, timedelta(seconds=1), duration_ms=60_000)], "duplicate_calls")
    assert "39 calls" in fan.title
    assert "were sent at once" in fan.title
    assert "answered within" not in fan.title
    assert "share its answer" in fan.how[0]
    mixed = one([*usual(), *copies(40, timedelta(seconds=40), duration_ms=60_000)], "duplicate_calls")
    assert "39 calls" in mixed.title
    assert "1 of them was sent at once" in mixed.title  # the second; the third comes after the first's answer
    again = one([*usual(), *copies(40, timedelta(minutes=2), duration_ms=60_000)], "duplicate_calls")
    assert "sent again what had been answered within the day before" in again.title


@pytest.mark.parametrize(("apart", "told"), [(timedelta(hours=25), {}), (timedelta(hours=3), {"status": "error"})])
def test_what_comes_again_after_days_or_after_a_failure_is_no_duplicate(
    apart: timedelta,
    told: dict[str, Any],
) -> None:
    silent([*usual(), *copies(12, apart, **told)], "duplicate_calls")


def test_the_same_request_of_another_key_is_no_duplicate() -> None:
    calls = [
        call(SINCE + timedelta(days=1, minutes=turn), request_hash=5, key_id=f"key_{turn}") for turn in range(20)
    ]
    silent([*usual(), *calls], "duplicate_calls")


def lost(status: str, after: timedelta, **told: Any) -> list[CallRecord]:
    made = []
    for day in range(15):
        at = SINCE + timedelta(days=day, hours=11)
        made.append(
            call(at, request_hash=500 + day, status=status, output_tokens=1000, error_type="client_left", **told),
        )
        made.append(call(at + after, request_hash=500 + day, output_tokens=1000))
    return made


def test_paid_answers_that_were_lost_and_asked_for_again_are_told() -> None:
    advice = one([*usual(), *lost("cut", timedelta(minutes=2), attempts=3)], "costly_retries")
    assert advice.saved_in_span_usd == pytest.approx(15 * (1000 * 0.75e-6 + 1000 * 4.5e-6), abs=1e-9)
    assert advice.calls is not None
    assert (advice.calls.count, advice.calls.affected) == (30, 15)
    assert "15 of them broke off" in advice.how[0]
    assert "30 more attempts" in advice.assumptions[2]


def test_failures_that_cost_nothing_or_are_not_sent_again_are_no_costly_retries() -> None:
    silent([*usual(), *lost("error", timedelta(minutes=2), cost_nano_usd=0)], "costly_retries")
    silent([*usual(), *lost("error", timedelta(minutes=2), cost_nano_usd=None)], "costly_retries")
    silent([*usual(), *lost("cut", timedelta(hours=2))], "costly_retries")


# -- loops ---------------------------------------------------------------------------------------------------------


def sessions(**told: Any) -> list[CallRecord]:
    """Return 40 sessions of 6 to 13 calls."""
    return [
        call(
            SINCE + timedelta(days=number % DAYS, hours=9, minutes=4 * turn), session_id=f"s{number}",
            prefix_hash=number, **told,
        )
        for number in range(40)
        for turn in range(6 + number % 8)
    ]  # fmt: skip


def test_a_session_that_runs_away_costs_what_comes_after_the_threshold() -> None:
    wild = [
        call(SINCE + timedelta(days=4, hours=14, seconds=10 * turn), session_id="wild", request_hash=turn % 3)
        for turn in range(300)
    ]
    advice = one([*sessions(), *wild], "runaway_loops")
    threshold = int(advice.title.partition("; ")[2].partition(" is ")[0])
    assert 30 <= threshold <= 80
    assert advice.saved_in_span_usd == pytest.approx((300 - threshold) * CALL, abs=1e-9)
    assert advice.calls is not None
    assert advice.calls.filters == ["key:key_a", "session:wild"]
    assert (advice.calls.count, advice.calls.affected) == (300, 300 - threshold)


def test_busy_sessions_and_unlike_calls_are_no_loop() -> None:
    silent(sessions(), "runaway_loops")
    unlike = [
        call(SINCE + timedelta(days=4, hours=14, seconds=10 * turn), session_id="wild", prefix_hash=turn)
        for turn in range(300)
    ]
    silent([*sessions(), *unlike], "runaway_loops")


def test_a_batch_in_a_session_whose_calls_share_a_prefix_is_no_loop_and_neither_are_calls_sent_at_once() -> None:
    at = SINCE + timedelta(days=4, hours=14)
    batch = [call(at + timedelta(seconds=turn), session_id="job", prefix_hash=9) for turn in range(500)]
    silent([*sessions(), *batch], "runaway_loops")
    fan = [call(at + timedelta(milliseconds=turn), request_hash=5, duration_ms=60_000) for turn in range(60)]
    silent([*sessions(), *fan], "runaway_loops")


def test_a_request_that_is_sent_over_and_over_needs_no_session_to_be_a_loop() -> None:
    advice = one([*usual(), *copies(400, timedelta(seconds=5))], "runaway_loops")
    assert advice.saved_in_span_usd == pytest.approx(370 * CALL, abs=1e-9)
    few = found(usual(), "runaway_loops")
    assert (few.kinds[0].state, "too few to compare" in few.kinds[0].reason) == ("too_few", True)


# -- max_tokens, batches -------------------------------------------------------------------------------------------


def budget(**told: Any) -> dict[str, Any]:
    plain = {
        "id": "b1", "name": "all", "subject": "global", "subject_id": None, "unit": "nano_usd",
        "amount": 10_000_000_000, "period": "day", "hard": True, "enabled": True, "daily": [],
    }  # fmt: skip
    return {**plain, **told}


def budgets(*rows: dict[str, Any]) -> pl.DataFrame:
    types = {
        "id": pl.String, "name": pl.String, "subject": pl.String, "subject_id": pl.String, "unit": pl.String,
        "amount": pl.Int64, "period": pl.String, "hard": pl.Boolean, "enabled": pl.Boolean,
        "daily": pl.List(pl.Float64),
    }  # fmt: skip
    return pl.DataFrame(list(rows), schema=types)


def test_max_tokens_far_above_every_answer_is_told_with_what_a_budget_holds() -> None:
    advice = one(usual(max_tokens=32_000), "oversized_max_tokens", budgets=budgets(budget()))
    assert advice.saving_usd is None
    assert advice.held_usd == pytest.approx((32_000 - 256) * 4.5e-6, abs=1e-9)
    assert advice.snippet == '{"max_tokens": 256}'


@pytest.mark.parametrize(
    ("told", "of"),
    [
        ({"max_tokens": 300}, {}),
        ({"max_tokens": 32_000, "finish_reason": "length"}, {}),
        ({"max_tokens": 32_000}, {"subject": "team", "subject_id": "search"}),
    ],
)
def test_max_tokens_that_fit_or_are_needed_or_held_by_no_budget_are_not_told(
    told: dict[str, Any],
    of: dict[str, Any],
) -> None:
    silent(usual(**told), "oversized_max_tokens", budgets=budgets(budget(**of)))


def test_without_a_hard_budget_max_tokens_hold_nothing_and_that_is_said() -> None:
    (kind,) = found(usual(max_tokens=32_000), "oversized_max_tokens", budgets=budgets(budget(hard=False))).kinds
    assert (kind.state, kind.reason) == ("nothing", "No hard budget in dollars holds worst cases.")


def nightly(**told: Any) -> list[CallRecord]:
    return [
        call(SINCE + timedelta(days=day, hours=2, minutes=2 * turn), GPT, stream=False, app="eval", **told)
        for day in range(DAYS)
        for turn in range(30)
    ]


def test_nightly_work_is_repriced_at_the_batch_price_of_the_list() -> None:
    advice = one([*usual(), *nightly()], "batchable_work")
    assert advice.paid_in_span_usd is not None
    assert advice.saved_in_span_usd == pytest.approx(advice.paid_in_span_usd / 2, rel=1e-6)
    assert advice.calls is not None
    assert (advice.calls.count, advice.calls.affected) == (600, 600)
    assert "between 02:00 and 06:00 UTC" in advice.how[1] or "100%" in advice.how[1]


@pytest.mark.parametrize("told", [{"session_id": "s"}, {"notebook": "a.ipynb"}, {"service_tier": "batch"}])
def test_work_that_somebody_waits_for_or_that_is_batched_is_not_told(told: dict[str, Any]) -> None:
    silent([*usual(), *nightly(**told)], "batchable_work")


def test_calls_over_the_whole_day_and_providers_without_a_batch_price_are_not_told() -> None:
    silent(usual(15, stream=False), "batchable_work")
    gemini = {"provider": "gemini", "price_id": "google/gemini-3.5-flash@listed", "model_routed": "gemini-3.5-flash"}
    silent([*usual(), *nightly(**gemini)], "batchable_work")


# -- keys and budgets ----------------------------------------------------------------------------------------------


def key(name: str, *, age: int = 100, used: bool = False, may_call: bool = True) -> dict[str, Any]:
    return {
        "id": f"key_{name}", "name": name, "user_name": "ann", "created_at": UNTIL - timedelta(days=age),
        "expires_at": None, "may_call": may_call, "used": used,
    }  # fmt: skip


def keys(*rows: dict[str, Any]) -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    types = {
        "id": pl.String, "name": pl.String, "user_name": pl.String, "created_at": instant, "expires_at": instant,
        "may_call": pl.Boolean, "used": pl.Boolean,
    }  # fmt: skip
    return pl.DataFrame(list(rows), schema=types)


def test_an_idle_key_is_told_without_a_saving_also_where_there_are_no_calls() -> None:
    seen = keys(key("old"), key("busy", used=True), key("fresh", age=3), key("reads", may_call=False))
    told = found([], "idle_keys", keys=seen)
    assert [advice.who["key"] for advice in told.advice] == ["key_old"]
    assert told.advice[0].saving_usd is None
    assert told.advice[0].snippet == "claude-proxy keys revoke key_old"
    silent([], "idle_keys", keys=keys(key("busy", used=True)))


def test_budgets_far_above_and_below_what_is_spent_are_told_and_fitting_ones_are_not() -> None:
    daily = [1e9 * (0.2 if day % 7 > 4 else 1 + 0.1 * (day % 3)) for day in range(28)]
    high = found([], "misfit_budgets", budgets=budgets(budget(daily=daily, amount=50_000_000_000)))
    assert "times what 99 of 100 days stay below" in high.advice[0].title
    low = found([], "misfit_budgets", budgets=budgets(budget(daily=daily, amount=4_000_000_000, period="week")))
    assert "too small for what is usual: 100% of weeks would exceed it" in low.advice[0].title
    for fits in ({"amount": 2_000_000_000}, {"amount": 8_000_000_000, "period": "week"}, {"enabled": False}):
        assert not found([], "misfit_budgets", budgets=budgets(budget(daily=daily, **fits))).advice
    once = [1.2e9, *[0.0] * 200]
    silent([], "misfit_budgets", budgets=budgets(budget(daily=once), budget(daily=once, unit="tokens")))
    short = found([], "misfit_budgets", budgets=budgets(budget(daily=daily[:13], amount=1)))
    assert short.kinds[0].state == "too_few"


def test_calls_of_an_unknown_model_are_told_in_words() -> None:
    advice = one(
        [*usual(), *copies(40, timedelta(hours=3), model_routed=None, cost_nano_usd=5_000_000)], "duplicate_calls"
    )
    assert advice.title.startswith("39 calls of an unknown model with key key_a sent again")
    assert "None" not in advice.title


# -- all of it -----------------------------------------------------------------------------------------------------


def test_no_calls_too_few_calls_and_nothing_found_are_told_apart() -> None:
    empty = found([])
    assert (empty.advice, empty.calls, empty.total_usd) == ([], 0, None)
    assert {kind.state for kind in empty.kinds if kind.kind not in WITHOUT_CALLS} == {"too_few"}
    assert (
        found([call(SINCE + timedelta(minutes=minute)) for minute in range(20)]).few
        == "There are 20 calls; 50 are needed."
    )
    brief = advise(evidence([call(UNTIL - timedelta(minutes=minute + 1)) for minute in range(60)]))
    assert "24 are needed to tell a month" in brief.few
    told = found(usual())
    assert told.few == ""
    assert not told.advice
    assert [kind.kind for kind in told.kinds] == KINDS.names()
    assert len(told.kinds) == 9


def test_unpriced_calls_and_calls_without_values_break_nothing_and_are_not_counted() -> None:
    blank = [
        CallRecord(call_id=f"x{number}", started_at=int((SINCE + timedelta(hours=number)).timestamp() * 1e6))
        for number in range(60)
    ]
    unpriced = [
        call(SINCE + timedelta(hours=number), "unheard-of", prefix_hash=1, prefix_tokens=9000) for number in range(60)
    ]
    gone = usual(price_id="openai/gpt-0@listed", prefix_hash=1, prefix_tokens=9000)
    told = found([*blank, *unpriced, *gone], budgets=budgets(budget()), keys=keys())
    assert not told.advice
    assert told.calls == 120 + len(gone)


def test_advice_that_may_count_the_same_calls_says_so_and_does_not_add_up() -> None:
    told = found([*usual(), *copies(400, timedelta(seconds=5))])
    by_kind = {advice.kind: advice for advice in told.advice}
    assert set(by_kind) == {"duplicate_calls", "runaway_loops"}
    assert by_kind["duplicate_calls"].may_overlap == [by_kind["runaway_loops"].id]
    savings = [advice.saving_usd or 0 for advice in told.advice]
    assert told.total_usd == pytest.approx(sum(savings))
    assert told.surely_usd == pytest.approx(by_kind["duplicate_calls"].saving_usd)
    loops = found([*usual(), *copies(400, timedelta(seconds=5))], "runaway_loops")
    assert loops.total_usd is not None
    assert (loops.total_usd > 0, loops.surely_usd) == (True, 0)  # whether its calls were wanted nobody knows
    assert [advice.saving_usd for advice in told.advice] == sorted(savings, reverse=True)


def test_the_interval_of_what_happens_each_day_is_narrow_and_of_what_happened_once_wide() -> None:
    daily = one([*usual(), *nightly()], "batchable_work")
    once = one([*usual(), *copies(400, timedelta(seconds=5))], "duplicate_calls")
    assert daily.saving_usd is not None
    assert daily.lower_usd == pytest.approx(daily.saving_usd, rel=0.02)
    assert once.lower_usd == 0
    assert (once.upper_usd or 0) > 2 * (once.saving_usd or 0)


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(Invalid, match="no advice of the kind 'magic'"):
        found([], "magic")


def test_first_calls_count_from_when_they_came() -> None:
    late = [
        one_
        for one_ in [*usual(), *nightly()]
        if one_.started_at >= int((SINCE + timedelta(days=10)).timestamp() * 1e6)
    ]
    advice = one(late, "batchable_work")
    assert isinstance(advice.since, datetime)
    assert advice.saving_usd == pytest.approx((advice.saved_in_span_usd or 0) * 30 / (10 - 2 / 24), rel=1e-3)
