"""Where a series is going, beside its days, its weeks and its changes of level; and whether that can be told at all.

The slope is Theil and Sen's: the median slope of all pairs of steps, so that single giants do not turn it. Its
p-value is Mann and Kendall's and its interval Sen's, both with the variance that neighbours which resemble each other
make: the larger of Hamed and Rao's correction (J. Hydrology 204, 1998) and the same sum over the autocorrelation of
an AR(1), its coefficient corrected for the bias of short series. The former alone calls a trend in 10 to 40 % of
trendless series at p = 0.05, both together in 4 to 13 % (AR(1) from 0 to 0.8, 20 to 300 steps).

Hours of less than three weeks do not show the week's shape, and a weekend at one end looks like a trend: they are
judged by the means of days, each beside the same weekday alone (seasonal Kendall: Hirsch and Slack, 1984).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from ultimate_lib.analytics import changes
from ultimate_lib.errors import NotEnoughData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

SURE = 0.05
FEWEST = 10
FEWEST_DAYS = 10
"""Of hours: from then on some weekdays came twice."""
_CONFIDENCE = 0.95
_FEWEST_CYCLES = 3
_MOST_CHANGES = 5
_LEAST = 0.2  # of the logarithm
_BESIDE = 7  # days on either side of a change, whose middles are its size
_CLOSEST = 0.98  # an AR(1) that is closer to a random walk has no trend to be told
_STILL = 1e-12
_OF_A_CUT = 3  # parameters: where, how much, and that it was looked for


class Change(NamedTuple):
    """A level that changed for good: at which step, and a usual step before and after."""

    step: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Trend:
    """The slope of a step, with 95 % between `lower` and `upper`; `p` is how likely as much is without a trend."""

    slope: float
    lower: float
    upper: float
    p: float
    correlation: float  # of neighbouring steps, beside trend, cycle and changes
    cycle: int  # steps of the cycle that was taken out; 0: none was
    changes: tuple[Change, ...]
    deseasonalised: Floats
    fitted: Floats
    by_days: bool = False  # hours that were judged by the means of their days

    @property
    def there(self) -> bool:
        """Whether a trend can be told."""
        return self.p <= SURE and self.slope != 0


class _Slope(NamedTuple):
    value: float
    lower: float
    upper: float
    p: float
    correlation: float


def trend(values: Floats, *, per_day: int, place: int = 0) -> Trend:
    """Return the trend of steps, oldest first; NaN is unknown.

    `per_day` is 1 or 24; `place` is the first step's in the week: weekday (Monday is 0) x `per_day` + hour. Raises
    `NotEnoughData` below ten known steps, of hours below ten days.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < FEWEST:
        raise NotEnoughData(
            f"{len(known)} known steps are too few for a trend.",
            hint=f"{FEWEST} are needed, and 21 days for a week's.",
        )
    if per_day > 1 and len(known) < _FEWEST_CYCLES * 7 * per_day:
        return _by_days(values, per_day, place)
    ratios = bool(values[known].min() > 0)
    plain, cycle = _deseasonalised(values, per_day, place, ratios=ratios)
    if np.ptp(plain[known]) <= _STILL * np.abs(plain[known]).max():
        level = np.full(len(values), float(np.median(plain[known])))
        return Trend(0.0, 0.0, 0.0, 1.0, 0.0, cycle, (), plain, level)
    cuts = _cuts(plain, per_day, place, ratios=ratios)
    found = _slope(plain, cuts)
    return Trend(
        slope=found.value,
        lower=found.lower,
        upper=found.upper,
        p=found.p,
        correlation=found.correlation,
        cycle=cycle,
        changes=tuple(_change(plain, cut, [0, *cuts, len(plain)], _BESIDE * per_day) for cut in cuts),
        deseasonalised=plain,
        fitted=_line(plain, cuts, found.value),
    )


def _by_days(values: Floats, per_day: int, place: int) -> Trend:
    """Return the trend of hours that are too few to know their week."""
    means = _means(values, per_day, place)
    count = int((~np.isnan(means)).sum())
    if count < FEWEST_DAYS:
        raise NotEnoughData(
            f"Hours of {count} whole days are too few for a trend: a week's shape looks like one.",
            hint=f"{FEWEST_DAYS} days are needed, and 21 for a trend of hours beside their week.",
        )
    plain, cycle = _deseasonalised(values, per_day, place, ratios=bool(np.nanmin(values) > 0))
    one, other = np.triu_indices(len(means), 1)
    alike = (other - one) % 7 == 0
    slopes = (means[other] - means[one])[alike] / (other - one)[alike]
    slopes = np.sort(slopes[~np.isnan(slopes)])
    counts = np.array([(~np.isnan(means[weekday::7])).sum() for weekday in range(7)])
    variance = float((counts * (counts - 1) * (2 * counts + 5)).sum()) / 18
    level = np.log(means) if np.nanmin(means) > 0 else means
    near = min(max(_neighbours(level[7:] - level[:-7]), 0.0), _CLOSEST)  # too few to tell the bias of it
    found = _tested(slopes, variance * (1 + near) / (1 - near), near)
    chance = found.p > SURE  # few pairs bound less than their extremes say: what may be chance may be nothing
    low, high = (min(found.lower, 0.0), max(found.upper, 0.0)) if chance else (found.lower, found.upper)
    slope, lower, upper = (one / per_day for one in (found.value, low, high))
    return Trend(slope, lower, upper, found.p, near, cycle, (), plain, _line(plain, (), slope), by_days=True)


