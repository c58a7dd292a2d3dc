"""Forecasting over the demo's lake, in its three places: a page, JupyterLab, Voila. The numbers are those of REST."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import check_axe, watched
from tests.browser.jupyterlab import start_lab
from tests.browser.people import ask
from tests.browser.test_voila import voila
from tests.harness import ROOT, Running, start_proxy, wait_until
from ultimate_lib.dashboards import units
from ultimate_lib.demo.planted import PLANTED

NOTEBOOK = "forecasting.ipynb"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Eleven weeks of made-up calls with a planted spike, and a budget of all of them."""
    with start_proxy(tmp_path_factory.mktemp("demo"), arguments=("--demo", "--demo-data")) as running:
        wait_until(lambda: _is_filled(running), 60, running)
        budget = {"subject": "global", "amount": 400_000_000_000, "period": "total", "name": "the pilot"}
        ask(running, "POST", "/api/budgets", {**budget, "hard": False})
        yield running


def _is_filled(proxy: Running) -> bool:
    since = datetime.now(UTC) - timedelta(hours=6)  # the last week comes in one piece
    return bool(proxy.get(f"/api/analytics/calls?limit=1&start={since:%Y-%m-%dT%H:%M:%SZ}")["rows"])


def total(proxy: Running, **asked: Any) -> str:
    """Return the total that REST tells, as it is printed."""
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    told = proxy.get(f"/api/predictive/forecast?{query}")
    return units.short(told["summary"]["total"], told["unit"])


def planted_day(proxy: Running) -> str:
    """Return the day of the planted spike as the table names it."""
    spike = next(one for one in PLANTED if one.name == "spend-spike")
    told = proxy.get("/api/predictive/anomaly-history?days=30")
    day = spike.span(datetime.now(UTC).date())[0]
    assert any(one["step_at"][:10] == f"{day:%Y-%m-%d}" for one in told["anomalies"])
    return f"{day:%a} {day:%b} {day.day}, "


def use(page: Page, proxy: Running) -> None:
    """Read the first forecast, and ask for another."""
    expect(page.locator(".up-is-fan canvas").first).to_be_visible()
    expect(page.locator(".up-is-calendar canvas").first).to_be_visible()
    figures = page.locator(".up-is-figures")
    expect(figures).to_contain_text(total(proxy, days=7))
    page.get_by_label("What").select_option(label="Calls")
    expect(figures).to_contain_text(total(proxy, days=7, metric="requests"))


def read(page: Page, proxy: Running) -> None:
    """Find the budget's end, and the planted day in the calendar."""
    assert "demo data" in page.locator("h1", has_text="Forecasting").last.inner_text()
    expect(page.locator(".up-is-figures")).to_contain_text(total(proxy, days=7))
    (budget,) = proxy.get("/api/predictive/forecast?days=7")["budgets"]
    spent_on = datetime.fromisoformat(budget["exhausted_at"])
    expect(page.locator(".up-is-budgets")).to_contain_text("the pilot")
    expect(page.locator(".up-is-budgets")).to_contain_text(f"{spent_on:%b} {spent_on.day}, {spent_on.year}")
    calendar = page.locator(".up-is-calendar")
    calendar.get_by_role("checkbox", name="Show as table").check()
    row = calendar.get_by_role("row").filter(has_text=planted_day(proxy)).first
    expect(row).to_contain_text("claude-opus-5")
    calendar.get_by_role("checkbox", name="Show as table").uncheck()
    expect(calendar.locator("canvas").first).to_be_visible()


def test_the_page(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    (link,) = re.findall(r"http\S+login\?link=\S+", proxy.said)
    with watched(browser, proxy.url) as seen:
        page = seen.page
        page.goto(link)
        page.get_by_role("link", name="Dashboards").click()
        page.get_by_role("link", name="Forecasting").click()
        read(page, proxy)
        page.emulate_media(color_scheme="dark")
        use(page, proxy)
        page.get_by_label("How far").select_option(label="14 days")
        page.wait_for_function("() => location.search === '?metric=requests&days=14'")
        page.reload()  # a canvas takes its colours when it is drawn; and the address holds what was asked
        expect(page.locator(".up-is-figures")).to_contain_text(total(proxy, days=14, metric="requests"))
        expect(page.locator(".up-loading")).to_have_count(0)
        check_axe(page)
        seen.picture(tmp_path, "forecasting-page-dark")
        page.set_viewport_size({"width": 800, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        page.get_by_label("What").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        expect(page.locator(".up-is-figures")).to_contain_text(total(proxy, days=14))
        seen.picture(tmp_path, "forecasting-800")


@pytest.mark.heavy
def test_jupyterlab(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    told = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key}
    with start_lab(tmp_path / "lab", told) as lab, watched(browser, lab.url, proxy.url, width=1500) as seen:
        shutil.copy(ROOT / "notebooks" / NOTEBOOK, lab.root)
        page = seen.page
        page.goto(lab.open(NOTEBOOK))
        page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".up-is-fan").scroll_into_view_if_needed(timeout=60_000)
        use(page, proxy)
        for theme in ("Light", "Dark") if "TEST_PICTURES" in os.environ else ():
            page.get_by_role("menuitem", name="Settings", exact=True).click()
            page.locator(".lm-Menu-item", has_text="Theme").first.click()
            page.locator(".lm-Menu-item").get_by_text(f"JupyterLab {theme}", exact=True).click()
            expect(page.locator("body")).to_have_attribute("data-jp-theme-name", f"JupyterLab {theme}")
            page.set_viewport_size({"width": 1500, "height": 2700})
            page.wait_for_timeout(2000)
            seen.picture(tmp_path, f"forecasting-lab-{theme}")


@pytest.mark.heavy
def test_voila(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with voila(proxy, tmp_path, NOTEBOOK) as url:
        for theme in ("light", "dark") if "TEST_PICTURES" in os.environ else ("light",):
            with watched(browser, url) as seen:
                seen.page.goto(f"{url}/?theme={theme}", timeout=90_000)
                use(seen.page, proxy)
                seen.page.set_viewport_size({"width": 1280, "height": 3300})
                seen.picture(tmp_path, f"forecasting-voila-{theme}")
