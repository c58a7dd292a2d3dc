"""How often thresholds are exceeded by what came later, on public series: 10 % and 1 % are meant.

    python -m tests.bench.thresholds --data FOLDER [--quick]

FOLDER is that of `tests.bench.forecast`. At many moments of each series, at the start of a period and within it, the
very functions that the product calls say what 10 % and 1 % of futures will exceed; then the total comes.
Days are forecast by their hours; for weeks M4's and ServeGen's are added up to days, as NN5's come. Bounds are 95 %
of a bootstrap over whole series, and over whole dates where the series share a calendar: what moves all series at
once, as Christmas does NN5's, is one event and not as many as there are series.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tests.bench.figures import Figure, emit
from tests.bench.forecast import Corpus, corpora
from ultimate_lib.analytics import outlook
from ultimate_lib.analytics.forecast import forecast
from ultimate_lib.errors import NotEnoughData

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_DRAWS = 2000


class Period(NamedTuple):
    """A period's moments: each `every` steps one, with `left` steps to come, in turn.

    `first` is the shortest history that is forecast from.
    """

    name: str
    step: Literal["hour", "day"]
    left: tuple[int, ...]
    every: int
    first: int


PERIODS = {
    "m4": (Period("day", "hour", (24, 12), 60, 336), Period("week", "day", (7, 4), 7, 14)),
    "nn5": (Period("week", "day", (7, 4), 11, 112), Period("month", "day", (30, 15), 22, 112)),
    "servegen": (Period("day", "hour", (24, 12), 12, 48), Period("week", "day", (5, 3), 2, 5)),
}


class Came(NamedTuple):
    """What came of one period's thresholds."""

    series: int
    at: int  # the step at which the thresholds were told: the date, where the series share a calendar
    warning: bool
    critical: bool


def moments(length: int, period: Period) -> Iterator[tuple[int, int]]:
    """Yield from when on how many steps are left, as late as the series goes first."""
    at = length - period.left[0]
    turn = 0
    while at >= period.first:
        left = period.left[turn % len(period.left)]
        if at + left <= length:
            yield at, left
        at -= period.every
        turn += 1


def came(corpus: Corpus, period: Period) -> list[Came]:
    """Return what came of each moment's thresholds, where there is enough to tell any."""
    found = []
    for number, one in enumerate(corpus.series):
        whole = np.r_[one.train, one.test]
        if period.step != corpus.step:
            whole = whole[len(whole) % 24 :].reshape(-1, 24).sum(axis=1)
        for at, left in moments(len(whole), period):
            later = whole[at : at + left]
            known = ~np.isnan(later)
            try:
                made = forecast(whole[:at], left, step=period.step)
            except NotEnoughData:
                continue
            told = outlook.thresholds(0.0, made.point[known], made.paths[:, known])
            total = float(later[known].sum())
            found.append(Came(number, at, total > told.warning, total > told.critical))
    return found


def interval(over: Floats, clusters: Floats) -> tuple[float, float]:
    """Return what holds 95 % of the share of `over` when whole clusters are drawn again."""
    _, which = np.unique(clusters, return_inverse=True)
    count, hit = np.bincount(which), np.bincount(which, weights=over)
    drawn = np.random.default_rng(0).multinomial(len(count), np.full(len(count), 1 / len(count)), _DRAWS)
    low, high = np.quantile(drawn @ hit / (drawn @ count), [0.025, 0.975])
    return float(low), float(high)


def measure(corpus: Corpus, period: Period) -> list[Figure]:
    """Return how often the thresholds of a period were exceeded."""
    found = came(corpus, period)
    series, at = (np.array([getattr(one, name) for one in found], dtype=float) for name in ("series", "at"))
    figures = []
    for name, meant in (("warning", 0.10), ("critical", 0.01)):
        over = np.array([getattr(one, name) for one in found], dtype=float)
        told = "by series {:.3f} to {:.3f}".format(*interval(over, series))
        if corpus.name != "m4":  # whose series have no dates
            told += "; by date {:.3f} to {:.3f}".format(*interval(over, at))
        how = f"{told}; {len(found)} moments of {len(set(series))} series"
        figures.append(Figure(f"{name}_{corpus.name}_{period.name}", float(over.mean()), "", meant, None, how))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="every fifth series")
    arguments = parser.parse_args()
    figures = []
    for corpus in corpora(arguments.data):
        one = corpus._replace(series=corpus.series[::5]) if arguments.quick else corpus
        for period in PERIODS[corpus.name]:
            figures += measure(one, period)
    emit(figures)


if __name__ == "__main__":
    main()
