"""A whole series at once, by any detector, and the detectors by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ultimate_lib.analytics.anomalies.scored import seconds
from ultimate_lib.errors import Invalid
from ultimate_lib.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from ultimate_lib.analytics.anomalies.scored import Detector, Moment

    Floats: TypeAlias = NDArray[np.float64]

DETECTORS: Registry[type[Detector]] = Registry("detectors", "ultimate_lib.analytics.anomalies.detectors", "DETECTOR")
_SHARE, _LEAST, _MOST = 0.15, 24, 750
_DAY_S = 86400


class Judged(NamedTuple):
    """What a detector says of each point of a series; the expected range is NaN where it is unknown."""

    score: Floats
    anomaly: NDArray[np.bool_]
    reason: list[str]
    expected_low: Floats
    expected_high: Floats


def learning(points: int, step_s: float) -> int:
    """Return how many points of a series are learnt from before any is called an anomaly.

    15 % of them, at most 750; but a whole day, and 24 points, at least.
    """
    day = math.ceil(_DAY_S / step_s) if step_s > 0 else 0
    return max(min(int(_SHARE * points), _MOST), _LEAST, day)


def detect(
    times: Sequence[Moment] | NDArray[np.datetime64] | NDArray[np.int64],
    values: Sequence[float] | Floats,
    *,
    method: str = "series",
    learn: int | None = None,
) -> Judged:
    """Judge a series, oldest point first; NaN marks an unknown value.

    `learn` is how many points come before any is called an anomaly (None: as `learning` says).
    """
    if len(times) != len(values):
        raise Invalid(f"There are {len(times)} times and {len(values)} values.", hint="Pass one time for each value.")
    if isinstance(times, np.ndarray) and times.dtype.kind == "M":
        times = times.astype("datetime64[s]").astype(np.int64)
    moments = [seconds(at) for at in times]
    if learn is None:
        learn = learning(len(values), float(np.median(np.diff(moments))) if len(moments) > 1 else 0.0)
    detector = DETECTORS.get(method)(learning=learn)
    known = np.asarray(values, dtype=float).tolist()
    told = [detector.update(at, value) for at, value in zip(moments, known, strict=True)]
    return Judged(
        score=np.array([one.score for one in told]),
        anomaly=np.array([one.anomaly for one in told], dtype=bool),
        reason=[one.reason for one in told],
        expected_low=np.array([one.expected_low for one in told], dtype=float),
        expected_high=np.array([one.expected_high for one in told], dtype=float),
    )
