"""Sets of instants: sorted, disjoint, half-open spans of microseconds since 1970 UTC."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Span: TypeAlias = tuple[int, int]  # from, to (exclusive)
QUARTER_US = 15 * 60 * 1_000_000
"""The base grain: offsets of all of today's time zones are multiples of a quarter of an hour."""


def floor_quarter(us: int) -> int:
    """Return the start of the quarter of an hour that `us` lies in."""
    return us - us % QUARTER_US


def ceil_quarter(us: int) -> int:
    """Return the first start of a quarter of an hour at or after `us`."""
    return -(-us // QUARTER_US) * QUARTER_US


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the instants of any of the spans, neighbours joined."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def subtract(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return the instants of `spans` that are in none of `taken`."""
    left: list[Span] = []
    holes = union(taken)
    first = 0
    for start, end in union(spans):
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        at, hole = start, first
        while hole < len(holes) and holes[hole][0] < end:
            if holes[hole][0] > at:
                left.append((at, holes[hole][0]))
            at = holes[hole][1]
            hole += 1
        if at < end:
            left.append((at, end))
    return left


def intersect(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """Return the instants that are in both."""
    spans = list(spans)
    return subtract(spans, subtract(spans, others))


def whole_quarters(spans: Iterable[Span]) -> list[Span]:
    """Return the whole quarters of an hour inside `spans`."""
    return union((ceil_quarter(start), floor_quarter(end)) for start, end in spans)


def touched_quarters(spans: Iterable[Span]) -> list[Span]:
    """Return the quarters of an hour of which `spans` touch any part."""
    return union((floor_quarter(start), ceil_quarter(end)) for start, end in spans)


def fewer(spans: Iterable[Span], most: int) -> list[Span]:
    """Return at most `most` spans that hold all of `spans`; what is added is as short as can be."""
    left = union(spans)
    if len(left) <= most:
        return left
    breaks = sorted(range(1, len(left)), key=lambda at: left[at - 1][1] - left[at][0])[: most - 1]
    edges = [0, *sorted(breaks), len(left)]
    return [(left[start][0], left[end - 1][1]) for start, end in pairwise(edges)]
