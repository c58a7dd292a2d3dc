"""One browser for the tests of this folder that follow each other.

Not of a whole run: while it lives, its loop runs in this thread, and other tests could not call `asyncio.run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import chromium
from tests.dashboards.seeded import seed
from tests.harness import Running, start_proxy

expect.set_options(timeout=60_000)  # each test waits as long as any: a machine may be loaded


_HERE = Path(__file__).parent
_open = contextlib.ExitStack()
_found: list[Browser] = []


@pytest.fixture(scope="module")
def browser() -> Browser:
    """The browser, with no page open that another module made; to start one is most of what a small module costs."""
    if not _found:
        _found.append(_open.enter_context(chromium()))
    assert not _found[0].contexts
    return _found[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Close the browser after the last test of this folder before one of another."""
    try:
        return (yield)
    finally:
        if nextitem is None or _HERE not in nextitem.path.parents:
            _found.clear()
            _open.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy over twelve days of calls."""
    folder = tmp_path_factory.mktemp("proxy")
    seed(folder / "data", days=12, a_day=30)
    with start_proxy(folder, config="[data]\ndemo = true\n\n[server]\ndrain_s = 5\n") as running:
        yield running
