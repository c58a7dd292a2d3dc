"""The calendar of anomalies and the marks on budget bars in a real browser: seen, said, and led from to the calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.people import as_owner, ask
from tests.browser.signed_in import check_page, proxy_with
from tests.calm import HOUR, Calm
from tests.control.calls import call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness import Running

AT = Calm(HOUR)


def odd_hour() -> datetime:
    return AT.hour - timedelta(days=3, hours=2)


USD = 1_000_000_000


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Thirty days of two models, and one hour in which a third project runs away."""
    records = [
        call(at + timedelta(minutes=number), project="search", model_routed=model, cost_nano_usd=USD // 10)
        for hour in range(1, 30 * 24)
        for at in (AT.hour - timedelta(hours=hour),)
        for model in ("gpt-4o-mini", "claude-sonnet-4-5")
        for number in range(3 if 8 <= at.hour < 18 else 1)
    ]
    records += [
        call(
            odd_hour() + timedelta(seconds=one),
            project="runaway",
            model_routed="gpt-4o-mini",
            cost_nano_usd=USD // 10,
        )
        for one in range(40)
    ]
    with proxy_with(tmp_path_factory.mktemp("anomalies"), records) as running:
        yield running


def test_a_calendar_leads_to_the_calls_of_an_odd_hour(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.get_by_role("link", name="Anomalies").click()
        odd = page.get_by_role("link", name=f"{odd_hour():%Y-%m-%d %H}:00: 1 anomaly; show its calls")
        odd.wait_for(timeout=30_000)
        expect(page.get_by_text("1 anomaly in cost among")).to_be_visible()
        row = page.get_by_role("region", name="What was unusual").locator("tbody tr")
        expect(row).to_contain_text("project runaway")
        page.get_by_text("Show as table").press("Enter")
        check_page(seen)
        seen.pictures(tmp_path, "anomalies")
        page.set_viewport_size({"width": 390, "height": 800})
        check_page(seen)
        seen.pictures(tmp_path, "anomalies-narrow")
        page.set_viewport_size({"width": 1280, "height": 800})
        page.locator("select[name=by]").select_option("model")
        page.locator("select[name=grain]").select_option("day")
        page.locator("select[name=days]").select_option("60")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Look").click()
        page.get_by_role("heading", name="What was judged by itself").wait_for()
        check_page(seen)
        seen.pictures(tmp_path, "anomalies-days")
        page.goto(f"{proxy.url}/anomalies")
        page.get_by_role("link", name="show its calls").focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Matching calls").or_(
            page.get_by_role("heading", name="calls")
        ).first.wait_for()
        assert page.locator("[data-call]").count() >= 42


def test_a_mark_on_the_bars_comes_by_itself(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    base = {"subject": "global", "hard": False}
    ask(proxy, "POST", "/api/budgets", {**base, "amount": 600 * USD, "period": "month", "name": "roomy"})
    ask(proxy, "POST", "/api/budgets", {**base, "amount": 330 * USD, "period": "total", "name": "the pilot"})
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.get_by_text("Expected by its end:").wait_for(timeout=30_000)  # drawn without it, asked for again
        expect(page.get_by_text("to be used up, on").first).to_be_visible()
        assert page.locator(".track .likely").count() == 1
        check_page(seen)
        seen.pictures(tmp_path, "marks")
        page.set_viewport_size({"width": 390, "height": 800})
        check_page(seen)
        page.locator(".budget").first.scroll_into_view_if_needed()
        seen.pictures(tmp_path, "marks-narrow")
