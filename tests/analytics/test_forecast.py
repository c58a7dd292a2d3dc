"""The forecaster on series whose future is known, and on those that cannot be forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultimate_lib.analytics import backtest, intervals, outlook, prices, rare
from ultimate_lib.analytics.cleaning import FEWEST
from ultimate_lib.analytics.forecast import LEVELS, forecast, of_cost
from ultimate_lib.analytics.members import families, linear, pooled, smoothing
from ultimate_lib.errors import Invalid, NotEnoughData, UltimateError

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]


def weekly(hours: int, *, noise: float = 0.05, seed: int = 0) -> Floats:
    """Return hours with a day's and a week's shape: what they are without noise, times noise."""
    time = np.arange(hours)
    shape = 10 + 6 * np.sin(2 * np.pi * time / 24) - 4 * ((time // 24) % 7 >= 5)
    made: Floats = shape * (1 + noise * np.random.default_rng(seed).standard_normal(hours))
    return made


def test_a_known_shape_is_forecast_and_the_naive_forecast_is_beaten() -> None:
    series = weekly(960 + 48)
    found = forecast(series[:960], 48, step="hour")
    truth = weekly(960 + 48, noise=0)[960:]
    assert np.abs(found.point - truth).mean() < 0.03 * truth.mean()
    assert np.abs(found.point - series[960:]).mean() < 0.5 * np.abs(found.naive - series[960:]).mean()
    assert found.accuracy is not None
    assert found.accuracy.ratio is not None
    assert found.accuracy.ratio < 0.6
    assert (found.accuracy.origins, found.accuracy.horizon) == (6, 48)
    assert sum(weight for _, weight in found.members) == pytest.approx(1)


@pytest.mark.parametrize("step", ["hour", "day"])
def test_intervals_hold_what_they_say_over_many_series(step: families.Step) -> None:
    inside: dict[float, list[float]] = {level: [] for level in LEVELS}
    for seed in range(12):
        series = weekly(24 * 35 + 24, noise=0.2, seed=seed) if step == "hour" else days(240 + 14, seed=seed)
        ahead = 24 if step == "hour" else 14
        found = forecast(series[:-ahead], ahead, step=step)
        for level in LEVELS:
            inside[level].append(
                float(np.mean((series[-ahead:] >= found.lower[level]) & (series[-ahead:] <= found.upper[level])))
            )
    assert np.mean(inside[0.8]) == pytest.approx(0.8, abs=0.12)
    assert np.mean(inside[0.95]) == pytest.approx(0.95, abs=0.05)


def days(count: int, *, seed: int = 0) -> Floats:
    """Return days with a week's shape and noise."""
    made: Floats = (20 - 9 * (np.arange(count) % 7 >= 5)) * (
        1 + 0.15 * np.random.default_rng(seed).standard_normal(count)
    )
    return made


def test_totals_come_from_whole_paths_and_not_from_single_bounds() -> None:
    found = forecast(days(300), 28, step="day")
    low, high = np.quantile(found.paths.sum(axis=1), [0.1, 0.9])
    assert high - low < 0.6 * (found.upper[0.8] - found.lower[0.8]).sum()  # days err apart here
    assert low < found.point.sum() < high
    assert np.array_equal(found.paths, forecast(days(300), 28, step="day").paths)


def test_a_level_shift_two_weeks_ago_is_followed() -> None:
    series = weekly(960)
    series[-336:] *= 3
    found = forecast(series, 24, step="hour")
    truth = 3 * weekly(984, noise=0)[960:]
    assert found.point.mean() == pytest.approx(truth.mean(), rel=0.15)


