"""What a route's function is told about its caller, and what it may return."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ultimate_lib.access.principal import Principal
from ultimate_lib.errors import Denied


class Nothing(msgspec.Struct, frozen=True):
    """The parameters of a route that takes none."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and from where."""

    principal: Principal | None = None
    address: str = ""  # the client's own, as the gateway tells it
    agent: str = ""  # how its program calls itself
    loopback: bool = False  # a program on this computer, and no proxy from elsewhere in between
    secure: bool = False  # the client speaks TLS to whoever it reached
    origin: str = ""  # scheme, host and port by which the client reached us
    root: str = ""  # path prefix in front of every route
    demo: bool = False  # the numbers here are made up, and every page says so
    session: str | None = None  # the cookie's token, when a cookie says who asks
    version: int | None = None  # that the object to be changed must have (If-Match); None: any

    @property
    def known(self) -> Principal:
        """The caller, who must be known. Raises `Denied` (401)."""
        if self.principal is None:
            raise Denied(
                "This needs a key or a sign-in.",
                hint="Send a key as 'Authorization: Bearer cp_…', or sign in with the link that the start printed.",
                authenticated=False,
            )
        return self.principal


class Page(NamedTuple):
    """A page: a template of `pages/` and its values."""

    template: str
    title: str
    values: dict[str, Any]
    current: str = ""  # its place in the navigation bar
    script: str = ""  # a file of `pages/` beside the one that every page has
    drawn: bool = False  # by Bokeh, which makes styles as it goes and loads files of ours


class Text(NamedTuple):
    """A body that is neither JSON nor a page."""

    body: bytes
    content_type: str


class Redirect(NamedTuple):
    """Another page, by the name of its route: no address that a request brings along is ever followed."""

    to: str
    back: str = ""  # the page to come back to after signing in


class Answer(NamedTuple):
    """A value with more to say: its status, a session to hand to the browser or to take from it."""

    value: object
    status: int | None = None  # None: the route's own
    sign_in: str | None = None  # the token of a new session
    sign_out: bool = False
