"""The routes under /ultimate-proxy/. What may be asked of the proxy is the table `ALLOWED`, nothing else.

    GET state · POST start · POST stop · GET api/… · PUT and DELETE api/providers/NAME/key

Every route asks for a signed-in user of this Jupyter server; changes ask for its XSRF token, too.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from jupyterlab_ultimate_proxy import state
from jupyterlab_ultimate_proxy.process import Process
from jupyterlab_ultimate_proxy.refusal import Refusal
from jupyterlab_ultimate_proxy.upstream import Passed, Upstream
from jupyterlab_ultimate_proxy.where import Where

if TYPE_CHECKING:
    from tornado.web import Application

_ID = r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,99}"
_SPAN = frozenset({"start", "end", "time_zone", "filter"})
_MOST_BODY = 8 << 10
_CACHE_BUSTER = re.compile(r"\d+")


class Allowed(NamedTuple):
    """A method and path that may pass, and the names its query may have."""

    method: str
    path: str  # a pattern of all that follows /api/
    names: frozenset[str] = frozenset()
    is_stream: bool = False


ALLOWED = (
    Allowed("GET", r"analytics/(aggregate|breakdown)", _SPAN | {"metrics", "by", "order_by", "limit"}),
    Allowed("GET", r"analytics/timeseries", _SPAN | {"metrics", "by", "grain", "limit"}),
    Allowed("GET", r"analytics/calls", _SPAN | {"limit", "cursor"}),
    Allowed("GET", rf"calls/{_ID}"),
    Allowed("GET", r"live", frozenset({"filter"}), is_stream=True),
    Allowed("GET", r"budgets/status"),
    Allowed("GET", r"providers"),
    Allowed("PUT", rf"providers/{_ID}/key"),
    Allowed("DELETE", rf"providers/{_ID}/key"),
)


class Shared(NamedTuple):
    """What the handlers of one server have in common."""

    where: Where
    upstream: Upstream
    process: Process


def add(app: Application, shared: Shared | None = None) -> None:
    """Add the routes to a server's application."""
    if shared is None:
        where, upstream = Where(), Upstream()
        shared = Shared(where, upstream, Process(where, upstream))
    app.settings["ultimate_proxy"] = shared
    base = url_path_join(app.settings["base_url"], "ultimate-proxy")
    rules = {"state": StateHandler, "start": StartHandler, "stop": StopHandler, r"api/(.*)": PassHandler}
    app.add_handlers(
        ".*$", [(url_path_join(base, path), handler, {"shared": shared}) for path, handler in rules.items()]
    )


class _Handler(APIHandler):
    """What all have in common: refusals and Jupyter's own errors in one form, polling that keeps no server awake."""

    auth_resource = "ultimate-proxy"
    _track_activity = False  # a panel that looks is nobody who works: idle servers are culled all the same

    def initialize(self, shared: Shared) -> None:
        """Take what the routes share."""
        self.shared = shared

    def answer(self, document: Any, status: int = HTTPStatus.OK) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(document))

    def refuse(self, refusal: Refusal) -> None:
        """Answer that it cannot be done."""
        self.answer(refusal.document, refusal.status)

    def write_error(self, status_code: int, **told: Any) -> None:
        """Answer errors of Jupyter itself (signed out, no XSRF token, a failure) in the same form."""
        error = told.get("exc_info", (None, None, None))[1]
        message = error.log_message if isinstance(error, web.HTTPError) else None
        phrase = HTTPStatus(status_code).phrase
        hint = "Reload the page and sign in." if status_code == HTTPStatus.FORBIDDEN else ""
        code = phrase.lower().replace(" ", "_")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(Refusal(status_code, code, message or phrase, hint=hint).document))


class StateHandler(_Handler):
    """GET state."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer how the proxy does."""
        self.answer(await state.describe(self.shared.where, self.shared.upstream))


class StartHandler(_Handler):
    """POST start."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Start the proxy of this user."""
        try:
            self.answer(await self.shared.process.start())
        except Refusal as refusal:
            self.refuse(refusal)


class StopHandler(_Handler):
    """POST stop."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Stop the proxy of this user."""
        try:
            self.answer(await self.shared.process.stop())
        except Refusal as refusal:
            self.refuse(refusal)


class PassHandler(_Handler):
    """Everything under api/ that the table allows."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """Pass a question on."""
        await self._pass(path)

    @web.authenticated
    @authorized
    async def put(self, path: str) -> None:
        """Pass a change on."""
        await self._pass(path)

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        """Pass a removal on."""
        await self._pass(path)

    async def _pass(self, path: str) -> None:
        try:
            row = allowed(self.request.method or "", path)
            query = self._query(row)
            place = await self.shared.where()
            if row.is_stream:
                await self.shared.upstream.stream(place, f"/api/{path}", query=query, write=self._event)
                self.finish()
                return
            body = key_body(self.request.body) if row.method == "PUT" else None
            status, document = await self.shared.upstream.ask(
                place, row.method, f"/api/{path}", query=query, body=body
            )
            self.answer(document, status)
        except Passed as passed:
            self.answer(passed.document, passed.status)
        except Refusal as refusal:
            self.refuse(refusal)

    async def _event(self, data: bytes) -> None:
        """Pass a piece of an event stream on; raises `StreamClosedError` when the page has left."""
        if self._finished:
            raise StreamClosedError
        if not self._headers_written:
            self.set_header("Content-Type", "text/event-stream")
            self.set_header("Cache-Control", "no-store")
            self.set_header("X-Accel-Buffering", "no")
        self.write(data)
        await self.flush()

    def _query(self, row: Allowed) -> str:
        """Return the query that passes: allowed names alone. Raises `Refusal`."""
        pairs = []
        for name, values in self.request.query_arguments.items():
            if _CACHE_BUSTER.fullmatch(name) and values == [b""]:
                continue  # JupyterLab adds the time to defeat caches
            if name not in row.names:
                raise Refusal(HTTPStatus.BAD_REQUEST, "parameter", f"'{name[:60]}' cannot be asked here.")
            pairs += [(name, value) for value in values]
        return urlencode(pairs)


def allowed(method: str, path: str) -> Allowed:
    """Return the row that lets a request pass. Raises `Refusal`."""
    rows = [row for row in ALLOWED if re.fullmatch(row.path, path)]
    if not rows:
        raise Refusal(
            HTTPStatus.NOT_FOUND, "not_allowed", "This path of the proxy is not open to JupyterLab's pages.",
            hint="Use the proxy's own pages or its Python client.",
        )  # fmt: skip
    for row in rows:
        if row.method == method:
            return row
    raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method", f"This path does not take {method}.")


def key_body(body: bytes) -> bytes:
    """Return the body that sets a provider's key, if it is one. Raises `Refusal`."""
    if len(body) > _MOST_BODY:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "That is too long for a key.")
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict) or set(told) != {"key"} or not isinstance(told["key"], str) or not told["key"]:
        raise Refusal(HTTPStatus.BAD_REQUEST, "body", 'The body must be {"key": "…"}.')
    return json.dumps(told).encode()
