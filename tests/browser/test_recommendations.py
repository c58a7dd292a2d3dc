"""The page of recommendations in a real browser: cards with their calls, and three ways of having none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.people import as_owner
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
    """Twelve days: a prefix that repeats, a request that is sent over and over, and plain calls."""
    sonnet = {
        "provider": "anthropic", "protocol_out": "anthropic-messages", "model_routed": "claude-sonnet-4-5",
        "price_id": "anthropic/claude-sonnet-4-5@listed", "key_id": "key_ann", "input_tokens": 9000,
        "cost_nano_usd": 9000 * 3000 + 20 * 15_000, "cache_read_tokens": 0, "prefix_hash": 5, "prefix_tokens": 8000,
    }  # fmt: skip
    records = []
    for day in range(1, 13):
        start = AT.now - timedelta(days=day)
        records += [
            call(start + timedelta(minutes=number), request_hash=day * 50 + number, **sonnet) for number in range(30)
        ]
        records.append(call(start, request_hash=1, key_id="key_bob", cost_nano_usd=40_000_000))
    records += [
        call(
            AT.now - timedelta(days=2, seconds=5 * number), request_hash=2, key_id="key_bob", cost_nano_usd=40_000_000
        )
        for number in range(200)
    ]
    with proxy_with(tmp_path_factory.mktemp("advice"), records) as running:
        yield running


def test_cards_say_what_is_saved_and_lead_to_their_calls(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.get_by_role("link", name="Advice").click()
        page.get_by_role("heading", name="All of it").wait_for(timeout=30_000)
        cards = page.locator("article.advice")
        assert cards.count() == 3
        first = cards.first
        expect(first).to_contain_text("Duplicate calls")
        expect(first).to_contain_text("95 %:")
        expect(first).to_contain_text("May count the same calls as")
        caching = cards.filter(has_text="Ask for prompt caching in 360 calls of claude-sonnet-4-5")
        expect(caching.get_by_role("region", name="Example")).to_contain_text("cache_control")
        check_page(seen)
        seen.pictures(tmp_path, "recommendations")
        caching.get_by_text("What this assumes").press("Enter")
        expect(caching.get_by_text("bytes over four")).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 800})
        check_page(seen)
        seen.pictures(tmp_path, "recommendations-narrow")
        page.set_viewport_size({"width": 1280, "height": 800})
        caching.get_by_role("link", name="Show the 360 calls").click()
        page.get_by_role("heading", name="Matching calls").wait_for()
        assert page.locator("#list tbody tr").count() == 50
        expect(page.get_by_text("Only filter prefix:5")).to_be_visible()
        page.get_by_role("link", name="Older →").click()
        expect(page.get_by_text("Only filter prefix:5")).to_be_visible()
        check_page(seen)


def test_nothing_and_too_few_and_wrong_are_told_apart(browser: Browser, proxy: Running) -> None:
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/recommendations?kind=batchable_work")
        expect(page.get_by_role("heading", name="Nothing to recommend")).to_be_visible()
        page.goto(f"{proxy.url}/recommendations?project=nothing")
        expect(page.get_by_role("heading", name="Too few calls to advise on")).to_be_visible()
        page.goto(f"{proxy.url}/recommendations?days=many")
        expect(page.get_by_role("alert")).to_contain_text("'many' is no number of days. Choose 1 to 365.")
        check_page(seen)
