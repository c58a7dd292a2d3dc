"""The cost of a token over time: what it is now, and when it changed for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ultimate_lib.analytics import changes

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_MOST_CHANGES = 3
_LEAST = 0.05  # of the logarithm: what changes less is no other price
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
    cuts = sorted(changes.levels(level, cycle, most=_MOST_CHANGES, least=_LEAST))
    if not cuts:
        return costs, []
    parts = np.split(level, cuts)
    middles = [float(np.median(part)) for part in parts]
    found, told = costs.copy(), []
    for cut, before, after in zip(cuts, middles, middles[1:], strict=False):
        if abs(after - before) > _LEAST:  # means may differ by a single dear day
            told.append((int(known[cut]), float(np.exp(after - before))))
    for begin, end, middle in zip([0, *known[cuts[:-1]]], known[cuts], middles, strict=False):
        found[begin:end] *= np.exp(middles[-1] - middle)
    return found, told
