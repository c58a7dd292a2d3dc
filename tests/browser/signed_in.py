"""A running proxy with known calls, and a browser that is signed in to it."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.browsing import Watched, check_axe, watched
from tests.control import calls
from tests.control.calls import call
from tests.harness import Running, start_proxy, wait_until
from ultimate_lib.access import sessions
from ultimate_lib.clock import SystemClock
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load
from ultimate_lib.store import Store


@contextlib.contextmanager
def proxy_with(folder: Path, records: Sequence[CallRecord] = (), config: str = "") -> Iterator[Running]:
    """Run a proxy that has recorded these calls."""
    if records:
        (folder / "data").mkdir(parents=True)
        calls.write(load(environ={}, overrides={"data.folder": str(folder / "data")}), *records)
    with start_proxy(folder, config=config) as proxy:
        wait_until(lambda: proxy.get("/api/version"), 20, proxy)
        yield proxy


def some_calls(number: int) -> list[CallRecord]:
    """Return calls of the last hours, the newest first, a minute apart."""
    now = datetime.now(UTC)
    return [
        call(
            now - timedelta(minutes=one),
            model_served=("claude-sonnet-4-5", "gpt-4o-mini")[one % 2],
            project=("search", "support")[one % 3 == 0],
            notebook="work/analysis.ipynb",
            session_id="sess-1",
            status="error" if one == 3 else "ok",
            cost_nano_usd=None if one == 4 else 27_000 * (one + 1),
        )
        for one in range(number)
    ]


@contextlib.contextmanager
def signed_in(
    browser: Browser, proxy: Running, *, user: str = "", ignore: Sequence[str] = (), width: int = 1280
) -> Iterator[Watched]:
    """Give a watched page on Home, signed in by a link of its own: as the local administrator, or as a user made."""
    store = Store(load(environ={}, overrides={"data.folder": str(proxy.data_dir)}).store_url)
    try:
        link = sessions.make_link(store, SystemClock(), user or proxy.get("/api/auth/verify")["user_id"])
    finally:
        store.close()
    with watched(browser, proxy.url, ignore=ignore, width=width) as seen:
        seen.page.goto(f"{proxy.url}/login?link={link}")
        seen.page.get_by_role("navigation", name="Main").wait_for()
        yield seen


def make_call(proxy: Running, **headers: str) -> str:
    """Make a call to the scripted provider and return its id."""
    body = {"model": "demo/claude-sonnet-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
    sent = {"x-api-key": proxy.key, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{proxy.url}/v1/messages", json.dumps(body).encode(), sent)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        return str(answer.headers["x-ultimate-call-id"])


def check_page(seen: Watched) -> None:
    """Check a page, dark and light: headings, labels, names, contrast, no sideways scrolling, what axe-core knows.

    A page in the dark differs in its colours alone. A narrow one is shown to axe-core light alone, and not for its
    colours: they are those of the wide one.
    """
    size = seen.page.viewport_size
    wide = size is None or size["width"] > 1000
    for scheme in seen.schemes():
        found = seen.page.evaluate(_CHECK)
        assert found == [], (scheme, found)
        if wide:
            check_axe(seen.page, about="colours" if scheme == "dark" else "all")
        elif scheme == "light":
            check_axe(seen.page, about="structure")


_CHECK = """() => {
  const wrong = [];
  const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((one) => Number(one.tagName[1]));
  if (levels.filter((one) => one === 1).length !== 1) { wrong.push("not one h1"); }
  levels.reduce((before, one) => { if (one > before + 1) { wrong.push(`h${before} to h${one}`); } return one; }, 0);
  for (const one of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
    if (!one.labels.length) { wrong.push("no label: " + one.outerHTML); }
  }
  for (const one of document.querySelectorAll("button, a")) {
    if (!(one.textContent.trim() || one.getAttribute("aria-label"))) { wrong.push("no name: " + one.outerHTML); }
  }
  if (document.documentElement.scrollWidth > innerWidth) { wrong.push("scrolls sideways"); }
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const linear = (s) => s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) { return colour.slice(0, 3); }
    }
    return [255, 255, 255];
  };
  for (const one of document.querySelectorAll("body *")) {
    const says = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!says || !one.checkVisibility() || ["SCRIPT", "STYLE"].includes(one.tagName)) { continue; }
    const [a, b] = [light(parse(getComputedStyle(one).color).slice(0, 3)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) { wrong.push(`contrast ${ratio.toFixed(1)}: ${one.textContent.trim().slice(0, 40)}`); }
  }
  return [...new Set(wrong)];
}"""
