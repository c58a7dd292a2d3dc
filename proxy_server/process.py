"""A child process and what its supervisor hands it: sockets, a drain signal, a line to say "ready".

    python -m proxy_server --role gateway --slot 0

By hand, without a supervisor, the same command runs one kind alone: it binds what it needs itself.
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
from typing import TYPE_CHECKING

from proxy_server import logs
from ultimate_lib.errors import UltimateError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

ROLES = {
    "gateway": "proxy_server.gateway.server",
    "control": "proxy_server.control.app",
    "worker": "proxy_server.worker.jobs",
    "demo": "proxy_server.demo_upstream",
}
_PR_SET_PDEATHSIG = 1
_BACKLOG = 4096


@dataclass(slots=True)
class Child:
    """What a role is given. `drain` is set when it should finish its work and return from `run`."""

    settings: Settings
    role: str
    slot: int
    listener: socket.socket | None
    control_address: str
    demo_url: str
    drain: asyncio.Event = field(default_factory=asyncio.Event)
    ready_fd: int | None = None

    def ready(self) -> None:
        """Tell the supervisor that this process serves."""
        if self.ready_fd is not None:
            os.write(self.ready_fd, b"1")
            os.close(self.ready_fd)
            self.ready_fd = None


def run_child(child: Child, *, life_fd: int | None) -> int:
    """Run one role until it is drained or its supervisor is gone; return the exit status."""
    logs.configure(child.settings.log, process=f"{child.role}-{child.slot}")
    _die_with_parent()
    os.environ.setdefault("POLARS_MAX_THREADS", "2")
    try:
        import uvloop  # noqa: PLC0415 - each child has its own loop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    try:
        with runner:
            runner.run(_run(child, life_fd))
    except UltimateError as error:
        log.error("%s", error)  # noqa: TRY400 - a sentence, not a traceback
        return 1
    except KeyboardInterrupt:
        return 0
    except Exception:
        log.exception("The %s process failed; it is started again.", child.role)
        return 1
    return 0


async def _run(child: Child, life_fd: int | None) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, child.drain.set)
    loop.add_signal_handler(signal.SIGINT, child.drain.set if life_fd is None else _ignore)
    if life_fd is not None:
        loop.add_reader(life_fd, _orphaned)
    run: Callable[[Child], Awaitable[None]] = importlib.import_module(ROLES[child.role]).run
    gc.freeze()  # what start-up made stays; collections look at what calls make
    await run(child)


def _ignore() -> None:
    """Ctrl-C reaches the whole group; the supervisor says when a child leaves."""


def _orphaned() -> None:
    """Leave at once: nobody would ever stop this process."""
    log.error("The supervisor is gone; leaving.")
    os._exit(1)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def bind(settings: Settings, *, reuse_port: bool) -> socket.socket:
    """Return a socket that listens where the configuration says. Raises `Unavailable` with a way out."""
    host, port = settings.server.bind, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"The address {host}:{port} cannot be taken ({error.strerror}).",
            hint=_taken_hint(port),
            code="port_taken",
        ) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _taken_hint(port: int) -> str:
    holder = ""
    with contextlib.suppress(Exception):  # telling who holds it is a courtesy
        import psutil  # noqa: PLC0415 - needed in this case alone

        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                holder = f"Process {connection.pid} ({psutil.Process(connection.pid).name()}) holds it. "
    return f"{holder}Choose another with --port, or stop what listens there."
