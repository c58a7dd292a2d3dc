"""Pages rendered on the server: one frame, one style sheet, no asset from elsewhere. Templates escape every value.

`bar` and `style` are for pages that are drawn elsewhere (dashboards): the same navigation bar in the same look.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tornado.template import Loader

from ultimate_lib.access.sessions import csrf_token

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Page

_FOLDER = Path(__file__).parent

PLACES = (
    ("home", "/", "Home"),
    ("calls", "/calls", "Calls"),
    ("dashboards", "/dashboards/overview", "Dashboards"),
    ("forecast", "/forecast", "Forecast"),
    ("anomalies", "/anomalies", "Anomalies"),
    ("recommendations", "/recommendations", "Advice"),
    ("docs", "/docs", "API"),
)
"""The navigation bar: name, path, label. After them comes what `admin.entrance` gives a viewer."""


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
    script = _text("page.js") + (_text(page.script) if page.script else "")
    return (
        _loader()
        .load(page.template)
        .generate(
            title=page.title,
            nonce=nonce,
            root=caller.root,
            demo=caller.demo,
            bar=bar(caller, page.current),
            who=_who(caller),
            csrf=_csrf(caller),
            style=style(),
            script=script,
            **page.values,
        )
    )


def bar(caller: Caller, current: str) -> str:
    """Return the navigation bar as HTML, with who is signed in; `current` is a name of `PLACES`, or empty."""
    from proxy_server.control.pages.admin import entrance  # noqa: PLC0415 - its pages are part of this package

    made = (
        _loader()
        .load("bar.html")
        .generate(
            places=(*PLACES, *([found] if (found := entrance(caller.principal)) is not None else [])),
            current=current,
            root=caller.root,
            demo=caller.demo,
            who=_who(caller),
            csrf=_csrf(caller),
        )
    )
    return made.decode()


def style() -> str:
    """Return the style sheet of every page, the bar's own rules among them."""
    return _text("style.css")


def _who(caller: Caller) -> str | None:
    return caller.principal.user_name if caller.principal is not None else None


def _csrf(caller: Caller) -> str:
    return csrf_token(caller.session) if caller.session is not None else ""


@functools.cache
def _loader() -> Loader:
    return Loader(str(_FOLDER), whitespace="oneline")


@functools.cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