def test_odd_hours_and_giants_are_told_and_leave_the_forecast_as_it_was() -> None:
    plain = forecast(weekly(960), 24, step="hour")
    odd = weekly(960)
    odd[900:904] *= 12
    found = forecast(odd, 24, step="hour")
    assert any("4 hours far from the usual value" in note for note in found.notes)
    assert found.point == pytest.approx(plain.point, rel=0.1)
    assert found.expected.sum() == found.point.sum()  # what came once is not expected again
    assert 0 < np.mean(found.paths.sum(axis=1) > 2.5 * plain.point.sum()) < 0.1  # but may come: it was one day in 40
    giant = weekly(960)
    giant[500] = 1e6
    told = forecast(giant, 24, step="hour")
    assert any("far beyond all others" in note for note in told.notes)
    assert told.point == pytest.approx(plain.point, rel=0.1)


def test_gaps_are_filled_and_told() -> None:
    series = weekly(960)
    series[[100, 101, 500, 930]] = np.nan
    found = forecast(series, 24, step="hour")
    assert any(note.startswith("4 hours without a value") for note in found.notes)
    assert found.point == pytest.approx(forecast(weekly(960), 24, step="hour").point, rel=0.05)


@pytest.mark.parametrize(
    ("values", "step", "words"),
    [
        ([], "day", "0 days are known"),
        ([3.0, 1.0, 2.0], "day", "at least 5"),
        ([3.0, 1.0, 2.0], "hour", "at least 24"),
        ([np.nan] * 90, "day", "0 days are known"),
        ([0.0] * 90, "day", "All 90 known days are zero"),
        ([1.0, np.nan, np.nan] * 40, "hour", "too many"),
    ],
)
def test_what_cannot_be_forecast_is_said(values: list[float], step: families.Step, words: str) -> None:
    with pytest.raises(NotEnoughData, match=words) as failure:
        forecast(values, 7, step=step)
    assert failure.value.hint


@pytest.mark.parametrize("horizon", [0, -1, 100_000])
def test_a_horizon_beyond_reason_is_refused(horizon: int) -> None:
    with pytest.raises(Invalid, match="horizon"):
        forecast(days(100), horizon, step="day")


def test_infinite_values_are_refused() -> None:
    with pytest.raises(Invalid, match="infinite"):
        forecast([*days(100), np.inf], 7, step="day")


def test_with_little_history_the_level_is_told_and_that_nothing_was_tested() -> None:
    found = forecast(days(6), 7, step="day")
    assert found.accuracy is None
    assert found.method == "level of the last values"
    assert "too few to test" in " ".join(found.notes)
    assert (found.upper[0.95] > found.upper[0.8]).all()


def test_a_constant_is_forecast_as_itself() -> None:
    found = forecast([3.0] * 400, 24, step="hour")
    assert found.point == pytest.approx(np.full(24, 3.0))
    assert found.upper[0.95] == pytest.approx(np.full(24, 3.0), abs=1e-6)


@pytest.mark.parametrize("ago", [10, 48, 660])
def test_a_price_that_fell_counts_at_once_and_is_told(ago: int) -> None:
    tokens = weekly(960, seed=1) * 1e6
    price = np.where(np.arange(960) < 960 - ago, 3e-6, 1e-6)
    found = of_cost(tokens, tokens * price, 24, step="hour")
    assert found.point.sum() == pytest.approx(forecast(tokens, 24, step="hour").point.sum() * 1e-6, rel=0.05)
    assert found.notes[0].startswith(f"{ago} hours ago the cost of a token changed to 33%")


def test_single_dear_days_are_no_change_of_the_price() -> None:
    costs = np.where(np.arange(120) % 30 == 5, 100.0, 1.0)
    found = of_cost(np.ones(120), costs, 7, step="day")
    assert not [note for note in found.notes if "cost of a token changed" in note]


def test_the_days_own_ups_and_downs_of_the_price_are_no_change() -> None:
    tokens = weekly(960, seed=1) * 1e6
    noise = 0.1 * np.random.default_rng(4).standard_normal(960)
    price = 3e-6 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(960) / 24) + noise)
    assert prices.repriced(tokens, tokens * price, 24)[1] == []


