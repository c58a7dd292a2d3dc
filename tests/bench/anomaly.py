"""The series detectors on the Numenta Anomaly Benchmark, beside floor, good and goal, and others' published scores.

    python -m tests.bench.anomaly --data FOLDER [--quick]

FOLDER holds nab*.parquet (columns file, timestamp, value) and nab*windows.json (file: pairs of timestamps): all or
part of numenta/NAB v1.1. Every file is judged point by point by the very detector that the product runs, at its
frozen threshold. `nab_split_half` chooses the threshold, and nothing else, on one half of the files and scores the
other, both ways. The plain detectors and the published ones stand at the threshold that is best for them.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.bench import nab
from tests.bench.figures import Figure, emit
from ultimate_lib.analytics.anomalies.batch import detect
from ultimate_lib.analytics.anomalies.detectors.series import SeriesDetector

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

PLAIN = ("mad", "zscore")
AIMS = {"standard": (56.0, 68.0, 79.0), "low_fp": (45.0, 61.0, 72.0), "low_fn": (61.0, 73.0, 84.0)}
"""Floor, good and goal."""
PUBLISHED = {
    "standard": {
        "ARTime": 78.2,
        "CAD OSE": 74.1,
        "HTM": 71.2,
        "KNN CAD": 64.4,
        "Skyline": 56.1,
        "RCF": 52.0,
        "Twitter": 46.4,
        "windowed Gaussian": 36.7,
    },
    "low_fp": {"ARTime": 70.4, "CAD OSE": 71.7, "HTM": 65.0},
    "low_fn": {"ARTime": 83.1, "CAD OSE": 76.9, "HTM": 75.9},
}
"""On the half of the files that the constants were chosen on, each at its best threshold."""
CHOICES = np.round(np.arange(2.8, 4.8, 0.2), 1)
_MOST_TRIED = 2000


def own(file: nab.File, threshold: float = SeriesDetector.THRESHOLD) -> tuple[Floats, Floats]:
    """Return the series detector's scores of a file, and the nanoseconds that each point took."""
    detector = SeriesDetector(learning=file.probation, threshold=threshold)
    scores, took = np.zeros(len(file.values)), np.zeros(len(file.values))
    for at, (moment, value) in enumerate(zip(file.times.tolist(), file.values.tolist(), strict=True)):
        began = time.perf_counter_ns()
        scores[at] = detector.update(moment, value).score
        took[at] = time.perf_counter_ns() - began
    return scores, took


def plain(corpus: list[nab.File], marks: list[nab.Points], method: str) -> dict[str, float]:
    """Return what a plain detector scores at the best threshold for each profile."""
    judged = [detect(one.times, one.values, method=method, learn=one.probation).score for one in corpus]
    tried = np.unique(np.concatenate(judged))
    if len(tried) > _MOST_TRIED:
        tried = np.unique(np.quantile(tried, 1 - np.geomspace(1 / len(tried), 1, _MOST_TRIED)))
    found = nab.best(list(zip(marks, judged, strict=True)), [*tried.tolist(), np.inf])
    return {name: score for name, (score, _) in found.items()}


def split_half(corpus: list[nab.File], marks: list[nab.Points]) -> list[tuple[float, float, float]]:
    """Return (threshold chosen on one half, its score there, its score on the other half), both ways."""
    judged = {float(one): [own(file, float(one))[0] for file in corpus] for one in CHOICES}
    odd = [at % 2 for at in range(len(corpus))]
    scored: dict[int, dict[float, float]] = {0: {}, 1: {}}
    for threshold, scores in judged.items():
        for half, by_threshold in scored.items():
            marked = [(marks[at], scores[at]) for at in range(len(corpus)) if odd[at] == half]
            by_threshold[threshold] = nab.at_threshold(marked, threshold)["standard"]
    found = []
    for here, there in ((0, 1), (1, 0)):
        chosen = max(scored[here], key=lambda one: scored[here][one])
        found.append((chosen, scored[here][chosen], scored[there][chosen]))
    return found


def measure(data: Path, *, quick: bool) -> list[Figure]:
    """Return the figures."""
    corpus = nab.files(data)
    corpus = corpus[::4] if quick else corpus
    marks = [nab.points(file) for file in corpus]
    judged = [own(file) for file in corpus]
    ours = nab.at_threshold(list(zip(marks, [scores for scores, _ in judged], strict=True)), SeriesDetector.THRESHOLD)
    others = {name: plain(corpus, marks, name) for name in PLAIN}
    windows = sum(len(file.windows) for file in corpus)
    how = (
        f"{len(corpus)} series, {windows} windows, threshold {SeriesDetector.THRESHOLD}; {datetime.now(UTC):%Y-%m-%d}"
    )
    figures = []
    for name, (floor, good, goal) in AIMS.items():
        peers = {method: scores[name] for method, scores in others.items()} | PUBLISHED[name]
        told = f"floor {floor:g}, good {good:g}, goal {goal:g}; {how}"
        figures.append(Figure(f"nab_{name}", ours[name], "", good, peers, told))
    ways = split_half(corpus, marks)
    told = "; ".join(f"threshold {one:g}: {here:.1f} there, {there:.1f} here" for one, here, there in ways)
    mean = float(np.mean([there for _, _, there in ways]))
    figures.append(
        Figure(
            "nab_split_half",
            mean,
            "",
            61.0,
            None,
            f"floor 55, good 61, goal 68; the threshold alone chosen anew: {told}",
        )
    )
    took = np.concatenate([one for _, one in judged]) / 1000
    p99 = float(np.quantile(took, 0.99))
    told = f"floor 50000, good 1000, goal 100; median {np.median(took):.1f}, of {len(took)} points"
    figures.append(Figure("p99_us", p99, "us", 1000.0, None, told))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="every fourth series")
    arguments = parser.parse_args()
    emit(measure(arguments.data, quick=arguments.quick))


if __name__ == "__main__":
    main()
