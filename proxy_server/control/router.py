"""What a route is, how the one of a path is found, and who may ask for it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server.control.answers import Caller, Nothing
from proxy_server.control.conditions import versioned
from proxy_server.control.params import SEGMENT
from ultimate_lib.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgspec import Struct

    from ultimate_lib.workbench import Workbench

PUBLIC = "public"
"""Anyone may ask."""
KNOWN = "known"
"""Anyone with a key or a session may ask; the function shows and changes what is the caller's own."""


class Route(NamedTuple):
    """One row. A route whose permission nobody holds is closed to everybody."""

    method: str
    path: str  # `{name}` stands for one path segment, an id
    function: Callable[[Workbench, Caller, Any], object]
    permission: str  # one of access.roles.PERMISSIONS, PUBLIC or KNOWN
    sentence: str
    example: str  # query string or JSON body
    takes: type[Struct] = Nothing
    gives: Any = None  # type of the answer; None: not JSON
    media: str = "text/plain"  # of an answer that is not JSON
    status: int = 200  # of an answer that has no other
    also: tuple[str, ...] = ()  # other paths under which the public system's clients look for it
    page: str = ""  # a page's name; links and redirects go by it
    loopback: bool = False  # open without credentials to programs on this computer
    heavy: bool = False  # reads the lake for known callers; only a few of these run at a time
    reckons: bool = False  # forecasts or judges what it reads: as heavy, but in threads where no other page waits
    apart: bool = False  # what it makes is no change of the object in its path, which may have any version
    refuses: tuple[tuple[int, str], ...] = ()  # statuses that others of its kind do not have, and why
    head: bool = True  # HEAD asks the same as GET; False where GET changes something

    @property
    def creates(self) -> bool:
        """Whether it makes something: such a request may carry an Idempotency-Key."""
        return self.method == "POST" and self.status == HTTPStatus.CREATED


class Found(NamedTuple):
    """The rows of one path by method, and the values of its segments."""

    methods: dict[str, Route]
    values: dict[str, str]


def _can_lead_to(route: Route) -> bool:
    return bool(route.page) and route.method == "GET" and "{" not in route.path


class Router:
    """Finds rows by the path as it was sent: never decoded, cleaned or compared in another case."""

    def __init__(self, table: Sequence[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        self.versioned = versioned(table)
        self.pages = {route.page: route.path for route in table if _can_lead_to(route)}
        by_path: dict[str, dict[str, Route]] = {}
        for route in table:
            for path in (route.path, *route.also):
                by_path.setdefault(path, {})[route.method] = route
        for path, methods in by_path.items():
            if "{" in path:
                pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<\1>{SEGMENT})", re.escape(path))
                self._patterns.append((re.compile(pattern), methods))
            else:
                self._exact[path] = methods

    def find(self, path: str) -> Found:
        """Return the rows of a path. Raises `NotFound`."""
        methods = self._exact.get(path)
        if methods is not None:
            return Found(methods, {})
        for pattern, matched in self._patterns:
            match = pattern.fullmatch(path)
            if match:
                return Found(matched, match.groupdict())
        listed = "See /api/openapi.json for what there is."
        hint = listed if path.startswith("/api/") else "Look at the address again, or begin at Home."
        raise NotFound(f"There is no {path[:200]} here.", hint=hint)


def allow(methods: dict[str, Route]) -> str:
    """Return the value of the Allow header for a path."""
    told = [*methods, "OPTIONS"]
    if "GET" in methods and methods["GET"].head:
        told.append("HEAD")
    return ", ".join(sorted(told))


def permit(route: Route, caller: Caller) -> None:
    """Raise `Denied` unless the caller may ask for this route. The one place where that is decided."""
    if route.permission == PUBLIC or (route.loopback and caller.loopback):
        return
    principal = caller.known
    if route.permission != KNOWN:
        principal.require(route.permission)
