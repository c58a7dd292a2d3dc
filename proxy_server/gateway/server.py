"""The gateway process: Tornado's low-level server, the sweep of overdue calls, draining, the snapshot each second."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import ssl
from typing import TYPE_CHECKING, Any

from tornado import httputil

from proxy_server import snapshot
from proxy_server.gateway.connection import Connection, Server
from proxy_server.gateway.exchange import Exchange
from proxy_server.gateway.forward import Forwarder
from proxy_server.gateway.framing import LOOK_AT_CLIENT, READ_AHEAD, Reader, refusal
from proxy_server.gateway.state import State
from ultimate_lib.errors import Invalid, UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy_server.process import Child
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

_SWEEP_S = 1.0
_LOOK_S = (0.5, 0.6)
_IDLE_CONNECTION_S = 3600.0
_LINGER_S = 120.0  # how long a body is read that is refused already: 96 MiB take it 7 Mbit/s
_LAST_WORDS_S = 0.1
_PAGES_S = 10.0  # how long pages, which may be endless streams, hold up a stop
_OWN = frozenset({"/health", "/healthz"})


class Door(httputil.HTTPServerConnectionDelegate):
    """Hands each request on a connection to who answers it."""

    def __init__(self, state: State, forwarder: Forwarder) -> None:
        self.state = state
        self.forwarder = forwarder
        self.connections: dict[object, Connection] = {}
        self._root = state.settings.server.root_path

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Return the reader of the next request; which part answers is known from its first line."""
        assert isinstance(request_conn, Connection)  # noqa: S101 - this server speaks nothing else
        self.connections[server_conn] = request_conn
        return _FirstLine(self, request_conn)

    def on_close(self, server_conn: object) -> None:
        """Forget a closed connection."""
        self.connections.pop(server_conn, None)

    def busy(self, *, pages: bool) -> bool:
        """Say whether a client still waits for something: bytes on their way, and with `pages` any answer at all."""
        for connection in self.connections.values():
            if connection.stream.writing() or (pages and connection.answering and not connection.endless):
                return True
        return False

    def delegate(
        self, connection: Connection, start_line: httputil.RequestStartLine, headers: httputil.HTTPHeaders
    ) -> httputil.HTTPMessageDelegate:
        """Return who answers a request: calls and health here, everything else in control."""
        path, _, query = start_line.path.partition("?")
        root = self._root
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :] or "/"
            start_line = start_line._replace(path=f"{path}?{query}" if query else path)
        context: Any = connection.context
        context.remote_ip = self.forwarder.trust.client(context.address[0], headers)
        method = start_line.method
        if path.startswith("/v1/") or path in _OWN or (path == "/" and method == "HEAD"):
            return Exchange(self.state, connection, method, path, query)
        return self.forwarder.delegate(start_line, headers, connection)


class _FirstLine(Reader):
    """Waits for the headers, then passes everything to the one who answers."""

    __slots__ = ("connection", "door", "to")

    def __init__(self, door: Door, connection: Connection) -> None:
        self.door = door
        self.connection = connection
        self.to: httputil.HTTPMessageDelegate | None = None

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, httputil.RequestStartLine)  # noqa: S101 - a server reads requests
        self.to = self.door.delegate(self.connection, start_line, headers)
        return self.to.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self.to.data_received(chunk) if self.to is not None else None

    def finish(self) -> None:
        if self.to is not None:
            self.to.finish()

    def malformed(self, error: httputil.HTTPInputError) -> None:
        if isinstance(self.to, Exchange):
            self.to.refuse(400, "framing", f"{error}. {LOOK_AT_CLIENT}")
        else:
            self.connection.stream.write(refusal(error))

    def on_connection_close(self) -> None:
        if self.to is not None:
            self.to.on_connection_close()


async def run(child: Child) -> None:
    """Serve until drained."""
    settings = child.settings
    state = State(settings, child.slot, child.demo_url)
    forwarder = Forwarder(
        child.control_address,
        trusted_proxies=settings.server.trusted_proxies,
        root_path=settings.server.root_path,
    )
    door = Door(state, forwarder)
    server = Server(
        door,
        ssl_options=certificate(child.settings),
        max_header_size=settings.limits.header_bytes * READ_AHEAD,
        chunk_size=16 * 1024,  # a buffer of this size is made, and zeroed, for each read
        max_body_size=1 << 40,  # the exchange refuses earlier, in the client's own envelope
    )
    server.conn_params.header_timeout = None  # a timer a request costs more than the sweep that does its work
    assert child.listener is not None  # noqa: S101 - whoever starts a gateway binds its address
    server.add_socket(child.listener)
    state.journal.start()
    gc.freeze()  # prices and keys stay as well; collections look at what calls make
    loops = (_beat(state, door), _watch(state), state.admission.keep_up(), state.guard.keep_up())
    tasks = [asyncio.create_task(loop) for loop in loops]
    child.ready()
    await child.drain.wait()
    await _drain(child, state, door, server)
    for task in tasks:
        task.cancel()
    await forwarder.close()
    state.guard.spending.keep()
    await state.close()
    snapshot.leave(settings.run_dir, snapshot.take(state, 0))