def _means(values: Floats, per_day: int, place: int) -> Floats:
    """Return the means of whole days; NaN where more than half of one is not known."""
    first = -place % per_day
    days = values[first : first + (len(values) - first) // per_day * per_day].reshape(-1, per_day)
    known = ~np.isnan(days)
    sums, counts = np.where(known, days, 0.0).sum(axis=1), known.sum(axis=1)
    return np.where(2 * counts >= per_day, sums / np.maximum(counts, 1), np.nan)


def _deseasonalised(values: Floats, per_day: int, place: int, *, ratios: bool) -> tuple[Floats, int]:
    """Return the series without its cycle, as factors where all of it is positive, and the cycle's steps."""
    count = int((~np.isnan(values)).sum())
    cycle = next((one for one in (7 * per_day, per_day) if one > 1 and count >= _FEWEST_CYCLES * one), 0)
    if not cycle:
        return values.copy(), 0
    level = np.log(values) if ratios else values
    away = level - _running(level, cycle)
    at = (place + np.arange(len(values))) % cycle
    shape = np.array([_median(away[at == one]) for one in range(cycle)])
    if not ratios:
        return values - (shape - shape.mean())[at], cycle
    factor = np.exp(shape)
    return values / (factor / factor.mean())[at], cycle


def _running(level: Floats, cycle: int) -> Floats:
    """Return the median of the cycle around each step, of what is known there."""
    half = cycle // 2
    padded = np.pad(level, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    known = ~np.isnan(windows).all(axis=1)
    found = np.full(len(level), np.nan)
    found[known] = np.nanmedian(windows[known], axis=1)
    return found


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0


def _cuts(plain: Floats, per_day: int, place: int, *, ratios: bool) -> list[int]:
    """Return the steps at which the level changed for good: none where a line alone, or none, says as much."""
    first = -place % per_day
    days = plain[first : first + (len(plain) - first) // per_day * per_day].reshape(-1, per_day)
    some = ~np.isnan(days).all(axis=1)
    means = np.full(len(days), np.nan)
    means[some] = np.nanmean(days[some], axis=1)
    positive = np.flatnonzero(means > 0)
    found = changes.levels(np.log(means[positive]), 7, most=_MOST_CHANGES, least=_LEAST)
    cuts = sorted(int(positive[cut]) for cut in found)
    if not cuts:
        return []
    level = np.log(np.where(some, means, np.nan)) if ratios else means
    near = _memory(level - _line(level, cuts, _middle(level, cuts)))
    heed = (1 + near) / (1 - near)
    cost = {
        (one, steep): _cost(
            level - _line(level, told, _middle(level, told) if steep else 0.0),
            heed,
            1 + _OF_A_CUT * len(told) + steep,
        )
        for one, told in ((False, []), (True, cuts))
        for steep in (False, True)
    }
    straight = _line(means, [], _middle(means, []))
    if (
        ratios and (straight > 0).all()
    ):  # by the same amount each day: a bent line of logarithms, which steps would fit
        cost[False, True] = min(cost[False, True], _cost(level - np.log(straight), heed, 2))
    changed, _ = min(cost, key=lambda model: cost[model])
    return [first + cut * per_day for cut in cuts] if changed else []


def _cost(rest: Floats, heed: float, parameters: int) -> float:
    """Return what a model costs: how far the steps lie from it, and what each of its parameters is allowed for.

    Schwarz's criterion for Laplace's distribution; neighbours that resemble each other count as fewer steps.
    """
    rest = np.abs(rest)
    rest = rest[~np.isnan(rest)]
    return float(len(rest) / heed * np.log(rest.mean() + _STILL) + parameters / 2 * np.log(len(rest)))


def _parts(plain: Floats, cuts: Sequence[int]) -> list[tuple[Floats, Floats]]:
    """Return places and values of what is known, part by part between the cuts."""
    edges = [0, *cuts, len(plain)]
    found = []
    for begin, end in pairwise(edges):
        at = begin + np.flatnonzero(~np.isnan(plain[begin:end]))
        found.append((at.astype(float), plain[at]))
    return found


def _slopes(plain: Floats, cuts: Sequence[int]) -> Floats:
    """Return the slopes of all pairs of steps between which the level did not change."""
    found = []
    for at, value in _parts(plain, cuts):
        one, other = np.triu_indices(len(at), 1)
        found.append((value[other] - value[one]) / (at[other] - at[one]))
    return np.concatenate(found)


def _middle(plain: Floats, cuts: Sequence[int]) -> float:
    slopes = _slopes(plain, cuts)
    return float(np.median(slopes)) if len(slopes) else 0.0


def _line(plain: Floats, cuts: Sequence[int], slope: float) -> Floats:
    """Return lines of one slope through the parts; each part has a level of its own."""
    fitted = slope * np.arange(len(plain), dtype=float)
    edges = [0, *cuts, len(plain)]
    for begin, end in pairwise(edges):
        fitted[begin:end] += _median(plain[begin:end] - fitted[begin:end])
    return fitted


def _slope(plain: Floats, cuts: Sequence[int]) -> _Slope:
    slopes = np.sort(_slopes(plain, cuts))
    value = float(np.median(slopes))
    rest = plain - _line(plain, cuts, value)
    near, variance = _neighbours(rest), 0.0
    for at, values in _parts(plain, cuts):
        _, ties = np.unique(values, return_counts=True)
        count = len(at)
        alone = (count * (count - 1) * (2 * count + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
        variance += alone * _inflation(rest, count)
    return _tested(slopes, variance, near)


def _tested(slopes: Floats, variance: float, near: float) -> _Slope:
    """Return Kendall's p-value and Sen's interval of slopes in order, whose signs' sum has a variance."""
    score = float(np.sign(slopes).sum())
    deviation = float(np.sqrt(variance)) or 1.0
    p = float(2 * stats.norm.sf(max(abs(score) - 1, 0) / deviation))
    wide = float(stats.norm.isf((1 - _CONFIDENCE) / 2)) * deviation
    last = len(slopes) - 1
    low, high = (float(slopes[min(max(round((len(slopes) + side * wide) / 2), 0), last)]) for side in (-1, 1))
    return _Slope(float(np.median(slopes)), low, high, p, near)


def _neighbours(rest: Floats) -> float:
    """Return the correlation of the ranks of neighbouring steps."""
    ranks = _ranks(rest)
    whole = np.nansum(ranks**2) / max(int((~np.isnan(ranks)).sum()), 1)
    pairs = ranks[1:] * ranks[:-1]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean() / whole) if len(pairs) and whole > 0 else 0.0


def _memory(rest: Floats) -> float:
    """Return an AR(1)'s coefficient, less the bias that a short series gives it."""
    known = int((~np.isnan(rest)).sum())
    return min(max((known * _neighbours(rest) + 2) / max(known - 4, 1), 0.0), _CLOSEST)


def _inflation(rest: Floats, count: int) -> float:
    """Return how much wider Mann and Kendall's score spreads over `count` steps than if none resembled another."""
    if count < FEWEST:
        return 1.0
    lags = np.arange(1, count - 2)
    heed = (count - lags) * (count - lags - 1.0) * (count - lags - 2)
    known, first = int((~np.isnan(rest)).sum()), _memory(rest)
    ranks = np.nan_to_num(_ranks(rest))
    spectrum = np.fft.rfft(ranks, 2 * len(ranks))
    measured = np.fft.irfft(spectrum * spectrum.conj())[1 : count - 2]
    measured = measured / max(float(ranks @ ranks), _STILL)
    measured = np.where(np.abs(measured) > stats.norm.isf(0.025) / np.sqrt(known), measured, 0.0)
    sums = [float(heed @ told) for told in (measured, first**lags)]
    return max(1.0, *(1 + 2 / (count * (count - 1.0) * (count - 2)) * one for one in sums))


def _ranks(rest: Floats) -> Floats:
    """Return the ranks of what is known, less their mean."""
    found = np.full(len(rest), np.nan)
    known = ~np.isnan(rest)
    ranks = stats.rankdata(rest[known])
    found[known] = ranks - ranks.mean()
    return found


def _change(plain: Floats, cut: int, edges: Sequence[int], beside: int) -> Change:
    before = max(one for one in edges if one < cut)
    after = min(one for one in edges if one > cut)
    return Change(
        cut,
        _median(plain[max(before, cut - beside) : cut]),
        _median(plain[cut : min(after, cut + beside)]),
    )
