"""The rows of a cell's calls, asked of the proxy by a thread of its own: rows are visible a moment after a call."""

from __future__ import annotations

import collections
import queue
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from claude_proxy.errors import ProxyError
from ultimate_lib.kernel import line, proxy
from ultimate_lib.kernel.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_proxy.places import Place
    from ultimate_lib.kernel.cells import Run

WAIT_S = 1.5
"""Longest wait for rows, after which what is there is told."""
_PAUSE_S = 0.03
_SKEW_S = 300.0  # by which the proxy's clock may be behind
_PAGE = 1000
_MOST_PAGES = 20
_RUNS_KEPT = 50
_lock = threading.Lock()
_runs: dict[tuple[str, str | None], collections.deque[Run]] = {}
"""Runs that called, by kernel and cell: their calls are no other run's. They outlive an unloaded extension."""


class Told(NamedTuple):
    """What there is to tell about a run."""

    run: Run
    line: str  # empty: nothing
    sums: line.Sums
    pending: int

    def message(self) -> dict[str, Any]:
        """Return it as JupyterLab takes it."""
        return {
            "event": "cell", "cell_id": self.run.cell_id, "line": self.line, "calls": self.sums.calls,
            "input_tokens": self.sums.input_tokens, "output_tokens": self.sums.output_tokens,
            "cost_nano_usd": self.sums.cost_nano_usd, "unpriced": self.sums.unpriced,
            "errors": self.sums.errors + self.sums.refused, "pending": self.pending,
        }  # fmt: skip


class Task:
    """A run that is asked about."""

    def __init__(self, run: Run, show: Callable[[Told], object] | None) -> None:
        self.run = run
        self.show = show  # None: who waits shows it
        self.told: Told | None = None
        self.done = threading.Event()


class Booking:
    """Asks the proxy, one run after the other."""

    def __init__(self, place: Place, kernel: str) -> None:
        self._place = place
        self._kernel = kernel
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def keep(self, run: Run) -> None:
        """Remember a run that called, whether it is asked about or not."""
        with _lock:
            kept = _runs.setdefault((self._kernel, run.cell_id), collections.deque(maxlen=_RUNS_KEPT))
            if run not in kept:
                kept.append(run)

    def ask(self, run: Run, show: Callable[[Told], object] | None = None) -> Task:
        """Ask about a run; `show` is then called by the asking thread."""
        task = Task(run, show)
        self.keep(run)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ultimate-line", daemon=True)
                self._thread.start()
        self._tasks.put(task)
        return task

    def warm(self) -> None:
        """Let the proxy load what it needs to read rows, which takes it a second or two the first time."""

        @guarded
        def ask() -> None:
            try:
                proxy.get(self._place, "/api/analytics/calls", 30.0, limit=1, filter=f"kernel:{self._kernel}")
            except ProxyError:  # told when a row is really wanted
                return

        threading.Thread(target=ask, name="ultimate-warm", daemon=True).start()

    def close(self) -> None:
        """Finish what was asked and end the thread."""
        with self._lock:
            self._tasks.put(None)
            self._thread = None

    def settle(self, run: Run, seconds: float = WAIT_S) -> Told:
        """Wait until every call that ended has its row, for so long at most. Raises `ProxyError`."""
        until = time.monotonic() + seconds
        while True:
            with run.lock:
                sent, running = run.sent, run.running
            rows = self._rows(run, max(until - time.monotonic(), 0.2))
            if len(rows) >= sent - running or time.monotonic() > until:
                break
            time.sleep(_PAUSE_S)
        with run.lock:
            run.ids.update(row["call_id"] for row in rows)
        told = line.sums(rows)
        untold = max(sent - len(rows), 0)
        running = min(running, untold)  # an answer may be complete and recorded before it is read to its end here
        text = line.text(told, running=running, missing=untold - running, direct=run.direct)
        return Told(run, text, told, untold)

    def _rows(self, run: Run, seconds: float) -> list[dict[str, Any]]:
        with _lock:
            others = [other for other in _runs.get((self._kernel, run.cell_id), ()) if other is not run]
        foreign: set[str] = set()
        for other in others:
            with other.lock:
                foreign |= other.ids
        start = datetime.fromtimestamp(run.began_at - _SKEW_S, UTC).isoformat()
        wanted = [f"kernel:{self._kernel}", f"cell_id:{run.cell_id}"]
        rows: list[dict[str, Any]] = []
        cursor = None
        for _ in range(_MOST_PAGES):
            page = proxy.get(
                self._place, "/api/analytics/calls", seconds, filter=wanted, start=start, limit=_PAGE, cursor=cursor
            )
            rows += [row for row in page["rows"] if row["call_id"] not in foreign]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        return rows

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._answer(task)
            task.done.set()

    @guarded
    def _answer(self, task: Task) -> None:
        try:
            task.told = self.settle(task.run)
        except ProxyError as error:
            run = task.run
            count = f"{run.sent} call{'s' if run.sent != 1 else ''}"
            why = f"{count} · cost not known: {error.message}" if run.sent else ""
            why = why or line.text(line.sums([]), direct=run.direct)
            task.told = Told(run, why, line.sums([]), run.running)
        if task.show is not None and task.told.line:
            task.show(task.told)
