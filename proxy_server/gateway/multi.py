"""libcurl's transfers on the event loop: which sockets it waits for, its timer, and who hears that one has ended.

What `pycurl.AsyncCurlMulti` is for, without a future for each transfer and with one call between the loop and libcurl
where that has two: to be woken for a piece of a stream is what a gateway does most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pycurl

if TYPE_CHECKING:
    from collections.abc import Callable

    Ended = Callable[[pycurl.error | None], None]

_KEPT_CONNECTIONS = 512


class Multi:
    """Runs transfers on the running loop. All methods are of that loop's thread, none for libcurl's callbacks."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running: dict[Any, Ended] = {}
        self._watched: dict[int, int] = {}  # by socket: pycurl.POLL_IN, POLL_OUT or both
        self._timer: asyncio.Handle | None = None
        self._closed = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _KEPT_CONNECTIONS)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def add(self, curl: Any, ended: Ended) -> None:
        """Start a transfer; `ended` is called once, with None after an answer that came whole."""
        self._running[curl] = ended
        try:
            self._multi.add_handle(curl)
        except pycurl.error:
            del self._running[curl]
            raise

    def remove(self, curl: Any) -> None:
        """Break a transfer off, its connection with it; nobody is told."""
        if self._running.pop(curl, None) is not None:
            self._multi.remove_handle(curl)

    def close(self) -> None:
        """Break everything off and let go of all connections."""
        if self._closed:
            return
        self._closed = True
        self._cancel_timer()
        broken = list(self._running.values())
        for curl in list(self._running):
            self.remove(curl)
        self._multi.close()
        for fd in list(self._watched):
            self._watch(fd, 0)
        for ended in broken:
            ended(pycurl.error(pycurl.E_ABORTED_BY_CALLBACK, "the proxy stops"))

    # -- called by libcurl --------------------------------------------------------------------------------------

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        self._watch(fd, 0 if what == pycurl.POLL_REMOVE or self._closed else what)

    def _watch(self, fd: int, wanted: int) -> None:
        loop, watched = self._loop, self._watched.get(fd, 0)
        if wanted & ~watched & pycurl.POLL_IN:
            loop.add_reader(fd, self._drive, fd, pycurl.CSELECT_IN)
        elif watched & ~wanted & pycurl.POLL_IN:
            loop.remove_reader(fd)
        if wanted & ~watched & pycurl.POLL_OUT:
            loop.add_writer(fd, self._drive, fd, pycurl.CSELECT_OUT)
        elif watched & ~wanted & pycurl.POLL_OUT:
            loop.remove_writer(fd)
        if wanted:
            self._watched[fd] = wanted
        else:
            self._watched.pop(fd, None)

    def _on_timer(self, timeout_ms: int) -> None:
        self._cancel_timer()
        if timeout_ms < 0 or self._closed:
            return
        if timeout_ms == 0:  # not at once: libcurl does not like to be called from its callbacks
            self._timer = self._loop.call_soon(self._on_time)
        else:
            self._timer = self._loop.call_later(timeout_ms / 1000, self._on_time)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- called by the loop -------------------------------------------------------------------------------------

    def _on_time(self) -> None:
        self._timer = None
        self._drive(pycurl.SOCKET_TIMEOUT, 0)

    def _drive(self, fd: int, what: int) -> None:
        if self._closed:
            return
        try:
            _, running = self._multi.socket_action(fd, what)
        except pycurl.error as error:  # nothing it runs can be relied on any more
            for curl, ended in list(self._running.items()):
                self.remove(curl)
                ended(error)
            return
        if running != len(self._running):
            self._tell_ended()

    def _tell_ended(self) -> None:
        _, whole, broken = self._multi.info_read()
        ends: list[tuple[Any, pycurl.error | None]] = [(curl, None) for curl in whole]
        ends += [(curl, pycurl.error(code, told)) for curl, code, told in broken]
        for curl, error in ends:
            ended = self._running.get(curl)
            if ended is not None:
                self.remove(curl)
                ended(error)
