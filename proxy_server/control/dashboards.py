"""Dashboards as pages: the frame, what a browser needs to begin, assets of our own origin. Light until used.

Panel takes 2 s and some memory. It is imported in a thread when the first dashboard opens, in demo mode right after
the start. The page comes at once and then asks for a session; by the time it has one, Panel is there. Who may see
dashboards is decided where everything is decided, by the routes here, and once more by the websocket's handshake.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
import threading
from concurrent.futures import Future, wait
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from msgspec import Struct
from tornado.routing import Router
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from proxy_server.control.answers import Page
from proxy_server.control.router import Route
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest

    from proxy_server.control.answers import Caller, Nothing
    from proxy_server.control.base import Control
    from proxy_server.control.dashboard_sessions import Sessions
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

PATH, FORECASTING = "/dashboards/overview", "/dashboards/forecasting"
_TITLES = {PATH: "Overview", FORECASTING: "Forecasting"}
INSTALL = "pip install 'ultimate-proxy[lab]'"
_PATIENCE_S = 0.2
_FILES = "/dashboards/static"
_NEEDED = ("panel", "bokeh")
_SCRIPTS = (
    ("bokeh", "js/bokeh.min.js"),
    ("bokeh", "js/bokeh-widgets.min.js"),
    ("bokeh", "js/bokeh-tables.min.js"),  # Panel does not load without it
    ("panel", "extensions/panel/panel.min.js"),
)


class Shown(Struct, kw_only=True, rename={"first": "from", "last": "to"}):
    """The state of the controls, as the page itself writes it into its address."""

    span: str = ""  # today, 24h, 7d, 30d, 90d or custom
    group: str = ""  # model, provider, project and so on
    model: str = ""
    provider: str = ""
    project: str = ""
    first: str = ""  # first and last day of a custom span
    last: str = ""
    live: str = ""  # off: no news until they are asked for


class ShownForecast(Struct, kw_only=True):
    """The state of the controls, as the page itself writes it into its address."""

    metric: str = ""  # cost_usd, total_tokens, requests, errors or latency_p95_ms
    days: str = ""  # ahead: 1, 7, 14, 30 or 90
    grain: str = ""  # day or hour
    calendar: str = ""  # of anomalies: hour:30, hour:14 or day:91
    model: str = ""
    provider: str = ""
    project: str = ""


class Opened(Struct):
    """What a page needs to open its websocket."""

    token: str  # signed, good for one session within some minutes
    every_s: float  # how often to look for news while the page is visible


class Dashboards:
    """The dashboards of a control process, and the parts of them that load late."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._bench = control.bench
        self._root = control.bench.settings.server.root_path
        self._loop = asyncio.get_running_loop()
        self.sessions: Sessions | None = None
        self.socket_paths = {f"{self._root}{path}/ws" for path in _TITLES}
        self._guard = threading.Lock()
        self._closed = False
        self.page_routes = (
            Route(
                "GET", PATH, functools.partial(self._page, PATH), "dashboards:view",
                "What calls cost and how they do.", "?span=7d", takes=Shown, page="overview",
            ),
            Route(
                "GET", FORECASTING, functools.partial(self._page, FORECASTING), "dashboards:view",
                "What comes, when budgets end, what was unusual.", "?days=14", takes=ShownForecast,
                page="forecasting",
            ),
        )  # fmt: skip
        self.rows = (
            *self.page_routes,
            *(
                Route(
                    "GET", f"{path}/session", self._open, "dashboards:view", "What a dashboard's page begins with.",
                    "", gives=Opened,
                )
                for path in _TITLES
            ),
        )  # fmt: skip

    @property
    def installed(self) -> bool:
        """Whether the packages that draw dashboards are there."""
        return all(importlib.util.find_spec(name) is not None for name in _NEEDED)

    def load_soon(self) -> None:
        """Import Panel now, in a thread: somebody will look at a dashboard in a moment."""
        if self.installed:
            self._loop.run_in_executor(self._control.threads, self._loaded_or_told)

    def close(self) -> None:
        """End all sessions; their pages open new ones where the next process answers."""
        self._closed = True
        if self.sessions is not None:
            self.sessions.close()
            self.sessions = None

    def files(self) -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
        """Return the rules for scripts and styles: public files of Panel's and Bokeh's packages."""
        if not self.installed:
            return []
        panel, bokeh = (_folder(name) for name in _NEEDED)
        return [
            (f"{self._root}{_FILES}/extensions/panel/(.*)", File, {"path": str(panel / "dist")}),
            (f"{self._root}{_FILES}/(js/.*)", File, {"path": str(bokeh / "server" / "static")}),
        ]

    # -- routes -------------------------------------------------------------------------------------------------

    def _page(self, path: str, _bench: Workbench, caller: Caller, _: Shown | ShownForecast) -> Page:
        """Return the page; its script does the rest."""
        if not self.installed:
            return Page("no_dashboards.html", "Dashboards", {"command": INSTALL}, current="dashboards")
        values = {
            "sources": [f"{self._root}{_FILES}/{file}?v={_version(name)}" for name, file in _SCRIPTS],
            "base": f"{caller.root}{path}",
            "others": list(_TITLES.items()),
        }
        return Page("dashboard.html", _TITLES[path], values, current="dashboards", script="dashboard.js", drawn=True)

    def _open(self, _bench: Workbench, caller: Caller, _: Nothing) -> Opened:
        """Return a token for one session of the caller's."""
        sessions = self._loaded()
        return Opened(sessions.token(caller.known), sessions.every_s)

    # -- loading ------------------------------------------------------------------------------------------------

    def _loaded_or_told(self) -> None:
        try:
            self._loaded()
        except Exception:
            log.exception("Dashboards cannot be loaded.")

    def _loaded(self) -> Sessions:
        """Return the living part, made at the first need; called in a thread."""
        with self._guard:
            if self.sessions is None:
                if not self.installed:
                    raise Unavailable("Dashboards are not installed.", hint=f"Run: {INSTALL}", code="not_installed")
                from proxy_server.control.dashboard_sessions import Sessions  # noqa: PLC0415 - 2 s; see above

                self.sessions = self._on_the_loop(Sessions)
            return self.sessions

    def _on_the_loop(self, kind: type[Sessions]) -> Sessions:
        """Make the sessions where they live. A loop that has ended, or ends before its turn, makes none."""
        made: Future[Sessions] = Future()

        def make() -> None:
            try:
                made.set_result(kind(self._control, self.page_routes))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                made.set_exception(error)

        ends = Unavailable("This process is about to end.", hint="Try again in a moment.")
        if self._closed:
            raise ends
        try:
            self._loop.call_soon_threadsafe(make)
        except RuntimeError:  # the loop is closed
            raise ends from None
        while not made.done():
            if self._closed:
                raise ends
            wait([made], timeout=_PATIENCE_S)
        return made.result()


class Sockets(Router):
    """Leads a dashboard's websocket to Bokeh once that is loaded, and any other request to nobody."""

    def __init__(self, dashboards: Dashboards) -> None:
        self._dashboards = dashboards

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        """Return who takes the request; a websocket that comes before its page has a session finds nothing."""
        sessions = self._dashboards.sessions
        return (
            sessions.delegate(request)
            if sessions is not None and request.path in self._dashboards.socket_paths
            else None
        )


class File(StaticFileHandler):
    """A file of Panel's or Bokeh's; the address carries the version, so browsers may keep it."""

    def prepare(self) -> None:
        """Refuse what no file system can name."""
        if "\0" in unquote(self.request.path):
            raise HTTPError(HTTPStatus.NOT_FOUND)

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 - the interface of Tornado
        """Say what every answer of ours says."""
        self.clear_header("Server")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")


def _folder(package: str) -> Path:
    """Return a package's folder without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("Dashboards are not installed.", hint=f"Run: {INSTALL}", code="not_installed")
    return Path(spec.submodule_search_locations[0])


@functools.cache
def _version(package: str) -> str:
    from importlib.metadata import version  # noqa: PLC0415 - asked once

    return version(package)
