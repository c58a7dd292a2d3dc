"""Requests and tokens a minute: exact sliding windows. Pure: the caller hands in monotonic time.

A window remembers the calls of the last 60 seconds, those of a twentieth of a second as one entry that counts as long
as the last of them: no 60 seconds ever hold more than the limit.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Literal

WINDOW_S = 60.0
_TOGETHER_S = 0.05


class Entry:
    """What calls that came together take of a window; it may be corrected as long as it `counts`."""

    __slots__ = ("at", "counts", "requests", "since", "tokens")

    def __init__(self, since: float) -> None:
        self.since = self.at = since
        self.requests = self.tokens = 0
        self.counts = True


class Window:
    """The sums of the last 60 seconds, and now and then of a little more: never less than they are."""

    __slots__ = ("_entries", "_last", "requests", "tokens")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._last = Entry(-inf)
        self.requests = 0
        self.tokens = 0

    def wait_s(self, now: float, unit: Literal["requests", "tokens"], amount: int, limit: int) -> float:
        """Return 0 when so many more fit now, else in how many seconds they will if nothing else comes."""
        excess: int = getattr(self, unit) + amount - limit
        if excess <= 0:  # old entries or not
            return 0.0
        self._forget(now)
        excess = getattr(self, unit) + amount - limit
        if excess <= 0:
            return 0.0
        for entry in self._entries:
            excess -= getattr(entry, unit)
            if excess <= 0:
                return min(max(entry.at + WINDOW_S - now, 0.001), WINDOW_S)
        return WINDOW_S

    def take(self, now: float, tokens: int) -> Entry:
        """Add a request of so many tokens and return the entry that it is in."""
        entry = self._last
        if now - entry.since >= _TOGETHER_S:
            self._forget(now)
            entry = self._last = Entry(now)
            self._entries.append(entry)
        entry.at = now
        entry.requests += 1
        entry.tokens += tokens
        self.requests += 1
        self.tokens += tokens
        return entry

    def correct(self, entry: Entry, tokens: int) -> None:
        """Add to the tokens of an entry, or take from them, if it still counts."""
        if entry.counts:
            self.tokens += tokens
            entry.tokens += tokens

    def unask(self, entry: Entry) -> None:
        """Take a request from an entry, if it still counts."""
        if entry.counts:
            self.requests -= 1
            entry.requests -= 1

    def _forget(self, now: float) -> None:
        entries = self._entries
        horizon = now - WINDOW_S
        while entries and entries[0].at <= horizon:
            gone = entries.popleft()
            gone.counts = False
            self.requests -= gone.requests
            self.tokens -= gone.tokens