def test_of_both_ways_to_forecast_cost_the_one_with_the_smaller_error_is_taken() -> None:
    ways = set()
    for seed in range(6):
        dice = np.random.default_rng(seed)
        tokens = 1e6 * days(150, seed=seed)
        costs = tokens * 2e-6 * dice.lognormal(0, 0.5, 150)
        found, alone = of_cost(tokens, costs, 14, step="day"), forecast(costs, 14, step="day")
        assert found.accuracy is not None
        assert alone.accuracy is not None
        assert (found.accuracy.mase or 0) <= (alone.accuracy.mase or 0)
        product = found.method.startswith("tokens at the recent cost of a token")
        ways.add(product)
        if product:
            assert found.point == pytest.approx(
                forecast(tokens, 14, step="day").point * prices.recent(tokens, costs, 7), rel=1e-9
            )
    assert ways == {True, False}


def test_cost_without_tokens_is_forecast_by_itself() -> None:
    costs = days(200)
    found = of_cost(np.zeros(200), costs, 7, step="day")
    assert np.array_equal(found.point, forecast(costs, 7, step="day").point)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["hour", "day"]),
    st.integers(1, 700),
    st.sampled_from([1, 7, 30, 90]),
    st.integers(0, 5),
    st.integers(-9, 9),
)
def test_bounds_are_finite_and_in_order_whatever_comes(
    step: families.Step, length: int, horizon: int, kind: int, power: int
) -> None:
    dice = np.random.default_rng(length)
    values = np.abs(10 + dice.standard_normal(length)) * 10.0**power
    if kind == 1:
        values[dice.random(length) < 0.2] = np.nan
    elif kind == 2:
        values[dice.random(length) < 0.8] = 0
    elif kind == 3:
        values = dice.pareto(1, length)
    elif kind == 4:
        values[length // 2 :] *= 10
    elif kind == 5:
        values[:] = 3.0
    try:
        found = forecast(values, horizon, step=step)
    except UltimateError:
        return
    near = 1e-9 * np.abs(found.point)
    for level in LEVELS:
        assert np.isfinite([found.lower[level], found.upper[level]]).all()
        assert (found.lower[level] <= found.point + near).all()
        assert (found.point <= found.upper[level] + near).all()
    assert found.paths.shape == (500, horizon)
    assert np.isfinite(found.paths).all()
    assert len(found.naive) == horizon


@pytest.mark.parametrize("length", [24, 80, 200, 500, 700, 1440])
@pytest.mark.parametrize("horizon", [168, 744, 2160])
def test_hours_are_forecast_as_far_as_is_allowed(length: int, horizon: int) -> None:
    found = forecast(weekly(length), horizon, step="hour")
    assert len(found.point) == horizon
    assert np.isfinite(found.paths).all()
    assert found.point.mean() == pytest.approx(9, rel=0.35)


@pytest.mark.parametrize("step", ["hour", "day"])
def test_no_member_sees_what_comes_after_its_origin(step: families.Step) -> None:
    length = 700 if step == "hour" else 500
    series = np.abs(weekly(length) if step == "hour" else days(length))
    origins = [length - 48, length - 24]
    other = series.copy()
    other[length - 48 :] = np.random.default_rng(9).permutation(other[length - 48 :])
    family = families.of(step, origins[0])
    before, after = (
        {name: made[0] for name, made in families.forecasts(family, one, origins, 24)} for one in (series, other)
    )
    for name, made in before.items():  # the same values in another order: the scales stay, all else must not matter
        assert after[name] == pytest.approx(made, rel=1e-6, abs=1e-6), name


def test_of_every_family_each_member_has_its_own_name_and_shape() -> None:
    for step, length in (("hour", 700), ("hour", 200), ("day", 500), ("day", 200), ("day", 40)):
        series = days(length)
        origins = [length - 10, length]
        made = list(families.forecasts(families.of(step, origins[0]), series, origins, 12))  # type: ignore[arg-type]
        assert len({name for name, _ in made}) == len(made) > 10
        assert {values.shape for _, values in made} == {(2, 12)}


def test_the_weighted_median_is_numpys_with_equal_weights() -> None:
    made = np.random.default_rng(3).standard_normal((7, 20))
    assert backtest.weighted_median(made, np.ones(7)) == pytest.approx(np.median(made, axis=0))
    heavy = np.array([1e9, 1, 1, 1, 1, 1, 1])
    assert backtest.weighted_median(made, heavy) == pytest.approx(made[0], abs=1e-6)


def test_what_was_held_out_had_no_part_in_its_weights() -> None:
    actual = np.array([[1.0, 1.0], [5.0, 5.0]])
    good, bad = np.array([[1.0, 1.0], [0.0, 0.0], [9.0, 9.0]]), np.array([[0.0, 0.0], [5.0, 5.0], [1.0, 1.0]])
    found = backtest.combine(np.array([good, bad]), actual, power=6.0, mean=True)
    assert found.held_out[0] == pytest.approx(
        [0.0, 0.0], abs=0.05
    )  # judged by the second origin alone: bad was right
    assert found.held_out[1] == pytest.approx([0.0, 0.0], abs=0.05)


def test_intervals_widen_with_the_level_and_with_what_was_missed() -> None:
    dice = np.random.default_rng(5)
    actual = 10 + dice.standard_normal((6, 24))
    calibration = intervals.Calibration(1.0, 1.0, 0.0)
    close = intervals.bounds(
        np.full(24, 10.0), intervals.Missed(np.full((6, 24), 10.0), actual, 24, calibration), (0.8, 0.95)
    )
    wide = intervals.bounds(
        np.full(24, 10.0), intervals.Missed(np.full((6, 24), 10.0), 10 + 3 * (actual - 10), 24, calibration), (0.8,)
    )
    assert (close[0.95][1] > close[0.8][1]).all()
    assert np.mean(wide[0.8][1] - wide[0.8][0]) > 2.5 * np.mean(close[0.8][1] - close[0.8][0])


def test_regressions_continue_a_sine() -> None:
    time = np.arange(600)
    z = np.sin(2 * np.pi * time / 24)
    made = linear.ridge(z, [500, 550], 48, linear.Terms((1, 2, 24)), penalty=1e-6)
    assert made[0] == pytest.approx(z[500:548], abs=0.02)
    absolute = linear.least_absolute(z, [550], 24, linear.Terms((1, 2, 24)), penalty=1e-6)
    assert absolute[0] == pytest.approx(z[550:574], abs=0.02)


def test_smoothing_continues_a_cycle_and_a_trend() -> None:
    time = np.arange(400.0)
    stack = np.array([np.sin(2 * np.pi * time / 24), 0.05 * time])
    grid = smoothing.Grid((0.2, 0.5), (0.1,), (0.2,), (0.98,))
    made = smoothing.holt_winters(stack, [400], 24, season=24, grid=grid)
    later = np.arange(400.0, 424.0)
    assert made[0, 0] == pytest.approx(np.sin(2 * np.pi * later / 24), abs=0.1)
    assert made[1, 0] == pytest.approx(0.05 * later, abs=0.6)


def test_the_fewest_values_are_enough() -> None:
    for step, fewest in FEWEST.items():
        assert len(forecast(np.arange(1.0, fewest + 1), 3, step=step).point) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(("hours", "season"), [(36, 24), (48, 24), (84, 24)])
def test_after_a_day_the_days_shape_is_forecast_and_not_a_level(hours: int, season: int) -> None:
    time = np.arange(hours + season)
    series = (10 + 8 * np.sin(2 * np.pi * time / season)) * (
        1 + 0.03 * np.random.default_rng(2).standard_normal(len(time))
    )
    found = forecast(series[:hours], season, step="hour")
    assert np.abs(found.point - series[hours:]).mean() < 1.5  # a level would miss by 5
    assert found.accuracy is not None
    assert found.accuracy.origins > 1


def test_backtests_begin_at_the_same_hour_and_weekday() -> None:
    for step, length, horizon, season in (("hour", 900, 12, 24), ("hour", 200, 30, 24), ("day", 300, 4, 7)):
        series = weekly(length) if step == "hour" else days(length)
        found = forecast(series, horizon, step=step)  # type: ignore[arg-type] # one of two words
        assert found.missed is not None
        begins = [
            next(at for at in range(length) if np.array_equal(series[at : at + len(row)], row))
            for row in found.missed.actual
        ]
        assert {(length - at) % season for at in begins} == {0}


def test_totals_err_as_far_as_they_did_all_along_the_history() -> None:
    """Two series with the same steps' errors: in one they last for a week, in the other they are each day's own."""
    widths = []
    for lasting in (True, False):
        dice = np.random.default_rng(3)
        each = dice.standard_normal(420)
        away = np.repeat(dice.standard_normal(60), 7) if lasting else each
        found = forecast(20 + 2 * away, 7, step="day")
        low, high = np.quantile(found.paths.sum(axis=1), [0.1, 0.9])
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1]


