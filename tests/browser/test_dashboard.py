"""The overview in a real browser, through the proxy's one port: controls, live news, rights, restarts."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browsing import Watched, check_axe, watched
from tests.dashboards.seeded import seed
from tests.harness import Running, start_proxy
from ultimate_lib.access import sessions
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store, identities

PAGE = "/dashboards/overview"
expect.set_options(timeout=30_000)


def call(proxy: Running, model: str = "claude-sonnet-4-5") -> None:
    body = {"model": f"demo/{model}", "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{proxy.url}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def sign_in(proxy: Running, seen: Watched, user: str = "") -> None:
    """Sign a browser in by a fresh link, as the owner or as a user made before."""
    store = Store(load(environ={}, overrides={"data.folder": str(proxy.data_dir)}).store_url)
    try:
        link = sessions.make_link(store, SystemClock(), user or proxy.get("/api/auth/verify")["user_id"])
    finally:
        store.close()
    seen.page.goto(f"{proxy.url}/login?link={link}")
    confirm = seen.page.get_by_role("button", name="Sign in")
    if confirm.count():
        confirm.click()
    seen.page.wait_for_url(f"{proxy.url}/")


def shown(page: Page) -> None:
    """Wait until every tile has its answer."""
    expect(page.locator(".up-is-spend canvas").first).to_be_visible()
    expect(page.locator(".up-loading")).to_have_count(0)


def figure(page: Page, label: str) -> Locator:
    return page.locator(".up-figures > div", has=page.get_by_text(label, exact=True)).locator(".up-value")


def number(page: Page, label: str) -> str:
    return figure(page, label).inner_text()


def test_the_overview_shows_its_numbers(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with watched(browser, proxy.url) as seen:
        sign_in(proxy, seen)
        began = time.monotonic()
        seen.page.goto(f"{proxy.url}{PAGE}?span=7d")
        shown(seen.page)
        assert time.monotonic() - began < 20
        assert "demo data" in seen.page.locator("h1").inner_text()
        expect(seen.page.get_by_role("heading", name="Spend by model")).to_be_visible()
        expect(seen.page.get_by_text("Last 7 days")).not_to_have_count(0)
        told = seen.page.locator(".up-is-spend").get_by_text(re.compile(r"in all, .* most on"))
        expect(told).to_be_visible()
        for scheme in seen.schemes():
            check_axe(seen.page)
            seen.picture(tmp_path, f"dashboard-{scheme}")


def test_controls_change_the_numbers_and_the_address_brings_them_back(browser: Browser, proxy: Running) -> None:
    with watched(browser, proxy.url) as seen:
        sign_in(proxy, seen)
        page = seen.page
        page.goto(proxy.url + PAGE)
        shown(page)
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


def test_the_keyboard_reaches_everything(browser: Browser, proxy: Running) -> None:
    with watched(browser, proxy.url) as seen:
        sign_in(proxy, seen)
        page = seen.page
        page.goto(f"{proxy.url}{PAGE}?span=7d")
        shown(page)
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


def test_a_call_moves_the_total_within_two_seconds(browser: Browser, proxy: Running) -> None:
    with watched(browser, proxy.url) as seen:
        sign_in(proxy, seen)
        page = seen.page
        page.goto(proxy.url + PAGE)
        shown(page)
        call(proxy)  # the scripted provider's process starts with the first one
        page.wait_for_timeout(2500)
        before = int(number(page, "Requests").replace(",", ""))
        call(proxy)
        began = time.monotonic()
        expect(figure(page, "Requests")).to_have_text(f"{before + 1:,}", timeout=6000)
        assert time.monotonic() - began < 2.5  # two seconds, and what the browser's driver takes to look


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
    with watched(browser, proxy.url) as seen:
        sign_in(proxy, seen, "user_ann")
        seen.page.goto(f"{proxy.url}{PAGE}?span=7d")
        shown(seen.page)
        expect(seen.page.get_by_text("only the calls of ann")).to_be_visible()
        own = int(number(seen.page, "Requests").replace(",", ""))
        everyone = proxy.get("/api/analytics/aggregate?metrics=requests&by=user&start=2020-01-01")["rows"]
        assert 0 < own <= next(row["requests"] for row in everyone if row["user"] == "user_ann")
        seen.page.goto(f"{proxy.url}{PAGE}?span=90d")
        shown(seen.page)
        assert (
            number(seen.page, "Requests") == f"{next(r['requests'] for r in everyone if r['user'] == 'user_ann'):,}"
        )
        seen.picture(tmp_path, "dashboard-own")


def test_a_narrow_window_has_one_column(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with watched(browser, proxy.url, width=390) as seen:
        sign_in(proxy, seen)
        seen.page.goto(f"{proxy.url}{PAGE}?span=7d")
        shown(seen.page)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
        seen.picture(tmp_path, "dashboard-narrow")


def test_the_page_comes_back_after_a_reload_of_the_proxy(browser: Browser, tmp_path: Path) -> None:
    seed(tmp_path / "data", days=2)
    with (
        start_proxy(tmp_path, config="[server]\ndrain_s = 5\n") as proxy,
        watched(browser, proxy.url, ignore=("WebSocket", "bokeh", "Failed to load", "Lost websocket")) as seen,
    ):
        sign_in(proxy, seen)
        seen.page.goto(f"{proxy.url}{PAGE}?span=7d&group=provider")
        shown(seen.page)
        (old,) = proxy.pids("control")
        proxy.reload()
        call(proxy)
        expect(seen.page.get_by_role("heading", name="Spend by provider")).to_be_visible()
        seen.page.wait_for_function(
            "() => document.querySelector('#dashboard').getAttribute('aria-busy') === 'false'"
        )
        before = proxy.get("/api/analytics/aggregate?metrics=requests&start=2020-01-01")["rows"][0]["requests"]
        call(proxy)
        assert old not in proxy.pids("control")
        expect(seen.page.locator(".up-figures")).to_contain_text(str(before + 1), timeout=15_000)
