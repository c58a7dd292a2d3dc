"""The guard through the whole proxy and in a real browser: learnt by the worker, seen, set to block, and ended."""

from __future__ import annotations

import json
import urllib.error
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.people import as_owner
from tests.browser.signed_in import check_page, make_call
from tests.browser.test_admin import cut
from tests.control import calls
from tests.control.calls import call
from tests.gateway.gateways import prepare
from tests.harness import start_proxy, wait_until
from ultimate_lib.access import keys
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.local import local_path
from ultimate_lib.clock import SystemClock
from ultimate_lib.guard import known
from ultimate_lib.settings import load
from ultimate_lib.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness import Running

MODEL = "claude-sonnet-4-5"
USUAL = 100  # nano-dollars: far less than the demo's calls cost


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A key with twenty days of cheap calls, and one with nine."""
    folder = tmp_path_factory.mktemp("guard")
    settings = load(environ={}, overrides={"data.folder": str(folder / "data")})
    prepare(settings)
    secret = json.loads(local_path(settings).read_text(encoding="utf-8"))["key"]
    store = Store(settings.store_url)
    admin = KeyCache(store, SystemClock()).lookup(secret)
    assert admin is not None
    _, young = keys.create_key(store, SystemClock(), admin, name="a young key")
    store.close()
    now = datetime.now(UTC)
    records = [
        call(
            now - timedelta(hours=0.8 * number + 1), key_id=key_id, user_id=admin.user_id, model_routed=MODEL,
            cost_nano_usd=USUAL + number % 17,
        )
        for key_id, many in ((admin.key_id, 600), (young["id"], 280))
        for number in range(many)
    ]  # fmt: skip
    calls.write(settings, *records)
    with start_proxy(folder, config="[guard]\nfloor_usd = 0\n") as running:
        wait_until(lambda: running.get("/api/version"), 20, running)
        wait_until(lambda: known.read(settings.run_dir), 30, running)
        shots = settings.run_dir.glob
        wait_until(
            lambda: any(json.loads(path.read_bytes()).get("baselines_us") for path in shots("gateway-*.json")),
            20,
            running,
        )
        yield running


def refused(proxy: Running) -> str:
    """Make a call and return what it is refused with; empty: it is not."""
    try:
        make_call(proxy)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    return ""


def test_a_key_is_watched_set_to_block_and_let_go_on(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    asked: list[str] = []
    with as_owner(browser, proxy) as seen:
        page = seen.page
        page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
        page.get_by_role("link", name="Admin").click()
        page.get_by_role("navigation", name="Admin").get_by_role("link", name="Guard").click()
        expect(page.locator("#cooling")).to_contain_text("None.")
        expect(page.locator("#list")).to_contain_text("known well enough")
        expect(page.locator("#list")).to_contain_text("observing: 9 of 14 days, 280 of 500 calls")
        for _ in range(4):
            assert refused(proxy) == "", "it observes"
        page.reload()
        expect(page.locator("#cooling")).to_contain_text("calls are only marked")
        expect(page.locator("#list")).to_contain_text("1 call (")
        check_page(seen)
        assert cut(page) == 0, "a table is cut"
        seen.pictures(tmp_path, "guard")
        page.set_viewport_size({"width": 390, "height": 800})
        check_page(seen)
        seen.pictures(tmp_path, "guard-narrow")
        page.set_viewport_size({"width": 1280, "height": 800})
        named = json.loads(local_path(load(environ={}, overrides={"data.folder": str(proxy.data_dir)})).read_text())
        name = next(one["name"] for one in proxy.get("/api/keys")["keys"] if named["key"].startswith(one["prefix"]))
        page.get_by_role("button", name=f"Block: unusual calls of {name}").press("Enter")
        expect(page.locator("#keys")).to_contain_text("block")
        expect(page.locator("#cooling")).to_contain_text("calls are refused")
        assert "its cool-downs would have refused 1 call ($" in asked[0]
        assert "A cool-down is under way: calls are refused from now on." in asked[0]
        wait_until(lambda: refused(proxy).startswith("429"), 10, proxy)
        assert "guard_blocked" in refused(proxy) or "rate_limit_error" in refused(proxy)
        page.get_by_role("button", name=f"End the cool-down of {name}").press("Enter")
        expect(page.locator("#cooling")).to_contain_text("None.")
        wait_until(lambda: refused(proxy) == "", 10, proxy)
        assert len(asked) == 2
        page.get_by_role("button", name=f"Accept the unusual calls of {name} to {MODEL} as usual").press("Enter")
        expect(page.locator("#list")).to_contain_text("accepted as usual by")
        assert "of the last 7 days as usual?" in asked[2]
        check_page(seen)
        assert cut(page) == 0, "a table is cut"
        seen.pictures(tmp_path, "guard-accepted")
