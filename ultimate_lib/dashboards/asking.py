"""How a dashboard asks: in threads where there is a pool, in rounds, and back to where its document may change."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from bokeh.document import Document

log = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A question that failed: what happened, what to do, and the error's HTTP status and code."""

    message: str
    hint: str
    status: int = 500
    code: str = "error"


class Asking:
    """What every dashboard of one viewer does with its questions.

    With a `pool`, for a session that Panel serves, questions are asked and figures made in threads, and `document` is
    changed on its loop alone; without one everything happens at once.
    """

    def __init__(self, pool: Executor | None = None, document: Document | None = None) -> None:
        self._pool = pool
        self._doc = document
        self._round = 0  # of questions; answers to an earlier one are not shown
        self._waiting = 0

    def _begin(self) -> None:
        """Begin another round: what is still on its way will not be shown."""
        self._round += 1
        self._waiting = 0

    def _settled(self) -> None:
        """All that was asked has been shown."""

    def _run(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do some work, in a thread where there is a pool, and hand its result, or a `Failure`, to `then`."""
        if self._pool is None:
            then(_tried(work))
            return
        self._waiting += 1
        this = self._round

        def ask() -> Any:  # once its turn comes, perhaps nobody waits for it any more, and others do for theirs
            return _tried(work) if this == self._round else None

        self._pool.submit(ask).add_done_callback(functools.partial(self._back, this, then))

    def _back(self, this: int, then: Callable[[Any], None], done: Future[Any]) -> None:
        """Go back to where the document may be changed; called in a thread of the pool."""

        def show() -> None:
            if this == self._round:
                self._waiting -= 1
                then(done.result())
                if not self._waiting:
                    self._settled()

        if not done.cancelled():
            self._soon(show)

    def _soon(self, change: Callable[[], None]) -> None:
        """Do something where the document may be changed, which Panel's own callbacks are not always allowed to."""
        if self._doc is None:
            change()
        elif self._doc.session_context is not None:  # else its page has left
            self._doc.add_next_tick_callback(change)


class Pause:
    """Does something once a moment has passed without being asked for it again: arrow keys run through a list.

    Without an event loop (a plain script, a test) it is done at once.
    """

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self._seconds = seconds
        self._act = act
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> None:
        """Ask for it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._act()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(self._seconds, self._act)


def _tried(work: Callable[[], Any]) -> Any:
    """Return what work returns, or a `Failure`: the outermost frame of a question."""
    try:
        return work()
    except UltimateError as error:
        return Failure(error.message, error.hint, error.http_status, error.code)
    except Exception:
        log.exception("A dashboard's question failed.")
        return Failure("This failed on our side.", "The log tells why.")
