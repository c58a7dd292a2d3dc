"""Reads that may wait for the store, beside the loop: a few at a time, and none waited for longer than seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ultimate_lib.access.key_cache import Unread
from ultimate_lib.errors import UltimateError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.access.key_cache import KeyCache
    from ultimate_lib.access.principal import Principal

log = logging.getLogger(__name__)

_MOST_THREADS = 8
_MOST_WAITING = 200
_MOST_STRANGERS = 100
"""Keys nobody knows that are looked for at a time: who makes them up leaves room for those who are known."""
_LONGEST_S = 2.0
BUSY = "busy"
"""The code of what is told when too much waits: that says nothing of the store."""
_IDLE_S = 10.0


class Aside:
    """Runs work in threads and tells the loop what came of it. One that hangs is left alone and holds up no exit."""

    def __init__(self) -> None:
        self._work: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._threads = 0
        self._idle = 0

    def run(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do `work` in a thread, then call `then` on the loop with its value or the `UltimateError` it raised.

        What takes longer than two seconds is `Unavailable`; its value is dropped when it comes at last.
        """
        loop = asyncio.get_running_loop()
        told = False

        def tell(value: Any) -> None:
            nonlocal told
            if not told:
                told = True
                timer.cancel()
                then(value)

        def do() -> None:
            value = _outcome(work)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, value)

        slow = Unavailable("The store takes too long.", hint="Try again in a moment.", code="store_unavailable")
        timer = loop.call_later(_LONGEST_S, tell, slow)
        with self._wake:
            if len(self._work) >= _MOST_WAITING:
                loop.call_soon(tell, _busy())
                return
            self._work.append(do)
            if self._idle:
                self._wake.notify()
            elif self._threads < _MOST_THREADS:
                self._threads += 1
                threading.Thread(target=self._serve, name="aside", daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._wake:
                if not self._work:
                    self._idle += 1
                    self._wake.wait(_IDLE_S)
                    self._idle -= 1
                if not self._work:
                    self._threads -= 1
                    return
                do = self._work.popleft()
            do()


def _busy() -> Unavailable:
    return Unavailable("Too many questions wait for the store.", hint="Try again in a moment.", code=BUSY)


def _outcome(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except UltimateError as error:
        return error
    except Exception:
        log.exception("A read beside the loop failed.")
        return UltimateError("The proxy failed; its log tells why.", code="internal")


class Waiting(Exception):  # a state, no error: the answer comes later
    """Who calls is being read; `again` will be called."""


class Callers:
    """Who a key is, for the loop: from memory, or read beside it; keys in use are read anew before they are old."""

    def __init__(self, keys: KeyCache, aside: Aside) -> None:
        self._keys = keys
        self._aside = aside
        self._reading: dict[str, list[Callable[[Any], None]]] = {}
        self._strangers: set[str] = set()  # those of them that are not known

    def find(self, key: str, again: Callable[[Any], None]) -> Principal | None:
        """Return the caller behind a key.

        Raises `Waiting` when the store has to be asked: `again` then gets the caller, None or an `UltimateError`.
        """
        keys = self._keys
        try:
            found = keys.kept(key)
        except Unread:
            self._read(key, again)
            raise Waiting from None
        if keys.ages(key) and key not in self._reading:
            self._read(key, None)
        return found

    def _read(self, key: str, again: Callable[[Any], None] | None) -> None:
        waiting = self._reading.get(key)
        if waiting is None:
            if not self._keys.knows(key):
                if len(self._strangers) >= _MOST_STRANGERS:
                    if again is not None:
                        asyncio.get_running_loop().call_soon(again, _busy())
                    return
                self._strangers.add(key)
            waiting = self._reading[key] = []
            self._aside.run(lambda: self._keys.read(key), lambda value: self._told(key, value))
        if again is not None:
            waiting.append(again)

    def _told(self, key: str, value: Any) -> None:
        self._strangers.discard(key)
        if isinstance(value, Unavailable):
            if value.code != BUSY:  # it may hang: those who are known go on
                self._keys.away = True
            with contextlib.suppress(Unread):
                value = self._keys.kept(key)
        for again in self._reading.pop(key, ()):
            again(value)
