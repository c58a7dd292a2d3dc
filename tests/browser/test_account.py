"""People's ways in, in a real browser, and what they find there.

Signing in with a password: refused in place, led back, a first password by a link. One's own account: roles, a
changed password, and signing other browsers out.
"""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import watched
from tests.browser.people import ask
from tests.browser.signed_in import check_page, proxy_with
from tests.harness import Running

PASSWORD = "four unrelated words here"
OTHER = "granite teapot, quiet moss"
REFUSED = ["400 (Bad Request)", "403 (Forbidden)"]
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with proxy_with(tmp_path_factory.mktemp("account")) as running:
        yield running


def sign_in_elsewhere(proxy: Running, password: str) -> None:
    told = json.dumps({"name": "nora", "password": password}).encode()
    headers = {"Content-Type": "application/json", "User-Agent": PHONE}
    urllib.request.urlopen(urllib.request.Request(f"{proxy.url}/api/auth/login", told, headers), timeout=30).close()


def change(page: Page, current: str, new: str, again: str) -> None:
    page.get_by_label("Current password").fill(current)
    page.get_by_label("New password").fill(new)
    page.get_by_label("The same again").fill(again)
    page.keyboard.press("Enter")


def test_everybody_looks_after_the_own_account(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    team = ask(proxy, "POST", "/api/teams", {"name": "ranking"})
    told = {"name": "nora", "roles": {"analyst": "team"}, "teams": [team["id"]], "password": PASSWORD}
    user = ask(proxy, "POST", "/api/users", told)
    ask(proxy, "PUT", f"/api/teams/{team['id']}/members/{user['id']}", {"lead": True})
    with watched(browser, proxy.url, ignore=REFUSED) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/account")  # signed out: to the form, and back here
        page.get_by_label("Name").fill("nora")
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("heading", level=1, name="nora").wait_for()
        expect(page.get_by_text("You see the calls of the team ranking, and your own.")).to_be_visible()
        sign_in_elsewhere(proxy, PASSWORD)
        page.goto(proxy.url)
        page.get_by_role("banner").get_by_role("link", name="nora").press("Enter")
        rows = page.locator("#browsers tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.filter(has_text="this one")).to_contain_text("Chrome on Linux")
        check_page(seen)
        seen.pictures(tmp_path, "account")

        fault = page.locator(".field-error")
        change(page, PASSWORD, OTHER, "granite teapot, quiet mess")
        expect(fault).to_contain_text("not the same")
        expect(page.get_by_label("The same again")).to_be_focused()
        change(page, "not the password at all", OTHER, OTHER)
        expect(fault).to_have_text("The current password is wrong.")
        expect(page.get_by_label("Current password")).to_be_focused()
        change(page, PASSWORD, "nora and her words", "nora and her words")
        expect(fault).to_contain_text("does not contain its user's name")
        expect(page.get_by_label("New password")).to_be_focused()
        check_page(seen)
        change(page, PASSWORD, OTHER, OTHER)
        expect(page.locator("#told")).to_contain_text("The password is changed. Your other browsers are signed out.")
        expect(rows).to_have_count(1)  # this one goes on

        for _ in range(2):
            sign_in_elsewhere(proxy, OTHER)
        page.set_viewport_size({"width": 390, "height": 900})
        page.reload()
        expect(rows).to_have_count(3)
        check_page(seen)
        box = page.locator("#browsers .scroll")
        assert box.evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0, "nothing is out of sight on a phone"
        seen.pictures(tmp_path, "account-narrow")
        rows.filter(has_text="Safari on iPhone").first.get_by_role("button").press("Enter")
        expect(rows).to_have_count(2)
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Sign out everywhere else").press("Enter")
        expect(rows).to_have_count(1)
        expect(page.locator("#browsers")).to_contain_text("Nowhere else.")
        page.get_by_role("button", name="Sign out here").press("Enter")
        page.get_by_role("link", name="Sign in").first.wait_for()


def test_a_link_sets_a_password_which_then_leads_to_the_page_asked_for(
    browser: Browser, proxy: Running, tmp_path: Path
) -> None:
    name = "carl"
    user = ask(proxy, "POST", "/api/users", {"name": name, "roles": {"viewer": "all"}})
    link = ask(proxy, "POST", f"/api/users/{user['id']}/link", {})["link"]
    with watched(browser, proxy.url, ignore=[*REFUSED, "401 (Unauthorized)"]) as seen:
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
    place = urlsplit(proxy.url)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, {}):
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        connection.request("POST", "/login", "name=carl&password=four+unrelated+words+here", form)
        answer = connection.getresponse()
        assert answer.status == 403
        assert answer.headers["Set-Cookie"] is None
        connection.close()
