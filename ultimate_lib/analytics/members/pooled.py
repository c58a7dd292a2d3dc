"""What other traffic's week looks like, for series that have had no week or two of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_DAYS, _WEEKS = 7, 8
_WORTH = 2.0  # own cycles that others' shape counts for


def week_of(own: Floats, whole: Floats) -> Floats | None:
    """Return what the days of the week are like in the rest of `whole`, from the weekday of `own[0]` on.

    Both end on the same day. None when the rest has had less than two weeks, or is not known.
    """
    rest = whole.copy()
    rest[len(whole) - len(own) :] -= own
    rest = rest[-_WEEKS * _DAYS :]
    if len(rest) < 2 * _DAYS or np.isnan(rest).any() or rest.sum() <= 0:
        return None
    weekday = (np.arange(len(rest)) - (len(rest) - len(own))) % _DAYS
    return np.array([rest[weekday == day].mean() for day in range(_DAYS)])


def forecasts(
    values: Floats, origins: Sequence[int], horizon: int, shape: Floats, season: int
) -> Iterator[tuple[str, Floats]]:
    """Yield forecasts (origins, horizon) that take others' shape at the series' own level.

    `shape` is a cycle (mean 1) that begins where `values` do. One forecast is that shape; the other is moved from it
    to the series' own mean by place in the season, the more the more seasons there have been.
    """
    alone, leaning = [], []
    for origin in origins:
        here, ahead = np.resize(shape, origin), shape[(origin + np.arange(horizon)) % len(shape)]
        last = min(season, origin)
        level = values[origin - last : origin].sum() / (here[-last:].sum() or 1.0)
        alone.append(level * ahead)
        count = origin // season
        whole = values[origin - count * season : origin], here[origin - count * season :]
        own, other = (part.reshape(count, season).sum(axis=0) for part in whole)
        usual = own.sum() / (other.sum() or 1.0)
        part = (
            (own + _WORTH * usual * other / count) / ((1 + _WORTH / count) * usual * other + 1e-12) if usual else 0.0
        )
        leaning.append(level * ahead * np.resize(part, horizon))
    yield "others' week at the level of the last cycle", np.array(alone)
    yield "others' week and the own cycle", np.array(leaning)
