"""The forecaster on public series, beside floor, good and goal, and beside other libraries when they are installed.

    python -m tests.bench.forecast --data FOLDER [--quick] [--peers]

FOLDER holds m4_hourly_odd.parquet (or any m4_hourly*.parquet), nn5*.parquet (columns id, part, step, value) and
servegen_hourly.parquet (client, hour, requests); see `docs/predictive-api.md` for where they come from. Each series'
last part is forecast from the part before by the very function that the product calls. `--peers` puts other libraries
beside it (`pip install 'ultimate-proxy[bench]'`) and takes minutes.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tests.bench.figures import Figure, emit
from ultimate_lib.analytics.forecast import Forecast, forecast
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Predict: TypeAlias = Callable[[Floats, int], tuple[Floats, Floats, Floats]]  # point, lower and upper at 95 %


class Series(NamedTuple):
    """One series: what is learnt from, and what came."""

    train: Floats
    test: Floats


class Corpus(NamedTuple):
    """Series of one kind."""

    name: str
    step: str
    season: int
    series: list[Series]


class Scores(NamedTuple):
    """Means over the series of a corpus."""

    smape: float
    mase: float
    msis: float


def corpora(data: Path) -> list[Corpus]:
    """Read the public series; raises SystemExit that names what is missing."""
    return [
        Corpus("m4", "hour", 24, _parts(_one(data, "m4_hourly*.parquet"))),
        Corpus("nn5", "day", 7, _parts(_one(data, "nn5*.parquet"))),
        Corpus("servegen", "hour", 24, _clients(_one(data, "servegen_hourly*.parquet"))),
    ]


def _one(data: Path, pattern: str) -> Path:
    found = sorted(data.glob(pattern))
    if not found:
        raise SystemExit(f"{data} has no {pattern}: pass --data with the folder of the public series.")
    return found[0]


def _parts(path: Path) -> list[Series]:
    frame = pl.read_parquet(path).sort("step")
    found = []
    for (_,), rows in frame.group_by("id", maintain_order=True):
        train = rows.filter(pl.col("part") == "train")["value"].to_numpy().astype(float)
        found.append(Series(train, rows.filter(pl.col("part") != "train")["value"].to_numpy().astype(float)))
    return found


def _clients(path: Path) -> list[Series]:
    """Return the clients that called in more than nine of ten hours: eight days to learn, two to forecast."""
    found = []
    for (_,), rows in pl.read_parquet(path).group_by("client", maintain_order=True):
        values = np.zeros(240)
        values[rows["hour"].to_numpy().astype(int)] = rows["requests"].to_numpy()
        if (values > 0).mean() > 0.9:
            found.append(Series(values[:192], values[192:]))
    return found


def filled(values: Floats, season: int) -> Floats:
    """Return a series without gaps for what cannot take them: the mean of the same step of neighbouring cycles."""
    values = values.copy()
    for place in np.flatnonzero(np.isnan(values)):
        near = [values[at] for at in (place - season, place + season) if 0 <= at < len(values)]
        known = [one for one in near if not np.isnan(one)]
        values[place] = np.mean(known) if known else np.nanmedian(values)
    return values


def score(corpus: Corpus, made: list[tuple[Floats, Floats, Floats]]) -> Scores:
    """Score (point, lower, upper) of each series, leaving out steps that are unknown."""
    rows = []
    for one, told in zip(corpus.series, made, strict=True):
        known = ~np.isnan(one.test)
        test, point, low, high = (values[known] for values in (one.test, *told))
        train = filled(one.train, corpus.season)
        scale = np.mean(np.abs(train[corpus.season :] - train[: -corpus.season]))
        outside = np.maximum(low - test, 0) + np.maximum(test - high, 0)
        size = np.abs(test) + np.abs(point)
        rows.append(
            (
                200 * np.mean(np.divide(np.abs(test - point), size, out=np.zeros_like(size), where=size > 0)),
                np.mean(np.abs(test - point)) / scale,
                np.mean(high - low + 40 * outside) / scale,
            )
        )
    return Scores(*(float(column) for column in np.mean(rows, axis=0)))


def naive2(train: Floats, horizon: int, season: int) -> Floats:
    """Return M4's benchmark: the last value, seasonally adjusted where the series is seasonal at 90 %."""
    centred = train - train.mean()
    lags = np.array([(centred[lag:] * centred[:-lag]).sum() for lag in range(1, season + 1)]) / (centred**2).sum()
    limit = 1.645 / np.sqrt(len(train)) * np.sqrt(1 + 2 * (lags[:-1] ** 2).sum())
    if len(train) < 3 * season or abs(lags[-1]) <= limit:
        return np.full(horizon, train[-1])
    trend = np.convolve(train, np.r_[0.5, np.ones(season - 1), 0.5] / season, "valid")
    place = np.arange(season // 2, season // 2 + len(trend))
    ratio = train[place] / trend
    factors = np.array([ratio[place % season == at].mean() for at in range(season)])
    factors *= season / factors.sum()
    later = np.arange(len(train), len(train) + horizon)
    found: Floats = train[-1] / factors[(len(train) - 1) % season] * factors[later % season]
    return found


def own(corpus: Corpus) -> tuple[list[Forecast], float]:
    """Return the product's forecasts, and the CPU seconds a series."""
    began = time.process_time()
    made = [forecast(one.train, len(one.test), step=corpus.step) for one in corpus.series]  # type: ignore[arg-type] # one of two words
    return made, (time.process_time() - began) / len(corpus.series)


def coverage(corpus: Corpus, made: list[Forecast], level: float) -> tuple[float, list[float]]:
    """Return the share of values inside an interval: over all steps, and by third of the horizon."""
    inside = np.array(
        [
            np.where(np.isnan(one.test), np.nan, (one.test >= f.lower[level]) & (one.test <= f.upper[level]))
            for one, f in zip(corpus.series, made, strict=True)
        ]
    )
    return float(np.nanmean(inside)), [float(np.nanmean(part)) for part in np.array_split(inside, 3, axis=1)]


def totals_inside(corpus: Corpus, made: list[Forecast]) -> float:
    """Return the share of totals inside the 80 % interval of the paths' totals."""
    inside = []
    for one, f in zip(corpus.series, made, strict=True):
        known = ~np.isnan(one.test)
        low, high = np.quantile(f.paths[:, known].sum(axis=1), [0.1, 0.9])
        inside.append(low <= one.test[known].sum() <= high)
    return float(np.mean(inside))


def measure(corpus: Corpus, *, more: bool) -> list[Figure]:
    """Return a corpus's figures."""
    made, cpu_s = own(corpus)
    ours = score(corpus, [(f.point, f.lower[0.95], f.upper[0.95]) for f in made])
    others = _others(corpus) if more else {}
    size = f"{len(corpus.series)} series, {len(corpus.series[0].test)} {corpus.step}s ahead"
    how = f"{size}; {datetime.now(UTC):%Y-%m-%d}"
    figures = []
    if corpus.name == "m4":
        base = score(corpus, [(n := naive2(one.train, len(one.test), 24), n, n) for one in corpus.series])
        owa: Callable[[Scores], float] = lambda s: (s.smape / base.smape + s.mase / base.mase) / 2  # noqa: E731 - short
        figures += [
            Figure("m4_owa", owa(ours), "", 0.43, _peer(others, owa), f"goal 0.39; {how}"),
            Figure("m4_msis", ours.msis, "", 6.4, _peer(others, lambda s: s.msis), "95 %; goal 5.8"),
        ]
    elif corpus.name == "nn5":
        figures += [
            Figure("nn5_mase", ours.mase, "", 0.855, _peer(others, lambda s: s.mase), f"goal 0.82; {how}"),
            Figure("nn5_msis", ours.msis, "", 7.8, _peer(others, lambda s: s.msis), "95 %; goal 7.2"),
        ]
    else:
        naive = score(corpus, [(f.naive, f.naive, f.naive) for f in made])
        ratio: Callable[[Scores], float] = lambda s: s.mase / naive.mase  # noqa: E731 - short
        how = f"over the seasonal naive's {naive.mase:.3f}; goal 0.85; {how}"
        figures.append(Figure("servegen_mase_ratio", ratio(ours), "", 0.95, _peer(others, ratio), how))
    for level in (0.8, 0.95):
        whole, thirds = coverage(corpus, made, level)
        by_third = ", ".join(f"{third:.3f}" for third in thirds)
        figures.append(
            Figure(f"coverage{level * 100:.0f}_{corpus.name}", whole, "", level, None, f"by third: {by_third}")
        )
    kind = {"m4": "hourly", "nn5": "daily"}.get(corpus.name)
    if kind:
        figures.append(Figure(f"cpu_s_per_{kind}_series", cpu_s, "s", 0.06 if kind == "hourly" else 0.12))
    figures.append(
        Figure(f"totals80_{corpus.name}", totals_inside(corpus, made), "", 0.8, None, "totals inside 80 %")
    )
    return figures


def _others(corpus: Corpus) -> dict[str, Scores]:
    from tests.bench import forecast_peers

    length = len(corpus.series[0].test)
    trains = [filled(one.train, corpus.season) for one in corpus.series]
    made = forecast_peers.predicted(trains, length, corpus.step, corpus.season)
    return {name: score(corpus, told) for name, told in made.items()}


def _peer(others: Mapping[str, Scores], value: Callable[[Scores], float]) -> dict[str, float]:
    return {name: value(scores) for name, scores in others.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="every fifth series")
    parser.add_argument("--peers", action="store_true", help="statsforecast's models and Prophet beside ours")
    arguments = parser.parse_args()
    figures = []
    for corpus in corpora(arguments.data):
        one = corpus._replace(series=corpus.series[::5]) if arguments.quick else corpus
        try:
            figures += measure(one, more=arguments.peers)
        except UltimateError as error:
            raise SystemExit(f"{one.name}: {error}") from error
    emit(figures)


if __name__ == "__main__":
    main()
