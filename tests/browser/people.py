"""What tests of the pages under /admin do again and again."""

from __future__ import annotations

import json
import urllib.request
from contextlib import AbstractContextManager
from typing import Any

from playwright.sync_api import Browser

from tests.browser.browsing import Watched
from tests.browser.signed_in import signed_in
from tests.harness import Running

REFUSALS = ("400 (Bad", "401 (Unauth", "403 (Forb", "409 (Conflict)", "412 (Pre")


def as_owner(browser: Browser, proxy: Running, *, width: int = 1280) -> AbstractContextManager[Watched]:
    """Give a browser that is signed in as the local administrator, who may be refused something."""
    return signed_in(browser, proxy, ignore=REFUSALS, width=width)


def ask(proxy: Running, method: str, path: str, told: Any) -> Any:
    """Ask the interface as the local administrator."""
    headers = {"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"}
    request = urllib.request.Request(proxy.url + path, json.dumps(told).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
