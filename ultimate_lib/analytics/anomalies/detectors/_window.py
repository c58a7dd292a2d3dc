"""What detectors share that compare a value with the last ones alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ultimate_lib.analytics.anomalies.scored import SKIPPED, Moment, Scored, known, same_version

if TYPE_CHECKING:
    from typing import Self, TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_WINDOW = 288
_FEWEST = 8  # values before a deviation is believed
_VERSION = 1


class Window(ABC):
    """Scores a value by how many deviations it is from the middle of the last ones; knows no season."""

    THRESHOLD: ClassVar[float]

    def __init__(self, *, learning: int) -> None:
        self._learning = learning
        self._n = 0
        self._last: deque[float] = deque(maxlen=_WINDOW)

    @staticmethod
    @abstractmethod
    def spread(last: Floats) -> tuple[float, float]:
        """Return the middle of the last values and their deviation from it."""

    def update(self, at: Moment, value: float) -> Scored:  # noqa: ARG002 - it knows no season
        """Judge a point by those before it, then learn from it; an unknown value (NaN) does neither."""
        if not known(value):
            return SKIPPED
        self._n += 1
        low = high = None
        score = 0.0
        if len(self._last) >= _FEWEST:
            middle, deviation = self.spread(np.array(self._last))
            low, high = middle - self.THRESHOLD * deviation, middle + self.THRESHOLD * deviation
            if deviation and self._n > self._learning:
                score = abs(value - middle) / deviation
        self._last.append(float(value))
        anomaly = score >= self.THRESHOLD
        return Scored(score, anomaly, "deviation" if anomaly else "", low, high)

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {"version": _VERSION, "learning": self._learning, "n": self._n, "last": list(self._last)}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Return a detector that goes on where `to_dict` was called."""
        state = same_version(state, _VERSION)
        made = cls(learning=state["learning"])
        made._n = state["n"]
        made._last.extend(state["last"])
        return made
