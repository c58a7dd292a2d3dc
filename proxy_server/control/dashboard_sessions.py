"""Panel and Bokeh inside control's own server: sessions, and the websocket through which a page talks to its session.

A session belongs to who asked for it: its token is signed and names the user, the handshake asks again who the caller
is and where the page stands, and while it is open the caller is looked up now and then: a login that has ended, or a
role that was taken away, ends the session. Questions run in threads of their own, so that the loop only draws.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bokeh.application.handlers.function import FunctionHandler
from bokeh.models.widgets import Div
from bokeh.server.tornado import BokehTornado
from bokeh.util.token import (
    check_token_signature,
    generate_jwt_token,
    generate_session_id,
    get_session_id,
    get_token_payload,
)
from panel.io.application import Application
from panel.io.server import WSHandler
from panel.io.state import set_curdoc
from tornado.ioloop import IOLoop

from proxy_server.control.dashboard_source import PredictingLocalSource
from proxy_server.control.router import permit
from ultimate_lib.dashboards import forecasting, overview
from ultimate_lib.dashboards.source import LocalSource
from ultimate_lib.errors import UltimateError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future
    from typing import TypeAlias

    from bokeh.document import Document
    from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest

    from proxy_server.control.base import Control
    from proxy_server.control.router import Route
    from ultimate_lib.access.principal import Principal

    Dashboard: TypeAlias = overview.Overview | forecasting.Forecasting

log = logging.getLogger(__name__)

_LEVELS = {
    "bokeh": logging.WARNING,  # else each connection is told
    "panel": logging.WARNING,
    "bokeh.server.views.ws": logging.ERROR,  # each message that a page which has left did not get
}
MOST_SESSIONS = 100
MOST_OF_ONE = 40  # sessions of one user, those among them whose pages have just left
_THREADS = 3
_TOKEN_S = 300
_UNUSED_MS = 15_000  # how long a session outlives its page: a broken connection may come back
_LOOK_MS = 5_000
_WATCH_S = 2.0
_QUIET_S = 1800.0  # a page that is out of sight so long gives its session back
_MOST_MESSAGE_BYTES = 1024 * 1024
_GONE, _FAILED, _RESTART, _BUSY, _DENIED = 1001, 1011, 1012, 1013, 4401  # close codes


class Sessions:
    """The sessions of one process. Made and closed on the loop; `token` may be called in any thread."""

    every_s = LocalSource.every_s

    def __init__(self, control: Control, routes: Sequence[Route]) -> None:
        self.control = control
        self.sockets: set[Socket] = set()
        self.owners: dict[str, Principal] = {}
        self._secret = secrets.token_bytes(32)
        self._pool = ThreadPoolExecutor(_THREADS, "dashboards")
        for name, level in _LEVELS.items():
            logging.getLogger(name).setLevel(level)
        root = control.bench.settings.server.root_path
        folder = routes[0].path.rpartition("/")[0]
        self.routes = {route.path.rpartition("/")[2]: route for route in routes}
        self._styles = f"{root}{folder}/static/extensions/panel/"
        self._app = BokehTornado(
            {f"/{name}": Application(FunctionHandler(functools.partial(self._fill, name))) for name in self.routes},
            prefix=f"{root}{folder}",
            secret_key=self._secret,
            sign_sessions=True,
            generate_session_ids=False,
            use_index=False,
            include_headers=[],
            include_cookies=[],
            session_token_expiration=_TOKEN_S,
            check_unused_sessions_milliseconds=_LOOK_MS,
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            websocket_max_message_size_bytes=_MOST_MESSAGE_BYTES,
        )
        self._app.initialize(IOLoop.current())
        self._app.start()
        self._contexts = {name: self._app.applications[f"/{name}"] for name in self.routes}
        self._watch = asyncio.get_running_loop().create_task(self._watching())

    def token(self, who: Principal) -> str:
        """Return a signed token for a new session of `who`. Raises `Unavailable` when there are too many."""
        self.check_room(who)
        session = generate_session_id(secret_key=self._secret, signed=True)
        told: Any = {"who": who.user_id}
        return generate_jwt_token(
            session, secret_key=self._secret, signed=True, extra_payload=told, expiration=_TOKEN_S
        )

    def check_room(self, who: Principal) -> None:
        """Raise `Unavailable` when `who`, or all together, have as many sessions as there may be."""
        owners = list(self.owners.values())  # the loop may change it meanwhile
        own = sum(owner.user_id == who.user_id for owner in owners)
        if len(owners) >= MOST_SESSIONS or own >= MOST_OF_ONE:
            raise Unavailable(
                f"{len(owners)} dashboards are open already, {own} of them yours.",
                hint="Close one, or try again later.",
                code="busy",
            )

    def is_ours(self, token: str, who: Principal) -> bool:
        """Say whether a token is one that was made here for `who`. What has no signature of ours is not unpacked."""
        try:
            signed = check_token_signature(token, secret_key=self._secret, signed=True)
        except (ValueError, TypeError, LookupError, AttributeError):  # Bokeh reads before it compares
            return False
        return signed and get_token_payload(token).get("who") == who.user_id

    async def opened(self, token: str, who: Principal, making: Callable[[], Awaitable[None]]) -> None:
        """Make the session of a token, unless it is there already; one that cannot be made takes no place.

        Raises `Unavailable` when there are too many, and what making it raises.
        """
        session = get_session_id(token)
        if session not in self.owners:
            self.check_room(who)
            self.owners[session] = who
        try:
            await making()
        finally:
            if session not in {there.id for one in self._contexts.values() for there in one.sessions}:
                self.owners.pop(session, None)

    def delegate(self, request: HTTPServerRequest) -> HTTPMessageDelegate:
        """Return who takes a websocket's request."""
        name = request.path.split("/")[-2]
        told = {
            "application_context": self._contexts[name],
            "bokeh_websocket_path": request.path,
            "sessions": self,
            "route": self.routes[name],
        }
        return self._app.get_handler_delegate(request, Socket, told)

    def close(self) -> None:
        """End all sessions and let go of the threads."""
        self._watch.cancel()
        for socket in list(self.sockets):
            socket.close(_RESTART, "restart")
        self._app.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _fill(self, name: str, doc: Document) -> None:
        """Begin a session's document: nearly empty, until its page has it.

        A dashboard of a hundred components takes 0.4 s to make, which would hold up every other request. So it is
        made in a thread once the page says that it is ready; a change sent before would reach it out of turn.
        """
        context: Any = doc.session_context  # known: this document is a session's
        owner = self.owners[context.id]
        told = {name: values[-1].decode("utf-8", "replace") for name, values in context.request.arguments.items()}
        doc.config.reconnect_session = doc.config.notify_connection_status = False  # the page's script does both
        doc.template_variables["dist_url"] = self._styles  # else Panel's styles come from a content network
        doc.on_session_destroyed(self._forget)
        waiting = Div(text="", visible=False)
        doc.add_root(waiting)
        make = functools.partial(self._make, doc, self._page(name, owner), told)

        def begin(_event: Any) -> None:
            self._pool.submit(make).add_done_callback(functools.partial(self._made, doc, waiting))

        doc.on_event("document_ready", begin)

    def _page(self, name: str, owner: Principal) -> Callable[..., Dashboard]:
        """Return what makes a page's dashboard, for one who may see it."""
        if name == "forecasting":
            return functools.partial(
                forecasting.Forecasting, PredictingLocalSource(self.control.bench, owner), pool=self._pool
            )
        return functools.partial(overview.Overview, LocalSource(self.control.bench, owner), pool=self._pool)

    @staticmethod
    def _make(doc: Document, page: Callable[..., Dashboard], told: dict[str, str]) -> tuple[Dashboard, Any]:
        """Make a dashboard and its models; in a thread."""
        with set_curdoc(doc):
            made = page(told=told, document=doc)
            return made, made.panel.get_root(doc)

    def _made(self, doc: Document, waiting: Any, done: Future[tuple[Dashboard, Any]]) -> None:
        """Bring a dashboard from its thread to its page."""

        def show() -> None:
            try:
                made, root = done.result()
            except Exception:
                log.exception("A dashboard cannot be made.")
                self._end(doc)
                return
            doc.remove_root(waiting)
            doc.add_root(root)
            made.panel._documents[doc] = root  # noqa: SLF001 - Panel forgets at the end what it finds here
            forget: Any = made.panel._server_destroy  # noqa: SLF001 - as its own `server_doc` does
            doc.on_session_destroyed(forget)
            made.refresh()

        if not done.cancelled() and doc.session_context is not None:
            doc.add_next_tick_callback(show)

    def _end(self, doc: Document) -> None:
        """Close the websocket of a document that will not get its dashboard; its page begins anew."""
        context: Any = doc.session_context
        for socket in list(self.sockets):
            if socket.connection is not None and socket.connection.session.id == context.id:
                socket.close(_FAILED, "failed")

    def _forget(self, context: Any) -> None:
        self.owners.pop(context.id, None)

    async def _watching(self) -> None:
        """Now and then: may those who watch still watch, and do they watch at all."""
        while True:
            await asyncio.sleep(_WATCH_S)
            for socket in list(self.sockets):
                try:
                    await self._look(socket)
                except Exception:  # the outermost frame of a look: the others are looked at all the same
                    log.exception("Whether a dashboard may stay open cannot be told.")

    @staticmethod
    async def _look(socket: Socket) -> None:
        if socket.heard_at < time.monotonic() - _QUIET_S:
            socket.close(_GONE, "out of sight")
        elif not await socket.still_allowed():
            socket.close(_DENIED, "signed out")


