"""Signing in with a password in a real browser: refused in place, led back, a first password by a link."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import watched
from tests.browser.people import ask
from tests.browser.signed_in import check_page, proxy_with
from tests.harness import Running

PASSWORD = "four unrelated words here"
REFUSED = ["400 (Bad Request)", "401 (Unauthorized)", "403 (Forbidden)"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with proxy_with(tmp_path_factory.mktemp("login")) as running:
        yield running


def test_a_link_sets_a_password_which_then_leads_to_the_page_asked_for(
    browser: Browser, proxy: Running, tmp_path: Path
) -> None:
    name = "carl"
    user = ask(proxy, "POST", "/api/users", {"name": name, "roles": {"viewer": "all"}})
    link = ask(proxy, "POST", f"/api/users/{user['id']}/link", {})["link"]
    with watched(browser, proxy.url, ignore=REFUSED) as seen:
        page = seen.page
        page.goto(link)
        page.get_by_role("heading", name=f"Welcome, {name}").wait_for()
        check_page(seen)
        seen.pictures(tmp_path, "first-password")
        page.get_by_label("Password", exact=True).fill("aaaaaaaaaaaaaaaa")
        page.get_by_label("The same again").fill("bbbbbbbbbbbbbbbb")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not the same")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.keyboard.press("Enter")
        expect(page.get_by_role("banner")).to_contain_text(f"Signed in as {name}")
        page.get_by_role("button", name="Sign out").click()

        page.goto(f"{proxy.url}/calls")
        page.get_by_role("heading", name="Sign in").wait_for()
        check_page(seen)
        expect(page.get_by_label("Name")).to_be_focused()
        page.keyboard.type(name)
        page.keyboard.press("Tab")
        page.keyboard.type("not the password at all")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Name or password is wrong")
        expect(page.get_by_label("Name")).to_have_value(name)
        expect(page.get_by_label("Password")).to_have_value("")
        check_page(seen)
        seen.pictures(tmp_path, "login-refused")
        page.get_by_label("Password").fill(PASSWORD)
        page.wait_for_timeout(1100)  # a wrong one is followed by a delay
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Calls", exact=True).wait_for()
        assert page.url == f"{proxy.url}/calls"
        page.goto(link)
        page.get_by_role("navigation", name="Main").wait_for()
        expect(page.get_by_text("This link has been used")).to_be_visible()


def test_no_page_elsewhere_signs_a_browser_in(proxy: Running) -> None:
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(proxy.url)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, {}):
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        connection.request("POST", "/login", "name=carl&password=four+unrelated+words+here", form)
        answer = connection.getresponse()
        assert answer.status == 403
        assert answer.headers["Set-Cookie"] is None
        connection.close()
