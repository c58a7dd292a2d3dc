"""What the guard knows of a key and model, about 100 bytes, and how surprising one call's value is to it. Pure.

    known = learn((call.cost_usd for call in calls), since_s=first_call)
    known is not None and anomalous(known, 1.20)

A value is a call's cost, its input tokens, or anything else that is above 0 and varies by factors: all is told in its
natural logarithm. Standard library alone, since a gateway scores each call with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ANOMALOUS = 3.5
"""The score from which a value is anomalous, frozen: three in ten thousand calls like those learnt from."""
FEWEST = 50
"""How many usable values a baseline is learnt from at least."""
HIGHEST = 99.0
"""No score is higher."""

_ASIDE = 2, 5e-4  # the largest values, at least so many and of this share: whatever they are, the tail is the same
_TAIL = 20, 3  # values that the tail's scale is estimated from: so many, or so many times those set aside
_WIDEST_TAIL = 3  # no more than one in so many values is in the tail
_DOUBLE = math.log(2)  # what has always been the same may yet double
_NARROWEST = 0.2  # deviation of which a doubling lies at the limit
_FLATTEST = 0.05  # scale of a tail of equal values
_NORMAL = 30  # values that weigh as much as the assumption that logarithms are normal
_DRAWN_IN = 0.01  # at either end, before mean and deviation are taken
_LN10 = math.log(10)
_SQRT2 = math.sqrt(2)
_FAR = 25.0  # deviations from which the normal distribution's end is told by its asymptote
_LARGEST = 700.0  # logarithm of about the largest float


class Baseline(NamedTuple):
    """What is usual: mean and deviation of the logarithms, and above `threshold` an exponential tail of them.

    >>> Baseline.from_list(Baseline(500, 1.7e9, -4.0, 0.5, -3.0, 0.006, 0.2).to_list()).n
    500
    """

    n: int  # values learnt from
    since_s: float  # when the first call was, seconds since 1970
    log_mean: float
    log_deviation: float
    threshold: float  # logarithm of the value where the tail begins
    tail_share: float  # of calls above the threshold, by the conformal rule: (values above + 1) / (n + 1)
    tail_scale: float  # mean excess over the threshold, in logarithms

    def to_list(self) -> list[float]:
        """Return the fields in their order, for JSON."""
        return list(self)

    @classmethod
    def from_list(cls, fields: Sequence[float]) -> Baseline:
        """Return the baseline that `to_list` told. Raises `TypeError` or `ValueError` for anything else."""
        n, *rest = fields
        made = cls(int(n), *(float(one) for one in rest))
        if not all(math.isfinite(one) for one in made) or not _usable(made):
            raise ValueError("These fields are no baseline.")
        return made


def score(baseline: Baseline, value: float) -> float:
    """Return how surprising a value is: -log10 of the probability of one as high, 0 to `HIGHEST`, never NaN.

    It grows with the value. Values that are not above 0 surprise nobody, nor does any to a baseline of no use.
    """
    if not value > 0 or not _usable(baseline):
        return 0.0
    found = _score(baseline, math.log(value)) if value < math.inf else HIGHEST
    return found if found > 0 else 0.0  # NaN is not


def anomalous(baseline: Baseline, value: float) -> bool:
    """Return whether a value is so high that something must be wrong."""
    return score(baseline, value) >= ANOMALOUS


def expected_high(baseline: Baseline) -> float:
    """Return the value from which a call is anomalous: "cost $1.20, usual at most $0.14"."""
    low, high = baseline.log_mean, max(baseline.log_mean, baseline.threshold) + 1
    while high < _LARGEST and _score(baseline, high) < ANOMALOUS:
        low, high = high, high + (high - low) * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(baseline, middle) < ANOMALOUS else (low, middle)
    return math.exp(min(high, _LARGEST))


def at_least(baseline: Baseline, high: float) -> Baseline:
    """Return the baseline moved up, in its shape, so that no value below `high` is anomalous; as it is if none is."""
    by = math.log(high) - math.log(expected_high(baseline))
    if not by > 0:
        return baseline
    return baseline._replace(log_mean=baseline.log_mean + by, threshold=baseline.threshold + by)


def learn(values: Iterable[float], since_s: float) -> Baseline | None:
    """Learn what is usual; None when fewer than `FEWEST` values are above 0 and finite.

    The largest two (of more than 4,000 values one in 2,000) may be anything: they do not widen the tail.
    `since_s` is when the first of the calls was.
    """
    logs = sorted(math.log(one) for one in values if 0 < one < math.inf)
    if len(logs) < FEWEST:
        return None
    ends = drawn_in(len(logs))
    low, high = logs[ends], logs[-ends - 1]
    drawn = [min(max(one, low), high) for one in logs]
    mean = math.fsum(drawn) / len(drawn)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in drawn) / (len(drawn) - 1))
    return learned(len(logs), mean, deviation, logs[-highest_of(len(logs)) :], since_s)


def drawn_in(n: int) -> int:
    """Return how many of n values, at either end, are drawn in to the next before mean and deviation are taken."""
    return math.ceil(n * _DRAWN_IN)


def highest_of(n: int) -> int:
    """Return how many of the highest of n values `learned` needs."""
    fewest, times = _TAIL
    return min(max(fewest, times * _aside(n)), n // _WIDEST_TAIL) + 1


def learned(
    n: int, log_mean: float, log_deviation: float, highest: Sequence[float], since_s: float
) -> Baseline | None:
    """Return what `learn` would, of values that something else has read and sorted; None of fewer than `FEWEST`.

    `log_mean` and `log_deviation` are of the logarithms with `drawn_in(n)` at either end drawn in; `highest` are the
    `highest_of(n)` largest logarithms, ascending.
    """
    if n < FEWEST:
        return None
    aside = _aside(n)
    base, kept = highest[0], highest[1 : len(highest) - aside]
    excess = math.fsum(kept) - len(kept) * base + aside * (kept[-1] - base)  # those aside count as if no larger
    return Baseline(
        n=n,
        since_s=since_s,
        log_mean=log_mean,
        log_deviation=max(log_deviation, _NARROWEST),
        threshold=max(kept[-1], log_mean + _DOUBLE),
        tail_share=(aside + 1) / (n + 1),
        tail_scale=max(excess / len(kept), _FLATTEST),
    )


def _aside(n: int) -> int:
    fewest, share = _ASIDE
    return max(fewest, math.ceil(n * share))


def _usable(baseline: Baseline) -> bool:
    n, _, mean, deviation, threshold, share, scale = baseline
    return n > 0 and deviation > 0 and scale > 0 and 0 < share <= 1 and math.isfinite(mean + threshold)


def _score(baseline: Baseline, log: float) -> float:
    normal = _normal((log - baseline.log_mean) / baseline.log_deviation)
    usual = -math.log10(baseline.tail_share)
    over = log - baseline.threshold
    tail = usual + over / baseline.tail_scale / _LN10 if over > 0 else min(normal, usual)
    return min((baseline.n * tail + _NORMAL * normal) / (baseline.n + _NORMAL), HIGHEST)


def _normal(deviations: float) -> float:
    """Return -log10 of the normal distribution's share above so many deviations."""
    if deviations < _FAR:
        return -math.log10(0.5 * math.erfc(deviations / _SQRT2))
    return (deviations * deviations / 2 + math.log(deviations * math.sqrt(2 * math.pi))) / _LN10
