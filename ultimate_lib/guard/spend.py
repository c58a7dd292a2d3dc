"""What a key has spent within the last minute, hour and day: rolling sums in whole parts of each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SECOND_US = 1_000_000


class Window(NamedTuple):
    """A span that ends now, cut into parts of equal length. A part of one window is whole parts of the one before."""

    name: str
    part_us: int
    parts: int


WINDOWS = (
    Window("minute", 5 * _SECOND_US, 12),
    Window("hour", 300 * _SECOND_US, 12),
    Window("day", 3600 * _SECOND_US, 24),
)
Kept = dict[str, list[tuple[int, int, int]]]
"""Key → (window, part, nano-dollars), as it is kept over a restart."""
_FINEST_US = WINDOWS[0].part_us
_MOST_KEYS = 20_000


class _Rolling:
    """One key's sums: a part more than each window has, so that never too little is counted."""

    __slots__ = ("last", "parts", "totals")

    def __init__(self, place: int) -> None:
        self.last = place  # in parts of the finest window
        self.parts = [[0] * (window.parts + 1) for window in WINDOWS]
        self.totals = [0] * len(WINDOWS)

    def at(self, place: int) -> None:
        """Take the sums to the present place."""
        if place > self.last:
            self.roll(place)
        elif place < self.last - 1:  # less is a clock that is corrected a little
            self.back(place)

    def roll(self, place: int) -> None:
        """Leave out what is too old at a later place."""
        for number, window in enumerate(WINDOWS):
            parts = self.parts[number]
            before, now = (at * _FINEST_US // window.part_us for at in (self.last, place))
            for at in range(max(before + 1, now - len(parts) + 1), now + 1):
                self.totals[number] -= parts[at % len(parts)]
                parts[at % len(parts)] = 0
        self.last = place

    def back(self, place: int) -> None:
        """Take all sums to an earlier place: the clock was ahead, and what it told was spent just now."""
        for number, window in enumerate(WINDOWS):
            parts = self.parts[number]
            before, now = (at * _FINEST_US // window.part_us for at in (self.last, place))
            self.parts[number] = [parts[(at - now + before) % len(parts)] for at in range(len(parts))]
        self.last = place

    def put(self, number: int, at: int, amount: int) -> None:
        parts = self.parts[number]
        parts[at % len(parts)] += amount
        self.totals[number] += amount


class Spend:
    """What each key has spent lately, in nano-dollars; keys that have not spent longest are forgotten first."""

    def __init__(self) -> None:
        self._keys: dict[str, _Rolling] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key_id: str, now_us: int, amount: int) -> None:
        """Add what a call has cost."""
        rolling = self._of(key_id, now_us // _FINEST_US)
        for number, window in enumerate(WINDOWS):
            rolling.put(number, rolling.last * _FINEST_US // window.part_us, amount)

    def within(self, key_id: str, now_us: int) -> Sequence[int]:
        """Return what a key has spent in each of `WINDOWS`."""
        rolling = self._keys.get(key_id)
        if rolling is None:
            return (0,) * len(WINDOWS)
        rolling.at(now_us // _FINEST_US)
        return rolling.totals

    def _of(self, key_id: str, place: int) -> _Rolling:
        rolling = self._keys.get(key_id)
        if rolling is not None and place <= rolling.last:
            rolling.at(place)
            return rolling
        if rolling is None:
            rolling = _Rolling(place)
            if len(self._keys) >= _MOST_KEYS:
                del self._keys[next(iter(self._keys))]
        else:
            rolling.roll(place)
            del self._keys[key_id]
        self._keys[key_id] = rolling  # the last one now
        return rolling

    def kept(self) -> Kept:
        """Return all sums, to be kept over a restart."""
        found = {key_id: self.rows(key_id) for key_id in list(self._keys)}
        return {key_id: rows for key_id, rows in found.items() if rows}

    def rows(self, key_id: str) -> list[tuple[int, int, int]]:
        """Return (window, part, nano-dollars) of a key, where it has spent."""
        rolling = self._keys.get(key_id)
        if rolling is None:
            return []
        found = []
        for number, window in enumerate(WINDOWS):
            parts, now = rolling.parts[number], rolling.last * _FINEST_US // window.part_us
            for at in range(now - window.parts, now + 1):
                amount = parts[at % len(parts)]
                if amount:
                    found.append((number, at, amount))
        return found

    def parts(self, key_id: str, number: int, now_us: int) -> list[tuple[int, int]]:
        """Return (part, nano-dollars) of what a key has spent in one of `WINDOWS`."""
        self.within(key_id, now_us)
        return [(at, amount) for window, at, amount in self.rows(key_id) if window == number]

    def forget(self, key_id: str) -> None:
        """Forget a key's sums."""
        self._keys.pop(key_id, None)

    def take(self, kept: Mapping[str, Sequence[tuple[int, int, int]]], now_us: int) -> None:
        """Add sums that were kept; what is too old by now is left out."""
        for key_id, rows in kept.items():
            rolling = self._of(key_id, now_us // _FINEST_US)
            for number, at, amount in rows:
                if not 0 <= number < len(WINDOWS):
                    continue
                window = WINDOWS[number]
                now = rolling.last * _FINEST_US // window.part_us
                if now - window.parts <= at <= now:
                    rolling.put(number, at, amount)


def rolls_off_s(number: int, parts: Sequence[tuple[int, int]], spent: int, most: float, now_us: int) -> float:
    """Return in how many seconds so many of a window's parts are too old that less than `most` of `spent` is left."""
    window = WINDOWS[number]
    for at, amount in sorted(parts):
        spent -= amount
        if spent < most:
            return ((at + window.parts + 1) * window.part_us - now_us) / 1e6
    return window.part_us * (window.parts + 1) / 1e6
