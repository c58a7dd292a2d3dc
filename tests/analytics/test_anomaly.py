"""The series detector finds what is planted, is quiet where nothing is, and goes on after a restart."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bench import nab
from ultimate_lib.analytics.anomalies.batch import DETECTORS, Judged, detect, learning
from ultimate_lib.analytics.anomalies.detectors.series import KINDS, THRESHOLD, SeriesDetector
from ultimate_lib.analytics.anomalies.seasons import Seasons
from ultimate_lib.analytics.anomalies.sketch import Sides, Tail
from ultimate_lib.analytics.anomalies.traces import Level, Sample
from ultimate_lib.errors import Invalid, NotFound

Floats = NDArray[np.float64]
HOUR = 3600
MONDAY = 1704067200  # 1 January 2024
AT = 1250  # a Wednesday's noon or so, in the eighth week


def clock(count: int, step: int = HOUR) -> NDArray[np.int64]:
    return MONDAY + np.arange(count) * step


def weekly(seed: int, *, weeks: int = 10, noise: float = 6.0, weekend: float = 0.6) -> Floats:
    """Hours with days and quieter weekends."""
    hour = np.arange(24 * 7 * weeks)
    day = 40 * np.sin(2 * np.pi * hour / 24) * (1 - weekend * (hour // 24 % 7 >= 5))
    return 100 + day + np.random.default_rng(seed).normal(0, noise, len(hour))


def plain(seed: int, count: int = 1680) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, count)


def judged(values: Floats, step: int = HOUR, **how: object) -> Judged:
    return detect(clock(len(values), step), values, **how)  # type: ignore[arg-type]


def found(values: Floats, start: int, within: int, **how: object) -> list[int]:
    alerts = np.flatnonzero(judged(values, **how).anomaly)
    return [int(at) for at in alerts if start <= at < start + within]


def spike(values: Floats) -> None:
    values[AT] *= 2.5


def zero_hour(values: Floats) -> None:
    values[AT] = 0


def shift(values: Floats) -> None:
    values[AT:] += 25


def dip(values: Floats) -> None:
    values[AT:] -= 25


def flat(values: Floats) -> None:
    values[AT : AT + 20] = values[AT]


def upside_down(values: Floats) -> None:
    values[AT : AT + 24] = values[AT + 12 : AT + 36].copy()


def erratic(values: Floats) -> None:
    values[AT : AT + 48] += np.random.default_rng(0).normal(0, 25, 48)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("plant", "within"),
    [(spike, 1), (zero_hour, 1), (shift, 24), (dip, 24), (flat, 20), (upside_down, 24), (erratic, 48)],
)
def test_what_is_planted_in_hours_of_ten_weeks_is_found_in_time(
    plant: Callable[[Floats], None], within: int, seed: int
) -> None:
    values = weekly(seed)
    plant(values)
    assert found(values, AT, within)


@pytest.mark.parametrize(("step", "season"), [(60, 1440), (300, 288), (86400, 7)])
def test_any_step_from_a_minute_to_a_day_finds_spike_and_shift(step: int, season: int) -> None:
    count = {60: 1440 * 4, 300: 288 * 12, 86400: 400}[step]
    rng = np.random.default_rng(5)
    values = 50 + 20 * np.sin(2 * np.pi * np.arange(count) / season) + rng.normal(0, 3, count)
    at = int(count * 0.8)
    high, moved = values.copy(), values.copy()
    high[at] += 60
    moved[at:] += 40
    assert found(high, at, 1, step=step)
    assert found(moved, at, 5, step=step)


@pytest.mark.parametrize(("make", "most"), [(weekly, 6), (plain, 28)], ids=["weekly", "noise"])
def test_series_without_anomalies_are_quiet(make: Callable[[int], Floats], most: int) -> None:
    alerts = [int(judged(make(seed)).anomaly.sum()) for seed in range(20)]
    assert sum(alerts) <= most, alerts  # of 28,560 points
    assert max(alerts) <= 3, alerts


def test_an_anomaly_that_goes_on_is_told_once() -> None:
    values = weekly(0)
    values[AT : AT + 30] += 150
    assert len(found(values, AT, 60)) == 1


CASES: dict[str, tuple[Floats, int, int]] = {}


def case(name: str, values: Floats, plant: Callable[[Floats], None], within: int, start: int = 1300) -> None:
    plant(values)
    CASES[name] = (values, start, within)


def _by_night(values: Floats) -> None:
    values[1314] = 135  # the height of noon at six in the evening


def _same(values: Floats) -> None:
    values[1300:1320] = values[1300]


def _calm(values: Floats) -> None:
    values[1300:1400] *= 0.02


case("hour", weekly(1, weekend=0), _by_night, 1, start=1314)
case("still", plain(1), _same, 20)
case("calm", plain(3), _calm, 100)


@pytest.mark.parametrize("stream", sorted(CASES))
def test_each_stream_finds_what_no_other_does(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values, start, within = CASES[stream]
    alerts = found(values, start, within)
    assert alerts
    assert judged(values).reason[alerts[0]] == stream
    whole = SeriesDetector._sum

    def without(self: SeriesDetector, rare: dict[str, float]) -> tuple[float, str]:
        return whole(self, {name: decades for name, decades in rare.items() if name != stream})

    monkeypatch.setattr(SeriesDetector, "_sum", without)
    assert not found(values, start, within)


def _rare(values: Floats) -> list[dict[str, float]]:
    told: list[dict[str, float]] = []
    detector = SeriesDetector(learning=0)
    whole = detector._sum
    detector._sum = lambda rare: (told.append(rare), whole(rare))[1]  # type: ignore[method-assign, func-returns-value]
    for at, value in zip(clock(len(values)).tolist(), values.tolist(), strict=True):
        detector.update(at, value)
    return told


@pytest.mark.parametrize(
    ("stream", "plant", "within"),
    [
        ("hour", spike, 1),
        ("novelty", spike, 1),
        ("season's level", shift, 24),
        ("level", shift, 48),
        ("shift", shift, 48),
        ("unrest", erratic, 48),
        ("restless", erratic, 48),
        ("still", flat, 20),
    ],
)
def test_each_stream_speaks_of_its_own_kind_and_not_before(
    stream: str, plant: Callable[[Floats], None], within: int
) -> None:
    values = weekly(2)
    plant(values)
    rare = _rare(values)
    assert max(one.get(stream, 0.0) for one in rare[AT : AT + within]) > 2.5
    assert np.median([one.get(stream, 0.0) for one in rare[200:AT]]) < 0.6


def test_a_restart_in_the_middle_changes_nothing_for_any_detector() -> None:
    values = weekly(3)
    shift(values)
    for name in DETECTORS.names():
        kind = DETECTORS.get(name)
        whole = kind(learning=200)
        expected = [whole.update(at, value) for at, value in zip(clock(1680).tolist(), values.tolist(), strict=True)]
        heard = [at for at, one in enumerate(expected) if one.score > 0 and not one.anomaly]
        for cut in (0, 1, 150, 1255, *(at + 1 for at in heard[:6])):  # also amid evidence that fades
            first = kind(learning=200)
            for at, value in zip(clock(1680).tolist()[:cut], values.tolist()[:cut], strict=True):
                first.update(at, value)
            state = json.loads(json.dumps(first.to_dict()))
            second = kind.from_dict(state)
            assert second.to_dict() == first.to_dict() == state
            rest = zip(clock(1680).tolist()[cut:], values.tolist()[cut:], strict=True)
            assert [second.update(at, value) for at, value in rest] == expected[cut:], (name, cut)


def test_a_state_does_not_change_with_the_detector_it_came_from() -> None:
    detector = SeriesDetector(learning=10)
    for at, value in zip(clock(300).tolist(), plain(0, 300).tolist(), strict=True):
        detector.update(at, value)
    state = detector.to_dict()
    before = json.dumps(state)
    again = SeriesDetector.from_dict(state)
    for one in (detector, again):
        one.update(MONDAY + 400 * HOUR, 50.0)
    assert json.dumps(state) == before


def test_a_state_of_another_version_is_refused_with_what_to_do() -> None:
    with pytest.raises(Invalid, match="learns the series anew"):
        SeriesDetector.from_dict({"version": 0})


def test_the_state_stays_small_however_long_the_series() -> None:
    detector = SeriesDetector(learning=100)
    rng = np.random.default_rng(0)
    sizes = []
    for at in range(40_000):
        detector.update(MONDAY + at * 300, float(rng.lognormal(0, 2)))
        if at in (20_000, 39_999):
            sizes.append(len(json.dumps(detector.to_dict())))
    assert max(sizes) < 40_000
    assert sizes[1] < 1.1 * sizes[0]


def test_unknown_values_are_skipped_and_change_nothing() -> None:
    values = weekly(4)
    spike(values)
    known = judged(values, learn=200)
    gaps = np.insert(values, [300, 301, AT], np.nan)
    times = np.insert(clock(1680), [300, 301, AT], clock(1680)[[300, 301, AT]])
    told = detect(times, gaps, learn=200)
    unknown = np.isnan(gaps)
    assert not told.score[unknown].any()
    assert not told.anomaly[unknown].any()
    assert np.array_equal(told.score[~unknown], known.score)
    assert np.isnan(told.expected_low[unknown]).all()


def test_hours_that_are_missing_altogether_are_no_anomaly() -> None:
    values, times = weekly(6), clock(1680)
    kept = np.ones(1680, dtype=bool)
    kept[AT : AT + 7] = False
    told = detect(times[kept], values[kept])
    assert not told.anomaly[AT - 24 : AT + 48].any()


@pytest.mark.parametrize("value", [0.0, 0.1, -5.0, 1e12])
def test_a_constant_is_quiet_until_it_changes(value: float) -> None:
    values = np.full(600, value)
    assert not judged(values).anomaly.any()
    values[400] = value + max(abs(value), 1.0)
    assert found(values, 400, 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_points_are_judged_without_alarm(count: int) -> None:
    for name in DETECTORS.names():
        told = judged(np.array([5.0, 1e9, -3.0])[:count], method=name)
        assert len(told.score) == len(told.reason) == count
        assert not told.anomaly.any()


def test_a_series_upside_down_is_judged_alike() -> None:
    values = weekly(7)
    spike(values)
    shift(values)
    assert np.allclose(judged(values).score, judged(-values).score)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6, 1e15])
def test_the_unit_does_not_matter(scale: float) -> None:
    values = weekly(8)
    spike(values)
    assert np.array_equal(judged(values).anomaly, judged(values * scale).anomaly)


def test_huge_values_are_judged_and_what_no_series_has_is_refused() -> None:
    values = weekly(9)
    values[AT] = 1e90
    assert found(values, AT, 1)
    told = judged(values)
    assert np.isfinite(told.score).all()
    for wrong in (math.inf, -math.inf, 1e200):
        with pytest.raises(Invalid, match="NaN"):
            SeriesDetector(learning=5).update(MONDAY, wrong)


def test_a_point_is_judged_by_the_points_before_it_alone() -> None:
    values = weekly(10)
    later = values.copy()
    later[901:] = 1e6
    assert np.array_equal(judged(values, learn=100).score[:901], judged(later, learn=100).score[:901])


def test_the_expected_range_holds_what_it_says() -> None:
    values = weekly(11, weeks=20)
    told = judged(values)
    late = slice(24 * 7 * 6, None)
    inside = (values >= told.expected_low) & (values <= told.expected_high)
    assert inside[late].mean() == pytest.approx(0.99, abs=0.01)
    width = (told.expected_high - told.expected_low)[late]
    assert np.median(width) < 6 * 6.0 * 1.6  # knows the season: six of the noise's deviations, and some
    values[-1] += 100
    last = judged(values)
    assert last.anomaly[-1]
    assert values[-1] > last.expected_high[-1]


def test_a_moment_is_a_time_with_or_without_zone_or_seconds() -> None:
    zone = timezone(timedelta(hours=5))
    moment = datetime(2024, 3, 1, 12, tzinfo=UTC)
    for same in (moment, moment.replace(tzinfo=None), moment.astimezone(zone), moment.timestamp()):
        one, other = SeriesDetector(learning=0), SeriesDetector(learning=0)
        one.update(same, 3.0)
        other.update(int(moment.timestamp()), 3.0)
        assert one.to_dict() == other.to_dict()
    stamps = clock(200).astype("datetime64[s]").astype("datetime64[us]")
    assert np.array_equal(detect(stamps, plain(0, 200)).score, detect(clock(200), plain(0, 200)).score)


def test_names_of_detectors_and_what_they_compare() -> None:
    assert DETECTORS.names() == ["mad", "series", "zscore"]
    with pytest.raises(NotFound):
        DETECTORS.get("sybil")
    values = plain(0)
    values[1300] = 12
    for name in ("mad", "zscore"):
        told = judged(values, method=name)
        assert told.score[1300] == pytest.approx(12, rel=0.15)
        assert told.reason[1300] == "deviation"
    giants = plain(0)
    giants[1200:1300:10] = 1e6
    giants[1300] = 12
    assert not judged(giants, method="zscore").anomaly[1300]
    assert judged(giants, method="mad").anomaly[1300]


def test_times_and_values_that_do_not_match_are_refused() -> None:
    with pytest.raises(Invalid, match="3 times and 2 values"):
        detect([0, 1, 2], [1.0, 2.0])


def test_learning_covers_a_day_and_a_share_and_no_more_than_it_must() -> None:
    assert learning(10_000, 300) == 750
    assert learning(2_000, HOUR) == 300
    assert learning(10_000, 60) == 1440
    assert learning(60, 86400) == 24
    assert learning(0, 0.0) == 24


def test_reasons_are_streams_and_scores_reach_the_threshold() -> None:
    values = weekly(12)
    shift(values)
    told = judged(values)
    streams = {name for kind in KINDS.values() for name in kind}
    assert told.anomaly.any()
    assert np.array_equal(told.anomaly, told.score >= THRESHOLD)
    assert {told.reason[at] for at in np.flatnonzero(told.anomaly)} <= streams


def test_rarity_is_the_share_of_sizes_as_large() -> None:
    tail = Tail()
    for size in np.random.default_rng(0).exponential(1, 20_000).tolist():
        tail.add(size)
    assert tail.surprise(math.log(1000), tail.n) == pytest.approx(3, abs=0.25)
    assert tail.surprise(4 * tail.largest, tail.n) == pytest.approx(math.log10(2 * tail.n) + 2, abs=0.1)
    for size in range(1 << 15):
        tail.add(float(size))
    assert tail.n < 1 << 15


def test_sides_tell_up_from_down() -> None:
    sides = Sides()
    for size in np.random.default_rng(0).exponential(1, 5000).tolist():
        sides.judge(size)
        sides.judge(-0.01 * size)
    assert sides.judge(-1.0) > 3
    assert sides.judge(math.log(50)) == pytest.approx(math.log10(50), abs=0.15)  # as far out on either side
    assert sides.judge(1.0) < 1


def test_nothing_is_called_before_all_is_learnt() -> None:
    values = plain(0, 400)
    for at in (298, 299, 300, 301):
        loud = values.copy()
        loud[at] = 50
        assert bool(found(loud, at, 1, learn=300)) is (at >= 300)


def test_the_slots_of_a_moment_are_hour_weekend_and_weekday() -> None:
    assert Seasons.slots(MONDAY) == (0, 0, 0, 0)
    assert Seasons.slots(MONDAY + 4 * 86400 + 23 * HOUR) == (0, 23, 23, 23 + 4 * 24)
    assert Seasons.slots(MONDAY + 5 * 86400 + HOUR + 59) == (0, 1, 25, 1 + 5 * 24)
    assert Seasons.slots(MONDAY + 6 * 86400) == (0, 0, 24, 6 * 24)


def test_standing_still_is_rare_where_values_seldom_repeat() -> None:
    restless, sticky = Level(), Level()
    for at in range(1000):
        restless.learn(float(at))
        sticky.learn(float(at // 2))
    for level in (restless, sticky):
        last = level.last
        assert level.standing(last + 1) == 0
        level.learn(7.5)
        assert level.standing(7.5) == 0  # the first time is taken as given
        level.learn(7.5)
        level.learn(7.5)
        assert level.run == 2
    assert restless.standing(7.5) > 4.5
    assert 0.4 < sticky.standing(7.5) < 0.7


def test_the_profile_that_misses_least_is_believed() -> None:
    for values, hour in ((weekly(0, noise=1.0), 130), (weekly(0, noise=1.0, weekend=0.0), 130)):
        seasons = Seasons()
        for at, value in zip(clock(len(values)).tolist(), values.tolist(), strict=True):
            slots = seasons.slots(at)
            seasons.learn(slots, value, seasons.expect(slots))
        told = seasons.expect(seasons.slots(MONDAY + 24 * 7 * 10 * HOUR + 4 * HOUR))
        assert told is not None
        assert told.hour.value == pytest.approx(100 + 40 * math.sin(2 * math.pi / 6), abs=3), hour
        assert told.hour.spread < 3


def test_the_sample_spans_the_whole_past() -> None:
    sample = Sample()
    for value in range(10_000):
        sample.learn(float(value))
    assert 128 <= len(sample.kept) <= 256
    assert sample.kept[0] == 0
    assert max(np.diff(sample.kept)) == min(np.diff(sample.kept))
    assert sample.distance(5000.0) == pytest.approx(1.2 * 64, rel=0.3)


def test_a_point_takes_well_under_a_millisecond() -> None:
    detector = SeriesDetector(learning=100)
    values = weekly(0).tolist()
    began = time.process_time()
    for at, value in zip(clock(1680).tolist(), values, strict=True):
        detector.update(at, value)
    assert (time.process_time() - began) / 1680 < 5e-4


def test_the_benchmarks_rule_rewards_early_finds_and_charges_false_alerts() -> None:
    file = nab.File("one", clock(1000), np.zeros(1000), [(400, 499)])
    marks = nab.points(file)

    def scored(*alerts: int) -> float:
        scores = np.zeros(1000)
        scores[list(alerts)] = 1.0
        return nab.at_threshold([(marks, scores)], 0.5)["standard"]

    assert scored() == pytest.approx(0)
    assert scored(400) == pytest.approx(100)
    assert 98 < scored(420) < 100
    assert 50 < scored(499) < 60
    assert scored(400, 450) == scored(400)
    assert scored(400, 900) == pytest.approx(100 - 5.5)
    assert scored(900) == pytest.approx(-5.5)
    assert scored(300) == pytest.approx(-5.5)
    assert -5.5 < scored(505) < 0
    assert scored(100) == pytest.approx(0)  # probation
