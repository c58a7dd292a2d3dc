"""The counters in memory: what a hard budget pays for, who waits, what is told, what is charged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ultimate_lib.clock import SteppedClock
from ultimate_lib.limits.calls import Budget, RateLimit
from ultimate_lib.limits.counters import Ask, Hold, Refusal, Wait
from ultimate_lib.limits.memory import MARGIN_S, MemoryCounters
from ultimate_lib.limits.rates import Window
from ultimate_lib.pricing.ceiling import MILLIONTHS, Ceiling
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load

START = datetime(2026, 3, 28, 12, tzinfo=UTC)


def budget(number: int = 1, amount: int = 100, **members: Any) -> Budget:
    about: dict[str, Any] = {
        "id": f"b{number}", "name": "", "subject": "global", "subject_id": "", "unit": "nano_usd", "amount": amount,
        "period": "day", "hard": True, "enabled": True, **members,
    }  # fmt: skip
    return Budget(**about)


def counters(
    *budgets: Budget, rates: tuple[RateLimit, ...] = (), clock: SteppedClock | None = None, **told: Any
) -> MemoryCounters:
    overrides = {"billing.time_zone": "Europe/Berlin", **told}
    made = MemoryCounters(load(environ={}, overrides=overrides), clock or SteppedClock(START))
    made.set(budgets, rates)
    made.add({}, {})
    return made


_numbers = iter(range(1, 10**9))


def record(clock: SteppedClock | None = None, **members: Any) -> CallRecord:
    at = (clock or SteppedClock(START)).now_us()
    return CallRecord(
        call_id=f"c{next(_numbers)}", started_at=at, source="proxy", user_id="u1", key_id="k1", **members
    )


def ask(
    call: CallRecord, base: int = 10, output: int = 0, each: int = MILLIONTHS, *, asked: bool = True,
    price: Callable[[str, str], Ceiling | str] | None = None, tokens: int = 0, size: int = 0,
) -> Ask:  # fmt: skip
    made: Any = SimpleNamespace(
        record=call, output=output, asked=asked, spliceable=output > 0, tokens=tokens, size=size,
        need=price or (lambda _unit, _rule: Ceiling(base, each)), true=lambda _rule, _record: None,
    )  # fmt: skip
    return cast("Ask", made)


def ended(call: CallRecord, cost: int | None, source: str = "table") -> CallRecord:
    call.cost_nano_usd = cost
    call.cost_source = source if cost is not None else "none"
    call.usage_source = "provider" if source != "estimated" else "estimated"
    return call


def standing(made: MemoryCounters, number: int = 1) -> tuple[int, int]:
    (one,) = [one for one in made.accounts.standings() if one.id == f"b{number}"]
    return one.spent, one.held


def test_a_call_that_one_of_its_budgets_lacks_holds_nothing_of_the_others() -> None:
    made = counters(budget(1), budget(2, 50), budget(3, 5), budget(4))
    assert isinstance(made.admit(ask(record())), Refusal)
    assert [standing(made, number) for number in (1, 2, 3, 4)] == [(0, 0)] * 4
    assert isinstance(made.admit(ask(record(), base=5)), Hold)
    assert [standing(made, number) for number in (1, 2, 3, 4)] == [(0, 5)] * 4


def test_the_last_call_whose_worst_case_fits_is_the_last() -> None:
    made = counters(budget(amount=30))
    calls = [record() for _ in range(4)]
    holds = [made.admit(ask(call)) for call in calls[:3]]
    assert all(isinstance(hold, Hold) for hold in holds)
    assert standing(made) == (0, 30)
    waiting = made.admit(ask(calls[3]))
    assert isinstance(waiting, Wait)
    for hold, call in zip(holds, calls[:3], strict=True):
        made.settle(hold, ended(call, 10), reached=True)  # type: ignore[arg-type] # all are holds
    assert standing(made) == (30, 0)
    assert isinstance(made.admit(ask(record())), Refusal)


def test_a_call_waits_for_holds_and_gets_its_turn_in_order() -> None:
    made = counters(budget(amount=10))
    first = record()
    hold = made.admit(ask(first))
    got: list[tuple[str, object]] = []
    for name in ("second", "third"):
        wait = made.admit(ask(record(), base=9))
        assert isinstance(wait, Wait)
        wait.ready = lambda answer, name=name: got.append((name, answer))  # type: ignore[misc] # its name is kept
    assert isinstance(hold, Hold)
    made.settle(hold, ended(first, 1), reached=True)
    assert [name for name, _ in got] == ["second"]
    assert standing(made) == (1, 9)


def test_a_small_call_does_not_overtake_one_that_waits() -> None:
    made = counters(budget(amount=10))
    made.admit(ask(record(), base=6))
    assert isinstance(made.admit(ask(record(), base=8)), Wait)
    assert isinstance(made.admit(ask(record(), base=1)), Wait)


def test_a_refusal_says_what_is_needed_left_held_and_what_would_fit() -> None:
    made = counters(budget(amount=2_000_000_000, name="lab"))
    made.admit(ask(record(), base=500_000_000))
    answer = made.admit(ask(record(), base=1_000_000_000, output=2000, each=1_000_000 * MILLIONTHS))
    assert isinstance(answer, Refusal)
    text = str(answer.error)
    assert "'lab'" in text
    for part in ("up to $3.000000", "$2.000000 are left", "hold $0.500000", "max_tokens of 500 would fit"):
        assert part in text
    assert answer.error.code == "budget"
    assert answer.error.retry_after_s == pytest.approx(11 * 3600)  # midnight in Berlin


def test_without_max_tokens_a_call_gets_what_is_left() -> None:
    made = counters(budget(amount=110))
    hold = made.admit(ask(record(), base=10, output=4096, asked=False))
    assert isinstance(hold, Hold)
    assert hold.output == 100
    other = counters(budget(amount=100_000))
    hold = other.admit(ask(record(), base=10, output=4096, asked=False))
    assert isinstance(hold, Hold)
    assert hold.output == 4096


def test_when_short_clamp_gives_less_and_refuse_refuses() -> None:
    clamping, refusing = counters(budget(amount=110, when_short="clamp")), counters(budget(amount=110))
    hold = clamping.admit(ask(record(), base=10, output=500))
    assert isinstance(hold, Hold)
    assert hold.output == 100
    assert isinstance(refusing.admit(ask(record(), base=10, output=500)), Refusal)
    assert isinstance(clamping.admit(ask(record(), base=10, output=500)), Wait)  # the rest is held


def test_the_time_to_wait_ends_with_the_reason_or_with_less() -> None:
    made = counters(budget(amount=100))
    made.admit(ask(record(), base=60))
    wait = made.admit(ask(record(), base=50))
    assert isinstance(wait, Wait)
    assert wait.seconds == 10
    answer = made.give_up(wait)
    assert isinstance(answer, Refusal)
    wait = made.admit(ask(record(), base=10, output=80, asked=False))
    assert isinstance(wait, Wait)
    hold = made.give_up(wait)
    assert isinstance(hold, Hold)
    assert hold.output == 30


def test_who_leaves_is_forgotten_and_the_next_moves_up() -> None:
    made = counters(budget(amount=10))
    made.admit(ask(record(), base=5))
    large = made.admit(ask(record(), base=9))
    small = made.admit(ask(record(), base=5))
    assert isinstance(large, Wait)
    assert isinstance(small, Wait)
    got: list[object] = []
    small.ready = got.append
    made.forget(large)
    assert len(got) == 1
    assert not made._waits


@pytest.mark.parametrize(
    ("cost", "source", "reached", "spent", "charge"),
    [
        (3, "table", True, 3, {}),
        (3, "provider", True, 3, {}),
        (40, "table", True, 40, {}),  # more than was held: the truth counts
        (3, "estimated", True, 10, {"b1": 10}),
        (None, "none", True, 10, {"b1": 10}),
        (None, "none", False, 0, {}),
        (3, "estimated", False, 0, {"b1": 0}),
    ],
)
def test_what_is_charged(cost: int | None, source: str, reached: bool, spent: int, charge: dict[str, int]) -> None:
    made = counters(budget())
    call = record()
    hold = made.admit(ask(call))
    assert isinstance(hold, Hold)
    assert made.settle(hold, ended(call, cost, source), reached=reached) == charge
    assert standing(made) == (spent, 0)


def test_soft_budgets_count_and_refuse_nothing() -> None:
    made = counters(budget(amount=1, hard=False))
    call = record()
    assert made.admit(ask(call)) is None
    made.settle(None, ended(call, 7), reached=True)
    assert standing(made) == (7, 0)


def test_subscriptions_do_not_count() -> None:
    made = counters(budget(amount=1))
    call = record(billing="subscription")
    assert made.admit(ask(call)) is None
    made.settle(None, ended(call, 7), reached=True)
    assert standing(made) == (0, 0)


def test_a_call_that_costs_nothing_passes_an_empty_budget() -> None:
    made = counters(budget(amount=1))
    call = record()
    made.settle(None, ended(call, 5), reached=True)
    assert isinstance(made.admit(ask(record(), base=0, each=0)), Hold | None)
    assert isinstance(made.admit(ask(record(), base=1)), Refusal)


def test_an_unknown_price_is_refused_as_the_budget_says() -> None:
    rules: list[str] = []

    def price(unit: str, rule: str) -> Ceiling | str:
        rules.append(rule)
        return "there is no price of 'x'" if rule == "refuse" else Ceiling(0, 0)

    answer = counters(budget()).admit(ask(record(), price=price))
    assert isinstance(answer, Refusal)
    assert "there is no price of 'x'" in str(answer.error)
    counters(budget(unpriced="allow")).admit(ask(record(), price=price))
    assert rules == ["refuse", "allow"]


@pytest.mark.parametrize(
    ("subject", "subject_id", "members"),
    [
        ("key", "k1", {}), ("user", "u1", {}), ("team", "search", {"team": "search"}),
        ("project", "p", {"project": "p"}), ("tag", "run=7", {"tags": ["a=b", "run=7", "run=7"]}), ("global", "", {}),
    ],
)  # fmt: skip
def test_a_budget_concerns_its_subject_alone(subject: str, subject_id: str, members: dict[str, Any]) -> None:
    made = counters(budget(subject=subject, subject_id=subject_id))
    hold = made.admit(ask(record(**members)))
    assert isinstance(hold, Hold)
    assert hold.amounts == {"b1": 10}
    if subject != "global":
        other = counters(budget(subject=subject, subject_id="another"))
        assert other.admit(ask(record(**members))) is None


def test_a_call_belongs_to_the_day_in_which_it_began() -> None:
    clock = SteppedClock(datetime(2026, 3, 28, 22, 59, 59, tzinfo=UTC))  # a second before midnight in Berlin
    made = counters(budget(amount=10), clock=clock)
    late = record(clock)
    hold = made.admit(ask(late))
    clock.advance(2)
    assert standing(made) == (0, 0)  # a new day
    fresh = made.admit(ask(record(clock)))
    assert isinstance(fresh, Hold)
    assert isinstance(hold, Hold)
    made.settle(hold, ended(late, 9), reached=True)
    assert standing(made) == (0, 10)
    clock.advance(23 * 3600 - 4)  # the day of the clock change has 23 hours
    assert standing(made) == (0, 10)
    clock.advance(4)
    assert standing(made) == (0, 0)


def test_an_expired_hold_is_charged_until_it_is_settled() -> None:
    clock = SteppedClock(START)
    made = counters(budget(), clock=clock)
    call = record(clock)
    hold = made.admit(ask(call))
    assert isinstance(hold, Hold)
    clock.advance(3600 + MARGIN_S)
    made.expire()
    assert standing(made) == (10, 0)
    made.settle(hold, ended(call, 2), reached=True)
    assert standing(made) == (2, 0)


def test_a_raised_budget_lets_in_who_waits_and_a_removed_one_forgets() -> None:
    made = counters(budget(amount=10))
    first = record()
    hold = made.admit(ask(first))
    wait = made.admit(ask(record()))
    assert isinstance(wait, Wait)
    got: list[object] = []
    wait.ready = got.append
    made.set([budget(amount=20)], [])
    assert len(got) == 1
    assert standing(made) == (0, 20)
    made.set([], [])
    assert made.idle
    assert isinstance(hold, Hold)
    made.settle(hold, ended(first, 2), reached=True)


@pytest.mark.parametrize("change", [{"enabled": False}, {"hard": False}, None])
def test_who_waits_for_a_budget_that_ends_is_let_in(change: dict[str, Any] | None) -> None:
    other = budget(2, 100, subject="user", subject_id="u1")
    made = counters(budget(amount=10), other)
    made.admit(ask(record()))
    waits = [made.admit(ask(record())) for _ in range(2)]
    got: list[object] = []
    for wait in waits:
        assert isinstance(wait, Wait)
        wait.ready = got.append
    made.set([other] if change is None else [budget(amount=10, **change), other], [])
    assert [isinstance(one, Hold) for one in got] == [True, True]
    assert [set(one.amounts) for one in got if isinstance(one, Hold)] == [{"b2"}] * 2
    assert not made._waits


def test_who_waits_is_held_under_a_budget_that_comes_meanwhile() -> None:
    made = counters(budget(amount=10))
    first = record()
    hold = made.admit(ask(first))
    wait = made.admit(ask(record()))
    assert isinstance(hold, Hold)
    assert isinstance(wait, Wait)
    got: list[object] = []
    wait.ready = got.append
    made.set([budget(amount=10), budget(2, 9)], [])
    made.add({}, {})
    assert [isinstance(one, Refusal) for one in got] == [True]  # that pays for no call of 10
    made.settle(hold, ended(first, 1), reached=True)
    assert standing(made) == (1, 0)


def test_a_hard_budget_whose_past_is_not_known_lets_nobody_in() -> None:
    """The store went away between the budget and its sum: nobody can say what is left. Others go on."""
    of_user = budget(2, 10, subject="user", subject_id="u1")
    made = counters()
    made.set([of_user], [])
    wait = made.admit(ask(record()))
    assert isinstance(wait, Wait)
    assert wait.seconds == 10
    other = record()
    other.user_id = "u2"
    assert made.admit(ask(other)) is None
    impatient = made.admit(ask(record()))
    assert isinstance(impatient, Wait)
    answer = made.give_up(impatient)
    assert isinstance(answer, Refusal)
    assert "has spent is not known yet" in str(answer.error)
    assert answer.error.retry_after_s == 10
    got: list[object] = []
    wait.ready = got.append
    made.add({("b2", made.accounts["b2"].current.start_us): 1}, {}, frozenset({"b2"}))
    assert [isinstance(one, Refusal) for one in got] == [True]  # 9 are left


def test_bodies_of_calls_that_wait_are_kept_up_to_a_size() -> None:
    made = counters(budget(amount=10), **{"limits.waiting_bytes": 100})
    made.admit(ask(record()))
    first = made.admit(ask(record(), size=60))
    assert isinstance(first, Wait)
    refused = made.admit(ask(record(), size=60))
    assert isinstance(refused, Refusal)
    assert "1 calls of 0 MiB wait" in str(refused.error)
    assert (refused.error.code, refused.error.retry_after_s) == ("budget", 10)
    made.forget(first)
    assert isinstance(made.admit(ask(record(), size=60)), Wait)


def test_periods_follow_a_clock_that_goes_ahead_and_comes_back() -> None:
    clock = SteppedClock(START)
    made = counters(budget(amount=30), clock=clock)
    for _ in range(2):
        made.settle(made.admit(ask(call := record(clock))), ended(call, 10), reached=True)  # type: ignore[arg-type] # a hold
    clock.step_wall(30 * 86_400)
    assert standing(made) == (0, 0)
    ahead = record(clock)
    hold = made.admit(ask(ahead))
    assert isinstance(hold, Hold)
    clock.step_wall(-30 * 86_400)
    assert made.accounts.count_anew() == frozenset()
    assert standing(made) == (20, 0)  # of the day that it is again
    made.settle(hold, ended(ahead, 7), reached=True)
    assert standing(made) == (20, 0)
    clock.advance(86_400)
    made.accounts.count_anew()
    assert standing(made) == (0, 0)  # the next day begins, though the clock was beyond it once
    assert isinstance(made.admit(ask(record(clock), base=30)), Hold)
    clock.step_wall(29 * 86_400)
    assert standing(made) == (7, 0)


def test_a_clock_that_comes_back_to_a_period_that_is_not_kept_has_it_read() -> None:
    clock = SteppedClock(START)
    made = counters(budget(amount=30), clock=clock)
    clock.step_wall(-86_400)
    wait = made.admit(ask(record(clock)))
    assert isinstance(wait, Wait)
    got: list[object] = []
    wait.ready = got.append
    assert made.accounts.count_anew() == {"b1"}
    made.add({("b1", made.accounts["b1"].current.start_us): 15}, {}, frozenset({"b1"}))
    assert standing(made) == (15, 10)
    assert len(got) == 1


def test_without_the_lock_hard_budgets_wait_until_it_is_had() -> None:
    made = counters(budget())
    made.own(owning=False)
    wait = made.admit(ask(record()))
    assert isinstance(wait, Wait)
    got: list[object] = []
    wait.ready = got.append
    made.own(owning=True)
    assert isinstance(got[0], Hold)


def test_several_gateways_do_not_keep_a_hard_budget_half_way() -> None:
    answer = counters(budget(), **{"server.gateways": 3}).admit(ask(record()))
    assert isinstance(answer, Refusal)
    assert "server.gateways = 1" in str(answer.error)


# -- rates ------------------------------------------------------------------------------------------------------


def test_rates_refuse_with_the_time_to_wait_and_come_back() -> None:
    clock = SteppedClock(START)
    limit = RateLimit(id="r1", subject="key", subject_id="k1", requests_per_minute=2, concurrent=None)
    made = counters(rates=(limit,), clock=clock)
    for _ in range(2):
        hold = made.admit(ask(record(clock)))
        assert isinstance(hold, Hold)
        made.settle(hold, ended(record(clock), 1), reached=True)
        clock.advance(10)
    answer = made.admit(ask(record(clock)))
    assert isinstance(answer, Refusal)
    assert answer.error.code == "rate_limit"
    assert answer.error.retry_after_s == pytest.approx(40)
    clock.advance(40.001)
    assert isinstance(made.admit(ask(record(clock))), Hold)


def test_calls_at_a_time_and_tokens_are_freed_at_the_end() -> None:
    clock = SteppedClock(START)
    limits = (
        RateLimit(id="r1", subject="global", subject_id="", concurrent=1),
        RateLimit(id="r2", subject="user", subject_id="u1", tokens_per_minute=100),
    )
    made = counters(rates=limits, clock=clock)
    call = record(clock)
    hold = made.admit(ask(call, tokens=1000))  # larger than the limit: takes all of it
    assert isinstance(hold, Hold)
    assert isinstance(made.admit(ask(record(clock))), Refusal)
    call.input_tokens, call.output_tokens = 20, 10
    made.settle(hold, ended(call, 1), reached=True)
    assert isinstance(made.admit(ask(record(clock), tokens=71)), Refusal)
    assert isinstance(made.admit(ask(record(clock), tokens=70)), Hold)


def test_a_unit_that_is_limited_midway_counts_the_minute_before() -> None:
    clock = SteppedClock(START)
    limit = RateLimit(id="r1", subject="global", subject_id="", concurrent=5)
    made = counters(rates=(limit,), clock=clock)
    call = record(clock)
    hold = made.admit(ask(call, tokens=10**6))
    assert isinstance(hold, Hold)
    made.set((), (RateLimit(id="r1", subject="global", subject_id="", tokens_per_minute=100),))
    assert isinstance(made.admit(ask(record(clock), tokens=1)), Refusal)
    call.input_tokens, call.output_tokens = 20, 10
    made.settle(hold, ended(call, 1), reached=True)
    assert isinstance(made.admit(ask(record(clock), tokens=71)), Refusal)
    assert isinstance(made.admit(ask(record(clock), tokens=70)), Hold)


def test_what_is_learned_of_a_call_after_its_minute_changes_nothing_of_the_next() -> None:
    window = Window()
    early, late = window.take(0.0, 10), window.take(61.0, 20)
    for entry in (early, late):
        window.correct(entry, 5)
        window.unask(entry)
    assert (window.requests, window.tokens) == (0, 25)
    window.take(130.0, 1)
    assert (window.requests, window.tokens) == (1, 1)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 10)), max_size=60))
def test_no_minute_holds_more_than_the_limit(steps: list[tuple[float, int]]) -> None:
    window, now, taken = Window(), 0.0, []
    for pause, amount in steps:
        now += pause
        wait = window.wait_s(now, "tokens", amount, 20)
        if wait == 0:
            window.take(now, amount)
            taken.append((now, amount))
        else:
            assert 0 < wait <= 60
        assert sum(one for at, one in taken if at > now - 60) <= 20


# -- anything in any order --------------------------------------------------------------------------------------


class Hard(RuleBasedStateMachine):
    """Calls of three users begin, wait, leave, end and expire under four hard budgets, of which some are deleted."""

    @initialize()
    def begin(self) -> None:
        self.clock = SteppedClock(START)
        self.amounts = {"b1": 100, "b2": 60, "b3": 250, "b4": 40}
        self.budgets = [
            budget(1, 100), budget(2, 60, subject="user", subject_id="u1"), budget(3, 250, period="week"),
            budget(4, 40, subject="user", subject_id="v1"),
        ]  # fmt: skip
        self.made = counters(*self.budgets, clock=self.clock)
        self.holds: list[tuple[Hold, CallRecord]] = []
        self.waits: list[tuple[Wait, CallRecord]] = []

    @rule(base=st.integers(0, 40), output=st.integers(0, 60), asked=st.booleans(), user=st.sampled_from("uvw"))
    def call(self, base: int, output: int, asked: bool, user: str) -> None:
        call = record(self.clock)
        call.user_id = f"{user}1"
        answer = self.made.admit(ask(call, base=base, output=output, asked=asked))
        if isinstance(answer, Wait):
            entry = (answer, call)
            self.waits.append(entry)
            answer.ready = lambda told: self.ready(entry, told)
        elif isinstance(answer, Hold):
            self.holds.append((answer, call))

    def ready(self, entry: tuple[Wait, CallRecord], told: Hold | Refusal) -> None:
        self.waits.remove(entry)
        if isinstance(told, Hold):
            self.holds.append((told, entry[1]))

    @rule(share=st.floats(0, 1), known=st.booleans(), reached=st.booleans(), pick=st.integers(0, 100))
    def end(self, share: float, known: bool, reached: bool, pick: int) -> None:
        if self.holds:
            hold, call = self.holds.pop(pick % len(self.holds))
            cost = int(min(hold.amounts.values(), default=0) * share)
            self.made.settle(hold, ended(call, cost if known and reached else None), reached=reached)

    @rule(pick=st.integers(0, 100), patient=st.booleans())
    def end_a_wait(self, pick: int, patient: bool) -> None:
        if self.waits:
            wait, call = self.waits.pop(pick % len(self.waits))
            if patient:
                answer = self.made.give_up(wait)
                if isinstance(answer, Hold):
                    self.holds.append((answer, call))
            else:
                self.made.forget(wait)

    @rule(seconds=st.sampled_from([1, 600, 4000, 40_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.made.expire()

    @rule(pick=st.integers(0, 20))
    def a_budget_goes(self, pick: int) -> None:
        if pick < len(self.budgets) - 1:
            del self.budgets[pick]
            self.made.set(self.budgets, ())

    @invariant()
    def a_hold_keeps_what_it_was_given(self) -> None:
        if hasattr(self, "made"):
            held: dict[int, int] = {}
            for hold, _ in self.holds:
                assert {want.account.budget.id: want.most for want in hold.wants} == hold.amounts
                for want in [] if hold.expired else hold.wants:
                    held[id(want.ledger)] = held.get(id(want.ledger), 0) + want.most
            for account in self.made.accounts.values():
                assert [ledger.held for ledger in account.ledgers] == [
                    held.get(id(ledger), 0) for ledger in account.ledgers
                ]

    @invariant()
    def never_more_than_the_amount(self) -> None:
        if hasattr(self, "made"):
            for name, account in self.made.accounts.items():
                for ledger in account.ledgers:
                    if ledger is not None:
                        assert ledger.held >= 0
                        assert ledger.spent >= 0
                        assert ledger.spent + ledger.held <= self.amounts[name]
            assert len(self.made._waits) == len(self.waits)

    @invariant()
    def nobody_waits_for_what_has_room(self) -> None:
        """The first of each queue finds too little there; so each wait, and who is before it, has a reason."""
        if hasattr(self, "made"):
            for account in self.made.accounts.values():
                numbers = [wait.number for wait in account.queue]
                assert numbers == sorted(numbers)
                for first in list(account.queue)[:1]:
                    (want,) = [want for want in first.needs if want.account is account]
                    assert want.need.at(first.ask.output) > want.free
            for wait, _ in self.waits:
                assert any(wait in want.account.queue for want in wait.needs)

    def teardown(self) -> None:
        if hasattr(self, "made"):
            for hold, call in self.holds:
                self.made.settle(hold, ended(call, 0), reached=True)
            assert all(account.current.held == 0 for account in self.made.accounts.values())


TestHard = Hard.TestCase
TestHard.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
