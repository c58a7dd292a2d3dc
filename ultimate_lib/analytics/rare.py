"""Rare large values: left out of what is learnt, and put back into the futures as often and as large as they were.

A job that runs on one day in twenty moves no median, and no backtest of single days blames a forecast for passing it
over. In totals, thresholds and budgets it is most of what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_FEWEST = 2  # times that something has come before it is expected again
_MUCH = 0.1  # of all there has been


def left_out(values: Floats, usual: Floats) -> Floats:
    """Return by how much values lie beyond what was learnt instead of them; 0 where they are unknown.

    `usual` is what was learnt, from the first known value on.
    """
    return np.nan_to_num(values[len(values) - len(usual) :] - usual, nan=0.0)


def futures(beyond: Floats, horizon: int, *, block: int, count: int) -> Floats:
    """Return (count, horizon) draws of what lies beyond, in stretches of `block` steps that keep their place.

    A Bayesian bootstrap (Rubin, 1981): how often something comes is itself only known from a few times.
    """
    made = np.zeros((count, horizon))
    if not beyond.any():
        return made
    blocks = np.r_[np.zeros(-len(beyond) % block), beyond].reshape(-1, block)
    dice = np.random.default_rng(1)
    share = dice.exponential(size=(count, len(blocks))).cumsum(axis=1)
    wanted = dice.random((count, -(-horizon // block)))
    for row, (edges, at) in enumerate(zip(share, wanted, strict=True)):
        made[row] = blocks[np.searchsorted(edges, at * edges[-1])].ravel()[:horizon]
    return made


def expected(beyond: Floats, usual: Floats, *, block: int) -> float:
    """Return what a step has beyond the usual on average; 0 where that came but once, or is little of the whole."""
    times = int((np.add.reduceat(beyond, np.arange(0, len(beyond), block)) > 0).sum())
    more = float(beyond.sum())
    if times < _FEWEST or more <= _MUCH * (float(usual.sum()) + more):
        return 0.0
    return more / len(beyond)
