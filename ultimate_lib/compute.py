"""Heavy work beside the serving processes: submit, map, gather, cancel.

    with LocalPool(workers=2) as compute:
        tasks = compute.map(count_rows, paths, progress=lambda done, total: print(done, total))
        counts = compute.gather(tasks)

A task is a function that can be imported by name, and arguments that can be pickled. It runs in a process that was
spawned, never forked (polars' threads do not survive a fork), with one polars thread. A running task is cancelled by
killing its process, so whatever it writes must be safe to kill. Nothing starts before the first task.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol, Self, TypeVar

from ultimate_lib.errors import Invalid, Unavailable

Result = TypeVar("Result")
Item = TypeVar("Item")
Progress = Callable[[int, int], None]
"""Called with (done, total) in a thread of the pool; must be quick."""


class Compute(Protocol):
    """Where heavy work runs. `LocalPool` here; a cluster fits the same four calls."""

    def submit(
        self, function: Callable[..., Result], *arguments: Any, progress: Progress | None = None
    ) -> Future[Result]:
        """Start `function(*arguments)` elsewhere; `progress` gets what the function tells `report`."""
        ...

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, progress: Progress | None = None
    ) -> list[Future[Result]]:
        """Start the function on each item; `progress` gets (items done, items)."""
        ...

    def gather(self, tasks: Sequence[Future[Result]], timeout_s: float | None = None) -> list[Result]:
        """Wait for all results, in order; the first failure cancels the rest and is raised."""
        ...

    def cancel(self, task: Future[Any]) -> bool:
        """Stop a waiting or running task; False when it had ended before."""
        ...


@dataclass(eq=False, slots=True)
class _Job:
    future: Future[Any]
    message: bytes
    progress: Progress | None
    cancelled: bool = False


class LocalPool:
    """A few spawned processes on this machine; one that idles for `idle_s` ends and gives its memory back."""

    def __init__(self, workers: int = 2, *, idle_s: float = 60.0) -> None:
        if workers < 1:
            raise Invalid(f"A pool of {workers} workers can do nothing.", hint="Give at least 1.")
        self._workers = workers
        self._idle_s = idle_s
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._jobs: dict[Future[Any], _Job] = {}
        self._running: dict[Future[Any], _Child] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self, function: Callable[..., Result], *arguments: Any, progress: Progress | None = None
    ) -> Future[Result]:
        """Start `function(*arguments)` in a process of the pool. Raises `Invalid` when it cannot be sent there."""
        try:
            message = pickle.dumps((function, arguments))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise Invalid(
                f"This task cannot be sent to another process: {error}.", hint="Use a named function of a module."
            ) from error
        job = _Job(Future(), message, progress)
        with self._lock:
            if self._closed:
                raise Unavailable("This pool is closed.")
            self._jobs[job.future] = job
            if len(self._threads) < min(self._workers, len(self._jobs)):
                thread = threading.Thread(target=self._serve, name="compute", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._waiting.put(job)
        return job.future

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, progress: Progress | None = None
    ) -> list[Future[Result]]:
        """Start the function on each item; `progress` gets (items done, items)."""
        tasks = [self.submit(function, item) for item in items]
        if progress is not None:
            count = _Counter(len(tasks), progress)
            for task in tasks:
                task.add_done_callback(count)
        return tasks

    def gather(self, tasks: Sequence[Future[Result]], timeout_s: float | None = None) -> list[Result]:
        """Wait for all results, in order. The first failure, or `TimeoutError`, cancels the rest and is raised."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            return [task.result(None if until is None else max(0.0, until - time.monotonic())) for task in tasks]
        except BaseException:
            for task in tasks:
                self.cancel(task)
            raise

    def cancel(self, task: Future[Any]) -> bool:
        """Stop a waiting task, or kill the process of a running one; its result then raises `CancelledError`."""
        with self._lock:
            job = self._jobs.get(task)
            if job is None:
                return False
            job.cancelled = True
            child = self._running.get(task)
            if child is not None:
                child.kill()
        task.cancel()
        return True

    def close(self) -> None:
        """Cancel what is left and end the processes."""
        with self._lock:
            self._closed = True
            left = list(self._jobs)
            threads = list(self._threads)
        for task in left:
            self.cancel(task)
        for _ in threads:
            self._waiting.put(None)
        for thread in threads:
            thread.join()

    def _serve(self) -> None:
        """Feed one process with tasks: the life of a thread."""
        child: _Child | None = None
        try:
            while True:
                try:
                    job = self._waiting.get(timeout=self._idle_s if child else None)
                except queue.Empty:
                    if child is not None:
                        child.end()
                    child = None
                    continue
                if job is None:
                    return
                if not job.future.set_running_or_notify_cancel():
                    self._jobs.pop(job.future, None)
                    continue
                child = self._run(job, child)
        finally:
            if child is not None:
                child.end()

    def _run(self, job: _Job, child: _Child | None) -> _Child | None:
        """Run one task; returns the process when it can take another."""
        outcome: Any = None
        failure: BaseException | None = None
        try:
            if child is None or not child.alive:
                child = _Child()
            with self._lock:
                self._running[job.future] = child
                if job.cancelled:
                    child.kill()
            outcome, failure = child.call(job.message, job.progress)
        except (EOFError, OSError) as error:
            failure = Unavailable(f"The process of this task ended before the task did ({type(error).__name__}).")
        except Exception as error:  # noqa: BLE001 - a failing progress function fails the task it watches, not the pool
            failure = error
        if child is not None and (child.broken or job.cancelled):
            child.kill()
            child.end()
            child = None
        with self._lock:
            self._running.pop(job.future, None)
            self._jobs.pop(job.future, None)
        if job.cancelled:
            job.future.set_exception(CancelledError())
        elif failure is not None:
            job.future.set_exception(failure)
        else:
            job.future.set_result(outcome)
        return child


