"""The overview's notebook in a real JupyterLab: drawn, with working controls and news, nothing from elsewhere."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import watched
from tests.browser.jupyterlab import start_lab
from tests.dashboards.seeded import seed
from tests.harness import ROOT, start_proxy


@pytest.mark.heavy
def test_jupyterlab_shows_the_overview(browser: Browser, tmp_path: Path) -> None:
    seed(tmp_path / "proxy" / "data", days=12, a_day=30)
    with start_proxy(tmp_path / "proxy") as proxy:
        told = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key}
        with start_lab(tmp_path / "lab", told) as lab, watched(browser, lab.url, proxy.url, width=1500) as seen:
            shutil.copy(ROOT / "notebooks" / "overview.ipynb", lab.root)
            page = seen.page
            page.goto(lab.open("overview.ipynb"))
            page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_text("Run All Cells", exact=True).click()
            expect(page.locator(".up-is-spend canvas").first).to_be_visible(timeout=60_000)
            figures = page.locator(".up-figures")
            before = figures.inner_text()
            page.get_by_label("Time range").select_option(label="Last 7 days")
            expect(figures).not_to_have_text(before, timeout=30_000)
            count = proxy.get("/api/analytics/aggregate?metrics=requests&start=2020-01-01")["rows"][0]["requests"]
            page.get_by_label("Time range").select_option(label="Last 90 days")
            expect(figures).to_contain_text(f"{count:,}", timeout=30_000)
            request = urllib.request.Request(
                f"{proxy.url}/v1/chat/completions",
                data=json.dumps(
                    {"model": "demo/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
                ).encode(),
                headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
            expect(figures).to_contain_text(f"{count + 1:,}", timeout=30_000)
            for theme in ("Light", "Dark"):
                page.get_by_role("menuitem", name="Settings", exact=True).click()
                page.locator(".lm-Menu-item", has_text="Theme").first.click()
                page.locator(".lm-Menu-item").get_by_text(f"JupyterLab {theme}", exact=True).click()
                expect(page.locator("body")).to_have_attribute("data-jp-theme-name", f"JupyterLab {theme}")
                expect(page.locator(".up-is-spend canvas").first).to_be_visible()
                seen.picture(tmp_path, f"overview-lab-{theme}")
