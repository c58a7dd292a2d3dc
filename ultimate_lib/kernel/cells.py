"""Which run of which cell the code that asks belongs to: by context, by thread, and as the kernel tells it."""

from __future__ import annotations

import threading
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell

_VSCODE = "vscode-notebook-cell:"


class Run:
    """One run of one cell, and the calls seen on their way in it. Counters change under `lock`."""

    def __init__(self, cell_id: str | None, number: int, parent: dict[str, Any]) -> None:
        self.cell_id = cell_id  # nbformat id; `In[3]` where the front end tells none
        self.number = number  # as in In[3]
        self.parent = parent  # the message that asked for the run: output goes under its cell
        self.began_at = time.time()  # seconds since 1970, this computer's clock
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.sent = 0  # requests to the proxy, ended or not
        self.running = 0  # of them, not ended yet
        self.direct = 0  # requests that went to a provider while the proxy was away
        self.lost = 0  # requests that never reached the proxy
        self.ids: set[str] = set()  # the proxy's ids of calls, as far as answers told them

    @property
    def called(self) -> bool:
        """Whether there is anything to tell about this run."""
        return self.sent + self.direct > 0


_current: ContextVar[Run | None] = ContextVar("ultimate_cell", default=None)
_threads: weakref.WeakKeyDictionary[threading.Thread, Run] = weakref.WeakKeyDictionary()


def current() -> Run | None:
    """Return the run that the calling code belongs to, wherever it runs; None outside of cells."""
    run = _current.get()
    return run if run is not None else _threads.get(threading.current_thread())


def belongs(thread: threading.Thread, run: Run) -> None:
    """Note that what a thread does of its own accord belongs to the run that started it."""
    _threads[thread] = run


def within(run: Run, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function as part of a run."""
    token = _current.set(run)
    try:
        return function(*args, **kwargs)
    finally:
        _current.reset(token)


class Cells:
    """Follows the shell from cell to cell. Runs of a thread nest: code may run cells."""

    def __init__(self, shell: InteractiveShell, name: Callable[[str], str | None]) -> None:
        self._shell = shell
        self._name = name  # finds the id of a cell by its source
        self._open: dict[int, list[Run]] = {}
        self.names: dict[str, tuple[int, str]] = {}  # cell id → number of its last run, first line
        self.busy = 0
        self.changed_at = time.monotonic()

    def begin(self, info: ExecutionInfo) -> Run:
        """A cell begins to run."""
        number = min(self._shell.execution_count, self._kept())  # counted up before or after this, by version
        return self._begin(info.raw_cell or "", getattr(info, "cell_id", None), number)

    def begin_here(self) -> Run | None:
        """Join the cell that is running now, if one is: the one that loads the extension."""
        parent = self._parent()
        content = parent.get("content", {})
        if parent.get("header", {}).get("msg_type") != "execute_request" or content.get("silent"):
            return None
        return self._begin(str(content.get("code", "")), None, self._kept() - 1)

    def end(self) -> Run | None:
        """End the cell; return its run, or None when it was part of another."""
        stack = self._open.get(threading.get_ident())
        if not stack:
            return None
        run = stack.pop()
        _current.set(stack[-1] if stack else None)
        if stack:
            return None
        self.busy -= 1
        self.changed_at = time.monotonic()
        run.ended.set()
        return run

    def _begin(self, source: str, cell_id: str | None, number: int) -> Run:
        parent = self._parent()
        stack = self._open.setdefault(threading.get_ident(), [])
        if stack and _message(stack[0].parent) != _message(parent):
            stack.clear()  # its end was never told: silent runs have none
            self.busy -= 1
        if stack:
            run = stack[0]
        else:
            run = self._new(source, cell_id or parent.get("metadata", {}).get("cellId"), number, parent)
            self.busy += 1
            self.changed_at = time.monotonic()
        stack.append(run)
        _current.set(run)
        return run

    def _new(self, source: str, cell_id: str | None, number: int, parent: dict[str, Any]) -> Run:
        if cell_id and cell_id.startswith(_VSCODE):
            cell_id = cell_id.rpartition("#")[2]
        cell_id = cell_id or self._name(source) or f"In[{number}]"
        first = next((line.strip() for line in source.splitlines() if line.strip()), "")
        self.names[cell_id] = (number, first[:60])
        return Run(cell_id, number, parent)

    def _kept(self) -> int:
        """Return how many inputs the shell keeps, the empty one at first included."""
        history = self._shell.history_manager
        return len(history.input_hist_parsed) if history is not None else self._shell.execution_count

    def _parent(self) -> dict[str, Any]:
        kernel = getattr(self._shell, "kernel", None)
        parent = kernel.get_parent("shell") if kernel is not None else {}
        return parent if isinstance(parent, dict) else {}


def _message(parent: dict[str, Any]) -> str:
    return str(parent.get("header", {}).get("msg_id", ""))
