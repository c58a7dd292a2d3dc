"""The page of forecasts in a real browser: a fan chart, the same in words and as a table, budgets, and what fails."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.people import as_owner, ask
from tests.browser.signed_in import check_page, proxy_with
from tests.calm import DAY, Calm
from tests.control.calls import call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness import Running

AT = Calm(DAY)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Forty days of calls, fewer on two days of seven."""
    records = [
        call(
            AT.today - timedelta(days=day) + timedelta(hours=8 + number), project="search",
            cost_nano_usd=(1_000 + 37 * (day * number % 11)) * 1_000_000,
        )
        for day in range(1, 41)
        for number in range(2 if day % 7 in {0, 1} else 8)
    ]  # fmt: skip
    with proxy_with(tmp_path_factory.mktemp("forecast"), records) as running:
        yield running


def test_a_fan_chart_with_its_words_its_table_and_its_budget(
    browser: Browser, proxy: Running, tmp_path: Path
) -> None:
    budget = {"subject": "global", "amount": 400_000_000_000, "period": "total", "name": "the pilot", "hard": False}
    ask(proxy, "POST", "/api/budgets", budget)
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.get_by_role("link", name="Forecast").click()
        page.get_by_role("img", name="The next 7 days").wait_for(timeout=30_000)
        expect(page.get_by_text("expected in the next 7 days; in four of five futures")).to_be_visible()
        assert page.locator("polyline.ahead").count() == 1
        assert len(page.locator("polyline.ahead").get_attribute("points").split()) == 8  # from the last known day on
        expect(page.get_by_text("% likely to be spent by")).to_be_visible()
        expect(page.get_by_text("Made in the same way from 6 earlier moments")).to_be_visible()
        page.get_by_text("Show as table").press("Enter")
        assert page.locator("#main table").first.locator("tbody tr").count() == 7
        check_page(seen)
        seen.pictures(tmp_path, "forecast")
        page.locator("select[name=metric]").select_option("requests")
        page.locator("select[name=grain]").select_option("hour")
        page.locator("select[name=days]").select_option("1")
        page.get_by_label("Project").fill("search")
        page.keyboard.press("Enter")
        page.get_by_role("img", name="The next day").wait_for()
        assert "metric=requests" in page.url
        page.set_viewport_size({"width": 390, "height": 800})
        check_page(seen)
        seen.pictures(tmp_path, "forecast-narrow")
        page.goto(f"{proxy.url}/forecast?project=nothing")
        expect(page.get_by_role("heading", name="Too little to forecast from")).to_be_visible()
        expect(page.get_by_text("No call lies in the 800 days")).to_be_visible()
        page.goto(f"{proxy.url}/forecast?days=many")
        expect(page.get_by_role("alert")).to_contain_text("'many' is no number of days. Choose 1 to 90.")
        check_page(seen)
