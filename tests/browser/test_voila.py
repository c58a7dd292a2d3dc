"""The overview's notebook under Voila: a real Voila, a real kernel, a control that works, nothing from elsewhere."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.browsing import Watched, watched
from tests.harness import ROOT, Running, environment, wait_until

TEMPLATES = ROOT / "ultimate_lib" / "dashboards"  # holds voila/templates/, as share/jupyter does when installed


@contextlib.contextmanager
def voila(proxy: Running, folder: Path, notebook: str = "overview.ipynb") -> Iterator[str]:
    """Run Voila on a notebook for the time of a block; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    told = {
        "CLAUDE_PROXY_URL": proxy.url,
        "CLAUDE_PROXY_API_KEY": proxy.key,
        "JUPYTER_PATH": str(TEMPLATES),
    }
    command = [sys.executable, "-m", "voila", str(ROOT / "notebooks" / notebook), "--no-browser"]
    command += [f"--port={port}", "--Voila.ip=127.0.0.1"]
    log = folder / "voila.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment(folder, told), cwd=folder, stdout=out, stderr=out)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), 60)
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        if sys.exc_info()[0] is not None:
            sys.stderr.write(log.read_text()[-4000:])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.heavy
def test_voila_shows_the_overview_with_working_controls(browser: Browser, proxy: Running, tmp_path: Path) -> None:
    with voila(proxy, tmp_path) as url:
        with watched(browser, url) as seen:
            seen.page.goto(f"{url}/?theme=dark", timeout=90_000)
            expect(seen.page.locator(".up-is-spend canvas").first).to_be_visible()
            seen.picture(tmp_path, "voila-dark")
        with watched(browser, url) as seen:
            use(seen, url, proxy, tmp_path)


def use(seen: Watched, url: str, proxy: Running, folder: Path) -> None:
    page = seen.page
    page.goto(f"{url}/?theme=light", timeout=90_000)
    expect(page.locator(".up-is-spend canvas").first).to_be_visible()
    assert "demo data" in page.locator("h1").inner_text()
    figures = page.locator(".up-figures")
    before = figures.inner_text()
    page.get_by_label("Time range").select_option(label="Last 7 days")
    expect(figures).not_to_have_text(before)
    asked = proxy.get("/api/analytics/aggregate?metrics=requests&start=2020-01-01")["rows"][0]["requests"]
    page.get_by_label("Time range").select_option(label="Last 90 days")
    expect(figures).to_contain_text(f"{asked:,}")
    page.locator(".up-is-tokens").get_by_role("checkbox", name="Show as table").check()
    expect(page.locator(".up-is-tokens table")).to_be_visible()
    seen.picture(folder, "voila-light")
