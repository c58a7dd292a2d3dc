"""The reference in a real browser: found by the browser's own search, anchors, no outside asset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import watched
from tests.browser.signed_in import check_page, proxy_with
from tests.harness import Running


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with proxy_with(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.mark.parametrize("width", [1280, 380])
def test_the_reference(browser: Browser, proxy: Running, tmp_path: Path, width: int) -> None:
    with watched(browser, proxy.url, width=width) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/docs")
        page.get_by_role("heading", name="API reference").wait_for()
        check_page(seen)
        page.get_by_role("navigation", name="Contents").get_by_role("link", name="/api/calls/{id}").click()
        expect(page.get_by_role("article", name="GET /api/calls/{id}")).to_be_in_viewport()
        assert page.evaluate("window.find('usd_per_million')") is True
        seen.picture(tmp_path, "docs")
        page.goto(f"{proxy.url}/docs#get_live")
        expect(page.get_by_role("article", name="GET /api/live")).to_be_in_viewport()
        with page.expect_navigation():
            page.get_by_role("link", name="openapi.json", exact=True).first.click()
        assert page.url.endswith("/api/openapi.json")
