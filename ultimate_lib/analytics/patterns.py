"""The shape of days and weeks: whether there is one, how strong, when it is high and low, and when it changed.

Whether a cycle is there is told by a permutation test: each day (or week) is turned by a random number of steps,
which keeps all of the series but that its days have the same hours in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ultimate_lib.analytics import changes
from ultimate_lib.errors import NotEnoughData

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

TURNS = 999
SURE = 0.003
"""p-value up to which a cycle is said to be there."""
FEWEST_CYCLES = 3
_PEAK, _QUIET = 1.25, 0.5
_MOST_CHANGES = 5
_LEAST = 0.2  # of the logarithm: steady growth makes smaller steps


@dataclass(frozen=True, slots=True)
class Cycle:
    """One cycle: `means` by place, `strength` the share of variance it explains (0 to 1), `p` the test's value."""

    means: tuple[float, ...]
    strength: float
    p: float
    cycles: int

    @property
    def there(self) -> bool:
        """Whether the cycle is more than chance."""
        return self.p <= SURE


@dataclass(frozen=True, slots=True)
class Change:
    """A level that changed for good: at which day of the series, and new over old."""

    day: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Patterns:
    """Patterns of a series of hours; `weekly` is None with under three weeks, weekdays count from Monday, 0."""

    daily: Cycle
    weekly: Cycle | None
    peak_hours: tuple[int, ...]
    quiet_hours: tuple[int, ...]
    weekday_mean: float | None  # of a day
    weekend_mean: float | None
    changes: tuple[Change, ...]


def patterns(hourly: Floats, weekday: int) -> Patterns:
    """Return the patterns of whole days of hours, oldest first, from an hour 0 of `weekday` (Monday is 0) on.

    NaN hours are unknown. Raises `NotEnoughData` below three days.
    """
    count = len(hourly) // 24
    if count < FEWEST_CYCLES or not np.nansum(np.abs(hourly)) > 0:
        raise NotEnoughData(
            f"{count} days with calls are too few for a pattern.",
            hint=f"{FEWEST_CYCLES} days are needed, 21 for a week's.",
        )
    days = hourly[: count * 24].reshape(count, 24)
    daily = cycle(days)
    totals = np.where(np.isnan(days).all(axis=1), np.nan, np.nansum(days, axis=1))
    first = (7 - weekday) % 7  # the first Monday
    weeks = (count - first) // 7
    weekly = cycle(totals[first : first + 7 * weeks].reshape(weeks, 7)) if weeks >= FEWEST_CYCLES else None
    place = (weekday + np.arange(count)) % 7
    level = float(np.mean(daily.means))
    peaks = tuple(hour for hour, mean in enumerate(daily.means) if daily.there and mean > _PEAK * level)
    quiet = tuple(hour for hour, mean in enumerate(daily.means) if daily.there and mean < _QUIET * level)
    return Patterns(
        daily=daily,
        weekly=weekly,
        peak_hours=peaks,
        quiet_hours=quiet,
        weekday_mean=_mean(totals[place < 5]),  # noqa: PLR2004 - Saturday
        weekend_mean=_mean(totals[place >= 5]),  # noqa: PLR2004 - Saturday
        changes=_changes(totals, place, weekly),
    )


def cycle(turns: Floats) -> Cycle:
    """Return a cycle from (cycles, places), each turn less its own mean.

    The statistic is the variance of the means by place, over that of all; p counts the turned copies that reach it.
    """
    centred = np.nan_to_num(turns - _means(turns, 1)[:, None])
    whole = float(np.var(centred))
    means = np.nan_to_num(_means(turns, 0))
    if whole <= 0:
        return Cycle(tuple(means.tolist()), 0.0, 1.0, len(turns))
    held = float(np.var(centred.mean(axis=0)))
    count, places = centred.shape
    dice = np.random.default_rng(0)
    shifts = dice.integers(0, places, (TURNS, count))
    at = (np.arange(places) + shifts[..., None]) % places  # (turns, cycles, places)
    copies = centred[np.arange(count)[:, None], at].mean(axis=1).var(axis=1)
    p = (1 + int((copies >= held * (1 - 1e-12)).sum())) / (1 + TURNS)
    strength = max(0.0, (held / whole - 1 / count) / (1 - 1 / count))  # chance alone explains 1 of `count`
    return Cycle(tuple(means.tolist()), min(strength, 1.0), p, count)


def _changes(totals: Floats, place: Ints, weekly: Cycle | None) -> tuple[Change, ...]:
    """Return when the days' level changed, the week's shape taken out."""
    usual = totals
    if weekly is not None and weekly.there:
        shape = np.maximum(np.array(weekly.means), 1e-12)
        usual = totals / (shape / shape.mean())[place]
    known = np.flatnonzero(usual > 0)
    level = np.log(usual[known])
    cuts = sorted(changes.levels(level, 7, most=_MOST_CHANGES, least=_LEAST))
    middles = [float(np.median(part)) for part in np.split(level, cuts)]
    return tuple(
        Change(int(known[cut]), float(np.exp(after - before)))
        for cut, before, after in zip(cuts, middles, middles[1:], strict=False)
    )


def _means(values: Floats, axis: int) -> Floats:
    """Return means over an axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    sums = np.where(known, values, 0.0).sum(axis=axis)
    found: Floats = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
    return found


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
