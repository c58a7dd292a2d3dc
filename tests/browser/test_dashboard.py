"""The overview in a real browser, through the proxy's one port: controls, live news, rights, restarts."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browsing import Watched, check_axe, checked, soonest, watched
from tests.browser.signed_in import signed_in
from tests.harness import Running, wait_until
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store, identities

PAGE = "/dashboards/overview"


def call(proxy: Running, model: str = "claude-sonnet-4-5") -> None:
    body = {"model": f"demo/{model}", "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{proxy.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


@pytest.fixture(scope="module")
def signed(browser: Browser, proxy: Running) -> Iterator[Watched]:
    with signed_in(browser, proxy) as seen:
        yield seen


@pytest.fixture
def overview(signed: Watched) -> Iterator[Watched]:
    """The page that the tests share: drawing the overview anew is most of what one costs."""
    with checked(signed):
        yield signed


def opened(seen: Watched, proxy: Running, query: str = "") -> Page:
    """Show the overview at an address, unless it stands there already, and wait until every tile has its answer."""
    if seen.page.url != proxy.url + PAGE + query:
        seen.page.goto(proxy.url + PAGE + query)
    shown(seen.page)
    return seen.page


def shown(page: Page) -> None:
    """Wait until every tile has its answer."""
    expect(page.locator(".up-is-spend canvas").first).to_be_visible()
    expect(page.locator(".up-loading")).to_have_count(0)


def figure(page: Page, label: str) -> Locator:
    return page.locator(".up-figures > div", has=page.get_by_text(label, exact=True)).locator(".up-value")


def number(page: Page, label: str) -> str:
    return figure(page, label).inner_text()


def test_the_overview_shows_its_numbers(overview: Watched, proxy: Running, tmp_path: Path) -> None:
    began = time.monotonic()
    page = opened(overview, proxy, "?span=7d")
    assert time.monotonic() - began < 20
    assert "demo data" in page.locator("h1").inner_text()
    expect(page.get_by_role("heading", name="Spend by model")).to_be_visible()
    expect(page.get_by_text("Last 7 days")).not_to_have_count(0)
    told = page.locator(".up-is-spend").get_by_text(re.compile(r"in all, .* most on"))
    expect(told).to_be_visible()
    for scheme in overview.schemes():
        check_axe(page, about="colours" if scheme == "dark" else "all")
        overview.picture(tmp_path, f"dashboard-{scheme}")


def test_the_keyboard_reaches_everything(overview: Watched, proxy: Running) -> None:
    page = opened(overview, proxy, "?span=7d")
    page.get_by_label("Time range").focus()
    met = []
    for _ in range(14):
        page.keyboard.press("Tab")
        met.append(
            page.evaluate(
                "() => { let e = document.activeElement; while (e && e.shadowRoot && e.shadowRoot.activeElement)"
                " e = e.shadowRoot.activeElement; return e ? e.tagName + ':' + (e.textContent || e.type) : ''; }"
            )
        )
    told = " ".join(met)
    assert told.count("SELECT") == 4, told
    assert told.count("INPUT:checkbox") >= 2, told
    assert "BUTTON:Refresh" in told
    expect(page.get_by_role("checkbox", name="Live")).to_be_checked()
    page.locator(".up-is-latency").get_by_role("checkbox", name="Show as table").focus()
    page.keyboard.press("Space")
    expect(page.locator(".up-is-latency table")).to_be_visible()
    expect(page.locator(".up-is-latency").get_by_role("columnheader", name="p95")).to_be_visible()
    page.keyboard.press("Space")  # the focus is still there
    expect(page.locator(".up-is-latency canvas").first).to_be_visible()


def test_a_call_moves_the_total_within_two_seconds(overview: Watched, proxy: Running) -> None:
    page = opened(overview, proxy)
    call(proxy)  # the scripted provider's process starts with the first one
    page.wait_for_timeout(2500)

    def moved() -> float:
        before = int(number(page, "Requests").replace(",", ""))
        call(proxy)
        began = time.monotonic()
        expect(figure(page, "Requests")).to_have_text(f"{before + 1:,}")
        return time.monotonic() - began

    soonest(moved, 2.5)  # two seconds, and what the browser's driver takes to look


def test_controls_change_the_numbers_and_the_address_brings_them_back(overview: Watched, proxy: Running) -> None:
    page = opened(overview, proxy)
    day = number(page, "Requests")
    page.get_by_label("Time range").select_option(label="Last 7 days")
    expect(figure(page, "Requests")).not_to_have_text(day)
    page.wait_for_function("() => location.search.includes('span=7d')")
    shown(page)
    week = number(page, "Requests")
    assert int(week.replace(",", "")) > int(day.replace(",", ""))
    page.get_by_label("Group by").select_option(label="Project")
    expect(page.get_by_role("heading", name="Spend by project")).to_be_visible()
    page.get_by_label("Project", exact=True).select_option(label="search")
    page.wait_for_function("() => location.search.includes('project=search')")
    shown(page)
    one = number(page, "Requests")
    assert int(one.replace(",", "")) < int(week.replace(",", ""))
    page.reload()
    shown(page)
    assert number(page, "Requests") == one
    expect(page.get_by_role("heading", name="Spend by project")).to_be_visible()


def test_a_signed_out_visitor_is_led_in_and_back(browser: Browser, proxy: Running) -> None:
    with watched(browser, proxy.url) as seen:
        seen.page.goto(proxy.url + PAGE)
        assert seen.page.url.startswith(f"{proxy.url}/login?to=overview")


def test_a_viewer_of_own_calls_sees_only_those(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    store = Store(load(environ={}, overrides={"data.folder": str(proxy.data_dir)}).store_url)
    with store.begin() as connection:
        row = {"id": "user_ann", "name": "ann", "active": True, "created_at": SystemClock().now()}
        identities.add_user(connection, row, ("viewer",))
        connection.exec_driver_sql("UPDATE role_grants SET scope = 'own' WHERE user_id = 'user_ann'")
    store.close()
    with signed_in(browser, proxy, user="user_ann") as seen:
        seen.page.goto(f"{proxy.url}{PAGE}?span=7d")
        shown(seen.page)
        expect(seen.page.get_by_text("only the calls of ann")).to_be_visible()
        own = int(number(seen.page, "Requests").replace(",", ""))
        everyone = proxy.get("/api/analytics/aggregate?metrics=requests&by=user&start=2020-01-01")["rows"]
        of_ann = next(row["requests"] for row in everyone if row["user"] == "user_ann")
        assert 0 < own < of_ann
        seen.page.get_by_label("Time range").select_option(label="Last 90 days")
        expect(figure(seen.page, "Requests")).to_have_text(f"{of_ann:,}")
        seen.picture(tmp_path, "dashboard-own")


def test_a_narrow_window_has_one_column(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with signed_in(browser, proxy, width=390) as seen:
        opened(seen, proxy, "?span=7d")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
        seen.picture(tmp_path, "dashboard-narrow")


def test_the_page_comes_back_after_a_reload_of_the_proxy(browser: Browser, overview: Watched, proxy: Running) -> None:
    overview.page.goto("about:blank")  # it would miss its connection, too
    ignored = ("WebSocket", "bokeh", "Failed to load", "Lost websocket")
    with signed_in(browser, proxy, ignore=ignored) as seen:
        opened(seen, proxy, "?span=90d&group=provider")
        (old,) = proxy.pids("control")
        proxy.reload()
        call(proxy)
        expect(seen.page.get_by_role("heading", name="Spend by provider")).to_be_visible()
        seen.page.wait_for_function(
            "() => document.querySelector('#dashboard').getAttribute('aria-busy') === 'false'"
        )
        wait_until(lambda: old not in proxy.pids("control"), 30, proxy)  # so the next one tells
        before = proxy.get("/api/analytics/aggregate?metrics=requests&start=2020-01-01")["rows"][0]["requests"]
        call(proxy)
        expect(seen.page.locator(".up-figures")).to_contain_text(f"{before + 1:,}", timeout=15_000)
