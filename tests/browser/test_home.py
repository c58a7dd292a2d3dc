"""Home in a real browser: figures that follow calls, the chart, what to do next, entering a provider's key."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import soonest
from tests.browser.signed_in import check_page, make_call, proxy_with, signed_in, some_calls
from tests.control.calls import call
from tests.harness import Running

LONG = call(
    datetime.now(UTC) - timedelta(days=2), model_served="claude-sonnet-4-5-20250929", provider="openrouter",
    project="customer-support-assistant", notebook="teams/search/experiments/analysis_of_costs_by_region.ipynb",
    input_tokens=1_234_567, output_tokens=123_456, cost_nano_usd=12_345_678, duration_ms=123_456,
    user_id="user_a-colleague-who-has-gone",
)  # fmt: skip


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy with fewer calls than Home lists; the oldest has long words and large numbers."""
    with proxy_with(tmp_path_factory.mktemp("busy"), [*some_calls(8), LONG]) as running:
        yield running


def test_home_follows_calls_without_a_reload(browser: Browser, busy: Running, tmp_path: Path) -> None:
    with signed_in(browser, busy) as seen:
        page = seen.page
        page.get_by_role("heading", name="Today").wait_for()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null"), "the first stop skips the bar"
        check_page(seen)
        page.get_by_text("Show as table").click()
        table = page.locator("#spend-table")
        expect(table.get_by_role("row")).to_have_count(25)
        page.evaluate("window.kept = true")
        time.sleep(0.5)  # the stream is open
        made = []

        def followed() -> float:
            began = time.monotonic()
            made.append(make_call(busy))
            page.locator(f'[data-call="{made[-1]}"]').wait_for()
            return time.monotonic() - began

        soonest(followed, 2.5)
        assert page.evaluate("window.kept") is True, "the page is the same one"
        expect(table.get_by_role("table")).to_be_visible()  # what was opened stays open
        seen.pictures(tmp_path, "home")
        page.locator(f'[data-call="{made[-1]}"] a').click()
        page.get_by_role("heading", name="Why this price").wait_for()


def test_an_empty_install_says_what_to_do_next_and_takes_a_providers_key(browser: Browser, tmp_path: Path) -> None:
    with proxy_with(tmp_path) as proxy, signed_in(browser, proxy, ignore=["400 (Bad Request)"]) as seen:
        page = seen.page
        page.get_by_role("heading", name="What to do next").wait_for()
        check_page(seen)
        seen.pictures(tmp_path, "home-empty")
        page.get_by_role("link", name="Paste a provider's key").click()
        page.get_by_label("Key", exact=True).fill("cp_" + "x" * 43)
        page.keyboard.press("Enter")
        page.get_by_text("that is a key of this proxy").wait_for()
        expect(page.get_by_label("Key", exact=True)).to_have_value("")
        page.get_by_role("combobox", name="Provider").select_option("openai")
        page.get_by_label("Key", exact=True).fill("sk-pasted-in-a-browser-0123456789")
        page.get_by_role("button", name="Save the key").click()
        page.get_by_text("The key of openai is saved").wait_for()
        assert "sk-pasted" not in page.content()
        assert "sk-pasted" not in page.url
        listed = {one["name"]: one for one in proxy.get("/api/providers")}
        assert listed["openai"]["key_source"] == "stored"
        check_page(seen)
        seen.pictures(tmp_path, "home-key")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove the key of openai").click()
        page.get_by_text("The key of openai is removed").wait_for()
        assert {one["name"]: one for one in proxy.get("/api/providers")}["openai"]["has_key"] is False


def test_demo_data_and_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    config = "[data]\ndemo = true\n"
    with proxy_with(tmp_path, some_calls(5), config) as proxy, signed_in(browser, proxy, width=380) as seen:
        seen.page.get_by_text("demo data", exact=True).wait_for()
        seen.page.get_by_role("heading", name="What to do next").wait_for()
        check_page(seen)
        columns = seen.page.get_by_role("region", name="Last calls").locator("thead th:visible")
        assert columns.all_inner_texts() == ["Time", "Model", "Outcome", "Cost"], "what can wait has no place"
        seen.picture(tmp_path, "home-demo-narrow")


def test_nothing_of_the_last_calls_is_cut(browser: Browser, busy: Running, tmp_path: Path) -> None:
    with signed_in(browser, busy) as seen:
        row = seen.page.locator(f'[data-call="{LONG.call_id}"]')
        row.wait_for()
        box = seen.page.locator(".scroll", has=row)
        assert box.evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0
        cut = "(row) => [...row.cells].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
        assert row.evaluate(cut) == 0
        seen.picture(tmp_path, "home-long")


def test_the_stream_comes_back_after_a_reload(browser: Browser, busy: Running) -> None:
    ignored = ["ERR_INCOMPLETE_CHUNKED_ENCODING", "503", "ERR_CONNECTION"]
    with signed_in(browser, busy, ignore=ignored) as seen:
        time.sleep(0.5)
        busy.reload()
        call_id = make_call(busy)
        seen.page.locator(f'[data-call="{call_id}"]').wait_for(timeout=15_000)
