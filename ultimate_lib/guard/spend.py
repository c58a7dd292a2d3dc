"""What a key has spent within the last minute, hour and day: rolling sums in whole parts of each window."""

from __future__ import annotations

from array import array
from typing import NamedTuple

_SECOND_US = 1_000_000


class Window(NamedTuple):
    """A span that ends now, cut into parts of equal length."""

    name: str
    part_us: int
    parts: int

    @property
    def seconds(self) -> float:
        """The span's length."""
        return self.part_us * self.parts / _SECOND_US


MINUTE = Window("minute", 5 * _SECOND_US, 12)
HOUR = Window("hour", 300 * _SECOND_US, 12)
DAY = Window("day", 3600 * _SECOND_US, 24)
WINDOWS = (MINUTE, HOUR, DAY)
_MOST_KEYS = 20_000


class _Rolling:
    """The sum of a window; one part more than it has, so that never too little is counted."""

    __slots__ = ("_last", "_parts", "_window", "total")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._parts = array("q", bytes(8 * (window.parts + 1)))
        self._last = 0
        self.total = 0

    def roll(self, now_us: int) -> None:
        place = now_us // self._window.part_us
        steps = place - self._last
        if steps <= 0:
            return
        size = len(self._parts)
        for step in range(min(steps, size)):
            at = (place - step) % size
            self.total -= self._parts[at]
            self._parts[at] = 0
        self._last = place

    def add(self, now_us: int, amount: int) -> None:
        self.roll(now_us)
        at = now_us // self._window.part_us
        if at > self._last - len(self._parts):  # a clock that has gone back far adds to the present part
            self._parts[at % len(self._parts)] += amount
        else:
            self._parts[self._last % len(self._parts)] += amount
        self.total += amount


class Spend:
    """What each key has spent lately, in nano-dollars; keys that have not called longest are forgotten first."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[_Rolling, ...]] = {}

    def add(self, key_id: str, now_us: int, amount: int) -> None:
        """Add what a call has cost."""
        rolling = self._keys.pop(key_id, None)
        if rolling is None:
            rolling = tuple(_Rolling(window) for window in WINDOWS)
            if len(self._keys) >= _MOST_KEYS:
                del self._keys[next(iter(self._keys))]
        self._keys[key_id] = rolling  # the last one now
        for one in rolling:
            one.add(now_us, amount)

    def within(self, key_id: str, now_us: int) -> tuple[int, ...]:
        """Return what a key has spent in each of `WINDOWS`."""
        rolling = self._keys.get(key_id)
        if rolling is None:
            return (0,) * len(WINDOWS)
        for one in rolling:
            one.roll(now_us)
        return tuple(one.total for one in rolling)
