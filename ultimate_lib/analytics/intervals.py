"""Split-conformal prediction intervals from the residuals of a backtest, and whole paths with the same spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_OLDEST = 0.2  # how much the oldest origin's residuals count beside the newest's
_LEVELLED = 0.1  # share of the scale that is the same at every step
_NEAR, _FAR = 0.8, 0.95
_USUAL = 0.97
_CYCLES = 4  # that are repeated where one is not enough
_ROOM = 2.5  # times the cycles that are repeated must have been
_FEWEST_TOTALS = 2
_PRIOR_TOTALS = 6.0  # as many as a backtest has: both count the same
_MOST_FACTOR = 3.0
_FEWEST_ADAPTED = 2  # origins that give an interval for the next


class Calibration(NamedTuple):
    """What a family's intervals need beyond their backtest, measured on public series (`tests/bench/forecast.py`).

    `near` and `far` widen the 80 % and the 95 % interval: few, overlapping origins tell too little of the future.
    `whole` widens totals, whose errors `of_totals` tells from the whole history where there is one.
    `later` is how errors grow with the steps beyond what the backtest shows, whose origins overlap: each saw part of
    what the one before had to forecast. `adapts` is how much a width moves with the share of values that it missed.
    `robust` is how far a quantile leans on the median residual, as a normal's would: single odd days then widen less.
    """

    near: float
    far: float
    robust: float
    whole: float = 1.0
    later: float = 0.0
    adapts: float = 0.0

    def widening(self, level: float) -> float:
        """Return the factor for a level: on a line through both, by the normal quantile."""
        near, far, at = (float(ndtri(0.5 + one / 2)) for one in (_NEAR, _FAR, level))
        return float(np.clip(self.near + (self.far - self.near) * (at - near) / (far - near), 0.5 * self.near, None))


class Missed(NamedTuple):
    """What a backtest said and what came, each (origins, steps), oldest origin first."""

    held_out: Floats
    actual: Floats
    season: int
    calibration: Calibration

    def but(self, origin: int) -> Missed:
        """Return the same without one origin."""
        return self._replace(
            held_out=np.delete(self.held_out, origin, axis=0), actual=np.delete(self.actual, origin, axis=0)
        )


class Spread(NamedTuple):
    """How wide to be: a scale by step, and residuals in units of it."""

    scale: Floats  # (horizon)
    standard: Floats  # (origins, backtest's steps)


def measured(residuals: Floats, season: int, horizon: int, *, later: float = 0.0) -> Spread:
    """Return the spread of residuals (origins, steps), oldest origin first, drawn on to `horizon` steps.

    The scale is smoothed over neighbouring steps and the same step of other seasons; `later` as in `Calibration`.
    """
    heed = _heed(len(residuals))
    size = heed @ np.abs(residuals)
    scale = _smooth(size, season)
    scale = (1 - _LEVELLED) * scale + _LEVELLED * scale.mean()
    scale = np.maximum(scale, 1e-9 * (np.abs(residuals).max() or 1.0) + 1e-300)
    growth = (np.arange(len(scale)) + season / 2) ** later
    return Spread(_drawn_on(scale * growth / growth.mean(), season, horizon), residuals / scale)


def half_width(spread: Spread, level: float, calibration: Calibration) -> Floats:
    """Return half the width of the interval that holds `level` of the values, by step."""
    away = np.abs(spread.standard)
    order = np.argsort(away, axis=None)
    heed = np.repeat(_heed(len(away)), away.shape[1])[order].cumsum()
    quantile = float(np.interp(level, heed / heed[-1], away.ravel()[order]))
    if calibration.robust:
        normal = float(np.median(away)) * float(ndtri(0.5 + level / 2) / ndtri(0.75))
        quantile = (1 - calibration.robust) * quantile + calibration.robust * normal
    wide: Floats = quantile * calibration.widening(level) * spread.scale
    return wide


def bounds(ahead: Floats, missed: Missed, levels: Sequence[float]) -> dict[float, tuple[Floats, Floats]]:
    """Return lower and upper bounds by level around `ahead`.

    Where all values are positive the bounds are the mean of those by differences and those by ratios.
    """
    moved = _adapted(missed, levels)
    return {
        level: (ahead - moved[level] * (ahead - low), ahead + moved[level] * (high - ahead))
        for level, (low, high) in _conformal(ahead, missed, levels).items()
    }


def _adapted(missed: Missed, levels: Sequence[float]) -> dict[float, float]:
    """Return a factor by level: how each origin's values fell into the interval that those before it gave.

    This is adaptive conformal inference (Gibbs and Candes, 2021) on the logarithm of the width, replayed from the
    history: more missed than meant widens, fewer narrow.
    """
    moved = dict.fromkeys(levels, 0.0)
    if not missed.calibration.adapts:
        return dict.fromkeys(levels, 1.0)
    for at in range(_FEWEST_ADAPTED, len(missed.actual)):
        before = missed._replace(held_out=missed.held_out[:at], actual=missed.actual[:at])
        said, came = missed.held_out[at], missed.actual[at]
        for level, (low, high) in _conformal(said, before, levels).items():
            wide = np.exp(moved[level])
            outside = np.mean((came < said - wide * (said - low)) | (came > said + wide * (high - said)))
            step = missed.calibration.adapts * (float(outside) / (1 - level) - 1) * min(1.0, 5 * (1 - level))
            moved[level] = float(np.clip(moved[level] + step, -1, 1))
    return {level: float(np.exp(by)) for level, by in moved.items()}


def _conformal(ahead: Floats, missed: Missed, levels: Sequence[float]) -> dict[float, tuple[Floats, Floats]]:
    held_out, actual, season, calibration = missed
    plain = measured(actual - held_out, season, len(ahead), later=calibration.later)
    positive = min(ahead.min(), held_out.min(), actual.min()) > 0
    ratios = measured(np.log(actual / held_out), season, len(ahead), later=calibration.later) if positive else None
    found = {}
    for level in levels:
        wide = half_width(plain, level, calibration)
        low, high = ahead - wide, ahead + wide
        if ratios is not None:
            factor = np.exp(np.minimum(half_width(ratios, level, calibration), _MOST_FACTOR))
            low, high = (low + ahead / factor) / 2, (high + ahead * factor) / 2
        found[level] = (low, high)
    return found


def _heed(count: int) -> Floats:
    heed = np.linspace(_OLDEST, 1.0, count) if count > 1 else np.ones(1)
    share: Floats = heed / heed.sum()
    return share


def _smooth(size: Floats, season: int) -> Floats:
    steps = np.arange(len(size))
    apart = np.abs(steps[:, None] - steps)
    width = max(season / 8, 0.5)
    kernel = np.exp(-0.5 * (apart / width) ** 2)
    for turn in range(1, 1 + len(size) // season):
        kernel += 0.5 * np.exp(-0.5 * ((apart - turn * season) / width) ** 2)
    found: Floats = kernel @ size / kernel.sum(axis=1)
    return found


def _drawn_on(scale: Floats, season: int, horizon: int) -> Floats:
    """Return the scale for `horizon` steps: the last season again, wider with the root of time like a walk's."""
    if horizon <= len(scale):
        return np.asarray(scale[:horizon])
    tail = scale[-min(season, len(scale)) :]
    later = np.arange(len(scale), horizon)
    further = tail[(later - len(scale)) % len(tail)] * np.sqrt((later + 1) / len(scale))
    return np.concatenate([scale, further])


