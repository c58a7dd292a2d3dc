"""A real JupyterLab in a real browser: the panel, the status bar, the button, the line under a cell."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, WebSocket, expect

from tests.browser.browsing import Watched, checked, soonest, watched
from tests.browser.jupyterlab import Lab, start_lab
from tests.browser.people import ask
from tests.harness import Running, start_proxy, wait_until

pytestmark = pytest.mark.slow

SPEAKS = """
from comm import create_comm
heard = []
talk = create_comm(target_name="ultimate_proxy", data={"version": 1})
talk.on_msg(lambda message: heard.append(message["content"]["data"]))
"""
TELLS = """
talk.send({"event": "state", "routed": True, "url": "http://127.0.0.1:8082", "reason": ""})
talk.send({"event": "cell", "cell_id": "%s", "line": "3 calls · 4,210 tokens · $0.0123 <b>", "calls": 3,
           "input_tokens": 4000, "output_tokens": 210, "cost_nano_usd": 12300000, "unpriced": 0, "errors": 0,
           "pending": 0})
"""
THEMES = "@jupyterlab/apputils-extension/themes"
LINE = "3 calls · 4,210 tokens · $0.0123 <b>"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_proxy(tmp_path_factory.mktemp("proxy"), arguments=["--demo"]) as running:
        running.key = json.loads((running.data_dir / "demo" / "local.json").read_text())["key"]
        yield running


@pytest.fixture(scope="module")
def lab(proxy: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with start_lab(tmp_path_factory.mktemp("lab"), {"ULTIMATE_DATA_FOLDER": str(proxy.data_dir)}) as running:
        yield running


@pytest.fixture(scope="module")
def first(browser: Browser, proxy: Running, lab: Lab) -> Iterator[Watched]:
    call(proxy)
    with watched(browser, lab.url, proxy.url) as seen:
        opened(seen, lab.page)
        yield seen


@pytest.fixture
def panel(first: Watched) -> Iterator[Watched]:
    """The page that the tests of the panel share: opening JupyterLab is most of what one costs."""
    with checked(first):
        yield first


def call(proxy: Running, model: str = "demo/gpt-4o-mini") -> None:
    request = urllib.request.Request(
        f"{proxy.url}/v1/chat/completions",
        data=json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}]}).encode(),
        headers={"Authorization": f"Bearer {proxy.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()


def opened(seen: Watched, address: str) -> Page:
    """Open JupyterLab with the panel in front."""
    page = seen.page
    page.goto(address)
    page.locator(".up-StatusButton").click(timeout=60_000)
    page.locator(".up-Panel").wait_for()
    return page


def notebook(seen: Watched, address: str) -> tuple[Page, Locator]:
    """Open a notebook, wait until its kernel is ready, and return page and proxy button."""
    page = opened(seen, address)
    page.locator("#jp-main-statusbar").get_by_text("| Idle").wait_for(timeout=60_000)
    return page, page.locator(".up-KernelButton").get_by_role("button")


def run(page: Page, number: int) -> None:
    """Run the cell of that number, and wait until it has run."""
    prompt = cell(page, number).locator(".jp-InputPrompt")
    before = prompt.inner_text()
    cell(page, number).locator(".cm-content").press("Shift+Enter")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]:"), timeout=30_000)
    expect(prompt).not_to_have_text(before)


def cell(page: Page, number: int) -> Locator:
    return page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-Cell").nth(number)


def line(page: Page, number: int) -> Locator:
    return cell(page, number).locator(".up-CellLine")


def command(page: Page, words: str) -> None:
    """Run a command by the palette, as a keyboard user would."""
    cell(page, 0).locator(".cm-content").focus()
    page.keyboard.press("Control+Shift+c")
    page.locator("#modal-command-palette input").fill(words)
    page.locator("#modal-command-palette .lm-CommandPalette-item", has_text=words).first.click()


def test_the_line_is_drawn_and_nothing_of_it_is_saved(browser: Browser, lab: Lab, tmp_path: Path) -> None:
    file = lab.notebook("work/talk.ipynb", SPEAKS, TELLS % "c1", "print(heard)", "print('more')")
    with watched(browser, lab.url) as seen:
        page, button = notebook(seen, lab.open("work/talk.ipynb"))
        expect(button).to_have_accessible_name("LLM off")
        run(page, 0)
        expect(button).to_have_accessible_name("LLM ?")
        run(page, 1)
        expect(button).to_have_accessible_name("LLM on")
        expect(line(page, 1)).to_have_text(LINE)
        seen.picture(tmp_path, "line")

        button.click()
        run(page, 2)
        told = json.loads(cell(page, 2).locator(".jp-OutputArea-output").inner_text().replace("'", '"'))
        assert told == [{"event": "hello", "version": 1, "path": "work/talk.ipynb"}, {"event": "off"}]

        page.keyboard.press("Control+s")
        wait_until(lambda: "more" in file.read_text() and '"execution_count": 3' in file.read_text(), 10)
        saved = file.read_text()
        assert "4,210 tokens ·" not in saved.replace(json.dumps(TELLS % "c1")[1:-1], "").partition("print(heard)")[2]
        document = json.loads(saved)
        assert [one["outputs"] for one in document["cells"][:2]] == [[], []]
        assert all(one["metadata"] == {} for one in document["cells"])

        # a page that comes later takes up the talk where the kernel has it
        page.reload()
        expect(button).to_have_accessible_name("LLM ?", timeout=60_000)
        run(page, 1)
        expect(line(page, 1)).to_have_text(LINE)

        # running again clears it; so does clearing outputs
        cell(page, 1).locator(".jp-InputArea-editor").click()
        page.keyboard.press("Control+a")
        page.keyboard.type("print('silent')")
        run(page, 1)
        expect(line(page, 1)).to_have_count(0)


def test_the_line_stays_with_its_cell_and_goes_with_its_outputs(browser: Browser, lab: Lab) -> None:
    lab.notebook("lines.ipynb", SPEAKS, TELLS % "c1", *["print('\\n' * 30)"] * 40)
    with watched(browser, lab.url) as seen:
        page, _ = notebook(seen, lab.open("lines.ipynb"))
        run(page, 0)
        run(page, 1)
        expect(line(page, 1)).to_have_text(LINE)
        page.locator(".jp-Notebook .jp-Cell").last.scroll_into_view_if_needed()
        command(page, "Run All Cells")
        expect(page.locator(".jp-NotebookPanel .jp-Cell").last.locator(".jp-InputPrompt")).to_have_text(
            re.compile(r"\[\d+\]:"), timeout=60_000
        )
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Home")
        expect(page.locator(".up-CellLine")).to_have_text([LINE])
        cell(page, 1).locator(".jp-InputArea-editor").click()
        page.keyboard.press("Escape")
        page.keyboard.press("Control+Shift+ArrowUp")  # the cell moves, and its line with it
        expect(line(page, 0)).to_have_text(LINE)
        expect(page.locator(".up-CellLine")).to_have_count(1)
        assert line(page, 0).evaluate("line => line === line.parentElement.lastElementChild")
        command(page, "Clear Outputs of All Cells")
        expect(page.locator(".up-CellLine")).to_have_count(0)


def test_a_rename_is_told(browser: Browser, lab: Lab) -> None:
    lab.notebook("before.ipynb", SPEAKS, "print(heard[-1])")
    with watched(browser, lab.url) as seen:
        page, _ = notebook(seen, lab.open("before.ipynb"))
        run(page, 0)
        page.get_by_role("menuitem", name="File").click()
        page.locator(".lm-Menu-item", has_text="Rename Notebook").click()
        page.locator(".jp-Dialog input").fill("after.ipynb")
        page.keyboard.press("Enter")
        expect(page.locator(".lm-DockPanel-tabBar .lm-TabBar-tabLabel", has_text="after.ipynb")).to_be_visible()
        run(page, 1)
        expect(cell(page, 1).locator(".jp-OutputArea-output")).to_have_text(
            "{'event': 'path', 'path': 'after.ipynb'}"
        )


def test_the_button_leads_a_real_kernel_through_the_proxy(browser: Browser, proxy: Running, lab: Lab) -> None:
    asks = """
