"""What is usual of a key and model, and how surprising one value is to it."""

import math
import random
import time

import pytest

from ultimate_lib.baseline import (
    FEWEST,
    HIGHEST,
    Baseline,
    anomalous,
    expected_high,
    highest_of,
    learn,
    score,
)


def drawn(n: int, seed: int = 7, deviation: float = 0.7) -> list[float]:
    values = random.Random(seed)
    return [values.lognormvariate(-4, deviation) for _ in range(n)]


def known(values: list[float]) -> Baseline:
    made = learn(values, since_s=1_760_000_000.0)
    assert made is not None
    return made


def test_what_is_usual_is_not_anomalous_and_what_is_far_above_it_is() -> None:
    values = drawn(2000)
    made = known(values)
    assert (made.n, made.since_s) == (2000, 1_760_000_000.0)
    assert sum(anomalous(made, one) for one in values) <= 2
    assert anomalous(made, max(values) * 3)
    assert not anomalous(made, math.exp(-4))


@pytest.mark.parametrize("n", [50, 200, 500, 5000])
def test_about_three_calls_in_ten_thousand_are_anomalous_when_nothing_changes(n: int) -> None:
    told = [
        sum(anomalous(made, one) for one in drawn(4000, seed=1000 + seed)) / 4000
        for seed in range(12)
        for made in [known(drawn(n, seed=seed))]
    ]
    assert sum(told) / len(told) < 1e-3


def test_a_score_grows_with_the_value_and_is_never_nan() -> None:
    for values in (drawn(60), drawn(3000), [1.0] * 80, [1.0, 2.0] * 40):
        made = known(values)
        steps = [score(made, math.exp(at / 20)) for at in range(-400, 400)]
        assert steps == sorted(steps)
        assert steps[0] == 0.0 or steps[0] < 0.1
        assert all(0 <= one <= HIGHEST for one in steps)
        assert score(made, math.inf) == HIGHEST
        assert score(made, 1e308) <= HIGHEST
        assert score(made, 5e-324) >= 0
        assert [score(made, bad) for bad in (0.0, -1.0, math.nan, -math.inf)] == [0.0] * 4


@pytest.mark.parametrize(
    "spoilt",
    [
        {"log_deviation": 0.0},
        {"tail_scale": math.nan},
        {"tail_share": 0.0},
        {"log_mean": math.nan},
        {"threshold": math.nan},
        {"n": 0},
    ],
)
def test_a_baseline_of_no_use_finds_nothing(spoilt: dict[str, float]) -> None:
    assert score(known(drawn(100))._replace(**spoilt), 1e9) == 0.0


def test_two_giants_among_what_is_learnt_from_change_nothing_that_matters() -> None:
    values = drawn(1000)
    clean = expected_high(known(values))
    assert expected_high(known([*values, 1e6])) < 2 * clean
    assert expected_high(known([*values, 1e6, 1e9])) < 2 * clean
    many = drawn(10_000)
    assert expected_high(known([*many, *[1e6] * 5])) < 2 * expected_high(known(many))


def test_what_has_always_been_the_same_may_double_but_not_grow_tenfold() -> None:
    for values in ([0.01] * 60, [0.01] * 20_000):
        made = known(values)
        assert not anomalous(made, 0.0199)
        assert anomalous(made, 0.05)


def test_two_values_are_both_usual() -> None:
    made = known([1.0] * 450 + [8.0] * 50)
    assert not anomalous(made, 8.0)
    assert anomalous(made, 80.0)


def test_values_that_are_not_above_zero_do_not_count() -> None:
    values = drawn(FEWEST - 1)
    assert learn([*values, *[0.0] * 100, -1.0, math.nan, math.inf], since_s=0.0) is None
    assert learn([0.0] * 1000, since_s=0.0) is None
    assert known([*values, 0.01, *[0.0] * 100]).n == FEWEST


def test_expected_high_is_where_the_anomalous_begins() -> None:
    for values in (drawn(60), drawn(3000, deviation=1.5), [1.0] * 80):
        made = known(values)
        high = expected_high(made)
        assert anomalous(made, high * 1.000001)
        assert not anomalous(made, high * 0.999999)
        assert high > math.exp(made.log_mean)


def test_a_baseline_goes_through_json_and_nothing_else_comes_back() -> None:
    made = known(drawn(100))
    assert Baseline.from_list(made.to_list()) == made
    for bad in ([], [1, 2, 3], [*made.to_list(), 1.0], [0, *made.to_list()[1:]], [*made.to_list()[:-1], math.nan]):
        with pytest.raises((TypeError, ValueError)):
            Baseline.from_list(bad)


def test_the_tail_needs_some_of_the_highest_alone() -> None:
    assert [highest_of(n) for n in (50, 500, 20_000)] == [17, 21, 31]


def test_a_score_takes_microseconds() -> None:
    made = known(drawn(1000))
    took = []
    for _ in range(20):
        began = time.process_time_ns()
        for _ in range(500):
            score(made, 0.02)
        took.append((time.process_time_ns() - began) / 500)
    assert min(took) < 5_000, "nanoseconds of CPU a score"
