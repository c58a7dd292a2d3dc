"""The median absolute deviation: as the z-score, but single giants do not widen it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ultimate_lib.analytics.anomalies.detectors._window import Window

if TYPE_CHECKING:
    from ultimate_lib.analytics.anomalies.detectors._window import Floats

_NORMAL = 0.6745  # a normal's median absolute deviation, in standard deviations


class Mad(Window):
    """Median and median absolute deviation, at the threshold of Iglewicz and Hoaglin."""

    THRESHOLD: ClassVar[float] = 3.5

    @staticmethod
    def spread(last: Floats) -> tuple[float, float]:
        """Return the median of the last values and their deviation from it, as standard deviations."""
        middle = float(np.median(last))
        return middle, float(np.median(np.abs(last - middle))) / _NORMAL


DETECTOR = Mad
