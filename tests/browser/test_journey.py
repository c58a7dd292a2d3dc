"""The first minutes as people live them: start, Home, JupyterLab's tour, a cell, its cost on every face.

One proxy with JupyterLab beside it, as `make run` starts them, and one signed-in browser.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from claude_proxy import ClaudeProxyClient
from tests.browser.browsing import Watched, watched
from tests.demo.test_up import Jupyter, with_lab
from tests.harness import Running, environment
from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.settings import load

pytestmark = pytest.mark.slow

_SEEN_S = 5.0  # two where nothing else runs: tests/bench/workbench.py measures it
_METRICS = "requests,total_tokens,cost_usd"


class Journey(NamedTuple):
    proxy: Running
    jupyter: Jupyter
    seen: Watched
    dashboard: Page


class Sums(NamedTuple):
    """What a face tells of all calls: money in nano-dollars, so that nothing is lost on the way."""

    requests: int
    tokens: int
    nano_usd: int


@pytest.fixture(scope="module")
def journey(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """From the start to a signed-in Home, and the dashboard in a second window."""
    folder = tmp_path_factory.mktemp("journey")
    with with_lab(folder, "--demo") as (proxy, jupyter):
        lab = f"http://127.0.0.1:{jupyter.port}"
        with watched(browser, proxy.url, lab, width=1500) as seen:
            (link,) = re.findall(r"http\S+login\?link=\S+", proxy.said)
            seen.page.goto(link)
            seen.page.get_by_role("heading", name="What to do next").wait_for()
            expect(seen.page.get_by_text("demo data", exact=True)).to_be_visible()
            dashboard = seen.context.new_page()
            dashboard.goto(f"{proxy.url}/dashboards/overview")
            expect(dashboard.locator(".up-figures")).to_be_visible(timeout=60_000)
            yield Journey(proxy, jupyter, seen, dashboard)


def cell(page: Page, code: str) -> Locator:
    """The tour's cell that holds this code."""
    return page.locator(".jp-Notebook .jp-CodeCell").filter(has_text=code).first


def run(page: Page, code: str) -> Locator:
    """Run the tour's cell that holds this code and wait for its end."""
    found = cell(page, code)
    found.scroll_into_view_if_needed()
    found.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(found.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=60_000)
    return found


def value(page: Page, label: str) -> Locator:
    """Where a large number of the dashboard stands."""
    return page.locator(".up-figures > div", has=page.get_by_text(label, exact=True)).locator(".up-value")


def figure(page: Page, label: str) -> str:
    """A large number of the dashboard, to its last digit."""
    return str(value(page, label).get_attribute("title"))


def nano(dollars: str) -> int:
    """Dollars as text, as nano-dollars."""
    whole, _, digits = dollars.removeprefix("$").replace(",", "").partition(".")
    return int(whole) * 1_000_000_000 + int(f"{digits:0<9}")


def test_from_the_start_to_a_priced_cell_and_a_moving_total(journey: Journey, tmp_path: Path) -> None:
    (told,) = re.findall(r"JupyterLab +(\S+)", journey.proxy.said)
    page = journey.seen.context.new_page()
    page.goto(told)
    page.get_by_role("heading", name="The first five minutes").wait_for(timeout=60_000)
    page.locator(".up-StatusButton").click()
    expect(page.locator(".up-Panel .up-State")).to_have_text("Running")
    expect(page.locator(".up-Panel .up-Live")).to_be_visible()
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
    run(page, "%load_ext ultimate_lib")
    before = figure(journey.dashboard, "Requests")
    shown = page.locator(".up-Panel .up-Call").count()
    asked = run(page, "chat = openai.OpenAI()")
    began = time.monotonic()
    expect(asked.locator(".up-CellLine")).to_contain_text(
        re.compile(r"1 call · [\d,]+ tokens · \$0\.\d+"), timeout=_SEEN_S * 1000
    )
    line_s = time.monotonic() - began
    expect(page.locator(".up-Panel .up-Call")).to_have_count(shown + 1, timeout=_SEEN_S * 1000)
    panel_s = time.monotonic() - began
    expect(page.locator(".up-Panel .up-Call").first).to_contain_text("gpt-5.4-mini")
    expect(value(journey.dashboard, "Requests")).not_to_have_attribute("title", before, timeout=10_000)
    print(f"\nline {line_s:.2f} s, panel row {panel_s:.2f} s after the cell had run")
    run(page, "claude = anthropic.Anthropic()")
    run(page, "async_chat = openai.AsyncOpenAI()")
    expect(page.locator(".up-Panel .up-Call")).to_have_count(shown + 12, timeout=_SEEN_S * 1000)
    expect(value(journey.dashboard, "Requests")).to_have_attribute("title", "12", timeout=10_000)
    one_number_on_six_faces(journey, page, tmp_path)


def one_number_on_six_faces(journey: Journey, page: Page, folder: Path) -> None:
    """REST, SDK, command line, dashboard, panel and the lake agree to the token and the nano-dollar."""
    proxy = journey.proxy
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    data = load(environ={}, overrides={"data.folder": str(proxy.data_dir / "demo")})
    lake = Lake.open(data, SystemClock())
    rows = scan_calls(lake, midnight, midnight + timedelta(days=2)).collect()
    truth = Sums(
        rows.height, int(rows["input_tokens"].sum() + rows["output_tokens"].sum()), int(rows["cost_nano_usd"].sum())
    )
    assert truth.requests >= 12
    assert truth.nano_usd > 0
    day = midnight.date().isoformat()

    def sums(row: dict[str, float]) -> Sums:
        return Sums(int(row["requests"]), int(row["total_tokens"]), round(row["cost_usd"] * 1e9))

    faces = {"rest": sums(proxy.get(f"/api/analytics/aggregate?metrics={_METRICS}&start={day}")["rows"][0])}
    with ClaudeProxyClient(proxy.url, proxy.key) as client:
        faces["sdk"] = sums(client.get_aggregate_stats(day, metrics=_METRICS)["rows"][0])
    command = [sys.executable, "-m", "claude_proxy", "analytics", "--start", day, "--metrics", _METRICS]
    given = environment(folder, {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key})
    said = subprocess.run(
        [*command, "--output", "json"], env=given, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    told = json.loads(said)
    faces["cli"] = sums((told["rows"] if isinstance(told, dict) else told)[0])
    faces["dashboard"] = Sums(
        int(figure(journey.dashboard, "Requests").replace(",", "")),
        int(figure(journey.dashboard, "Tokens").replace(",", "")),
        nano(figure(journey.dashboard, "Spend")),
    )
    expect(page.locator(".up-Figure", has_text="Calls").locator("dd")).to_have_text(str(truth.requests))
    panel = {
        label: str(page.locator(".up-Figure", has_text=label).locator("dd").get_attribute("title"))
        for label in ("Calls", "Tokens", "Spend")
    }
    faces["panel"] = Sums(
        int(panel["Calls"].replace(",", "")), int(panel["Tokens"].replace(",", "")), nano(panel["Spend"])
    )
    assert faces == dict.fromkeys(("rest", "sdk", "cli", "dashboard", "panel"), truth)
