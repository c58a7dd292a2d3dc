"""The rolling z-score: how many standard deviations a value is from the mean of the last ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ultimate_lib.analytics.anomalies.detectors._window import Window

if TYPE_CHECKING:
    from ultimate_lib.analytics.anomalies.detectors._window import Floats


class ZScore(Window):
    """Mean and standard deviation."""

    THRESHOLD: ClassVar[float] = 3.0

    @staticmethod
    def spread(last: Floats) -> tuple[float, float]:
        """Return the mean of the last values and their standard deviation."""
        return float(last.mean()), float(last.std())


DETECTOR = ZScore
