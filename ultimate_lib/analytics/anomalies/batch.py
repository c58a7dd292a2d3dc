"""A whole series at once, by any detector, and the detectors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ultimate_lib.errors import Invalid
from ultimate_lib.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from ultimate_lib.analytics.anomalies.scored import Detector, Moment

    Floats: TypeAlias = NDArray[np.float64]

DETECTORS: Registry[type[Detector]] = Registry("detectors", "ultimate_lib.analytics.anomalies.detectors", "DETECTOR")
_LEARNING_SHARE, _LEARNING_LEAST, _LEARNING_MOST = 0.15, 24, 750


class Judged(NamedTuple):
    """What a detector says of each point of a series; the expected range is NaN where it is unknown."""

    score: Floats
    anomaly: NDArray[np.bool_]
    reason: list[str]
    expected_low: Floats
    expected_high: Floats


def learning(points: int) -> int:
    """Return how many points of a series are learnt from before any is called an anomaly."""
    return min(max(int(_LEARNING_SHARE * points), _LEARNING_LEAST), _LEARNING_MOST)


def detect(
    times: Sequence[Moment] | NDArray[np.datetime64] | NDArray[np.int64],
    values: Sequence[float] | Floats,
    *,
    method: str = "series",
    learn: int | None = None,
) -> Judged:
    """Judge a series, oldest point first; NaN marks an unknown value.

    `learn` is how many points come before any is called an anomaly (None: 15 % of them, at least 24, at most 750).
    """
    if len(times) != len(values):
        raise Invalid(
            f"There are {len(times)} times and {len(values)} values.", hint="Pass one time for each value."
        )
    detector = DETECTORS.get(method)(learning=learning(len(values)) if learn is None else learn)
    if isinstance(times, np.ndarray) and times.dtype.kind == "M":
        times = times.astype("datetime64[s]").astype(np.int64)
    if isinstance(times, np.ndarray):
        times = times.tolist()
    told = [detector.update(at, value) for at, value in zip(times, np.asarray(values, float).tolist(), strict=True)]
    return Judged(
        score=np.array([one.score for one in told]),
        anomaly=np.array([one.anomaly for one in told], dtype=bool),
        reason=[one.reason for one in told],
        expected_low=np.array([one.expected_low for one in told], dtype=float),
        expected_high=np.array([one.expected_high for one in told], dtype=float),
    )
