"""Signing in with the printed link, and out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from proxy_server.control.answers import Answer, Page, Redirect
from ultimate_lib.access import sessions
from ultimate_lib.errors import Denied

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench


class SignIn(Struct, kw_only=True):
    """The link's token, and the page to go to afterwards, by name."""

    link: str = ""
    to: str = "home"


def sign_in(bench: Workbench, caller: Caller, told: SignIn) -> Answer:
    """Exchange a link for a session and go to a page of ours; without a link say how to get one."""
    if not told.link:
        if caller.principal is not None:
            return Answer(Redirect(told.to))
        return Answer(Page("login.html", "Sign in", {"used": False}))
    if not caller.secure and not caller.loopback:
        raise Denied(
            "Signing in over plain HTTP from another computer would show the session to the network.",
            hint="Reach this server over https, or through a tunnel to localhost.",
            code="login_insecure",
        )
    session = sessions.exchange_link(bench.store, bench.clock, told.link, address=caller.address, agent=caller.agent)
    if session is None:
        return Answer(Page("login.html", "Sign in", {"used": True}), status=403)
    return Answer(Redirect(told.to), sign_in=session)


def sign_out(bench: Workbench, caller: Caller, _: Nothing) -> Answer:
    """End this browser's session and go home."""
    if caller.session is not None:
        sessions.end(bench.store, bench.clock, caller.session)
    return Answer(Redirect("home"), sign_out=True)
