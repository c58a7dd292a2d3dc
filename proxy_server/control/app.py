"""The control process: pages and the REST interface on a loopback socket, behind the gateways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.web import Application

from proxy_server.control import gateways
from proxy_server.control.base import Control, Handler
from proxy_server.control.identify import Identify
from proxy_server.control.routes import TABLE, Router
from ultimate_lib.clock import SystemClock
from ultimate_lib.compute import LocalPool
from ultimate_lib.store import Store
from ultimate_lib.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy_server.control.routes import Route
    from proxy_server.process import Child
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

_THREADS = 8
_HEAVY_AT_ONCE = 2
_MOST_BODY_BYTES = 1024 * 1024
_OBSERVE_S = 1.0


def open_workbench(settings: Settings) -> Workbench:
    """Open what pages and routes work with; the lake and the pool do nothing before they are asked."""
    return Workbench(
        settings=settings,
        store=Store(settings.store_url),
        compute=LocalPool(),
        clock=SystemClock(),
    )


def server_for(bench: Workbench, threads: ThreadPoolExecutor, table: Sequence[Route] = TABLE) -> HTTPServer:
    """Return the HTTP server for a table of routes, to be given a socket."""
    control = Control(
        bench=bench,
        router=Router(table),
        identify=Identify(bench.settings, bench.store, bench.clock),
        threads=threads,
        heavy=asyncio.Semaphore(_HEAVY_AT_ONCE),
    )
    application = Application([(r".*", Handler, {"control": control})], log_function=lambda _: None)
    return HTTPServer(
        application,
        max_body_size=_MOST_BODY_BYTES,
        max_header_size=bench.settings.limits.header_bytes,
        idle_connection_timeout=3600.0,
    )


async def run(child: Child) -> None:
    """Serve until drained."""
    bench = open_workbench(child.settings)
    with ThreadPoolExecutor(_THREADS, "control") as threads:
        server = server_for(bench, threads)
        listener = child.listener or socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        server.add_socket(listener)
        watch = asyncio.create_task(_watch(bench, threads))
        log.info("Control serves on %s:%d.", *listener.getsockname()[:2])
        child.ready()
        await child.drain.wait()
        server.stop()
        watch.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), child.settings.server.drain_s)
    bench.store.close()


async def _watch(bench: Workbench, threads: ThreadPoolExecutor) -> None:
    """Once a second: keep what the gateways have counted, also of those that leave."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            await loop.run_in_executor(threads, gateways.observe, bench.settings.run_dir, bench.clock.now_us())
        except OSError as error:
            log.warning("The gateways' counters cannot be kept: %s. Check the disk of the data folder.", error)
        except Exception:
            log.exception("The second's work failed; it is tried again.")
        await asyncio.sleep(_OBSERVE_S)
