"""How long something takes, without what the machine takes for itself."""

from __future__ import annotations

import os
import threading
import time
from typing import Self

_BEAT_S = 0.01
_LATE_S = 0.02


class Stopwatch:
    """Counts the seconds since a `with` block began, but for those in which the machine let no thread of ours run.

    A thread beside it sleeps a moment again and again. Where it comes back late, the machine was paused or had others
    to serve, which says nothing of the product. What waits, hangs or is done in the wrong order is counted in full.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._ended: float | None = 0.0

    def __enter__(self) -> Self:
        self._over.clear()
        self._ended = None
        self._began = time.monotonic()
        self._seen = (self._began, 0.0)  # when it last woke, and what was lost until then
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = self.seconds
        self._over.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """What has gone by: nothing before the block, all of it after."""
        if self._ended is not None:
            return self._ended
        woke, lost = self._seen
        now = time.monotonic()
        return now - self._began - lost - _late(now - woke)

    def _watch(self) -> None:
        while not self._over.wait(_BEAT_S):
            woke, lost = self._seen
            now = time.monotonic()
            self._seen = (now, lost + _late(now - woke))


def crowd() -> float:
    """Return how many times more wants to run than this machine has processors for, of late; at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _late(slept: float) -> float:
    """Return by how much a moment's sleep was too long, where that is more than a busy machine's usual."""
    return slept - _BEAT_S if slept > _BEAT_S + _LATE_S else 0.0
