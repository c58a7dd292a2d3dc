"""The control process: pages and the REST interface on a loopback socket, behind the gateways."""

from __future__ import annotations

import asyncio
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.routing import AnyMatches, Rule
from tornado.web import Application

from proxy_server.control import gateways
from proxy_server.control.base import Control, Handler, Lane
from proxy_server.control.dashboards import Dashboards, Sockets
from proxy_server.control.identify import Identify
from proxy_server.control.live import Live
from proxy_server.control.router import Router
from proxy_server.control.routes import TABLE
from proxy_server.sockets import MOST_BODY_BYTES
from ultimate_lib.access import once, provider_keys
from ultimate_lib.clock import SystemClock
from ultimate_lib.compute import LocalPool
from ultimate_lib.errors import UltimateError
from ultimate_lib.providers import configured, offered
from ultimate_lib.store import Store
from ultimate_lib.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from proxy_server.control.router import Route
    from proxy_server.process import Child
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

_THREADS = 8
_HEAVY_AT_ONCE = 2
_RECKONING_AT_ONCE = 2
_OBSERVE_S = 1.0
_CLEAN_S = 600.0
_IDLE_CONNECTION_S = 3600.0
_ON_THE_WAY_S = 0.2  # what a gateway has already sent over a connection that it keeps open


def open_workbench(settings: Settings) -> Workbench:
    """Open what pages and routes work with; the lake and the pool do nothing before they are asked."""
    return Workbench(
        settings=settings,
        store=Store(settings.store_url),
        compute=LocalPool(),
        clock=SystemClock(),
    )


class Serving:
    """The HTTP server for a table of routes on a listening socket."""

    def __init__(
        self, bench: Workbench, threads: Executor, listener: socket.socket, table: Sequence[Route] = TABLE
    ) -> None:
        self._reckoning = ThreadPoolExecutor(_RECKONING_AT_ONCE, "reckoning")
        self._control = Control(
            bench=bench,
            router=Router(table),
            identify=Identify(bench.settings, bench.store, bench.clock),
            threads=threads,
            live=Live(bench.settings.journal_dir),
            heavy=Lane(threads, asyncio.Semaphore(_HEAVY_AT_ONCE)),
            reckoning=Lane(self._reckoning, asyncio.Semaphore(_RECKONING_AT_ONCE)),
        )
        self.dashboards = Dashboards(self._control)
        self._control.router = Router((*table, *self.dashboards.rows))
        rules: list[Any] = [
            *self.dashboards.files(),
            Rule(AnyMatches(), Sockets(self.dashboards)),
            (r".*", Handler, {"control": self._control}),
        ]
        application = Application(rules, log_function=lambda _: None)
        self._server = HTTPServer(
            application,
            max_body_size=MOST_BODY_BYTES,
            max_header_size=bench.settings.limits.header_bytes,
            idle_connection_timeout=_IDLE_CONNECTION_S,
        )
        listener.setblocking(False)
        self._server.add_socket(listener)

    async def drain(self, most_s: float) -> None:
        """Take no new connection, answer what has been asked, and close."""
        self._server.stop()
        self.dashboards.close()
        self._control.live.close()
        self._server.conn_params.no_keep_alive = True
        active, clock = self._control.active, self._control.bench.clock
        until = clock.monotonic() + most_s
        settled = clock.monotonic() + _ON_THE_WAY_S
        while clock.monotonic() < (until if active else settled):  # noqa: ASYNC110 - a set has no event to wait for
            await asyncio.sleep(0.02)
        await self._server.close_all_connections()
        self._reckoning.shutdown(wait=False, cancel_futures=True)


async def run(child: Child) -> None:
    """Serve until drained."""
    bench = open_workbench(child.settings)
    threads = ThreadPoolExecutor(_THREADS, "control")
    listener = child.listener or socket.create_server(("127.0.0.1", 0))
    serving = Serving(bench, threads, listener)
    watch = asyncio.create_task(_watch(bench, threads))
    await asyncio.get_running_loop().run_in_executor(threads, _look_through_keys, bench)
    log.info("Control serves on %s:%d.", *listener.getsockname()[:2])
    child.ready()
    if child.settings.data.demo:
        serving.dashboards.load_soon()
    await child.drain.wait()
    await serving.drain(child.settings.server.drain_s)
    watch.cancel()
    threads.shutdown(wait=False, cancel_futures=True)
    bench.store.close()


def _look_through_keys(bench: Workbench) -> None:
    """Remove keys of providers whose address has changed, and tell which providers have none."""
    try:
        gone = provider_keys.remove_moved(bench.store, bench.clock, offered(bench.settings).values())
        stored = provider_keys.read(bench.store, bench.master)
        lacking = [one.name for one in configured(bench.settings, stored=stored.key).values() if one.lacks_key]
    except UltimateError as error:  # a key that stays is not sent to the new address all the same
        log.warning("Stored keys of providers cannot be looked through: %s", error)
        return
    for name in gone:
        log.warning("The address of the provider '%s' has changed: its stored key is removed. Enter it again.", name)
    for name in lacking:
        log.warning("The provider '%s' has no key: calls to it are refused until one is set or entered.", name)


async def _watch(bench: Workbench, threads: ThreadPoolExecutor) -> None:
    """Once a second: keep what the gateways have counted, also of those that leave; now and then, clean up."""
    loop = asyncio.get_running_loop()
    failure: str | None = None
    clean_at = bench.clock.monotonic()
    while True:
        try:
            seen = await loop.run_in_executor(threads, gateways.observe, bench.settings.run_dir, bench.clock.now_us())
        except Exception:
            log.exception("The second's work failed; it is tried again.")
        else:
            if seen.failure is not None and failure is None:
                log.warning("The gateways' counters cannot be kept: %s. Check the data folder.", seen.failure)
            failure = seen.failure
        if bench.clock.monotonic() >= clean_at:
            clean_at = bench.clock.monotonic() + _CLEAN_S
            try:
                await loop.run_in_executor(threads, once.clean, bench.store, bench.clock)
            except UltimateError as error:
                log.warning("Old kept answers cannot be removed: %s", error)
        await asyncio.sleep(_OBSERVE_S)
