"""Requests and tokens a minute: exact sliding windows. Pure: the caller hands in monotonic time.

A window remembers each entry of the last 60 seconds, so that no 60 seconds ever hold more than the limit.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0


class Entry:
    """What one call takes of a window; its amount may be corrected later."""

    __slots__ = ("amount", "at")

    def __init__(self, at: float, amount: int) -> None:
        self.at = at
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
                return max(entry.at + WINDOW_S - now, 0.001)
        return WINDOW_S

    def take(self, now: float, amount: int) -> Entry:
        """Add an entry."""
        entry = Entry(now, amount)
        self._entries.append(entry)
        self.total += amount
        return entry

    def correct(self, now: float, entry: Entry, amount: int) -> None:
        """Give an entry another amount, if it still counts."""
        if entry.at > now - WINDOW_S and self._entries and entry.at >= self._entries[0].at:
            self.total += amount - entry.amount
            entry.amount = amount
