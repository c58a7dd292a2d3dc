"""Short memories of a series: its level, its unrest, and a sample of the values it has had."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from typing import Any

_QUICKER, _QUICK, _SLOW = 0.07, 0.05, 0.005  # shares by which a new value moves a mean
_SAMPLE = 256
_NEAREST = 5
_STILL = 0.01  # share of the usual change below which a series counts as standing still


class Level:
    """Moving means of a series, quick and slow, of how much it changes, and how long it has stood still."""

    __slots__ = ("changes", "changing", "last", "n", "quick", "quicker", "repeats", "run", "slow", "variance")

    def __init__(self) -> None:
        self.n = self.run = self.repeats = 0
        self.last = self.quicker = self.quick = self.slow = self.variance = 0.0
        self.changing = self.changes = 0.0

    def shift(self) -> float:
        """Return how far the level has moved, in the series' unit."""
        return abs(self.quick - self.slow)

    def relative_shift(self) -> float:
        """Return how far the level has moved, in usual deviations."""
        return abs(self.quicker - self.slow) / math.sqrt(self.variance) if self.variance > 0 else 0.0

    def restless(self) -> float:
        """Return how much the series changes beside its usual."""
        return self.changing / self.changes if self.changes > 0 else 0.0

    def calm(self) -> float:
        """Return how much less the series changes than usual."""
        return self.changes / (self.changing + _STILL * self.changes) if self.changes > 0 else 0.0

    def standing(self, value: float) -> float:
        """Return how unlikely it is that `value` makes the last one again and again as often as it now has (-log10).

        By chance alone: the share of values that repeat the last, the first time taken as given.
        """
        if not self.n or value != self.last:
            return 0.0
        return self.run * math.log10((self.n + 3) / (self.repeats + 2))

    def learn(self, value: float) -> None:
        """Take a value in."""
        if not self.n:
            self.last = self.quicker = self.quick = self.slow = value
        elif value == self.last:
            self.run += 1
            self.repeats += 1
        else:
            self.run = 0
        self.n += 1
        new = 1 / self.n
        slow = max(_SLOW, new)
        change = abs(value - self.last)
        self.changing += (change - self.changing) * _QUICK
        self.changes += (change - self.changes) * slow
        self.quicker += (value - self.quicker) * max(_QUICKER, new)
        self.quick += (value - self.quick) * max(_QUICK, new)
        miss = value - self.slow
        self.slow += miss * slow
        self.variance += (miss * miss - self.variance) * slow
        self.last = value

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Level:
        """Return the memory of which `to_dict` told."""
        made = cls()
        for name in cls.__slots__:
            setattr(made, name, state[name])
        return made


class Sample:
    """Values spread evenly over the whole past: every so many-th, ever fewer as it grows longer."""

    __slots__ = ("kept", "order", "stride", "wait")

    def __init__(self) -> None:
        self.kept: list[float] = []
        self.order: list[float] = []
        self.stride = 1
        self.wait = 0

    def distance(self, value: float) -> float | None:
        """Return the mean distance to the nearest values of the past, or None while there are too few."""
        order = self.order
        if len(order) <= 2 * _NEAREST:
            return None
        right = bisect_left(order, value)
        left, total, end = right - 1, 0.0, len(order)
        for _ in range(_NEAREST):
            below = value - order[left] if left >= 0 else math.inf
            above = order[right] - value if right < end else math.inf
            if below <= above:
                total += below
                left -= 1
            else:
                total += above
                right += 1
        return total / _NEAREST

    def learn(self, value: float) -> None:
        """Take a value in, when it is its turn."""
        if self.wait:
            self.wait -= 1
            return
        if len(self.kept) == _SAMPLE:
            self.kept = self.kept[::2]
            self.order = sorted(self.kept)
            self.stride *= 2
        self.kept.append(value)
        insort(self.order, value)
        self.wait = self.stride - 1

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {"kept": self.kept.copy(), "stride": self.stride, "wait": self.wait}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Sample:
        """Return the sample of which `to_dict` told."""
        made = cls()
        made.kept = list(state["kept"])
        made.order = sorted(made.kept)
        made.stride, made.wait = state["stride"], state["wait"]
        return made