def test_a_path_twice_as_high_is_as_likely_as_one_half_as_high() -> None:
    dice = np.random.default_rng(4)
    series = 100 * np.exp(np.repeat(0.5 * dice.standard_normal(60), 7))
    found = forecast(series, 7, step="day")
    low, middle, high = np.quantile(found.paths.sum(axis=1), [0.1, 0.5, 0.9])
    assert high - middle > 1.15 * (middle - low)


def test_others_week_shapes_days_that_have_had_none() -> None:
    shape = np.array([5.0, 5, 5, 5, 5, 1, 1])
    own = np.array([50.0, 51, 49, 50, 50])  # Monday to Friday
    alone, leaning = (forecast(own, 7, step="day", prior=prior).point for prior in (None, shape))
    assert alone == pytest.approx(np.full(7, 50.0), rel=0.05)
    assert leaning == pytest.approx(np.r_[10.0, 10, np.full(5, 50.0)], rel=0.05)
    late = forecast(np.r_[np.nan, np.nan, own], 7, step="day", prior=np.roll(shape, 2)).point
    assert late == pytest.approx(leaning)
    nine = np.r_[own, 9.0, 11.0, 50.0, 50.0]
    assert any("others" in name for name, _ in forecast(nine, 7, step="day", prior=shape).members)
    weeks = days(60)
    assert np.array_equal(forecast(weeks, 7, step="day", prior=shape).point, forecast(weeks, 7, step="day").point)


