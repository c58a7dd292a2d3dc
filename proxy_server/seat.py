"""A seat: one place of a child process. Its listening socket stays; processes come, serve, retire and crash.

A process is started with its settings as an unnamed file on standard input and two pipes, see `process`. It is
`coming` until it says that it serves, then it is the `serving` one, and `leaving` once a successor serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from proxy_server.process import GO, RETIRE, Handoff
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

log = logging.getLogger(__name__)

_ENTRY = Path(__file__).with_name("child.py")
_START_S = 60.0
_GRACE_S = 10.0  # beyond the time for draining
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_SHORT_LIFE_S = 1.0  # a process that ends sooner after it began to serve will most likely do so again


class Instructions(msgspec.Struct, frozen=True, kw_only=True):
    """What all children of one generation are told."""

    config_path: str | None
    config_text: str
    overrides: dict[str, Any]
    control_address: str
    demo_url: str
    drain_s: float


class Process:
    """One child process, as its supervisor sees it."""

    def __init__(self, role: str, slot: int, told: Instructions, listener: socket.socket | None) -> None:
        self.drain_s = told.drain_s
        self.ready: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda future: future.cancelled() or future.exception())  # may go unasked
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ready_fd, ready_fd = os.pipe()
        life_fd, self._life_fd = os.pipe()
        fds = [ready_fd, life_fd]
        listener_fd = None
        if listener is not None:
            listener_fd = listener.fileno()
            fds.append(listener_fd)
        handoff = Handoff(
            config_path=told.config_path,
            config_text=told.config_text,
            overrides=told.overrides,
            ready_fd=ready_fd,
            life_fd=life_fd,
            listener_fd=listener_fd,
            control_address=told.control_address,
            demo_url=told.demo_url,
        )
        try:
            with _unnamed_file(msgspec.json.encode(handoff)) as given:
                command = [sys.executable, "-P", str(_ENTRY), role, str(slot)]
                self._process = subprocess.Popen(command, stdin=given, pass_fds=fds)  # noqa: S603 - our own program
        except OSError:
            os.close(self._ready_fd)
            os.close(self._life_fd)
            raise
        finally:
            os.close(ready_fd)
            os.close(life_fd)
        self.pid = self._process.pid
        self.ready_at = 0.0  # of the monotonic clock
        asyncio.get_running_loop().add_reader(self._ready_fd, self._heard)

    def _heard(self) -> None:
        message = os.read(self._ready_fd, 65536)
        asyncio.get_running_loop().remove_reader(self._ready_fd)
        os.close(self._ready_fd)
        if self.ready.done():
            return
        if message.startswith(b"1"):
            self.ready_at = time.monotonic()
            self.ready.set_result(message[1:])
        else:
            told = message.removeprefix(b"!").decode(errors="replace")
            self.ready.set_exception(Unavailable(told or "The process ended while it started.", code="child_failed"))

    @property
    def serves(self) -> bool:
        """Whether it has said that it serves."""
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    def go(self) -> None:
        """Let it begin."""
        self._write(GO)

    def retire(self) -> None:
        """Ask it to finish what it has: a successor serves."""
        self._write(RETIRE)
        self.kill_after(self.drain_s + _GRACE_S)

    def drain(self) -> None:
        """Ask it to finish and leave."""
        self._signal(signal.SIGTERM)
        self.kill_after(self.drain_s + _GRACE_S)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def kill_after(self, seconds: float) -> None:
        """End it if it is still there by then."""
        timer = asyncio.get_running_loop().call_later(seconds, self.kill)
        self.ended.add_done_callback(lambda _: timer.cancel())

    def _write(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended; the supervisor hears of that
            os.write(self._life_fd, message)

    def _signal(self, number: int) -> None:
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def reap(self) -> bool:
        """Note whether it has ended."""
        if self.ended.done():
            return False
        status = self._process.poll()
        if status is None:
            return False
        os.close(self._life_fd)
        self.ended.set_result(status)
        return True


def _unnamed_file(content: bytes) -> IO[bytes]:
    """Return a file that nobody else can open; in memory where that exists, for a disk may be full."""
    if sys.platform == "linux":
        file: IO[bytes] = os.fdopen(os.memfd_create("handoff"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever asked for it
    file.write(content)
    file.seek(0)
    return file


class Seat:
    """One place of one role. `failed` is called with a sentence when its very first process cannot serve."""

    def __init__(
        self,
        role: str,
        slot: int,
        listener: socket.socket | None,
        instructions: Instructions,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self.role = role
        self.slot = slot
        self.listener = listener
        self.instructions = instructions
        self.serving: Process | None = None
        self.coming: Process | None = None
        self.leaving: list[Process] = []
        self._short_lived = False  # the last one was
        self._failed = failed
        self._failures = 0
        self._stopping = False
        self._restart: asyncio.TimerHandle | None = None
        self._refusing = False
        self._waiting_to_be_asked = False

    @property
    def name(self) -> str:
        """How logs call it."""
        return f"{self.role}-{self.slot}"

    @property
    def processes(self) -> list[Process]:
        """All living processes of this seat."""
        return [process for process in (self.serving, self.coming, *self.leaving) if process is not None]

    def start(self, *, go: bool = True) -> Process:
        """Start the seat's process; with `go=False` it waits, modules loaded, for `Process.go`. Raises OSError."""
        self._refuse(on=False)
        process = self.serving = Process(self.role, self.slot, self.instructions, self.listener)
        timer = asyncio.get_running_loop().call_later(_START_S, self._late, process)
        process.ready.add_done_callback(lambda _: timer.cancel())
        process.ready.add_done_callback(lambda _: self._tell(process))
        if go:
            process.go()
        return process

    def start_when_asked(self) -> None:
        """Start the process when the first connection arrives; the connection waits for it."""
        assert self.listener is not None  # noqa: S101 - nobody could ask otherwise
        loop, listener = asyncio.get_running_loop(), self.listener

        def asked() -> None:
            loop.remove_reader(listener)
            self._waiting_to_be_asked = False
            if not self._stopping:
                self.keep_running()

        self._waiting_to_be_asked = True
        loop.add_reader(listener, asked)

    def _tell(self, process: Process) -> None:
        if process.serves:
            log.info("%s serves (process %d).", self.name, process.pid)

    def _late(self, process: Process) -> None:
        log.error("%s does not serve after %g s; it is ended.", self.name, _START_S)
        process.kill()

    async def take(self, instructions: Instructions) -> None:
        """Go on with new instructions: by a successor if a process serves, else at the next start.

        Raises `Unavailable` when the successor cannot serve; then everything stays as it was.
        """
        if self.serving is not None and self.serving.serves:
            await self._replace(instructions)
        else:
            self.instructions = instructions

    async def _replace(self, instructions: Instructions) -> None:
        """Start a successor on the same socket and retire the serving process once it serves."""
        try:
            process = self.coming = Process(self.role, self.slot, instructions, self.listener)
        except OSError as error:
            raise Unavailable(
                f"No new {self.name} can be started ({error.strerror}).", code="reload_failed"
            ) from error
        process.go()
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.shield(process.ready)
        except (Unavailable, TimeoutError) as error:
            process.kill()
            told = str(error) or f"it does not serve after {_START_S:g} s"
            raise Unavailable(f"The new {self.name} cannot serve: {told}", code="reload_failed") from error
        finally:
            self.coming = None
            if not process.serves:
                self.leaving.append(process)
        self.instructions = instructions
        self._cancel_restart()
        old, self.serving = self.serving, process
        self._tell(process)
        if old is not None:
            self.leaving.append(old)
            old.retire()

    def reap(self) -> None:
        """Look which processes have ended, and start the serving one again if it was among them."""
        self.leaving = [process for process in self.leaving if not process.reap()]
        if self.coming is not None:
            self.coming.reap()
        process = self.serving
        if process is None or not process.reap():
            return
        self.serving = None
        if self._stopping:
            return
        status = process.ended.result()
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        if process.serves:
            self._failed = None
            again, self._short_lived = self._short_lived, time.monotonic() - process.ready_at < _SHORT_LIFE_S
            if again and self._short_lived:
                self._start_later(f"Process {process.pid} ended by {how} at once, as did the one before.")
                return
            self._failures = 0
            log.error("%s (process %d) ended by %s; it is started again.", self.name, process.pid, how)
            self.keep_running()
            return
        process.ready.add_done_callback(lambda ready: self._could_not_start(ready, how))  # its last words may follow

    def _could_not_start(self, ready: asyncio.Future[bytes], how: str) -> None:
        error = ready.exception()
        told = str(error) if error is not None else f"The process ended by {how} when it had just started."
        if self._failed is not None:
            self._failed(told)
            return
        self._start_later(told)

    def keep_running(self) -> None:
        """Start the seat's process, now or, when that is impossible, again and again later."""
        try:
            self.start()
        except OSError as error:  # too many processes or files, no memory
            self._start_later(f"No process can be started ({error.strerror}).")

    def _start_later(self, why: str) -> None:
        pause = min(_FIRST_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S)
        self._failures += 1
        log.error("%s cannot serve: %s It is started again in %g s.", self.name, why, pause)
        self._refuse(on=True)
        self._restart = asyncio.get_running_loop().call_later(pause, self.keep_running)

    def _refuse(self, *, on: bool) -> None:
        """While nobody serves, turn connections away at once instead of letting them wait for long."""
        if self.listener is None or on == self._refusing:
            return
        self._refusing = on
        loop = asyncio.get_running_loop()
        if on:
            loop.add_reader(self.listener, self._turn_away)
        else:
            loop.remove_reader(self.listener)

    def _turn_away(self) -> None:
        with contextlib.suppress(OSError):
            if self.listener is not None:
                self.listener.accept()[0].close()

    def _cancel_restart(self) -> None:
        self._failures = 0
        self._refuse(on=False)
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None

    async def stop(self) -> None:
        """Drain every process of this seat and return when all have left."""
        self._stopping = True
        self._cancel_restart()
        if self._waiting_to_be_asked and self.listener is not None:
            asyncio.get_running_loop().remove_reader(self.listener)
        processes = self.processes
        for process in processes:
            process.drain()
        if processes:
            await asyncio.wait([process.ended for process in processes])

    def kill(self) -> None:
        """End every process now."""
        self._stopping = True
        for process in self.processes:
            process.kill()
