"""Home in a real browser: signing in by the printed link, no console error, no request to another origin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import watched
from tests.harness import start_proxy


@pytest.mark.parametrize("dark", [False, True])
def test_the_printed_link_leads_to_home(browser: Browser, tmp_path: Path, dark: bool) -> None:
    with start_proxy(tmp_path) as proxy, watched(browser, proxy.url, dark=dark) as seen:
        link = re.search(r"http\S+login\?link=\S+", proxy.said)
        assert link is not None
        seen.page.goto(link[0])
        if seen.page.get_by_role("button", name="Sign in").count():
            seen.page.get_by_role("button", name="Sign in").click()
        seen.page.get_by_role("heading", name="Today").wait_for()
        seen.picture(tmp_path, "home")