import openai
hi = [{"role": "user", "content": "hi"}]
openai.OpenAI().chat.completions.create(model="demo/gpt-4o-mini", messages=hi).choices[0].finish_reason
"""
    lab.notebook("real.ipynb", asks)
    with watched(browser, lab.url) as seen:
        page, button = notebook(seen, lab.open("real.ipynb"))
        expect(button).to_have_accessible_name("LLM off")
        button.click()
        expect(button).to_have_accessible_name("LLM on", timeout=30_000)
        run(page, 0)
        expect(line(page, 0)).to_contain_text("1 call · ", timeout=10_000)
        [newest, *_] = proxy.get("/api/analytics/calls?limit=1")["rows"]
        assert (newest["notebook"], newest["cell_id"]) == ("real.ipynb", "c0")
        button.click()
        expect(button).to_have_accessible_name("LLM off")


class Debugging:
    """What JupyterLab's debugger asks of a kernel; a restart while it waits for an answer is an error to it."""

    def __init__(self, page: Page) -> None:
        self.asked = self.answered = 0
        page.on("websocket", self._watch)

    def _watch(self, channel: WebSocket) -> None:
        channel.on("framesent", lambda data: self._count(data, sent=True))
        channel.on("framereceived", lambda data: self._count(data, sent=False))

    def _count(self, data: str | bytes, *, sent: bool) -> None:
        found = data.encode() if isinstance(data, str) else data
        self.asked += sent and b'"debug_request"' in found
        self.answered += not sent and b'"debug_reply"' in found

    def settle(self, page: Page) -> None:
        """Return once the debugger has asked and has been answered for a while."""
        quiet, until = 0, time.monotonic() + 30
        while quiet < 10:
            assert time.monotonic() < until, (self.asked, self.answered)
            before = self.asked
            page.wait_for_timeout(100)
            quiet = quiet + 1 if self.asked == self.answered == before and self.asked else 0


