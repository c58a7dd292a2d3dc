"""The bar above every page: one row where there is room for it, folded without waste where there is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.people import ask
from tests.browser.signed_in import check_page, proxy_with, signed_in, some_calls
from tests.harness import Running

LONG = "christina.von-und-zu.muellerheim@research.example.org"
PLACES = ("/", "/calls", "/dashboards/overview", "/anomalies", "/docs", "/account")
_ROWS = """(bar) => {
  const shown = [...bar.querySelectorAll(".brand, .place, .demo, .who, .who button")];
  const rows = [];
  for (const one of shown.map((one) => one.getBoundingClientRect()).sort((a, b) => a.top - b.top)) {
    const last = rows.at(-1);
    if (last === undefined || one.top >= last.bottom) { rows.push({ bottom: one.bottom }); }
    else { last.bottom = Math.max(last.bottom, one.bottom); }
  }
  return rows.length;
}"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy whose numbers are made up, and says so in the bar: without that there is only more room."""
    with proxy_with(tmp_path_factory.mktemp("bar"), some_calls(2), "[data]\ndemo = true\n") as running:
        yield running


def rows(page: Page) -> int:
    """Return in how many rows the bar stands."""
    return int(page.get_by_role("banner").evaluate(_ROWS))


def people(proxy: Running) -> Iterator[tuple[str, str]]:
    """Give an administrator with a long name, a team's lead, and people who see numbers, or their keys alone."""
    team = ask(proxy, "POST", "/api/teams", {"name": "search"})
    for name, role in ((LONG, "admin"), ("ann-who-leads", "analyst"), ("viola", "viewer"), ("uli", "api_user")):
        user = ask(proxy, "POST", "/api/users", {"name": name, "roles": {role: "own" if role != "admin" else "all"}})
        if role == "analyst":
            ask(proxy, "PUT", f"/api/teams/{team['id']}/members/{user['id']}", {"lead": True})
        yield name, user["id"]


def test_the_bar_is_one_row_for_everybody_and_folds_into_few(
    browser: Browser, proxy: Running, tmp_path: Path
) -> None:
    for name, user in people(proxy):
        with signed_in(browser, proxy, user=user) as seen:
            page = seen.page
            assert page.get_by_role("banner").get_by_role("link", name=name).is_visible()
            assert page.get_by_role("banner").get_by_text("demo data", exact=True).is_visible()
            for width, most in ((1280, 1), (800, 2), (390, 3)):
                page.set_viewport_size({"width": width, "height": 900})
                assert rows(page) <= most, (name, width)
            if name != LONG:
                continue
            seen.pictures(tmp_path, "bar-390")
            page.set_viewport_size({"width": 1280, "height": 900})
            for place in PLACES:
                page.goto(proxy.url + place)
                assert rows(page) == 1, place
            check_page(seen)
            page.goto(f"{proxy.url}/admin/users")
            assert rows(page) == 1
