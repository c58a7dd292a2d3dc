"""Opening a page in the user's browser, where there is one to open; never in the way of anything."""

from __future__ import annotations

import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def has_desktop(environ: Mapping[str, str]) -> bool:
    """Say whether this looks like a desktop with a browser, and not like a remote shell."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


def open_page(url: str, environ: Mapping[str, str]) -> bool:
    """Open a page in the background and say whether there is a browser that does not take the terminal."""
    if not has_desktop(environ):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser:  # a text browser would run in this terminal
        return False
    threading.Thread(target=browser.open, args=(url,), daemon=True).start()  # some wait until it is closed
    return True
