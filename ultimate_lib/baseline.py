"""What the guard knows of a key × model, about 100 bytes, and how surprising one call's value is to it. Pure.

    known = learn((call.cost_usd for call in calls), since_s=first_call)
    known is not None and anomalous(known, 1.20)

A value is a call's cost, its input tokens, or anything else that is positive and varies by factors; all work is done
on its natural logarithm. Standard library alone: a gateway scores each call with it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ANOMALOUS = 4.0
"""The score from which a value is anomalous, frozen: one call in ten thousand that are as those learnt from."""
FEWEST = 50
"""How many usable values a baseline is learnt from at least."""
HIGHEST = 99.0
"""No score is higher."""

_TAIL_SHARE = 0.02
_TAIL_FEWEST = 10  # values the tail is estimated from, be they more than its share
_CENSORED = 0.2  # of the tail: its largest values, of which only the number counts, so that giants do not widen it
_NARROWEST = 0.1  # of deviation and tail, in logarithms: what is always the same may yet vary by some 10 %
_LN10 = math.log(10)
_SQRT2 = math.sqrt(2)
_FAR = 25.0  # deviations from which the normal tail is told by its asymptote


class Baseline(NamedTuple):
    """What is usual: the logarithms' mean and deviation, and an exponential tail above `threshold`.

    >>> Baseline.from_list(Baseline(500, 1.7e9, -4.0, 0.5, -3.0, 0.02, 0.2).to_list()).n
    500
    """

    n: int  # values learnt from
    since_s: float  # when the first call was, seconds since 1970
    log_mean: float
    log_deviation: float
    threshold: float  # logarithm of the value where the tail begins
    tail_share: float  # of the values, above the threshold
    tail_scale: float  # mean excess over the threshold, in logarithms

    def to_list(self) -> list[float]:
        """Return the fields in their order, for JSON."""
        return list(self)

    @classmethod
    def from_list(cls, fields: Sequence[float]) -> Baseline:
        """Return the baseline that `to_list` told. Raises `TypeError` or `ValueError` for anything else."""
        n, *rest = fields
        return cls(int(n), *(float(one) for one in rest))


def score(baseline: Baseline, value: float) -> float:
    """Return how surprising a value is: -log10 of the probability of one as high, 0 to `HIGHEST`, never NaN.

    It grows with the value. Nothing is surprising about a value that is not above 0, or to a baseline that holds no
    numbers.
    """
    if not value > 0:
        return 0.0
    return _score(baseline, math.log(value)) if value < math.inf else HIGHEST


def anomalous(baseline: Baseline, value: float) -> bool:
    """Return whether a value is so high that something must be wrong."""
    return score(baseline, value) >= ANOMALOUS


def expected_high(baseline: Baseline) -> float:
    """Return the value from which a call is anomalous: "cost $1.20, usual at most $0.14"."""
    low, high = baseline.log_mean, baseline.log_mean + 1.0
    while _score(baseline, high) < ANOMALOUS and high < 700:  # noqa: PLR2004 - e**700 is as far as floats go
        low, high = high, high + (high - low) * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(baseline, middle) < ANOMALOUS else (low, middle)
    return math.exp(min(high, 700.0))


def learn(values: Iterable[float], since_s: float) -> Baseline | None:
    """Learn what is usual; None when fewer than `FEWEST` values are above 0 and finite.

    A few giants among the values do not spoil it. `since_s` is when the first of the calls was.
    """
    return learn_sorted(sorted(one for one in values if 0 < one < math.inf), since_s)


def learn_sorted(values: Sequence[float], since_s: float, n: int | None = None) -> Baseline | None:
    """Learn as `learn` does from values already sorted, all above 0 and finite.

    Of very many values, give some thousand quantiles, evenly spaced, and in `n` how many values they stand for.
    """
    given = len(values)
    n = given if n is None else n
    if min(given, n) < FEWEST:
        return None
    logs = [math.log(one) for one in values]
    mean, deviation = _middle(logs)
    tail = min(max(round(given * _TAIL_SHARE), _TAIL_FEWEST), given // 2)
    threshold = logs[given - tail - 1]
    excess = [one - threshold for one in logs[given - tail :]]
    kept = tail - math.ceil(tail * _CENSORED)
    scale = (sum(excess[:kept]) + (tail - kept) * excess[kept - 1]) / kept
    share = (given - bisect_right(logs, threshold)) / given or 1 / given
    return Baseline(n, since_s, mean, max(deviation, _NARROWEST), threshold, share, max(scale, _NARROWEST))


def _middle(logs: list[float]) -> tuple[float, float]:
    """Return mean and deviation, the outermost hundredth drawn in to the rest."""
    aside = math.ceil(len(logs) / 100)
    drawn = [min(max(one, logs[aside]), logs[-aside - 1]) for one in logs]
    mean = sum(drawn) / len(drawn)
    return mean, math.sqrt(sum((one - mean) ** 2 for one in drawn) / (len(drawn) - 1))


def _score(baseline: Baseline, log: float) -> float:
    deviations = (log - baseline.log_mean) / baseline.log_deviation
    normal = _normal(deviations)
    usual = -math.log10(baseline.tail_share)
    over = log - baseline.threshold
    tail = min(normal, usual) if over <= 0 else usual + over / baseline.tail_scale / _LN10
    return min((normal + tail) / 2, HIGHEST)


def _normal(deviations: float) -> float:
    """Return -log10 of the normal distribution's share above so many deviations."""
    if deviations < _FAR:
        return -math.log10(0.5 * math.erfc(deviations / _SQRT2))
    return (deviations * deviations / 2 + math.log(deviations * math.sqrt(2 * math.pi))) / _LN10
