"""Exponential smoothing, seasonal profiles, and windows of the past that look like the present."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_BEST = 3  # settings of a grid whose forecasts are averaged


class Grid(NamedTuple):
    """Smoothing constants that are tried side by side; `trend` is a share of `level`."""

    level: tuple[float, ...]
    trend: tuple[float, ...]
    season: tuple[float, ...]
    damping: tuple[float, ...]


def holt_winters(
    stack: Floats, origins: Sequence[int], horizon: int, *, season: int, grid: Grid, cycles: int = 3
) -> Floats:
    """Forecast each row of `stack` (series, time) by additive Holt-Winters with damped trend.

    All settings run through the series once; at an origin the three with the least recent one-step error are
    averaged. Returns (series, origins, horizon).
    """
    level_rate, trend_share, season_rate, damping = (
        np.array(column) for column in zip(*itertools.product(*grid), strict=True)
    )
    trend_rate = level_rate * trend_share
    first = min(cycles, stack.shape[1] // season) * season
    start = stack[:, :first].reshape(len(stack), -1, season).mean(axis=1) - stack[:, :first].mean(axis=1)[:, None]
    seasonal = np.repeat(start[:, None], len(damping), axis=1)
    level = np.repeat(stack[:, :season].mean(axis=1)[:, None], len(damping), axis=1)
    trend, errors = np.zeros_like(level), np.zeros_like(level)
    ahead = np.arange(1, horizon + 1)
    reach = np.cumsum(damping[:, None] ** ahead, axis=1)
    wanted, made = set(origins), []
    for time in range(stack.shape[1] + 1):
        if time in wanted:
            best = np.argsort(errors, axis=1)[:, :_BEST]
            pick = np.arange(len(stack))[:, None], best
            paths = level[pick][..., None] + trend[pick][..., None] * reach[best]
            made.append((paths + seasonal[pick][..., (time + ahead - 1) % season]).mean(axis=1))
        if time == stack.shape[1]:
            break
        place = time % season
        damped = damping * trend
        error = stack[:, time, None] - (level + damped + seasonal[:, :, place])
        if time > 2 * season:
            errors = errors * 0.995 + error * error
        level = level + damped + level_rate * error
        trend = damped + trend_rate * error
        seasonal[:, :, place] += season_rate * error
    return np.stack(made, axis=1)


def profile(
    z: Floats,
    origins: Sequence[int],
    horizon: int,
    *,
    season: int,
    cycles: int,
    recent: int,
    median: bool = True,
    damping: float = 1.0,
) -> Floats:
    """Forecast the median or mean shape of the last cycles at the level of the last `recent` values.

    With `damping` below 1 the level returns to the last cycle's mean.
    """
    made = []
    for origin in origins:
        last = min(recent, origin)
        heed = 0.5 ** (np.arange(last)[::-1] / (recent / 3))
        count = min(cycles, origin // season)
        turns = z[origin - count * season : origin].reshape(count, season)
        turns = turns - turns.mean(axis=1, keepdims=True)
        shape = np.median(turns, axis=0) if median else turns.mean(axis=0)
        level = (
            heed @ (z[origin - last : origin] - np.resize(shape, -(-last // season) * season)[-last:]) / heed.sum()
        )
        if damping < 1:
            mean = z[origin - season : origin].mean()
            made.append(np.resize(shape, horizon) + mean + (level - mean) * damping ** np.arange(1, horizon + 1))
        else:
            made.append(np.resize(shape, horizon) + level)
    return np.array(made)


def yearly_profile(z: Floats, origins: Sequence[int], horizon: int, *, recent: int) -> Floats:
    """Forecast the weekly shape and level of days, moved by a share of what the year before did from this day on.

    The share is chosen on earlier stretches of the series, and is 0 where there is no year before.
    """
    shares = np.array([0.0, 0.25, 0.5, 0.75])
    made = []
    for origin in origins:
        base, moved = _year_parts(z, origin, horizon, recent)
        earlier = [at for at in range(origin - horizon, origin - horizon - 168, -21) if at - 367 - recent >= 0]
        errors = np.zeros(len(shares))
        for at in earlier:
            there, shift = _year_parts(z, at, horizon, recent)
            errors += [np.abs(z[at : at + horizon] - there - share * shift).mean() for share in shares]
        made.append(base + (0.8 * shares[np.argmin(errors)] if earlier else 0.0) * moved)
    return np.array(made)


def _year_parts(z: Floats, origin: int, horizon: int, recent: int) -> tuple[Floats, Floats]:
    base = profile(z, [origin], horizon, season=7, cycles=20, recent=recent)[0]
    begin = origin - 364 - recent - 3
    if begin < 0 or origin - 364 + horizon + 3 > origin:
        return base, np.zeros(horizon)
    weekly = np.convolve(z[begin : origin - 364 + horizon + 3], np.ones(7) / 7, "valid")
    heed = 0.5 ** (np.arange(recent)[::-1] / (recent / 3))
    return base, weekly[recent : recent + horizon] - (heed @ weekly[:recent]) / heed.sum()


def analog(
    z: Floats, origins: Sequence[int], horizon: int, *, window: int, count: int, step: int = 1, scaled: bool = False
) -> Floats:
    """Forecast what followed the `count` windows most like the last one, at its level (`scaled`: and its spread).

    Windows lie a multiple of `step` before the origin.
    """
    made = np.empty((len(origins), horizon))
    pieces = np.lib.stride_tricks.sliding_window_view(z, window)
    heed = np.linspace(0.5, 1.5, window)
    for row, origin in enumerate(origins):
        last = z[origin - window : origin]
        ends = np.arange(window, origin - horizon + 1)
        ends = ends[(origin - ends) % step == 0]
        if len(ends) < 2:  # noqa: PLR2004 - one is no choice
            made[row] = np.resize(last[-step:] if step > 1 else last[-1:], horizon)
            continue
        past = pieces[ends - window]
        means = past.mean(axis=1)
        stretch = (last.std() + 1e-9) / (past.std(axis=1) + 1e-9) if scaled else np.ones(len(ends))
        distance = ((((past - means[:, None]) * stretch[:, None] - (last - last.mean())) ** 2) * heed).sum(axis=1)
        near = np.argsort(distance, kind="stable")[:count]
        nearness = 1 / (np.sqrt(distance[near]) + 1e-9 + 1e-9 * np.sqrt(distance[near].mean()))
        after = np.array(
            [(z[end : end + horizon] - means[at]) * stretch[at] for at, end in zip(near, ends[near], strict=True)]
        )
        made[row] = last.mean() + nearness @ after / nearness.sum()
    return made


def last_cycle(z: Floats, origins: Sequence[int], horizon: int, *, season: int) -> Floats:
    """Forecast the last cycle again: the seasonal naive forecast."""
    return np.array([np.resize(z[origin - season : origin], horizon) for origin in origins])


def cycles_mean(z: Floats, origins: Sequence[int], horizon: int, *, season: int, cycles: int, decay: float) -> Floats:
    """Forecast the mean of the last cycles, each older one counting `decay` times the next."""
    made = []
    for origin in origins:
        count = min(cycles, origin // season)
        turns = z[origin - count * season : origin].reshape(count, season)
        heed = decay ** np.arange(count)[::-1]
        made.append(np.resize(heed @ turns / heed.sum(), horizon))
    return np.array(made)
