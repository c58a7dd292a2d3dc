"""What tests of the pages under /admin do again and again."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser

from tests.browser.browsing import Watched, watched
from tests.harness import Running
from ultimate_lib.access import sessions
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store


@contextlib.contextmanager
def as_owner(browser: Browser, proxy: Running, *, width: int = 1280) -> Iterator[Watched]:
    """Give a browser that is signed in as the local administrator, by a link of its own."""
    store = Store(load(environ={}, overrides={"data.folder": str(proxy.data_dir)}).store_url)
    try:
        link = sessions.make_link(store, SystemClock(), proxy.get("/api/auth/verify")["user_id"])
    finally:
        store.close()
    with watched(
        browser, proxy.url, width=width, ignore=["400 (Bad", "401 (Unauth", "403 (Forb", "412 (Pre"]
    ) as seen:
        seen.page.goto(f"{proxy.url}/login?link={link}")
        seen.page.get_by_role("navigation", name="Main").wait_for()
        yield seen


def ask(proxy: Running, method: str, path: str, told: Any) -> Any:
    """Ask the interface as the local administrator."""
    headers = {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(proxy.url + path, json.dumps(told).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
