"""The list of calls and one call in a real browser: filter, pages, live rows, a bad filter, no data and no answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.signed_in import check_page, make_call, proxy_with, signed_in, some_calls
from tests.harness import Running, wait_until


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy with more calls than a page of the list holds."""
    with proxy_with(tmp_path_factory.mktemp("calls"), some_calls(70)) as running:
        yield running


def test_filter_page_and_look_at_one(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with signed_in(browser, proxy) as seen:
        page = seen.page
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Calls").click()
        rows = page.locator("[data-call]")
        expect(rows).to_have_count(50)
        check_page(seen)
        seen.pictures(tmp_path, "calls")
        page.get_by_role("link", name="Older").click()
        expect(rows).to_have_count(20)
        page.get_by_role("link", name="Newer").click()
        expect(rows).to_have_count(50)
        page.get_by_label("Outcome").select_option("error")
        page.get_by_role("button", name="Show").press("Enter")
        expect(rows).to_have_count(1)
        expect(page.get_by_label("Outcome")).to_have_value("error")
        rows.first.get_by_role("link").press("Enter")
        page.get_by_role("heading", name="Why this price").wait_for()
        check_page(seen)
        seen.pictures(tmp_path, "call")
        page.get_by_role("link", name="Calls of the same session").click()
        expect(rows).to_have_count(50)
        assert "session=sess-1" in page.url


def test_live_puts_new_calls_on_top_and_nothing_else_moves(browser: Browser, proxy: Running) -> None:
    with signed_in(browser, proxy) as seen:
        page = seen.page
        made = {"x-ultimate-project": "lively"}
        for _ in range(3):
            make_call(proxy, **made)
        page.goto(f"{proxy.url}/calls?project=lively")
        rows = page.locator("[data-call]")
        expect(rows).to_have_count(3)
        make_call(proxy, **made)
        time.sleep(1)
        expect(rows).to_have_count(3)  # not asked for
        toggle = page.get_by_role("button", name="Live")
        toggle.press("Enter")
        expect(toggle).to_have_attribute("aria-pressed", "true")
        expect(rows).to_have_count(4)
        rows.nth(3).get_by_role("link").focus()
        focused = page.evaluate("document.activeElement.getAttribute('href')")
        ids = [make_call(proxy, **made) for _ in range(3)]
        expect(rows).to_have_count(7)
        assert [rows.nth(n).get_attribute("data-call") for n in range(3)] == list(reversed(ids))
        assert page.evaluate("document.activeElement.getAttribute('href')") == focused
        shown = [row.inner_text() for row in rows.all()]
        page.reload()
        assert [row.inner_text() for row in rows.all()] == shown, "live or not, the same words"


def test_live_keeps_to_the_filter(browser: Browser, proxy: Running) -> None:
    with signed_in(browser, proxy) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/calls?project=mine")
        page.get_by_text("No call matches.").wait_for()
        page.get_by_role("button", name="Live").click()
        time.sleep(0.3)
        make_call(proxy, **{"x-ultimate-project": "other"})
        mine = make_call(proxy, **{"x-ultimate-project": "mine"})
        expect(page.locator("[data-call]")).to_have_count(1)
        expect(page.locator("[data-call]")).to_have_attribute("data-call", mine)


def test_a_bad_filter_an_empty_lake_and_an_unreadable_one(browser: Browser, tmp_path: Path) -> None:
    ignored = ["400 (Bad Request)", "500 (Internal Server Error)"]
    soon = "[record]\ncommit_interval_s = 0.5\n"
    with proxy_with(tmp_path, config=soon) as proxy, signed_in(browser, proxy, ignore=ignored) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/calls")
        page.get_by_text("No call in this time.").wait_for()
        check_page(seen)
        seen.picture(tmp_path, "calls-empty")
        page.get_by_label("From day").fill("the day before")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("no day and no instant").wait_for()
        expect(page.get_by_label("From day")).to_have_value("the day before")
        check_page(seen)
        seen.picture(tmp_path, "calls-bad")
        make_call(proxy)
        logs = proxy.data_dir / "lake" / "calls" / "_delta_log"
        wait_until(lambda: list(logs.glob("*.json")), 20, proxy)
        time.sleep(0.5)
        for log in logs.glob("*.json"):
            log.write_bytes(log.read_bytes()[:-9])
        page.goto(f"{proxy.url}/calls")
        page.get_by_role("alert").get_by_text("The calls cannot be read now.").wait_for()
        check_page(seen)
        seen.picture(tmp_path, "calls-unreadable")


def test_a_call_that_there_is_not_and_a_narrow_screen(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    [call] = proxy.get("/api/analytics/calls?limit=1")["rows"]
    with signed_in(browser, proxy, ignore=["404 (Not Found)"], width=380) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/calls/0197f3b8-2d6a-7000-8000-000000000000")
        page.get_by_text("There is no call").wait_for()
        check_page(seen)
        for path in ("/calls", f"/calls/{call['call_id']}"):
            page.goto(proxy.url + path)
            check_page(seen)
        seen.picture(tmp_path, "call-narrow")