def test_a_prior_that_is_no_week_is_refused_and_one_of_nothing_is_not_heeded() -> None:
    own = np.array([50.0, 51, 49, 50, 50])
    assert np.array_equal(forecast(own, 7, step="day", prior=np.zeros(7)).point, forecast(own, 7, step="day").point)
    with pytest.raises(Invalid, match="no week of days"):
        forecast(own, 7, step="day", prior=np.ones(6))
    with pytest.raises(Invalid, match="no week of days"):
        forecast(weekly(100), 7, step="hour", prior=np.ones(7))


def test_the_others_week_is_what_the_whole_has_beside_the_own() -> None:
    shape = np.array([5.0, 5, 5, 5, 5, 1, 1])
    whole = np.tile(shape, 5)
    own = np.array([3.0, 2.0, 1.0])  # the last three days: Friday to Sunday
    whole[-3:] += own
    assert pooled.week_of(own, whole) == pytest.approx(np.roll(shape, -4))
    assert pooled.week_of(own, whole[-10:]) is None
    assert pooled.week_of(own, np.r_[np.zeros(20), own]) is None
    assert pooled.week_of(own, np.r_[np.full(20, np.nan), own]) is None


@pytest.mark.parametrize(("change", "least", "most"), [(4.0, 1.2, 9.0), (0.2, 0.3, 0.98)])
def test_widths_follow_noise_that_changed(change: float, least: float, most: float) -> None:
    held_out = np.full((6, 14), 50.0)
    away = np.random.default_rng(6).standard_normal((6, 14)) * np.r_[1, 1, 1, 1, change, change][:, None]
    still, adapted = (
        intervals.bounds(held_out[0], intervals.Missed(held_out, held_out + away, 7, calibration), (0.8,))[0.8]
        for calibration in (intervals.Calibration(1.0, 1.0, 0.0), intervals.Calibration(1.0, 1.0, 0.0, adapts=0.25))
    )
    assert least < (adapted[1] - adapted[0]).mean() / (still[1] - still[0]).mean() < most