def certificate(settings: Settings) -> ssl.SSLContext | None:
    """Return what the gateway shows its clients; None without TLS. Raises `Invalid`."""
    server = settings.server
    if not server.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Invalid(
            f"{settings.origin('server.tls_cert')}: server.tls_cert = '{server.tls_cert}':"
            f" the certificate and its key cannot be used ({error}).",
            hint="Give in tls_cert a PEM certificate chain, and in tls_key its key.",
        ) from error
    return context


async def _watch(state: State) -> None:
    """Look at the store twice a second, at moments that other gateways do not share; not waited for: it may hang."""
    while True:
        state.look()
        await asyncio.sleep(random.uniform(*_LOOK_S))  # noqa: S311 - jitter is no secret


async def _beat(state: State, door: Door) -> None:
    """Once a second: end what has waited too long, and tell how this process does."""
    while True:
        await asyncio.sleep(_SWEEP_S)
        try:
            _sweep(state)
            _close_idle(state, door)
            told = snapshot.take(state, len(door.connections))
            await asyncio.to_thread(snapshot.write, state.settings.run_dir, told)
        except OSError as error:
            log.warning("The snapshot cannot be written: %s. Check the disk of %s.", error, state.settings.run_dir)
        except Exception:
            log.exception("The second's work failed; it is tried again.")


def _sweep(state: State) -> None:
    limits, now = state.settings.limits, state.clock.monotonic()
    for relay in list(state.relays):
        waited = now - relay.waiting_since
        provider = relay.route.provider.name
        if now - relay.exchange.started > limits.total_s:
            text, code = f"took longer than {limits.total_s:g} s", "total_timeout"
        elif not relay.heard and waited > limits.first_byte_s:
            text, code = f"sent nothing for {limits.first_byte_s:g} s", "first_byte_timeout"
        elif relay.heard and waited > limits.idle_s:
            text, code = f"fell silent for {limits.idle_s:g} s", "idle_timeout"
        else:
            continue
        relay.expire(UpstreamFailed(f"The provider '{provider}' {text}.", retryable=True, code=code, http_status=504))


def _close_idle(state: State, door: Door) -> None:
    """Close connections that have not begun a request, or not ended its head or its body, for too long."""
    now = state.clock.monotonic()
    for connection in list(door.connections.values()):
        if connection.waiting:
            most = _IDLE_CONNECTION_S
        elif connection.lingers and not connection.answering:
            most = _LINGER_S
        elif connection.unread:
            most = 2 * _IDLE_CONNECTION_S  # its head may have come at the end of the time that it had
        else:
            continue
        if now - connection.ready_since > most:
            connection.close()


async def _drain(child: Child, state: State, door: Door, server: Server) -> None:
    """Finish what runs. Replaced by a successor, also wait for keep-alive clients to be told to go.

    The listening socket is the supervisor's: what waits in its queue is the successor's. Each connection hears
    `Connection: close` with its next response; one whose response has begun without it may carry one request more.
    """
    state.draining = True
    state.admission.leave()
    state.guard.spending.keep()
    server.stop()
    server.conn_params.no_keep_alive = True
    for connection in door.connections.values():
        connection.retire()
    began = state.clock.monotonic()
    while (waited := state.clock.monotonic() - began) < state.settings.server.drain_s:
        if not door.connections:
            break
        if not child.retired and not state.relays and not door.busy(pages=waited < _PAGES_S):
            break
        await asyncio.sleep(0.05)
    for relay in list(state.relays):
        relay.expire(
            UpstreamFailed(
                f"The proxy stops and has waited {state.settings.server.drain_s:g} s for this call.",
                retryable=True,
                code="proxy_stops",
                http_status=503,
            )
        )
    await asyncio.sleep(_LAST_WORDS_S)  # each writes its row and tells its client
    await server.close_all_connections()
