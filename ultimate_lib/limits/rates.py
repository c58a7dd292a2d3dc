"""Requests and tokens a minute: exact sliding windows. Pure: the caller hands in monotonic time.

A window remembers the entries of the last 60 seconds, those of a twentieth of a second as one that counts as long as
the last of them: no 60 seconds ever hold more than the limit.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
_TOGETHER_S = 0.05


class Entry:
    """What calls that came together take of a window; the amount may be corrected later."""

    __slots__ = ("amount", "at", "since")

    def __init__(self, at: float, amount: int) -> None:
        self.since = self.at = at
        self.amount = amount


class Window:
    """The sum of the last 60 seconds."""

    __slots__ = ("_entries", "total")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.total = 0

    def wait_s(self, now: float, amount: int, limit: int) -> float:
        """Return 0 when `amount` fits now, else in how many seconds it will if nothing else comes."""
        entries = self._entries
        horizon = now - WINDOW_S
        while entries and entries[0].at <= horizon:
            self.total -= entries.popleft().amount
        excess = self.total + amount - limit
        if excess <= 0:
            return 0.0
        for entry in entries:
            excess -= entry.amount
            if excess <= 0:
                return min(max(entry.at + WINDOW_S - now, 0.001), WINDOW_S)
        return WINDOW_S

    def take(self, now: float, amount: int) -> Entry:
        """Add an amount and return the entry that it is in."""
        entries = self._entries
        self.total += amount
        if entries and now - entries[-1].since < _TOGETHER_S:
            entry = entries[-1]
            entry.at = now
            entry.amount += amount
        else:
            entry = Entry(now, amount)
            entries.append(entry)
        return entry

    def correct(self, entry: Entry, more: int) -> None:
        """Add to what an entry counts, or take from it, if it still counts."""
        if self._entries and entry.at >= self._entries[0].at:
            self.total += more
            entry.amount += more