class Socket(WSHandler):
    """The websocket of one page."""

    def initialize(
        self,
        application_context: Any,  # noqa: ARG002 - Bokeh's constructor has taken it
        bokeh_websocket_path: Any,  # noqa: ARG002 - likewise
        sessions: Sessions | None = None,
        route: Route | None = None,
    ) -> None:
        """Take what is shared, and the route of the page."""
        assert sessions is not None  # noqa: S101 - `Sessions.delegate` gives it
        assert route is not None  # noqa: S101 - likewise
        self._sessions, self._route = sessions, route
        self._who: Principal | None = None
        self._origins: set[str] = set()
        self.heard_at = time.monotonic()

    async def prepare(self) -> None:
        """Let the handshake pass for who may see the page, and nobody else."""
        try:
            self._who = await self._caller()
        except UltimateError as error:
            self.set_status(error.http_status)
            await self.finish(error.message)
            return
        origin = self.request.headers.get("Origin")
        if origin is not None and not self.check_origin(origin):  # Tornado lets our host pass under any scheme
            self.set_status(HTTPStatus.FORBIDDEN)
            await self.finish("This did not come from a page of this server.")

    def check_origin(self, origin: str) -> bool:
        """Say whether a page of ours asks: another site's page would bring the cookie along."""
        return origin.lower() in self._origins

    def open(self, *arguments: str, **named: str) -> None:
        """Open the session that the token names, which must be the caller's own."""
        who = self._who
        token: str | None = self._token
        if who is None or token is None or not self._sessions.is_ours(token, who):
            self.close(_DENIED, "not your session")
            return
        self._sessions.sockets.add(self)
        super().open(*arguments, **named)  # type: ignore[no-untyped-call]  # Panel says nothing of types

    async def _async_open(self, token: str) -> None:
        """Open the session; a page whose session cannot be made is told so at once instead of waiting."""
        assert self._who is not None  # noqa: S101 - `open` has asked
        try:
            await self._sessions.opened(token, self._who, functools.partial(super()._async_open, token))
        except Unavailable:
            self.close(_BUSY, "too many dashboards")
        except Exception:
            log.exception("A dashboard's session cannot be made.")
            self.close(_FAILED, "failed")

    async def on_message(self, fragment: str | bytes) -> None:
        """Remember that the page is looked at."""
        self.heard_at = time.monotonic()
        await super().on_message(fragment)

    def on_close(self) -> None:
        """Let go."""
        self._sessions.sockets.discard(self)
        super().on_close()

    async def still_allowed(self) -> bool:
        """Say whether the caller is still who it was; while the store is away nobody is sent off."""
        try:
            return await self._caller() == self._who
        except Unavailable as error:
            log.warning("Whether a dashboard may stay open cannot be told: %s", error)
            return True
        except UltimateError:
            return False

    async def _caller(self) -> Principal:
        control = self._sessions.control
        look = functools.partial(control.identify.caller, self.request)
        caller = await asyncio.get_running_loop().run_in_executor(control.threads, look)
        permit(self._route, caller)
        public = urlsplit(control.bench.settings.server.public_url)
        self._origins = {caller.origin.lower(), f"{public.scheme}://{public.netloc}".lower()}
        return caller.known