def of_totals(series: Floats, missed: Missed, steps: int) -> float:
    """Return the error to expect of a total over `steps` steps: the root of its mean square.

    A few origins tell what single steps miss, and hardly how far steps err together. That is also learnt from what a
    mere repetition of the last cycle, or of the last few, would have missed all along the history: its totals' errors
    over its steps', at the size of what the backtest missed in a step. Both count by how many totals they rest on.
    """
    residuals, calibration = (missed.actual - missed.held_out)[:, :steps], missed.calibration
    overlapping = max((steps + missed.season / 2) / (1.5 * missed.season), 1.0) ** calibration.later
    widen, heed = calibration.whole * overlapping, _heed(len(residuals))
    own, single = float(heed @ residuals.sum(axis=1) ** 2), steps * float(heed @ (residuals**2).mean(axis=1))
    plain, origins = _repeated(series, missed.season, steps)
    apart = steps * float((plain**2).mean()) if len(origins) else 0.0
    if not apart:
        return float(widen * np.sqrt(own))
    together = float((plain.sum(axis=1) ** 2).mean()) / apart
    latest = plain[origins >= len(series) - steps - len(residuals) * missed.season]
    lately = steps * float((latest**2).mean()) if len(latest) else 0.0
    usual = np.sqrt(apart / lately) if lately else 1.0  # how restless the history was beside the backtest's stretch
    counts = float(np.clip(len(origins) * missed.season / (2 * steps), 1, _PRIOR_TOTALS))
    pooled = (len(residuals) * own + counts * single * together * usual) / (len(residuals) + counts)
    return float(widen * np.sqrt(pooled))


