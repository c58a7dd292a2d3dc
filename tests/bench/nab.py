"""The Numenta Anomaly Benchmark: its series, and its published scoring rule.

Files are scored together at one threshold. The first 15 % of a file (at most 750 points) count for nothing. Within a
labelled window the first alert earns by how early it is; an alert outside costs by how far the last window is behind;
a missed window costs. 0 is a detector that says nothing, 100 a perfect one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

PROBATION_SHARE, PROBATION_MOST = 0.15, 750


class Profile(NamedTuple):
    """What a found window earns, and what a false alert and a missed window cost."""

    found: float
    false: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


class File(NamedTuple):
    """One series; `windows` are first and last point of each labelled anomaly."""

    name: str
    times: NDArray[np.int64]
    values: Floats
    windows: list[tuple[int, int]]

    @property
    def probation(self) -> int:
        """How many points come first that are not scored."""
        return min(int(PROBATION_SHARE * len(self.values)), PROBATION_MOST)


class Points(NamedTuple):
    """The scored points of a file: each one's worth as an alert, and its window (-1: none)."""

    worth: Floats
    window: NDArray[np.int64]
    windows: int


def files(data: Path) -> list[File]:
    """Read the series; raises SystemExit that names what is missing."""
    table, labels = sorted(data.glob("nab*.parquet")), sorted(data.glob("nab*windows*.json"))
    if not table or not labels:
        raise SystemExit(f"{data} has no nab*.parquet with nab*windows*.json: pass --data with their folder.")
    windows = json.loads(labels[0].read_text())
    found = []
    for (name,), rows in pl.read_parquet(table[0]).group_by("file", maintain_order=True):
        told = rows["timestamp"].cast(pl.String).str.slice(0, 19).str.replace("T", " ")
        times = told.str.to_datetime("%Y-%m-%d %H:%M:%S").to_numpy().astype("datetime64[s]").astype(np.int64)
        first: dict[str, int] = {}
        for at, one in enumerate(told):
            first.setdefault(one, at)
        spans = [(first[start[:19]], first[end[:19]]) for start, end in windows[name]]
        found.append(File(str(name), times, rows["value"].to_numpy().astype(float), spans))
    return found


def _sigmoid(place: Floats) -> Floats:
    """Return the rule's scaled sigmoid of a place in window lengths past a window's end."""
    worth: Floats = np.where(place > 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(place, 4))) - 1)
    return worth


def points(file: File) -> Points:
    """Return what an alert at each scored point is worth."""
    count = len(file.values)
    worth, window = np.full(count, -1.0), np.full(count, -1)
    ends = ([start for start, _ in file.windows] + [count])[1:]
    for number, ((start, end), until) in enumerate(zip(file.windows, ends, strict=False)):
        inside = np.arange(start, end + 1)
        length = len(inside)
        worth[inside] = _sigmoid((inside - end - 1) / length) / _sigmoid(np.array(-1.0))
        window[inside] = number
        after = np.arange(end + 1, until)
        worth[after] = _sigmoid((after - end) / (length - 1))
    return Points(worth[file.probation :], window[file.probation :], len(file.windows))


def at_threshold(marked: Sequence[tuple[Points, Floats]], threshold: float) -> dict[str, float]:
    """Return each profile's score when what reaches `threshold` is an alert; the scores are of whole files."""
    false, found, reward, windows = 0.0, 0, 0.0, 0
    for told, scores in marked:
        alerts = np.flatnonzero(scores[len(scores) - len(told.worth) :] >= threshold)
        inside = told.window[alerts]
        false += float(told.worth[alerts][inside < 0].sum())
        firsts = np.unique(inside[inside >= 0], return_index=True)[1]
        reward += float(told.worth[alerts][inside >= 0][firsts].sum())
        found += len(firsts)
        seen = told.window[told.window >= 0]
        windows += len(np.unique(seen))
    whole = sum(told.windows for told, _ in marked)
    return {
        name: 100
        * (reward * one.found + false * one.false - (windows - found) * one.missed + whole * one.missed)
        / (whole * (one.found + one.missed))
        for name, one in PROFILES.items()
    }


def best(marked: Sequence[tuple[Points, Floats]], thresholds: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Return each profile's best score among the thresholds, and the threshold."""
    tried = [(at_threshold(marked, one), one) for one in thresholds]
    return {name: max((scores[name], one) for scores, one in tried) for name in PROFILES}
