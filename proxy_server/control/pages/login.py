"""Signing in: with name and password, with the printed link, with a link for new people; and out again."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from proxy_server.control.answers import Answer, Page, Redirect
from proxy_server.control.api import auth
from ultimate_lib.access import sessions
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench


class SignIn(Struct, kw_only=True):
    """The link's token, and the page to go to afterwards, by name."""

    link: str = ""
    to: str = "home"


class Form(Struct, kw_only=True):
    """What the form on the page sends: a name and its password, or a new person's link with a first password."""

    name: Annotated[str, Meta(max_length=200)] = ""
    password: auth.Password = ""
    again: auth.Password = ""
    link: Annotated[str, Meta(max_length=200)] = ""
    to: str = "home"


def sign_in(bench: Workbench, caller: Caller, told: SignIn) -> Answer:
    """Exchange a link for a session and go to a page of ours; without a link offer the form."""
    if not told.link:
        if caller.principal is not None:
            return Answer(Redirect(told.to))
        return _form(told.to)
    auth.require_safe_way(bench, caller)
    whose = sessions.link_user(bench.store, bench.clock, told.link)
    if whose is not None and whose[1]:
        return _first(told.to, told.link, whose[0])
    session = sessions.exchange_link(bench.store, bench.clock, told.link, address=caller.address, agent=caller.agent)
    if session is None:
        return _form(told.to, used=True, status=HTTPStatus.FORBIDDEN)
    return Answer(Redirect(told.to), sign_in=session)


def submit(bench: Workbench, caller: Caller, told: Form) -> Answer:
    """Begin a session by what the form says, or show the form again with what is wrong."""
    if told.link:
        return _set_password(bench, caller, told)
    try:
        answer = auth.login(bench, caller, auth.SignIn(name=told.name, password=told.password))
    except UltimateError as error:
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return _form(told.to, name=told.name, problem=str(error), status=error.http_status)
    return Answer(Redirect(told.to), sign_in=answer.sign_in)


def _set_password(bench: Workbench, caller: Caller, told: Form) -> Answer:
    auth.require_safe_way(bench, caller)  # before anything is told of the link
    whose = sessions.link_user(bench.store, bench.clock, told.link)
    if whose is None or not whose[1]:
        return _form(told.to, used=True, status=HTTPStatus.FORBIDDEN)
    if told.password != told.again:
        return _first(told.to, told.link, whose[0], "The two are not the same.", HTTPStatus.BAD_REQUEST)
    try:
        answer = auth.first_password(bench, caller, auth.FirstPassword(link=told.link, password=told.password))
    except UltimateError as error:
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        return _first(told.to, told.link, whose[0], str(error), error.http_status)
    return Answer(Redirect(told.to), sign_in=answer.sign_in)


def _form(to: str, *, used: bool = False, name: str = "", problem: str = "", status: int | None = None) -> Answer:
    values: dict[str, Any] = {"used": used, "name": name, "problem": problem, "to": to, "first": False, "link": ""}
    return Answer(Page("login.html", "Sign in", values), status=status)


def _first(to: str, link: str, name: str, problem: str = "", status: int | None = None) -> Answer:
    values = {"used": False, "name": name, "problem": problem, "to": to, "first": True, "link": link}
    return Answer(Page("login.html", "Choose a password", values), status=status)


def sign_out(bench: Workbench, caller: Caller, _: Nothing) -> Answer:
    """End this browser's session and go home."""
    if caller.session is not None:
        sessions.end(bench.store, bench.clock, caller.session)
    return Answer(Redirect("home"), sign_out=True)
