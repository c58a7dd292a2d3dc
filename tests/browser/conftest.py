"""One browser for the tests of a module.

Not of a whole run: while it lives, its loop runs in this thread, and other tests could not call `asyncio.run`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import chromium
from tests.dashboards.seeded import seed
from tests.harness import Running, start_proxy

expect.set_options(timeout=60_000)  # each test waits as long as any: a machine may be loaded


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy over twelve days of calls."""
    folder = tmp_path_factory.mktemp("proxy")
    seed(folder / "data", days=12, a_day=30)
    with start_proxy(folder, config="[data]\ndemo = true\n\n[server]\ndrain_s = 5\n") as running:
        yield running