def test_far_steps_are_as_much_wider_as_the_overlap_of_origins_hides() -> None:
    held_out = np.full((6, 48), 50.0)
    away = np.random.default_rng(6).standard_normal((6, 48))
    near, far = (intervals.measured(away, 24, 48, later=later).scale for later in (0.0, 0.3))
    assert far.mean() == pytest.approx(near.mean(), rel=0.02)
    assert (far / near)[-1] > 1.3 * (far / near)[0]
    totals = [
        intervals.of_totals(
            50 + np.random.default_rng(7).standard_normal(480),
            intervals.Missed(held_out, held_out + away, 24, intervals.Calibration(1.0, 1.0, 0.0, later=later)),
            steps,
        )
        for steps in (24, 48)
        for later in (0.0, 0.3)
    ]
    assert totals[0] == totals[1]
    assert totals[3] > 1.1 * totals[2]


@pytest.mark.parametrize("seed", [9, 12, 24])
def test_an_hour_in_a_hundred_with_calls_is_forecast(seed: int) -> None:
    # what the regressions learn from may be one value throughout, whose deviation is rounding alone
    share = (0.005, 0.01, 0.02, 0.03, 0.05)[seed % 5]
    found = forecast((np.random.default_rng(seed).random(720) < share) * 5.0, 24, step="hour")
    assert np.isfinite(found.paths).all()


def test_a_member_that_can_say_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def singular(*_: object, **__: object) -> Floats:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(linear, "ridge", singular)
    monkeypatch.setattr(
        smoothing, "cycles_mean", lambda _z, origins, ahead, **_: np.full((len(origins), ahead), np.nan)
    )
    found = forecast(days(200), 7, step="day")
    assert np.isfinite(found.point).all()
    names = [name for name, _ in found.members]
    assert "profile of the week (plain)" in names
    assert not {"regression on lags", "mean of the weeks"} & set(names)


def test_a_job_on_one_day_in_thirty_is_in_totals_thresholds_and_dates() -> None:
    costs = np.where(np.arange(120) % 30 == 5, 100.0, 0.0)
    found = of_cost(costs * 1000, costs, 30, step="day")
    told, edges = outlook.total(found.expected, found.paths), outlook.thresholds(0, found.expected, found.paths)
    assert told.value == pytest.approx(100, rel=0.05)
    assert told.lower_80 <= 100 <= told.upper_80
    assert 200 <= edges.critical <= 600
    assert 0.4 < outlook.exhaustion(found.paths, 90).probability < 0.9
    assert any("100% of all there has been" in note for note in found.notes)


def test_futures_hold_rare_days_as_often_as_they_were() -> None:
    beyond = np.where(np.arange(200) % 20 == 3, 50.0, 0.0)
    made = rare.futures(beyond, 30, block=1, count=2000)
    assert set(np.unique(made)) == {0.0, 50.0}
    assert (made > 0).mean() == pytest.approx(0.05, abs=0.005)
    assert made.sum(axis=1).std() > 50 * np.sqrt(30 * 0.05 * 0.95)  # how often is itself not known for sure
    assert rare.expected(beyond, np.ones(200), block=1) == pytest.approx(2.5)


def test_rare_hours_keep_their_hour_of_the_day() -> None:
    beyond = np.zeros(240 + 7)
    beyond[7 + 9 :: 72] = 5.0  # at nine, counted from the end
    made = rare.futures(beyond, 48, block=24, count=200)
    assert set(np.flatnonzero(made.any(axis=0))) == {9, 33}


def test_a_regression_that_runs_away_is_left_out() -> None:
    dice = np.random.default_rng(38)
    usual = dice.lognormal(0, 0.2, 120)
    found = forecast(usual + (dice.random(120) < 0.05) * 50, 30, step="day")
    assert found.expected.sum() < 400  # 30 days had 30 to 400
