"""The supervisor: a small process that owns the sockets and keeps gateways, control, worker and demo running.

It binds every address once and for its whole life, so that no connection is refused while a child restarts: what
arrives meanwhile waits in the socket's queue for the successor. SIGHUP reloads, SIGTERM and Ctrl-C drain and leave.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from proxy_server import sockets
from proxy_server.runfile import RunFile, make_folders
from proxy_server.seat import Instructions, Process, Seat
from ultimate_lib.errors import UltimateError, Unavailable
from ultimate_lib.settings import load, read

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from proxy_server.lab import Lab
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

# A reload keeps these: the sockets and folders that they name are held for the supervisor's whole life.
PINNED = ("server.bind", "server.port", "server.gateways", "data.folder", "data.store_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What `up` prints once calls are answered."""

    settings: Settings
    link_token: str
    local_json: str | None
    migrations: list[str]
    lab_url: str = ""  # of JupyterLab, with its token; empty: not asked for, or not started


class Supervisor:
    """Runs until it is told to stop; `run` returns the exit status."""

    def __init__(
        self,
        settings: Settings,
        text: str,
        overrides: dict[str, Any],
        *,
        announce: Callable[[Started], None],
        demo_now: bool = False,
        lab: Lab | None = None,
    ) -> None:
        self.settings = settings
        self.overrides = overrides
        self._text = text
        self._announce = announce
        self._demo_now = demo_now
        self._lab = lab
        self._sockets = _Sockets()
        self._gateways: list[Seat] = []
        self._others: list[Seat] = []  # control, worker
        self._demo: list[Seat] = []  # reads no settings, so a reload leaves it alone
        self._preparing: Process | None = None
        self._leave = asyncio.Event()
        self._interrupts = 0
        self._failure: str | None = None
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- start --------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Start everything, stay, and leave. Raises `UltimateError` for what prevents a start."""
        make_folders(self.settings)
        with RunFile(self.settings.run_dir):
            self._bind()
            self._listen_to_signals()
            try:
                try:
                    await self._start()
                except OSError as error:
                    raise Unavailable(
                        f"No process can be started ({error.strerror}).", code="start_failed"
                    ) from error
                await self._leave.wait()
                await self._stop()
            finally:
                for process in self._processes():
                    process.kill()
                if self._lab is not None:
                    self._lab.kill()
                self._sockets.close()
        if self._failure is not None:
            raise Unavailable(self._failure, code="start_failed")
        return 0

    def _bind(self) -> None:
        server = self.settings.server
        count = (os.cpu_count() or 1) if server.gateways == "auto" else server.gateways
        opened = self._sockets
        opened.gateways = sockets.listen(server.bind, server.port, count=count)
        opened.control, opened.demo = sockets.loopback(), sockets.loopback()
        port = opened.gateways[0].getsockname()[1]
        if port != server.port:  # port 0 took a free one; everyone must know which
            self.overrides["server.port"] = port
            self.settings = load(self.settings.config_path, overrides=self.overrides, text=self._text)

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        loop.add_signal_handler(signal.SIGHUP, self._spawn_reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._interrupted)

    async def _start(self) -> None:
        """Gateways first: they load while the store is prepared, and control and worker do not slow them down."""
        told = self._instructions(self.settings, self._text)
        preparing = self._preparing = Process("prepare", 0, told, None)
        preparing.go()
        for slot, listener in enumerate(self._sockets.gateways):
            self._gateways.append(Seat("gateway", slot, listener, told, self._cannot_start))
        starting = [seat.start(go=False) for seat in self._gateways]
        prepared = await self._or_leaving(preparing.ready)
        if prepared is None:
            return
        for process in starting:
            process.go()
        for seat in self._gateways:
            while seat.serving is not None and not seat.serving.serves and not self._leave.is_set():
                await self._or_leaving(seat.serving.ready)
        if self._leave.is_set():
            return
        lab_url = ""
        if self._lab is not None:
            self._lab.prepare(self.settings)
            lab_url = self._lab.url
        self._announce(Started(settings=self.settings, lab_url=lab_url, **msgspec.json.decode(prepared)))
        self._others = [
            Seat("control", 0, self._sockets.control, told),
            Seat("worker", 0, None, told),
        ]
        for seat in self._others:
            seat.keep_running()
        self._start_lab()
        demo = Seat("demo", 0, self._sockets.demo, told)
        self._demo.append(demo)
        self._start_demo_when_asked(demo)

    def _start_lab(self) -> None:
        """Start JupyterLab when control has started, or failed to: pages do not wait for it."""
        lab, control = self._lab, self._others[0].serving
        if lab is not None and control is not None:
            control.ready.add_done_callback(lambda _: lab.start())
        elif lab is not None:
            lab.start()

    def _start_demo_when_asked(self, demo: Seat) -> None:
        aliases = self.settings.models.values()
        named = any(deployment.provider == "demo" for alias in aliases for deployment in alias.deployments)
        if self._demo_now or named:
            demo.keep_running()
        else:
            demo.start_when_asked()

    async def _or_leaving(self, future: asyncio.Future[bytes]) -> bytes | None:
        """Wait for a process to be ready, or to hear that we leave; None then."""
        leaving: asyncio.Future[Any] = asyncio.ensure_future(self._leave.wait())
        waited: set[asyncio.Future[Any]] = {future, leaving}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if not future.done():
            return None
        error = future.exception()
        if error is not None:
            self._cannot_start(str(error))
            return None
        return future.result()

    def _cannot_start(self, sentence: str) -> None:
        self._failure = self._failure or sentence
        self._leave.set()

    def _instructions(self, settings: Settings, text: str) -> Instructions:
        return Instructions(
            config_path=str(settings.config_path) if settings.config_path else None,
            config_text=text,
            overrides=self.overrides,
            control_address=sockets.address_of(self._sockets.control),
            demo_url=f"http://{sockets.address_of(self._sockets.demo)}",
            drain_s=settings.server.drain_s,
        )

    # -- while it runs ------------------------------------------------------------------------------------------

    @property
    def seats(self) -> list[Seat]:
        """All seats."""
        return [*self._gateways, *self._others, *self._demo]

    def _processes(self) -> list[Process]:
        found = [process for seat in self.seats for process in seat.processes]
        return [*found, self._preparing] if self._preparing is not None else found

    def _reap(self) -> None:
        if self._preparing is not None and self._preparing.reap():
            self._preparing = None
        for seat in self.seats:
            seat.reap()
        if self._lab is not None:
            self._lab.reap()

    def _spawn_reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self) -> None:
        """Take new settings if they are good, and replace every child; else everything stays as it was."""
        async with self._reloading:
            if self._leave.is_set():
                return
            try:
                settings, text = self._new_settings()
                told = self._instructions(settings, text)
                for seat in (*self._gateways, *self._others):
                    if not self._leave.is_set():
                        await seat.take(told)
            except UltimateError as error:
                log.error("The reload is refused; the last good configuration stays. %s", error)  # noqa: TRY400 - a sentence
            except Exception:
                log.exception("The reload failed; what serves goes on.")
            else:
                self.settings, self._text = settings, text
                log.info("Reloaded %s.", settings.config_path or "without a configuration file")

    def _new_settings(self) -> tuple[Settings, str]:
        path = self.settings.config_path
        text = read(path) if path is not None else ""
        settings = load(path, overrides=self.overrides, text=text)
        changed = [name for name in PINNED if _value(settings, name) != _value(self.settings, name)]
        if changed:
            log.warning("%s changed: restart `ultimate-proxy up` for that.", ", ".join(changed))
            kept = {name: _value(self.settings, name) for name in changed}
            settings = load(path, overrides={**self.overrides, **kept}, text=text)
            self.overrides.update(kept)
        from ultimate_lib.providers import configured  # noqa: PLC0415 - only a reload needs it here

        configured(settings)
        return settings, text

    # -- end ----------------------------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        self._interrupts += 1
        self._leave.set()
        if self._interrupts > 1:
            for seat in self.seats:
                seat.kill()
            if self._lab is not None:
                self._lab.kill()

    async def _stop(self) -> None:
        """Gateways finish their calls first; what these may need stays until they have left."""
        self._sockets.close_gateways()  # new connections are refused from now on, not left waiting
        ending = [seat.stop() for seat in self._gateways]
        if self._lab is not None:
            ending.append(self._lab.stop())
        await asyncio.gather(*ending)
        await asyncio.gather(*(seat.stop() for seat in (*self._others, *self._demo)))


@dataclass(slots=True)
class _Sockets:
    gateways: list[socket.socket] = field(default_factory=list)
    control: Any = None
    demo: Any = None

    def close_gateways(self) -> None:
        for listener in self.gateways:
            listener.close()

    def close(self) -> None:
        self.close_gateways()
        for listener in (self.control, self.demo):
            if listener is not None:
                listener.close()


def _value(settings: Settings, dotted: str) -> Any:
    section, _, name = dotted.partition(".")
    return getattr(getattr(settings, section), name)


def running(settings: Settings, text: str, overrides: dict[str, Any], **rest: Any) -> int:
    """Run a supervisor in a loop of its own and return the exit status."""

    async def main() -> int:
        return await Supervisor(settings, text, overrides, **rest).run()

    return asyncio.run(main())
