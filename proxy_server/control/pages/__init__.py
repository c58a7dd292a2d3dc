"""Pages rendered on the server: one frame, one style sheet, no asset from elsewhere. Templates escape every value."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tornado.template import Loader

from ultimate_lib.access.sessions import csrf_token

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Page

_FOLDER = Path(__file__).parent


def policy(nonce: str, *, drawn: bool = False) -> str:
    """Return the Content-Security-Policy of a page: our own inline style and script, nothing else.

    What Bokeh draws gets its styles from elements that Bokeh makes, for which there is no nonce, and from files of
    ours. Scripts need the nonce there too, and none may be compiled from text.
    """
    if drawn:
        return (
            f"default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'nonce-{nonce}'; "
            "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
    return (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def render(page: Page, caller: Caller, nonce: str) -> bytes:
    """Return the page as HTML."""
    return (
        _loader()
        .load(page.template)
        .generate(
            title=page.title,
            nonce=nonce,
            root=caller.root,
            who=caller.principal.user_name if caller.principal is not None else None,
            csrf=csrf_token(caller.session) if caller.session is not None else "",
            style=_text("style.css"),
            script=_text("page.js"),
            **page.values,
        )
    )


@functools.cache
def _loader() -> Loader:
    return Loader(str(_FOLDER), whitespace="oneline")


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
