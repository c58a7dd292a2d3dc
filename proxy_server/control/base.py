"""The one handler: who asks, may they, what do they ask; then the route's function in a thread; then the answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from msgspec.structs import replace
from tornado.web import RequestHandler

from proxy_server.control import conditions, pages, params
from proxy_server.control.answers import Answer, Caller, Page, Redirect, Text
from proxy_server.control.conditions import CHANGING, takes_version, versions
from proxy_server.control.identify import SAFE_METHODS, cookie_name
from proxy_server.control.live import Events
from proxy_server.control.router import PUBLIC, Found, allow, permit
from ultimate_lib.access import once, refusals
from ultimate_lib.access.changes import Changed
from ultimate_lib.access.keys import digest
from ultimate_lib.access.sessions import SESSION_LIFE
from ultimate_lib.errors import Denied, Invalid, UltimateError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from proxy_server.control.identify import Identify
    from proxy_server.control.live import Live
    from proxy_server.control.router import Route, Router
    from ultimate_lib.workbench import Workbench

log = logging.getLogger(__name__)

_FORM = "application/x-www-form-urlencoded"
_MOST_WAITING = 50
_JSON_CSP = "default-src 'none'; frame-ancestors 'none'"
_Value = TypeVar("_Value")


@dataclass(slots=True)
class Lane:
    """Where questions of one sort are answered, a few at a time: those that wait hold none of its threads."""

    threads: Executor
    room: asyncio.Semaphore
    waiting: int = 0


@dataclass(slots=True)
class Control:
    """What all requests share."""

    bench: Workbench
    router: Router
    identify: Identify
    threads: Executor
    live: Live
    heavy: Lane
    reckoning: Lane  # apart: a forecast takes a second, and no page waits for it
    active: set[Handler] = field(default_factory=set)


class Handler(RequestHandler):
    """Serves every row of the table."""

    def initialize(self, control: Control) -> None:
        """Take what all requests share."""
        self._control = control
        self._request_id = secrets.token_hex(8)
        self._nonce = secrets.token_urlsafe(16)
        self._path = self.request.path
        settings = control.bench.settings
        self._caller = Caller(root=settings.server.root_path, demo=settings.data.demo)
        self._gone = False
        self._version: str | None = None  # the ETag of what is told, if that has a version
        self.when_gone: Callable[[], object] | None = None  # told when the client has left
        root = settings.server.root_path
        if root and (self._path == root or self._path.startswith(root + "/")):
            self._path = self._path[len(root) :] or "/"

    def prepare(self) -> None:
        """Count as one that is being answered."""
        self._control.active.add(self)

    def on_finish(self) -> None:
        """Count no more."""
        self._control.active.discard(self)

    def on_connection_close(self) -> None:
        """Remember that nobody waits any more."""
        self._gone = True
        if self.when_gone is not None:
            self.when_gone()
        self._control.active.discard(self)

    def set_default_headers(self) -> None:
        """Set what every answer carries, errors included."""
        self.clear_header("Server")
        for name, value in {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Content-Security-Policy": _JSON_CSP,
        }.items():
            self.set_header(name, value)

    async def _serve(self) -> None:
        """Answer, or say in a sentence why not. The outermost frame of a request."""
        self.set_header("X-Request-Id", self._request_id)
        page = not self._path.startswith("/api/")
        try:
            found = self._control.router.find(self._path)
            page = any(route.page for route in found.methods.values())
            await self._route(found)
        except UltimateError as error:
            if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                log.warning("request %s to %s: %s", self._request_id, self._path, error)
            if page:
                await self._identify_for_bar()
            if error.http_status == HTTPStatus.FORBIDDEN:
                await self._note_refusal(error)
            self._refuse(error, page=page)
        except Exception:
            log.exception("request %s to %s failed", self._request_id, self._path)
            self._refuse(_internal(self._request_id), page=page)

    async def _note_refusal(self, error: UltimateError) -> None:
        """Write down in the audit which change a known caller was refused."""
        who, method = self._caller.principal, self.request.method or ""
        if who is None or method in SAFE_METHODS:
            return
        action = "browser.refuse" if error.code in {"csrf", "origin"} else "change.refuse"
        bench, address = self._control.bench, self._caller.address
        target = f"{method} {self._path}"
        await self._in_thread(
            functools.partial(
                refusals.note, bench.store, bench.clock, who.user_name, action, target, address, error.code
            )
        )

    async def _identify_for_bar(self) -> None:
        """Learn who asks for a page that there is not, so that its bar says so too."""
        if self._caller.principal is None:
            with contextlib.suppress(UltimateError):
                self._caller = await self._in_thread(functools.partial(self._control.identify.caller, self.request))

    get = head = post = put = patch = delete = options = _serve

    async def _route(self, found: Found) -> None:
        method = self.request.method or ""
        if method == "OPTIONS":
            self.set_header("Allow", allow(found.methods))
            self.set_status(HTTPStatus.NO_CONTENT)
            return
        route = found.methods.get("GET" if method == "HEAD" else method)
        if route is None or (method == "HEAD" and not route.head):
            self.set_header("Allow", allow(found.methods))
            raise _Method(f"{self._path} does not take {method}.", hint=f"It takes {allow(found.methods)}.")
        self._caller = await self._in_thread(functools.partial(self._control.identify.caller, self.request))
        if route.page and route.method == "GET" and route.permission != PUBLIC and self._caller.principal is None:
            self._write(Redirect("login", back=route.page))  # signed out: the way in, and back here, not an error
            return
        permit(route, self._caller)
        told = self._params(route, found.values)
        self.set_status(route.status)
        await self._respond(route, self._work(route, told))

    def _work(self, route: Route, told: msgspec.Struct) -> Callable[[], object]:
        """Return what is to be done, under the conditions that the request makes. Raises `Invalid`."""
        bench, headers = self._control.bench, self.request.headers
        match = headers.get("If-Match") if route.method in CHANGING else None
        if match is not None and not takes_version(route, self._control.router.versioned):
            raise Invalid("This has no versions.", hint="Leave If-Match out.", code="if_match")
        callers = [replace(self._caller, version=version) for version in versions(match)]
        works = [functools.partial(route.function, bench, caller, told) for caller in callers]
        work = works[0] if len(works) == 1 else functools.partial(_first_that_fits, works)
        name = headers.get("Idempotency-Key") if route.creates else None
        if name is None or self._caller.principal is None:
            return work
        parts = (self.request.method or "", self._path, headers.get("If-Match", ""), _credential(self._caller))
        request = once.hashed(bench.master, *(part.encode() for part in parts), self.request.body)
        asked = once.Once(
            bench.store, bench.clock, bench.master, self._caller.principal.user_id, once.checked_name(name), request
        )
        return functools.partial(asked.run, functools.partial(_as_json, route, work))

    async def _respond(self, route: Route, work: Callable[[], object]) -> None:
        lane = self._control.reckoning if route.reckons else self._control.heavy if route.heavy else None
        if self._caller.principal is None:  # nobody else is shown anything of the lake
            lane = None
        value = await (self._in_thread(work) if lane is None else self._in_turn(lane, work))
        if isinstance(value, Events):
            after = self.request.headers.get("Last-Event-ID", "")
            await self._control.live.serve(self, value._replace(after=after or value.after), self._still_may(route))
        else:
            self._write(value)

    def _still_may(self, route: Route) -> Callable[[], Awaitable[bool]]:
        """Return what tells whether the caller of a long answer is still the same and may still have it."""

        async def still() -> bool:
            try:
                caller = await self._in_thread(functools.partial(self._control.identify.caller, self.request))
                permit(route, caller)
            except Denied:
                return False
            except UltimateError as error:  # the store is away: nobody is sent off for that
                log.warning("Whether a listener may go on cannot be told: %s", error)
                return True
            return caller.principal == self._caller.principal

        return still

    async def _in_turn(self, lane: Lane, work: Callable[[], object]) -> object:
        """Read the lake when it is this request's turn, unless its client has left meanwhile."""
        if lane.waiting >= _MOST_WAITING:
            raise Unavailable("Too many questions wait for the lake.", hint="Try again in a moment.", code="busy")
        lane.waiting += 1
        try:
            async with lane.room:
                if self._gone:
                    raise Unavailable("The client left before its turn came.", code="client_gone")
                return await asyncio.get_running_loop().run_in_executor(lane.threads, work)
        finally:
            lane.waiting -= 1

    async def _in_thread(self, work: Callable[[], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._control.threads, work)

    def _params(self, route: Route, path_values: dict[str, str]) -> msgspec.Struct:
        request = self.request
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        is_form = bool(route.page) and kind == _FORM
        form = request.body.decode("utf-8", "replace") if is_form else ""
        token = parse_qs(form).get("_csrf", [""])[0]
        self._control.identify.check_browser(request, self._caller, token, form=is_form)
        if route.method in {"GET", "DELETE"}:
            return params.from_query(route.takes, request.query, path_values)
        if request.query:
            params.from_query(_NoQuery, request.query, {})
        if is_form:
            fields = "&".join(part for part in form.split("&") if not part.startswith("_csrf="))
            return params.from_query(route.takes, fields, path_values)
        if request.body and kind != "application/json":
            raise Invalid("The body must be JSON.", hint="Send Content-Type: application/json.", code="content_type")
        return params.from_json(route.takes, request.body, path_values)

    # -- answering ----------------------------------------------------------------------------------------------

    def _write(self, value: object) -> None:
        if isinstance(value, once.Kept):
            self._write_kept(value)
            return
        answer = value if isinstance(value, Answer) else Answer(value)
        if answer.status is not None:
            self.set_status(answer.status)
        if answer.sign_in is not None:
            self._cookie(answer.sign_in)
        if answer.sign_out:
            self._cookie(None)
        body = answer.value
        if isinstance(body, Redirect):
            self.set_status(HTTPStatus.SEE_OTHER)
            self.set_header("Location", self._location(body))
        elif isinstance(body, Page):
            self._write_page(body)
        elif isinstance(body, Text):
            self.set_header("Content-Type", body.content_type)
            self.write(body.body)
        else:
            self._write_json(body)

    def _location(self, redirect: Redirect) -> str:
        known = self._control.router.pages
        path = known.get(redirect.to, known["home"])
        return f"{self._caller.root}{path}" + (f"?to={redirect.back}" if redirect.back in known else "")

    def _write_json(self, value: object) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self._version = conditions.etag(value)
        if self._version is not None and self.request.method in CHANGING:  # for a read Tornado sets it, and compares
            self.set_header("ETag", self._version)
        self.write(msgspec.json.encode(value))

    def _write_kept(self, kept: once.Kept) -> None:
        if kept.again:
            self.set_header("Idempotent-Replayed", "true")
        self.set_status(kept.status)
        self._write_json(msgspec.json.decode(kept.body))

    def _write_page(self, page: Page) -> None:
        self.set_header("Content-Security-Policy", pages.policy(self._nonce, drawn=page.drawn))
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(pages.render(page, self._caller, self._nonce))

    def _cookie(self, token: str | None) -> None:
        name = cookie_name(self._caller)
        told: dict[str, Any] = {"path": "/", "httponly": True, "secure": self._caller.secure, "samesite": "Lax"}
        if token is None:
            self.clear_cookie(name, **told)
        else:
            self.set_cookie(name, token, max_age=int(SESSION_LIFE.total_seconds()), **told)

    def _refuse(self, error: UltimateError, *, page: bool) -> None:
        if self._headers_written:
            return
        self.set_status(error.http_status)
        if isinstance(error, Denied) and error.http_status == HTTPStatus.UNAUTHORIZED:
            self.set_header("WWW-Authenticate", 'Bearer realm="ultimate-proxy"')
        if error.retry_after_s is not None:
            self.set_header("Retry-After", str(math.ceil(error.retry_after_s)))
        if page:
            told = {"message": error.message, "hint": error.hint, "request_id": self._request_id}
            self._write_page(Page("error.html", "That did not work", told))
            return
        told = {"code": error.code, "message": error.message, "hint": error.hint, "request_id": self._request_id}
        self._write_json({"error": told})

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer what Tornado itself refuses (a method that does not exist, a body that it cannot parse)."""
        self.set_header("X-Request-Id", self._request_id)
        error = UltimateError(f"The request was refused: {HTTPStatus(status_code).phrase}.", code="request")
        error.http_status = status_code
        self._refuse(error, page=False)

    def compute_etag(self) -> str | None:
        """Return an ETag for JSON that was read; pages carry a fresh nonce each time."""
        if self.request.method not in {"GET", "HEAD"} or "json" not in str(self._headers.get("Content-Type", "")):
            return None
        return self._version or super().compute_etag()


class _NoQuery(msgspec.Struct):
    """A request with a body takes nothing from its query."""


class _Method(UltimateError):
    """The path is right, the method is not."""

    code = "method"
    http_status = 405


def _first_that_fits(works: Sequence[Callable[[], object]]) -> object:
    """Do the first of several things that does not find its object changed: each names one version."""
    for work in works[:-1]:
        with contextlib.suppress(Changed):
            return work()
    return works[-1]()


def _as_json(route: Route, work: Callable[[], object]) -> tuple[int, str]:
    """Return status and JSON of what was made, so that they can be kept."""
    value = work()
    answer = value if isinstance(value, Answer) else Answer(value)
    return answer.status or route.status, msgspec.json.encode(answer.value).decode()


def _credential(caller: Caller) -> str:
    """Return what tells one of a user's keys and sessions from the others."""
    if caller.session is not None:
        return f"session {digest(caller.session).hex()}"
    return f"key {caller.known.key_id}"


def _internal(request_id: str) -> UltimateError:
    return UltimateError(
        "This failed on our side.", hint=f"The server's log tells why, under request {request_id}.", code="internal"
    )
