"""How rare a size is among all sizes so far, in a bounded number of counters."""

from __future__ import annotations

import math
from typing import Any

_PER_OCTAVE = 4
_BY_LOG = _PER_OCTAVE / math.log(2)
_BINS, _MIDDLE = 600, 200  # sizes from 2^-50 to 2^100 of the first one
_MOST = 1 << 15  # counts are halved here: what was seen longest ago counts ever less
_BEYOND = 4.0  # most decades that a size beyond all others gains
_UNSEEN = 2.0  # decades for the first size above zero: there is none to compare it with
_HALF = math.log10(2)


class Tail:
    """Sizes (>= 0) counted in bins of equal ratio, each `late` sizes after it was judged.

    A size that grows slowly is then compared with what was before it began to.
    """

    __slots__ = ("counts", "largest", "late", "n", "top", "unit", "waiting")

    def __init__(self, late: int = 0) -> None:
        self.late = late
        self.waiting: list[float] = []
        self.counts = [0] * _BINS
        self.n = 0
        self.top = 0
        self.largest = 0.0
        self.unit = 0.0

    def judge(self, size: float) -> float:
        """Return how surprising a size is, then count it."""
        found = self.surprise(size, self.n)
        if self.late:
            self.waiting.append(size)
            if len(self.waiting) > self.late:
                self.add(self.waiting.pop(0))
        else:
            self.add(size)
        return found

    def surprise(self, size: float, among: int) -> float:
        """Return -log10 of the share of sizes at least as large; each doubling of the largest is a further decade.

        `among` is how many sizes there were in all, when this sketch holds a part of them.
        """
        if not among:
            return 0.0
        at = self._bin(size)
        above = sum(self.counts[at + 1 : self.top + 1])
        found = math.log10((among + 1) / (above + 0.5 * self.counts[at] + 0.5))
        if size > self.largest:
            found += min(math.log2(size / self.largest), _BEYOND) if self.largest else _UNSEEN
        return found

    def add(self, size: float) -> None:
        """Count a size."""
        if not self.unit:
            self.unit = size
        at = self._bin(size)
        self.counts[at] += 1
        self.n += 1
        self.top = max(self.top, at)
        self.largest = max(self.largest, size)
        if self.n >= _MOST:
            self.counts = [(count + 1) // 2 for count in self.counts]
            self.n = sum(self.counts)

    def _bin(self, size: float) -> int:
        ratio = size / self.unit if self.unit else size
        if ratio <= 0.0:
            return 0
        return min(max(int(_BY_LOG * math.log(ratio) + _MIDDLE), 1), _BINS - 1)

    def exceeded_by(self, count: float) -> float:
        """Return the size that about `count` of the sizes exceed."""
        seen = 0
        for at in range(self.top, 0, -1):
            seen += self.counts[at]
            if seen > count:
                return min(self.unit * math.exp((at + 1 - _MIDDLE) / _BY_LOG), self.largest)
        return 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        held = [[at, count] for at, count in enumerate(self.counts) if count]
        return {
            "held": held,
            "largest": self.largest,
            "unit": self.unit,
            "late": self.late,
            "waiting": self.waiting.copy(),
        }

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Tail:
        """Return the sketch of which `to_dict` told."""
        made = cls(state["late"])
        made.waiting = list(state["waiting"])
        for at, count in state["held"]:
            made.counts[at] = count
            made.top = at
        made.n = sum(made.counts)
        made.largest, made.unit = state["largest"], state["unit"]
        return made


class Sides:
    """Signed sizes: how rare one is on its side of zero."""

    __slots__ = ("above", "below")

    def __init__(self) -> None:
        self.above, self.below = Tail(), Tail()

    def judge(self, size: float) -> float:
        """Return -log10 of twice the share of all sizes that lie as far out on this side, then count the size."""
        side = self.above if size >= 0 else self.below
        found = side.surprise(abs(size), self.above.n + self.below.n) - _HALF
        side.add(abs(size))
        return max(found, 0.0)

    def range(self, share: float) -> tuple[float, float]:
        """Return the sizes between which all but `share` lie."""
        beyond = share / 2 * (self.above.n + self.below.n)
        return -self.below.exceeded_by(beyond), self.above.exceeded_by(beyond)

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        return {"above": self.above.to_dict(), "below": self.below.to_dict()}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Sides:
        """Return the sketch of which `to_dict` told."""
        made = cls()
        made.above, made.below = Tail.from_dict(state["above"]), Tail.from_dict(state["below"])
        return made
