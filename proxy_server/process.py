"""A child process and what its supervisor hands it: settings, a listening socket, two pipes.

On the `ready` pipe the child writes `1` once it serves (and what it has to tell), or `!` and a sentence when it
cannot. On the `life` pipe the supervisor writes `g` (go), later perhaps `r` (retire: a successor has taken over); its
end means that the supervisor is gone. SIGTERM asks a child to drain and leave without a successor.

    python -m proxy_server --role gateway --slot 0

By hand, without a supervisor, the same code runs one kind alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_server import logs
from ultimate_lib.errors import UltimateError
from ultimate_lib.settings import load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

ROLES = {
    "gateway": "proxy_server.gateway.server",
    "control": "proxy_server.control.app",
    "worker": "proxy_server.worker.jobs",
    "prepare": "proxy_server.prepare",
    "demo": "proxy_server.demo_upstream",
}
GO, RETIRE = b"g", b"r"
_PR_SET_PDEATHSIG = 1


class Handoff(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor hands to a child on its standard input. The configuration is the last good one, as text."""

    config_path: str | None
    config_text: str
    overrides: dict[str, Any]
    ready_fd: int
    life_fd: int
    listener_fd: int | None
    control_address: str
    demo_url: str


@dataclass(slots=True)
class Child:
    """What a role is given. `drain` is set when it should finish its work and return from `run`.

    `retired` tells why: a successor serves already, so nothing is lost by waiting for the last connection.
    """

    settings: Settings
    role: str
    slot: int
    listener: socket.socket | None
    control_address: str
    demo_url: str
    drain: asyncio.Event = field(default_factory=asyncio.Event)
    retired: bool = False
    ready_fd: int | None = None

    def ready(self, told: bytes = b"") -> None:
        """Tell the supervisor that this process serves, and what else there is to tell (a few KB at most)."""
        self._tell(b"1" + told)

    def cannot(self, sentence: str) -> None:
        """Tell the supervisor, or without one the log, why this process cannot serve."""
        if self.ready_fd is None:
            log.error("%s", sentence)
        self._tell(b"!" + sentence.encode())

    def _tell(self, message: bytes) -> None:
        if self.ready_fd is not None:
            with contextlib.suppress(OSError):  # the life pipe tells of a supervisor that is gone
                os.write(self.ready_fd, message)
            os.close(self.ready_fd)
            self.ready_fd = None


def run_handed(role: str, slot: int, handoff: Handoff) -> int:
    """Be a child of a supervisor, as told by its handoff."""
    path = Path(handoff.config_path) if handoff.config_path else None
    settings = load(path, overrides=handoff.overrides, text=handoff.config_text)
    listener = None
    if handoff.listener_fd is not None:
        listener = socket.socket(fileno=handoff.listener_fd)
        listener.setblocking(False)
    child = Child(
        settings=settings,
        role=role,
        slot=slot,
        listener=listener,
        control_address=handoff.control_address,
        demo_url=handoff.demo_url,
        ready_fd=handoff.ready_fd,
    )
    for fd in (handoff.ready_fd, handoff.life_fd):
        os.set_inheritable(fd, False)
    _die_with_parent()
    if os.read(handoff.life_fd, 1) != GO:
        return 0
    return run_child(child, life_fd=handoff.life_fd)


def run_child(child: Child, *, life_fd: int | None) -> int:
    """Run one role until it is drained or its supervisor is gone; return the exit status."""
    logs.configure(child.settings.log, process=f"{child.role}-{child.slot}")
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: threads cost up to ten times the work
    try:
        import uvloop  # noqa: PLC0415 - each child has its own loop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    try:
        with runner:
            runner.run(_run(child, life_fd))
    except UltimateError as error:
        child.cannot(str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    except Exception:
        log.exception("The %s process failed; it is started again.", child.role)
        return 1
    return 0


async def _run(child: Child, life_fd: int | None) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _leave, child)
    loop.add_signal_handler(signal.SIGINT, _leave if life_fd is None else _ignore, child)
    if life_fd is not None:
        loop.add_reader(life_fd, _told, child, life_fd)
    run: Callable[[Child], Awaitable[None]] = importlib.import_module(ROLES[child.role]).run
    gc.freeze()  # what start-up made stays; collections look at what calls make
    gc.enable()
    await run(child)


def _leave(child: Child) -> None:
    child.retired = False  # nobody waits for a successor any more
    child.drain.set()


def _ignore(_child: Child) -> None:
    """Ctrl-C reaches the whole group; the supervisor says when a child leaves."""


def _told(child: Child, life_fd: int) -> None:
    message = os.read(life_fd, 1)
    if not message:
        log.error("The supervisor is gone; leaving at once, since nobody would ever stop this process.")
        os._exit(1)
    if message == RETIRE:
        child.retired = True
        child.drain.set()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
