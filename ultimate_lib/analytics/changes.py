"""Where a series takes another level for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_SURE = 8.0  # standard errors between before and after
_FEWEST = 4  # steps on either side


def levels(level: Floats, cycle: int, *, most: int, least: float) -> list[int]:
    """Return the steps at which a series of logarithms changes its mean for good, the surest first.

    A change of less than `least`, in logarithms, does not matter.

    Found by binary segmentation. Noise is how far steps lie from the median of the `cycle` around them, so that the
    cycle's own ups and downs are no change.
    """
    parts = [(0, len(level))]
    found: list[int] = []
    while parts and len(found) < most:
        begin, end = parts.pop(0)
        at = _largest(level[begin:end], cycle, least)
        if at is not None:
            found.append(begin + at)
            parts += [(begin, begin + at), (begin + at, end)]
    return found


def _largest(level: Floats, cycle: int, least: float) -> int | None:
    count = len(level)
    if count < 2 * _FEWEST:
        return None
    sums = np.concatenate([[0.0], np.cumsum(level)])
    cuts = np.arange(_FEWEST, count - _FEWEST + 1)
    apart = sums[cuts] / cuts - (sums[-1] - sums[cuts]) / (count - cuts)
    noise = 1.4826 * float(np.median(np.abs(level - _running(level, cycle)))) + 1e-6
    sure = np.abs(apart) / (noise * np.sqrt(1 / cuts + 1 / (count - cuts)))
    best = int(np.argmax(sure))
    return int(cuts[best]) if sure[best] > _SURE and abs(apart[best]) > least else None


def _running(level: Floats, cycle: int) -> Floats:
    """Return the median of the cycle around each step."""
    half = max(cycle // 2, 1)
    padded = np.pad(level, half, mode="edge")
    found: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return found