def test_new_kernels_are_led_through_the_proxy_if_the_user_wants_that(browser: Browser, lab: Lab) -> None:
    lab.notebook("auto.ipynb", "1 + 1")
    lab.setting("@ultimate-proxy/jupyterlab/proxy", autoLoad=True, panels=["live"], showStatusBar=True)
    try:
        with watched(browser, lab.url) as seen:
            debugging = Debugging(seen.page)
            page, button = notebook(seen, lab.open("auto.ipynb"))
            expect(button).to_have_accessible_name("LLM on", timeout=30_000)
            expect(page.locator(".up-Panel h3")).to_have_text(["Calls"])
            debugging.settle(page)
            command(page, "Restart Kernel…")
            page.locator(".jp-Dialog .jp-mod-accept").click()
            expect(button).not_to_have_accessible_name("LLM on")
            expect(button).to_have_accessible_name("LLM on", timeout=30_000)
    finally:
        lab.setting("@ultimate-proxy/jupyterlab/proxy")


def test_health_spend_and_a_call_as_it_happens(panel: Watched, proxy: Running, lab: Lab, tmp_path: Path) -> None:
    page = panel.page
    shown = page.locator(".up-Panel")
    expect(shown.locator(".up-State")).to_have_text("Running")
    expect(shown).to_contain_text(proxy.url)
    expect(shown).to_contain_text("demo data")
    expect(shown.locator(".up-Live")).to_be_visible()
    calls = shown.locator(".up-Figure", has_text="Calls").locator("dd")
    before = int(calls.inner_text())
    rows = shown.locator(".up-Call")
    count = rows.count()
    spent = page.locator(".up-StatusButton").inner_text()
    assert re.fullmatch(r"LLM \$0\.[0-9]+ today · demo data", spent), spent

    def seen() -> float:
        there = rows.count()
        call(proxy)
        at = time.monotonic()
        expect(rows).to_have_count(there + 1)
        return time.monotonic() - at

    soonest(seen, 2.0)
    made = rows.count() - count
    expect(shown.locator(".up-Call").first).to_contain_text("gpt-4o-mini")
    expect(shown.locator(".up-Call").first).to_contain_text("tokens")
    expect(calls).to_have_text(str(before + made))
    expect(page.locator(".up-StatusButton")).not_to_have_text(spent)

    call(proxy, "demo/a-model-nobody-prices")
    expect(shown.locator(".up-Call").first).to_contain_text("—")
    expect(shown).to_contain_text("price is not known")

    panel.picture(tmp_path, "panel-light")

    lab.setting(THEMES, theme="JupyterLab Dark")
    try:
        page.reload()  # the panel that was open is open again
        expect(rows).to_have_count(count + made + 1)
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
        panel.picture(tmp_path, "panel-dark")
    finally:
        lab.setting(THEMES)