class _Counter:
    """Counts tasks that ended and tells."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress, self._done, self._lock = total, progress, 0, threading.Lock()

    def __call__(self, _: Future[Any]) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)


class _Child:
    """One spawned process and the socket it is spoken to through."""

    _START = (
        "import json, os, sys; os.environ.update(POLARS_MAX_THREADS='1', OPENBLAS_NUM_THREADS='1');"
        "sys.path[:] = json.loads(sys.argv[2]);"
        "from ultimate_lib.compute import serve; serve(int(sys.argv[1]))"
    )

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own code
                [sys.executable, "-c", self._START, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self.broken = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def call(self, message: bytes, progress: Progress | None) -> tuple[Any, BaseException | None]:
        self.broken = True  # until the answer is in, nobody knows what comes next on this socket
        self._connection.send_bytes(message)
        while True:
            kind, value = self._connection.recv()
            if kind != "progress":
                self.broken = False
                return (value, None) if kind == "done" else (None, value)
            if progress is not None:
                progress(*value)

    def kill(self) -> None:
        if self.alive:
            self._process.kill()

    def end(self) -> None:
        """Let it end (it does when its socket closes) and collect it."""
        self._connection.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# -- in the child --------------------------------------------------------------------------------------------------

_upward: list[Connection] = []


def report(done: int, total: int) -> None:
    """Tell the caller of the running task how far it is; in a process that is no pool's, nothing happens."""
    for connection in _upward:
        connection.send(("progress", (done, total)))


def serve(descriptor: int) -> None:
    """Run tasks from the socket until it closes: the life of a child. Ends at once when its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(descriptor)
    _upward.append(connection)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(message))


def _answer(message: bytes) -> bytes:
    try:
        function, arguments = pickle.loads(message)  # noqa: S301 - from the parent, over a socket of its own
        return pickle.dumps(("done", function(*arguments)))
    except Exception as error:  # noqa: BLE001 - the task's failure is the caller's to see, whatever it is
        with contextlib.suppress(Exception):
            packed = pickle.dumps(("failed", error))
            pickle.loads(packed)  # noqa: S301 - an exception that cannot be unpickled must not reach the parent
            return packed
        return pickle.dumps(("failed", Unavailable(f"The task failed: {type(error).__name__}: {error}")))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
