"""The pages under /admin in a real browser: an administrator, a lead, and somebody who has only keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browsing import watched
from tests.browser.people import as_owner, ask
from tests.browser.signed_in import check_page, make_call, proxy_with, some_calls
from tests.harness import Running

PASSWORD = "four unrelated words here"
ON_PHONES = {"users", "providers"}
"""Pages whose tables a phone shows whole: what can wait has no place there."""
REFUSED = ["400 (Bad Request)", "401 (Unauthorized)", "403 (Forbidden)", "412 (Precondition"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with proxy_with(tmp_path_factory.mktemp("admin"), some_calls(5)) as running:
        yield running


def side(page: Page) -> list[str]:
    return page.get_by_role("navigation", name="Admin").get_by_role("link").all_inner_texts()


def go(page: Page, place: str) -> None:
    page.get_by_role("navigation", name="Admin").get_by_role("link", name=place).click()
    page.get_by_role("heading", level=1, name=place).wait_for()


def check_refused(page: Page, url: str) -> None:
    """Check that pages and keys of others are refused, and that none of their calls is shown."""
    page.goto(f"{url}/admin/users")
    page.get_by_text("This needs the permission 'users:manage'").wait_for()
    page.goto(f"{url}/admin/keys?whose=all")
    page.get_by_text("Another's keys need the permission").wait_for()
    page.goto(f"{url}/admin/teams")
    page.get_by_text("This needs the permission 'users:manage'").wait_for()
    page.goto(f"{url}/calls?span=30d")
    page.get_by_text("No call in this time.").wait_for()


def sign_in_by_link(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").wait_for()


def test_a_new_person_gets_a_link_a_password_and_a_key_of_its_own(
    browser: Browser, proxy: Running, tmp_path: Path
) -> None:
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Admin").click()
        assert side(page) == [
            "Users", "Teams", "Keys", "Budgets", "Rate limits", "Guard", "Providers & routes", "Audit",
        ]  # fmt: skip
        page.get_by_label("Name", exact=True).focus()  # all by keyboard from here
        page.keyboard.type("erin")
        page.get_by_role("checkbox", name="analyst").press("Space")
        page.get_by_label("Whose calls analyst sees").select_option("own")
        page.get_by_role("checkbox", name="viewer").press("Space")
        page.get_by_role("button", name="Add", exact=True).press("Enter")
        page.get_by_role("heading", level=1, name="erin").wait_for()
        expect(page.locator("#state")).to_contain_text("analyst (own)")
        expect(page.locator("#told")).to_contain_text("Added.")
        page.get_by_role("button", name="Make a sign-in link").press("Enter")
        expect(page.get_by_role("heading", name="A sign-in link for erin")).to_be_focused()
        link = page.locator("#the-link").inner_text()
        go(page, "Users")
        page.get_by_label("Name", exact=True).fill("erin")
        page.keyboard.press("Enter")
        expect(page.locator(".field-error")).to_contain_text("There is a user 'erin' already.")
        expect(page.get_by_label("Name", exact=True)).to_be_focused()
        check_page(seen)
    with watched(browser, proxy.url, ignore=REFUSED) as seen:
        page = seen.page
        sign_in_by_link(page, link)
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
        expect(page.get_by_role("navigation", name="Admin")).to_have_count(0)
        expect(page.locator("#list")).to_contain_text("No key yet.")
        check_page(seen)
        page.get_by_label("Name", exact=True).fill("my notebook")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Your new key")).to_be_focused()
        key = page.locator("#the-key").inner_text()
        assert key.startswith("cp_")
        assert f"ANTHROPIC_AUTH_TOKEN={key}" in page.locator("#paste-anthropic").inner_text()
        lines = [f"export OPENAI_BASE_URL={proxy.url}/v1", f"export OPENAI_API_KEY={key}"]
        assert page.locator("#paste-openai").inner_text().splitlines() == lines
        expect(page.locator("#list tbody tr")).to_have_count(1)
        expect(page.locator("#list")).to_contain_text("my notebook")
        expect(page.get_by_label("Whose")).to_have_count(0)
        check_page(seen)
        seen.picture(tmp_path, "new-key")
        page.reload()
        assert key not in page.content()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="End the key my notebook").click()
        expect(page.locator("#list")).to_contain_text("No key yet.")
        check_refused(page, proxy.url)


def test_a_lead_adds_and_removes_members_of_its_own_team_alone(browser: Browser, proxy: Running) -> None:
    team = ask(proxy, "POST", "/api/teams", {"name": "ranking", "title": "Ranking"})
    other = ask(proxy, "POST", "/api/teams", {"name": "billing"})
    lead = ask(proxy, "POST", "/api/users", {"name": "lena", "roles": {"viewer": "team"}, "teams": [team["id"]]})
    ask(proxy, "POST", "/api/users", {"name": "max", "roles": {"viewer": "team"}})
    ask(proxy, "PUT", f"/api/teams/{team['id']}/members/{lead['id']}", {"lead": True})
    ask(proxy, "POST", "/api/budgets", {
        "name": "Ranking's tokens", "subject": "team", "subject_id": "ranking", "unit": "tokens", "amount": 1000,
        "period": "month",
    })  # fmt: skip
    link = ask(proxy, "POST", f"/api/users/{lead['id']}/link", {})["link"]
    with watched(browser, proxy.url, ignore=[*REFUSED, "404 (Not Found)"]) as seen:
        page = seen.page
        sign_in_by_link(page, link)
        expect(page.get_by_role("heading", name="Ranking's tokens")).to_be_visible()  # on Home
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Admin").click()
        assert side(page) == ["Teams", "Keys", "Budgets", "Rate limits", "Guard"]
        expect(page.locator("#list tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Ranking", exact=True).click()
        page.get_by_label("Add a member by name").fill("max")
        page.get_by_role("button", name="Add", exact=True).press("Enter")
        expect(page.locator("#members tbody tr")).to_have_count(2)
        check_page(seen)
        expect(page.get_by_role("button", name="Make max a lead")).to_have_count(0)
        expect(page.get_by_text("Title and cost center")).to_have_count(0)
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove max from the team").press("Enter")
        expect(page.locator("#members tbody tr")).to_have_count(1)
        go(page, "Budgets")
        expect(page.locator("#list")).to_contain_text("1,000 tokens")
        expect(page.get_by_role("heading", name="Make a budget")).to_have_count(0)
        go(page, "Rate limits")
        expect(page.locator("#list")).to_contain_text("An administrator can set one.")
        expect(page.get_by_role("heading", name="Make a rate limit")).to_have_count(0)
        page.goto(proxy.url)
        page.get_by_role("navigation", name="Whose calls").get_by_role("link", name="My own calls").press("Enter")
        page.get_by_text("No such call in the last 30 days.").wait_for()
        page.goto(f"{proxy.url}/calls")
        expect(page.get_by_role("heading", name="My team: ranking")).to_be_visible()
        page.get_by_label("Whose").select_option("My own calls")
        page.get_by_role("button", name="Show").press("Enter")
        page.get_by_role("heading", name="My own calls").wait_for()
        assert "whose=mine" in page.url
        expect(page.get_by_label("Whose")).to_have_value("mine")
        check_page(seen)
        page.goto(f"{proxy.url}/admin/teams/{other['id']}")
        page.get_by_text("There is no team").wait_for()


def test_a_budget_is_made_shown_changed_and_removed(browser: Browser, proxy: Running) -> None:
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/admin/budgets")
        page.get_by_label("Name", exact=True).fill("Whole house")
        page.get_by_label("Amount").fill("0.5")
        page.get_by_label("Each").select_option("day")
        page.get_by_role("button", name="Make the budget").press("Enter")
        bar = page.locator(".budget", has_text="Whole house")
        expect(bar).to_contain_text("of $0.50 a day spent")
        expect(bar).to_contain_text("The period ends")
        page.get_by_text("Show as table").press("Enter")
        expect(page.locator("#budgets-table tbody tr", has_text="Whole house")).to_contain_text("$0.50")
        told = ask_states(proxy)["Whole house"]
        assert told["amount"] == 500_000_000
        assert told["hard"] is False
        make_call(proxy)
        page.goto(proxy.url)
        expect(page.locator(".budget", has_text="Whole house")).to_be_visible()
        page.get_by_role("link", name="Change the budget Whole house").click()
        page.get_by_label("Amount in dollars").fill("0")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".field-error")).to_contain_text("above 0")
        expect(page.get_by_label("Seconds to wait")).to_be_hidden()  # of hard ones alone
        page.get_by_role("checkbox", name="Hard").press("Space")
        page.get_by_role("radio", name="Gets a shorter answer").press("Space")
        page.get_by_label("Seconds to wait").fill("2.5")
        expect(page.get_by_label("That other model")).to_be_hidden()
        page.get_by_label("Calls without a known price are").select_option("counted as another model")
        page.get_by_label("That other model").fill("gpt-4o")
        check_page(seen)
        page.get_by_label("Amount in dollars").fill("2")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#state")).to_contain_text("of $2.00 a day")
        kept = proxy.get(f"/api/budgets/{told['id']}")
        assert (kept["hard"], kept["when_short"], kept["hold_wait_s"]) == (True, "clamp", 2.5)
        assert kept["unpriced"] == "price_as:gpt-4o"
        expect(page.get_by_label("That other model")).to_have_value("gpt-4o")
        ask(proxy, "PATCH", f"/api/budgets/{told['id']}", {"amount": 3_000_000_000})
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#change .error").first).to_contain_text("changed")  # somebody else was quicker
        page.reload()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove the budget").click()
        page.get_by_role("heading", level=1, name="Budgets").wait_for()
        assert "Whole house" not in ask_states(proxy)


def test_a_rate_limit_is_made_changed_and_removed(browser: Browser, proxy: Running) -> None:
    key = ask(proxy, "POST", "/api/keys", {"name": "a nightly job"})["about"]["id"]
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/admin/rate-limits")
        expect(page.locator("#list")).to_contain_text("A good first one, made below")
        expect(page.get_by_label("Which one")).to_be_hidden()
        page.get_by_role("combobox", name="For").select_option("a key")
        which = page.get_by_label("Which one")
        offered = page.locator(f"#{which.get_attribute('list')} option")
        assert "a nightly job" in offered.locator(f'xpath=self::*[@value="{key}"]').inner_text()
        which.fill("nobody's")
        page.get_by_role("button", name="Make the rate limit").press("Enter")
        expect(page.locator("#new + p + form .error")).to_contain_text("A rate limit limits something")
        page.get_by_label("Requests a minute").fill("30")
        page.keyboard.press("Enter")
        expect(page.locator(".field-error")).to_contain_text(
            "There is no key 'nobody's'. Give its id, as the list has it."
        )
        expect(which).to_be_focused()
        which.fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#list tbody tr")).to_contain_text("Key a nightly job")
        page.get_by_role("link", name="Change the rate limit of key a nightly job").press("Enter")
        page.get_by_label("Requests a minute").fill("")
        page.get_by_label("Calls at a time").fill("2")
        page.get_by_role("button", name="Save").press("Enter")
        page.get_by_role("heading", level=1, name="Rate limits").wait_for()
        expect(page.locator("#told")).to_contain_text("Saved.")
        (limit,) = proxy.get("/api/rate-limits")["rate_limits"]
        assert (limit["requests_per_minute"], limit["tokens_per_minute"], limit["concurrent"]) == (None, None, 2)
        page.get_by_role("link", name="Change the rate limit of key a nightly job").click()
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Remove the rate limit").press("Enter")
        expect(page.locator("#list")).to_contain_text("No rate limit yet")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_can_be_read_by_everyone(browser: Browser, proxy: Running, tmp_path: Path, width: int) -> None:
    if not any(one["name"] == "Calls of all" for one in proxy.get("/api/budgets/status")["budgets"]):
        ask(
            proxy,
            "POST",
            "/api/budgets",
            {"name": "Calls of all", "subject": "global", "amount": 10**9, "period": "month"},
        )
    ids = {
        "users": proxy.get("/api/users")["users"][0]["id"],
        "budgets": proxy.get("/api/budgets/status")["budgets"][0]["id"],
    }
    if not proxy.get("/api/teams")["teams"]:
        ask(proxy, "POST", "/api/teams", {"name": "search"})
    ids["teams"] = proxy.get("/api/teams")["teams"][0]["id"]
    if not proxy.get("/api/rate-limits")["rate_limits"]:
        ask(proxy, "POST", "/api/rate-limits", {"subject": "global", "requests_per_minute": 6000})
    ids["rate-limits"] = proxy.get("/api/rate-limits")["rate_limits"][0]["id"]
    places = ["users", "teams", "keys?whose=all", "budgets", "rate-limits", "providers", "audit"]
    with as_owner(browser, proxy, width=width) as seen:
        seen.page.goto(f"{proxy.url}/guard")
        seen.page.get_by_role("heading", name="Cool-downs under way").wait_for()
        check_page(seen)
        seen.page.goto(proxy.url)
        seen.page.locator("#budgets-table summary").click()
        check_page(seen)  # Home, with its bars
        for place in [*places, *(f"{name}/{one}" for name, one in ids.items())]:
            seen.page.goto(f"{proxy.url}/admin/{place}")
            seen.page.get_by_role("heading", level=1).wait_for()
            check_page(seen)
            assert (width < 1000 and place not in ON_PHONES) or cut(seen.page) == 0, f"{place}: a table is cut"
            seen.pictures(tmp_path, place.partition("?")[0].replace("/", "-"))


def test_the_audit_tells_what_was_changed_page_by_page(browser: Browser, proxy: Running) -> None:
    for number in range(26):
        key = ask(proxy, "POST", "/api/keys", {"name": f"short-lived {number}"})
        ask(proxy, "DELETE", f"/api/keys/{key['about']['id']}", None)
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.goto(f"{proxy.url}/admin/audit")
        page.get_by_role("button", name="Verify now").click()
        expect(page.get_by_text("The chain verifies to row")).to_be_visible()
        newest = int(page.locator("#list tbody td").first.inner_text())
        page.get_by_role("link", name="Older").click()
        assert int(page.locator("#list tbody td").first.inner_text()) == newest - 50
        page.get_by_label("Did what").fill("key.revoke")
        page.keyboard.press("Enter")
        expect(page.locator("#list tbody tr")).not_to_have_count(0)
        actions = set(page.locator("#list tbody tr td:nth-child(4)").all_inner_texts())
        assert actions == {"key.revoke"}
        page.get_by_label("From day").fill("some day")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("no day and no instant")


def cut(page: Page) -> int:
    """Return how many tables are wider than their place."""
    wide = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    return int(page.evaluate(wide))


def ask_states(proxy: Running) -> dict[str, dict[str, object]]:
    return {one["name"]: one for one in proxy.get("/api/budgets/status")["budgets"]}
