"""The cost of a token over time: what it is now, and when it changed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_SURE = 8.0  # standard errors between before and after
_LEAST = 0.05  # change of the logarithm that matters
_FEWEST = 4  # steps on either side
_MOST_CHANGES = 3
_HALF_LIFE_CYCLES = 2.0


def recent(tokens: Floats, costs: Floats, cycle: int) -> float:
    """Return the cost of a token over the last cycles, newer steps counting more; NaN where none is known."""
    known = ~np.isnan(tokens) & ~np.isnan(costs)
    heed = 0.5 ** (np.arange(len(tokens))[::-1] / (_HALF_LIFE_CYCLES * cycle)) * known
    spent, used = (float(heed @ np.nan_to_num(values)) for values in (costs, tokens))
    return spent / used if used > 0 else float("nan")


def repriced(tokens: Floats, costs: Floats, cycle: int) -> tuple[Floats, list[tuple[int, float]]]:
    """Return costs as if today's cost of a token had always held, and the changes as (step, new over old).

    A change is where the mean logarithm of cost over tokens, before and after, differs beyond all noise; the largest
    is found first, at most three.
    """
    known = np.flatnonzero((tokens > 0) & (costs > 0))
    level = np.log(costs[known] / tokens[known]) if len(known) else np.array([])
    cuts = sorted(_changes(level, cycle))
    if not cuts:
        return costs, []
    parts = np.split(level, cuts)
    middles = [float(np.median(part)) for part in parts]
    found, changes = costs.copy(), []
    for cut, before, after in zip(cuts, middles, middles[1:], strict=False):
        changes.append((int(known[cut]), float(np.exp(after - before))))
    for begin, end, middle in zip([0, *known[cuts[:-1]]], known[cuts], middles, strict=False):
        found[begin:end] *= np.exp(middles[-1] - middle)
    return found, changes


def _changes(level: Floats, cycle: int) -> list[int]:
    """Return where the level changes for good: binary segmentation by the largest standardised difference."""
    parts = [(0, len(level))]
    found: list[int] = []
    while parts and len(found) < _MOST_CHANGES:
        begin, end = parts.pop(0)
        at = _largest(level[begin:end], cycle)
        if at is not None:
            found.append(begin + at)
            parts += [(begin, begin + at), (begin + at, end)]
    return found


def _largest(level: Floats, cycle: int) -> int | None:
    count = len(level)
    if count < 2 * _FEWEST:
        return None
    sums = np.concatenate([[0.0], np.cumsum(level)])
    cuts = np.arange(_FEWEST, count - _FEWEST + 1)
    apart = sums[cuts] / cuts - (sums[-1] - sums[cuts]) / (count - cuts)
    # a day's own ups and downs are no change: noise is what single steps and neighbouring cycles differ by
    noise = 1.4826 * float(np.median(np.abs(level - _running(level, cycle)))) + 1e-6
    sure = np.abs(apart) / (noise * np.sqrt(1 / cuts + 1 / (count - cuts)))
    best = int(np.argmax(sure))
    return int(cuts[best]) if sure[best] > _SURE and abs(apart[best]) > _LEAST else None


def _running(level: Floats, cycle: int) -> Floats:
    """Return the median of the cycle around each step."""
    half = max(cycle // 2, 1)
    padded = np.pad(level, half, mode="edge")
    found: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return found
