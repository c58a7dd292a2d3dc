"""One browser for the tests of a module.

Not of a whole run: while it lives, its loop runs in this thread, and other tests could not call `asyncio.run`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found
