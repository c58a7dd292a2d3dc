"""The forecast of a series too short to test any on: its level, its last cycle, or others' week at its level."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ultimate_lib.analytics.intervals import Calibration
from ultimate_lib.analytics.members import pooled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_WIDEN = Calibration(1.4, 1.8, 0.0)


class Untested(NamedTuple):
    """A forecast that no backtest stands behind; arrays as in `forecast.Forecast`."""

    point: Floats
    lower: dict[float, Floats]
    upper: dict[float, Floats]
    paths: Floats
    method: str


def expected(
    series: Floats, horizon: int, season: int, levels: Sequence[float], *, shape: Floats | None, count: int
) -> Untested:
    """Forecast with the spread that the values themselves have had.

    `shape` is others' week, as `pooled.forecasts` takes it. Paths err half together and half apart: how far steps do
    is not known yet.
    """
    method, point, usual = _expected(series, horizon, season, shape)
    few = np.sqrt((len(series) + 1) / (len(series) - 1))  # the level was learnt from the very values, and errs too
    rest = few * (series - usual)
    lower, upper = {}, {}
    for one in levels:
        low, high = np.abs(np.quantile(rest, [0.5 - one / 2, 0.5 + one / 2])) * _WIDEN.widening(one)
        lower[one], upper[one] = point - low, point + high
    dice = np.random.default_rng(0)
    alike, apart = dice.choice(rest, (count, 1)), dice.choice(rest, (count, horizon))
    return Untested(point, lower, upper, point + (alike + apart) * np.sqrt(0.5) * _WIDEN.far, method)


def _expected(series: Floats, horizon: int, season: int, shape: Floats | None) -> tuple[str, Floats, Floats]:
    """Return the method's name, what it says is to come, and what was to be expected of the past."""
    length = len(series)
    if shape is not None and np.resize(shape, length).sum() > 0:
        here, ahead = np.resize(shape, length), shape[(length + np.arange(horizon)) % len(shape)]
        level = series.sum() / here.sum()
        if length < season:
            return "others' week at the level so far", level * ahead, level * here
        name, made = list(pooled.forecasts(series, [length], horizon, shape, season))[-1]
        return name, made[0], level * here
    heed = 0.5 ** (np.arange(length)[::-1] / max(length / 2, 1))
    level = float(heed @ series / heed.sum())
    if length < season:
        return "level of the last values", np.full(horizon, level), np.full(length, level)
    return "last cycle again", np.resize(series[-season:], horizon), np.full(length, level)