def test_a_page_that_nobody_sees_asks_nothing(panel: Watched, proxy: Running) -> None:
    page = panel.page
    expect(page.locator(".up-Live")).to_be_visible()
    shown = page.locator(".up-Call").count()
    hide = """is => {
        Object.defineProperty(document, 'hidden', {value: is, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "ultimate-proxy" in request.url else None)
    call(proxy)
    page.wait_for_timeout(3000)
    assert asked == []
    assert page.locator(".up-Call").count() == shown
    page.evaluate(hide, False)
    expect(page.locator(".up-Call")).to_have_count(shown + 1)
    expect(page.locator(".up-Live")).to_be_visible()


def test_a_providers_key_goes_in_and_is_never_seen_again(panel: Watched, proxy: Running, lab: Lab) -> None:
    secret = "sk-ant-pasted-into-the-panel"
    page = panel.page
    form = page.locator(".up-Form")
    form.get_by_label("Provider").select_option("anthropic")
    expect(form).to_contain_text("No key yet")
    field = form.get_by_label("Key", exact=True)
    assert field.get_attribute("type") == "password"
    field.fill(secret)
    form.get_by_role("button", name="Save key").click()
    expect(form.get_by_role("status")).to_have_text("The key of anthropic is in force.")
    expect(field).to_have_value("")
    assert secret not in page.content()
    [told] = [one for one in proxy.get("/api/providers") if one["name"] == "anthropic"]
    assert (told["has_key"], told["key_source"]) == (True, "stored")
    form.get_by_role("button", name="Remove key").click()
    expect(form.get_by_role("status")).to_have_text("The key of anthropic was removed.")
    field.fill("two words\u00e9")
    form.get_by_role("button", name="Save key").click()
    expect(form.get_by_role("alert")).to_be_visible()
    expect(field).to_have_value("")
    assert secret not in lab.log.read_text()
    panel.errors = [told for told in panel.errors if "400" not in told]  # the browser's own word on a refusal


def test_the_overview_opens_in_a_tab_of_its_own(panel: Watched, proxy: Running) -> None:
    page = panel.page
    expect(page.locator(".up-State")).to_have_text("Running")
    with panel.context.expect_page() as tab:
        page.locator(".jp-LauncherCard", has_text="Overview Dashboard").click()
    assert tab.value.url.startswith(proxy.url)
    tab.value.close()
    panel.errors.clear()  # what the dashboard says is its own tests' matter


def ahead(route: Route) -> None:
    """Answer as a proxy does that has had weeks of calls."""
    answer = route.fetch()
    told = answer.json()
    told["budgets"][0]["outlook"] = {
        "expected": 600_000, "lower_80": 400_000, "upper_80": 1_200_000, "probability": 0.4,
        "exhausted_at": "2026-11-27T12:00:00Z", "earliest_80": "2026-11-26T12:00:00Z",
        "latest_80": "2026-11-29T12:00:00Z",
    }  # fmt: skip
    route.fulfill(response=answer, json=told)


def test_budgets_stand_in_the_panel_and_the_status_bar(panel: Watched, proxy: Running, tmp_path: Path) -> None:
    made = ask(proxy, "POST", "/api/budgets", {
        "name": "Notebooks", "subject": "global", "unit": "tokens", "amount": 1_000_000, "period": "month",
    })  # fmt: skip
    try:
        call(proxy)  # after one the panel looks again soon
        page = panel.page
        budget = page.locator(".up-Budget", has_text="Notebooks")
        expect(budget).to_contain_text("of 1,000,000 tokens")
        expect(budget).to_contain_text("left")
        expect(budget).to_contain_text("until")
        told = re.compile("budget Notebooks · this month: .*% of 1,000,000 tokens used", re.DOTALL)
        expect(page.locator(".up-StatusButton")).to_have_attribute("title", told)
        expect(budget.locator(".up-mod-end")).to_have_count(0)  # no history, no mark
        page.route("**/api/budgets/status*", ahead)
        call(proxy)
        expect(budget).to_contain_text("600,000 tokens expected (80 %: 400,000 tokens to 1,200,000 tokens)")
        expect(budget).to_contain_text("40% likely to be used up: Nov 27 (80 %: Nov 26 to Nov 29)")
        at, band = (budget.locator(f".up-mod-{name}").bounding_box() for name in ("end", "likely"))
        bar = budget.locator(".up-Bar").bounding_box()
        assert at is not None
        assert band is not None
        assert bar is not None
        assert (at["x"] - bar["x"]) / bar["width"] == pytest.approx(0.6, abs=0.02)
        assert (band["x"] - bar["x"]) / bar["width"] == pytest.approx(0.4, abs=0.02)
        assert band["width"] / bar["width"] == pytest.approx(0.6, abs=0.02)  # no further than the bar
        panel.picture(tmp_path, "budget")
        page.unroute("**/api/budgets/status*")
    finally:
        ask(proxy, "DELETE", f"/api/budgets/{made['id']}", None)


def test_start_and_stop_from_the_panel(browser: Browser, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    env = {"CLAUDE_PROXY_URL": f"http://127.0.0.1:{port}", "ULTIMATE_DATA_FOLDER": str(tmp_path / "data")}
    with start_lab(tmp_path / "lab", env) as lab, watched(browser, lab.url) as seen:
        try:
            page = opened(seen, lab.page)
            panel = page.locator(".up-Panel")
            expect(panel.locator(".up-State")).to_have_text("Not reachable")
            expect(panel).to_contain_text("ultimate-proxy up")
            expect(page.locator(".up-StatusButton")).to_have_text("LLM: Not reachable")
            seen.picture(tmp_path, "unreachable")

            panel.get_by_role("button", name="Start").click()
            expect(panel.locator(".up-State")).to_have_text("Starting …")
            expect(panel.locator(".up-State")).to_have_text("Running", timeout=20_000)
            expect(page.locator(".up-StatusButton")).to_have_text("LLM $0 today", timeout=10_000)
            expect(panel).to_contain_text("No call yet today: run a cell that calls a model.")
            seen.picture(tmp_path, "empty")

            panel.get_by_role("button", name="Stop").click()
            page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
            expect(panel.locator(".up-State")).to_have_text("Running")
            panel.get_by_role("button", name="Stop").click()
            page.get_by_role("dialog").get_by_role("button", name="Stop").click()
            expect(panel.locator(".up-State")).to_have_text("Not reachable", timeout=30_000)
            assert not answers(port)
        finally:
            leave_nothing(tmp_path / "data")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except urllib.error.URLError:
        return False


def leave_nothing(data: Path) -> None:
    """Stop the proxy of a data folder if the test did not."""
    try:
        pid = int((data / "run" / "supervisor.pid").read_text() or 0)
    except (FileNotFoundError, ValueError):
        return
    if pid and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGTERM)