def _repeated(series: Floats, season: int, steps: int) -> tuple[Floats, NDArray[np.intp]]:
    """Return what repeated cycles missed, (origins, steps), and the origins: of last one, or last few, the better."""
    length, ahead = len(series), np.arange(steps)
    depths = [depth for depth in (1, _CYCLES) if _ROOM * depth * season <= length]
    origins = np.arange(length - steps, max(depths, default=0) * season - 1, -max(season // 2, 1))
    if not depths or len(origins) < _FEWEST_TOTALS:
        return np.empty((0, steps)), np.empty(0, dtype=np.intp)
    back = origins[:, None] + ahead % season
    came, cycles = (
        series[origins[:, None] + ahead],
        (series[back - season * turn] for turn in range(1, depths[-1] + 1)),
    )
    sums = np.cumsum(np.array(list(cycles)), axis=0)
    missed = [came - sums[depth - 1] / depth for depth in depths]
    return min(missed, key=lambda one: float((one.sum(axis=1) ** 2).mean())), origins


def paths(ahead: Floats, missed: Missed, *, total: float, count: int, freedom: float) -> Floats:
    """Return (count, horizon) futures: whole stretches of residuals, so that neighbouring steps err together.

    Each takes one origin's residuals from a random season on, with either sign, and a part that is common to all
    steps, so large that totals over the backtest's steps err by `total`; at a size from Student's distribution with
    `freedom`, since origins are few. Where nothing is negative, half of each is a factor rather than a difference: a
    total twice as high is then as likely as one half as high. The same input gives the same paths.
    """
    dice = np.random.default_rng(0)
    horizon = len(ahead)
    spread = measured(missed.actual - missed.held_out, missed.season, horizon, later=missed.calibration.later)
    most = np.quantile(np.abs(spread.standard), _USUAL)  # one odd hour in the backtest is not to come in every path
    standard = np.clip(spread.standard, -most, most)
    standard -= standard.mean(axis=1, keepdims=True)
    steps = min(standard.shape[1], horizon)
    rest = float(_heed(len(standard)) @ (standard[:, :steps] @ spread.scale[:steps]) ** 2)
    if rest > total**2 > 0:
        standard *= total / np.sqrt(rest)
    common = np.sqrt(max(total**2 - rest, 0.0)) / spread.scale[:steps].sum()
    origin = dice.choice(len(standard), size=count, p=_heed(len(standard)))
    starts = dice.integers(0, max(standard.shape[1] // missed.season, 1), size=count) * missed.season
    taken = (starts[:, None] + np.arange(horizon)) % standard.shape[1]
    apart = standard[origin[:, None], taken] * dice.choice([-1.0, 1.0], count)[:, None]
    size = np.sqrt(freedom / dice.chisquare(freedom, count))
    away = (apart + common * dice.standard_normal(count)[:, None]) * size[:, None] * spread.scale
    if ahead.sum() > 0 and min(ahead.min(), missed.actual.min()) >= 0:
        share = np.clip(away.sum(axis=1) / ahead.sum(), -_MOST_FACTOR, _MOST_FACTOR)
        share[share == 0] = 1e-9
        away *= (1 + np.expm1(share) / share)[:, None] / 2
    made: Floats = ahead + away
    return made
