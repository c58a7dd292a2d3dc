"""Which methods are tried on which series: a frozen choice by the step of time and by how much there is to learn.

Chosen on public series (M4 Hourly, NN5, ServeGen; `tests/bench/forecast.py`), never by a series' name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from statsmodels.tsa.seasonal import STL

from ultimate_lib.analytics.intervals import Calibration
from ultimate_lib.analytics.members import linear, smoothing
from ultimate_lib.analytics.members.linear import Terms
from ultimate_lib.analytics.members.smoothing import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Method: TypeAlias = Callable[[Floats, Sequence[int], int], Floats]

Step = Literal["hour", "day"]
DAY, WEEK = 24, 168
YEAR_DAYS = 364
FEWEST_HOURS = 2 * WEEK + DAY
"""What weekly differences and the lags of a week need before an origin."""
FEWEST: dict[Step, tuple[int, ...]] = {"hour": (FEWEST_HOURS, 3 * DAY, DAY), "day": (YEAR_DAYS + 28, 63, 14, 7)}
"""What the families need before an origin, the richest first."""

_BEYOND = 10.0  # times the largest value: nothing that a member says lies there
_HOUR_GRID = Grid((0.05, 0.2, 0.5, 0.9), (0.0, 0.1), (0.05, 0.2, 0.5), (0.8, 0.98))
_DAY_GRID = Grid((0.02, 0.05, 0.1, 0.2, 0.4), (0.0, 0.05), (0.02, 0.1, 0.2), (0.9, 0.99))
_SHORT_GRID = Grid((0.05, 0.2, 0.5, 0.9), (0.0, 0.1), (0.05, 0.2, 0.4), (0.8, 0.98))
_WEEK_LAGS = (1, 2, 3, 24, 25, 26, 48, 72, 168, 169, 170)
_MANY_LAGS = (*range(1, 28), 47, 48, 49, 72, 96, 120, 144, 167, 168, 169, 192)
_STEP_LAGS = (1, 2, 3, 23, 24, 25, 47, 48, 49, 71, 72, 95, 96, 119, 120, 143, 144, 167, 168)
_WEEKLY_WAVE = ((7.0, 3),)


class Family(NamedTuple):
    """Methods for one kind of series: on each scale apart, on both at once, and on the plain values alone.

    `scales` names the second scale beside the plain one: log where values are relative, root where zeros occur.
    """

    name: str
    season: int
    power: float  # how much more the better members count
    mean: bool  # combined by the mean, or the median
    calibration: Calibration
    scale: Literal["log", "root"]
    each: dict[str, Method]
    both: dict[str, Method]  # takes (scales, time), returns (scales, origins, horizon)
    plain: dict[str, Method]


def of(step: Step, first: int) -> Family:
    """Return the family for a series whose first backtest origin is at `first`."""
    by_need = {"hour": (_HOURLY, _FEW_HOURS, _FIRST_HOURS), "day": (_DAILY_WITH_YEAR, _DAILY, _FEW_DAYS, _FIRST_DAYS)}
    return next(family for family, least in zip(by_need[step], FEWEST[step], strict=True) if first >= least)


def scaled(
    values: Floats, scale: Literal["plain", "log", "root"], known: int
) -> tuple[Floats, Callable[[Floats], Floats]]:
    """Return the series on a scale, standardised as its first `known` values are, and the way back."""
    if scale == "plain":
        shift, inner = 0.0, values
    elif scale == "log":
        least = values.min()
        shift = 0.0 if least > 0 else 1.0 - least
        inner = np.log(values + shift)
    else:
        shift, inner = 0.0, np.sqrt(np.maximum(values, 0))
    mean, spread = inner[:known].mean(), linear.spread_of(inner[:known])
    most = inner.max() + 2 * spread + 0.7

    def back(made: Floats) -> Floats:
        found: Floats = made * spread + mean
        if scale == "log":
            found = np.exp(np.clip(found, -50, most)) - shift
        elif scale == "root":
            found = np.maximum(found, 0) ** 2
        return found

    return (inner - mean) / spread, back


def forecasts(family: Family, values: Floats, origins: Sequence[int], horizon: int) -> Iterator[tuple[str, Floats]]:
    """Yield each member's name and forecasts (origins, horizon): of those that can say something of this series.

    A regression without a solution cannot, nor one that runs away to many times the largest value.
    """
    most = _BEYOND * float(np.abs(values).max())
    scales = [scaled(values, "plain", origins[0]), scaled(values, family.scale, origins[0])]
    for label, (z, back) in zip(("plain", family.scale), scales, strict=True):
        for name, method in family.each.items():
            yield from _within(f"{name} ({label})", _made(method, z, origins, horizon), back, most)
    stack = np.array([z for z, _ in scales])
    for name, method in family.both.items():
        made = _made(method, stack, origins, horizon)
        for at, (label, (_, back)) in enumerate(zip(("plain", family.scale), scales, strict=True)):
            yield from _within(f"{name} ({label})", None if made is None else made[at], back, most)
    z, back = scales[0]
    for name, method in family.plain.items():
        yield from _within(name, _made(method, z, origins, horizon), back, most)


def _made(method: Method, z: Floats, origins: Sequence[int], horizon: int) -> Floats | None:
    """Return what a method says, None where its equations have no solution."""
    try:
        return method(z, origins, horizon)
    except np.linalg.LinAlgError:
        return None


def _within(
    name: str, made: Floats | None, back: Callable[[Floats], Floats], most: float
) -> Iterator[tuple[str, Floats]]:
    if made is not None and (np.abs(found := back(made)) <= most).all():  # NaN is not
        yield name, found


def _ridge(terms: Terms, penalty: float, difference: int = 0) -> Method:
    return lambda z, origins, horizon: linear.ridge(
        z, origins, horizon, terms, penalty=penalty, difference=difference
    )


def _recent(terms: Terms, penalty: float, window: int) -> Method:
    return lambda z, origins, horizon: linear.recent(z, origins, horizon, terms, penalty=penalty, window=window)


def _absolute(terms: Terms, penalty: float) -> Method:
    return lambda z, origins, horizon: linear.least_absolute(z, origins, horizon, terms, penalty=penalty)


def _rest(lags: tuple[int, ...], season: int, cycles: int, penalty: float) -> Method:
    return lambda z, origins, horizon: linear.on_profile(
        z, origins, horizon, lags, season=season, cycles=cycles, penalty=penalty
    )


def _direct(window: int, penalty: float, centre: int = 0) -> Method:
    return _within_a_week(
        lambda z, origins, horizon: linear.direct(z, origins, horizon, window=window, penalty=penalty, centre=centre),
        WEEK,
    )


def _profile(season: int, cycles: int, recent: int, *, median: bool = True, damping: float = 1.0) -> Method:
    return lambda z, origins, horizon: smoothing.profile(
        z, origins, horizon, season=season, cycles=cycles, recent=recent, median=median, damping=damping
    )


def _analog(window: int, count: int, step: int, *, scaled: bool = False, week: int = WEEK) -> Method:
    return _within_a_week(
        lambda z, origins, horizon: smoothing.analog(
            z, origins, horizon, window=window, count=count, step=step, scaled=scaled
        ),
        week,
    )


def _within_a_week(method: Method, week: int) -> Method:
    """Forecast at most a week by a method that needs whole horizons to learn from; then that week again."""

    def limited(z: Floats, origins: Sequence[int], horizon: int) -> Floats:
        made = method(z, origins, min(horizon, week))
        return made if horizon <= week else np.array([np.resize(one, horizon) for one in made])

    return limited


def _naive(season: int) -> Method:
    return lambda z, origins, horizon: smoothing.last_cycle(z, origins, horizon, season=season)


def _mean(season: int, cycles: int, decay: float) -> Method:
    return lambda z, origins, horizon: smoothing.cycles_mean(
        z, origins, horizon, season=season, cycles=cycles, decay=decay
    )


def _winters(season: int, grid: Grid, cycles: int = 3) -> Method:
    return lambda stack, origins, horizon: smoothing.holt_winters(
        stack, origins, horizon, season=season, grid=grid, cycles=cycles
    )


def _year(recent: int) -> Method:
    return lambda z, origins, horizon: smoothing.yearly_profile(z, origins, horizon, recent=recent)


def _stl(season: int, cycles: int) -> Method:
    """Seasonal-trend decomposition by loess (statsmodels); its last cycle at a damped level of what it leaves."""

    def method(z: Floats, origins: Sequence[int], horizon: int) -> Floats:
        made = []
        jump = max(1, season // 2)
        for origin in origins:
            window = z[max(0, origin - cycles * season) : origin]
            found = STL(window, period=season, seasonal_jump=jump, trend_jump=jump, low_pass_jump=jump).fit()
            rest = found.resid[-season:].mean()
            made.append(np.resize(found.seasonal[-season:], horizon) + found.trend[-1] + 0.5 * rest)
        return np.array(made)

    return method


_HOURLY = Family(
    name="hours of weeks",
    season=DAY,
    power=3.0,
    mean=False,
    calibration=Calibration(1.13, 1.28, 0.0, whole=0.85, later=0.3),
    scale="log",
    each={
        "regression on lags and waves": _ridge(Terms(_WEEK_LAGS, ((24.0, 4), (168.0, 6))), 1.0),
        "regression on many lags": _ridge(Terms(_MANY_LAGS, ((24.0, 3), (168.0, 3))), 3.0),
        "regression on lags": _ridge(Terms(_WEEK_LAGS), 1.0),
        "regression on weekly differences": _ridge(
            Terms((1, 2, 3, 4, 23, 24, 25, 48, 167, 168, 169), ((24.0, 2),)), 3.0, difference=WEEK
        ),
        "regression on daily differences": _ridge(Terms(_MANY_LAGS, ((168.0, 3),)), 3.0, difference=DAY),
        "regression on steps": _ridge(Terms(_STEP_LAGS), 1.0, difference=1),
        "regression on the last 16 days": _recent(Terms(_WEEK_LAGS), 1.0, 384),
        "regression of least absolute errors": _absolute(Terms(_WEEK_LAGS), 1.0),
        "regression on what the week leaves": _rest((1, 2, 3, 23, 24, 25, 47, 48), WEEK, 6, 0.5),
        "regression on what the day leaves": _rest((1, 2, 3, 23, 24, 25, 47, 48, 167, 168, 169), DAY, 14, 0.5),
        "direct regression on three days": _direct(72, 10.0, centre=24),
        "windows like the last three days": _analog(72, 5, DAY),
        "windows like the last week": _analog(168, 3, DAY),
        "profile of the day": _profile(DAY, 10, 24),
        "profile of the week": _profile(WEEK, 4, 24),
        "profile of the week, damped": _profile(WEEK, 4, 24, median=False, damping=0.96),
    },
    both={
        "Holt-Winters by day": _winters(DAY, _HOUR_GRID),
        "Holt-Winters by week": _winters(WEEK, _HOUR_GRID, 2),
    },
    plain={
        "last day again": _naive(DAY),
        "last week again": _naive(WEEK),
        "mean of the weeks": _mean(WEEK, 4, 0.7),
        "mean of the days": _mean(DAY, 4, 0.7),
        "windows like the last two days, stretched": _analog(48, 5, 1, scaled=True),
        "STL by day": _stl(DAY, 21),
    },
)

_FEW_HOURS = Family(
    name="hours of days",
    season=DAY,
    power=3.0,
    mean=False,
    calibration=Calibration(1.4, 1.8, 0.0, whole=1.4, later=0.3),
    scale="log",
    each={
        "regression on lags": _ridge(Terms((1, 2, 3, 24, 25)), 1.0),
        "regression on lags and waves": _ridge(Terms((1, 2, 24), ((24.0, 3),)), 1.0),
        "regression on two days": _ridge(Terms((1, 2, 24, 48)), 3.0),
        "regression on waves": _ridge(Terms((1,), ((24.0, 4),)), 3.0),
        "regression of least absolute errors": _absolute(Terms((1, 2, 24), ((24.0, 3),)), 1.0),
        "profile of the day": _profile(DAY, 8, 24),
        "profile of the day, damped": _profile(DAY, 8, 24, damping=0.93),
        "profile of the day, last hours": _profile(DAY, 8, 8, damping=0.9),
        "mean profile of the day": _profile(DAY, 8, 48, median=False),
        "regression on what the day leaves": _rest((1, 2, 3), DAY, 8, 0.5),
        "longer regression on what the day leaves": _rest((1, 2, 24), DAY, 8, 2.0),
    },
    both={"Holt-Winters by day": _winters(DAY, _SHORT_GRID, 2)},
    plain={
        "last day again": _naive(DAY),
        "mean of the last days": _mean(DAY, 3, 1.0),
        "mean of the days": _mean(DAY, 8, 0.8),
    },
)

_DAILY_EACH: dict[str, Method] = {
    "profile of the week": _profile(7, 12, 28),
    "profile of the week, slow level": _profile(7, 20, 56),
    "profile of the week, quick level": _profile(7, 8, 14),
    "regression of least absolute errors on weeks": _absolute(
        Terms((7, 14, 21, 28, 35, 42, 49, 56), _WEEKLY_WAVE), 3.0
    ),
    "regression on the last 50 weeks": _recent(Terms((1, 2, 3, 7, 14, 21, 28), _WEEKLY_WAVE), 1.0, 350),
}
_DAILY_PLAIN: dict[str, Method] = {
    "regression on lags": _ridge(Terms((1, 2, 3, 7, 14, 21, 28), _WEEKLY_WAVE), 1.0),
    "regression on many lags": _ridge(Terms((*range(1, 15), 21, 28, 35, 42), _WEEKLY_WAVE), 3.0),
    "regression on weekly differences": _ridge(Terms((1, 2, 3, 6, 7, 8, 14, 21, 28)), 3.0, difference=7),
    "regression on the last 30 weeks": _recent(Terms((1, 2, 3, 7, 14, 21, 28), _WEEKLY_WAVE), 1.0, 210),
    "regression of least absolute errors": _absolute(Terms((1, 2, 3, 7, 14, 21, 28), _WEEKLY_WAVE), 1.0),
    "regression on what the week leaves": _rest((1, 2, 3, 7, 14, 21, 28), 7, 52, 0.5),
    "windows like the last four weeks": _analog(28, 8, 7, week=56),
    "mean profile of the week": _profile(7, 30, 84, median=False),
    "STL by week": _stl(7, 26),
    "last week again": _naive(7),
}
_DAILY = Family(
    name="days of weeks",
    season=7,
    power=4.0,
    mean=True,
    calibration=Calibration(0.95, 1.0, 0.6, whole=1.1, adapts=0.1),
    scale="root",
    each=_DAILY_EACH,
    both={"Holt-Winters by week": _winters(7, _DAY_GRID)},
    plain=_DAILY_PLAIN,
)
_DAILY_WITH_YEAR = Family(
    name="days of years",
    season=7,
    power=4.0,
    mean=True,
    calibration=Calibration(0.95, 1.0, 0.6, whole=1.1, adapts=0.1),
    scale="root",
    each=_DAILY_EACH
    | {
        "profile of the week, with the year before": _year(28),
        "profile of the week, slow, with the year before": _year(56),
        "regression of least absolute errors with the year before": _absolute(
            Terms((1, 2, 3, 7, 14, 21, 28, YEAR_DAYS), _WEEKLY_WAVE), 3.0
        ),
    },
    both={"Holt-Winters by week": _winters(7, _DAY_GRID)},
    plain=_DAILY_PLAIN
    | {
        "regression with the year before": _ridge(Terms((1, 2, 3, 7, 14, 21, 28, YEAR_DAYS), _WEEKLY_WAVE), 3.0),
        "regression with yearly waves": _ridge(Terms((1, 2, 3, 7, 14, 21, 28), (*_WEEKLY_WAVE, (365.25, 3))), 1.0),
    },
)
_FEW_DAYS = Family(
    name="few days",
    season=7,
    power=1.0,
    mean=False,
    calibration=Calibration(1.15, 1.6, 0.0, whole=1.1),
    scale="root",
    each={
        "profile of the week": _profile(7, 8, 7),
        "profile of the week, damped": _profile(7, 8, 7, median=False, damping=0.9),
        "profile of the week, slow level": _profile(7, 12, 28),
        "regression on waves": _ridge(Terms((1,), _WEEKLY_WAVE), 3.0),
        "regression on the week": _ridge(Terms((1, 7)), 3.0),
        "regression of least absolute errors": _absolute(Terms((1, 7), _WEEKLY_WAVE), 3.0),
        "regression on what the week leaves": _rest((1, 2, 7), 7, 12, 2.0),
    },
    both={"Holt-Winters by week": _winters(7, _DAY_GRID, 2), "smoothing": _winters(1, _DAY_GRID, 1)},
    plain={
        "last week again": _naive(7),
        "mean of the last days": _mean(1, 14, 0.9),
        "mean of the weeks": _mean(7, 4, 0.7),
    },
)


def _first(name: str, season: int) -> Family:
    """Return what is tried when there has been a cycle and little more: its repetition, and the level."""
    cycle = {DAY: "day", 7: "week"}[season]
    return Family(
        name=name,
        season=season,
        power=2.0,
        mean=False,
        calibration=Calibration(1.4, 1.8, 0.0, whole=1.4),
        scale="root",
        each={f"profile of the {cycle}": _profile(season, 2, season, median=False, damping=0.95)},
        both={},
        plain={
            f"last {cycle} again": _naive(season),
            f"mean of the {cycle}s": _mean(season, 2, 1.0),
            "mean of the last values": _mean(1, season, 0.95),
        },
    )


_FIRST_HOURS, _FIRST_DAYS = _first("first hours", DAY), _first("first days", 7)
