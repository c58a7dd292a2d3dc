"""A real browser for tests: Debian's Chromium, watched for console errors and for requests to other origins."""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Give a headless browser; skips, naming the package, where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_QUIET))
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page and what it did that it should not: `errors` of the console, requests `outside` of the known origins."""

    def __init__(self, context: BrowserContext, origins: Sequence[str], ignore: Sequence[str]) -> None:
        self.context = context
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.outside: list[str] = []
        self._known = {urlsplit(origin).netloc for origin in origins}
        self._ignore = ignore
        context.on("request", lambda request: self._asked(request.url))
        context.on("console", lambda told: self._said(told.type, told.text))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc not in self._known:
            self.outside.append(url)

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and not any(known in text for known in self._ignore):
            self.errors.append(text)

    def picture(self, folder: Path, name: str) -> None:
        """Save a picture of the whole page to be looked at, if TEST_PICTURES is set: nothing is checked on it."""
        if "TEST_PICTURES" in os.environ:
            self.page.screenshot(path=str(folder / f"{name}.png"), full_page=True)

    def schemes(self) -> Iterator[str]:
        """Show the page as those who have it dark and those who have it light see it, one after the other."""
        for scheme in ("dark", "light"):
            self.page.emulate_media(color_scheme=scheme)
            yield scheme

    def pictures(self, folder: Path, name: str) -> None:
        """Save a picture in either colour scheme, if pictures are wanted."""
        for scheme in self.schemes():
            self.picture(folder, f"{name}-{scheme}")

    def check(self) -> None:
        """Fail if the console told an error or anything was asked of another origin."""
        assert not self.outside, f"asked of other origins: {self.outside}"
        assert not self.errors, f"console errors: {self.errors}"


@contextlib.contextmanager
def watched(browser: Browser, *origins: str, ignore: Sequence[str] = (), width: int = 1280) -> Iterator[Watched]:
    """Give a watched page in a context of its own, checked at the end; `ignore` holds parts of known errors."""
    context = browser.new_context(viewport={"width": width, "height": 900}, locale="en-US")
    context.set_default_timeout(20_000)
    seen = Watched(context, origins, ignore)
    try:
        yield seen
        seen.check()
    finally:
        context.close()


def soonest(once: Callable[[], float], most: float, tries: int = 3) -> None:
    """Measure seconds until they are few enough: a loaded machine is slow at times, what is slow by itself always."""
    took: list[float] = []
    while not took or took[-1] > most:
        assert len(took) < tries, f"never within {most:g} s: {took}"
        took.append(once())
    print(f"\n{took[-1]:.2f} s")


@contextlib.contextmanager
def checked(seen: Watched) -> Iterator[Watched]:
    """Lend a page that others use, too: what it should not do is told in the block in which it did it."""
    try:
        yield seen
        seen.check()
    finally:
        seen.errors.clear()
        seen.outside.clear()


class Violation(NamedTuple):
    """What axe-core objects to on a page: the rule, how bad, and where."""

    rule: str
    impact: str  # minor | moderate | serious | critical
    help: str
    places: tuple[str, ...]


_COLOURS = ("color-contrast", "link-in-text-block")
"""What axe-core looks at in colours; all its other rules see the same whatever the colours are."""
_ABOUT = {
    "all": {},
    "colours": {"runOnly": _COLOURS},
    "structure": {"rules": {rule: {"enabled": False} for rule in _COLOURS}},
}


def axe(page: Page, exclude: Sequence[str] = (), *, about: str = "all") -> list[Violation]:
    """Return what axe-core finds on a page as it is now; `exclude` holds selectors of what is not ours.

    A page seen before costs less when it is asked `about` what has changed alone: "colours" or "structure".
    """
    page.evaluate(_axe_source())
    found = page.evaluate(_AXE, [[[one] for one in exclude], _ABOUT[about]])
    return [Violation(one["rule"], one["impact"], one["help"], tuple(one["places"])) for one in found]


def check_axe(page: Page, exclude: Sequence[str] = (), *, about: str = "all") -> None:
    """Fail on what axe-core calls serious or critical."""
    bad = [one for one in axe(page, exclude, about=about) if one.impact in {"serious", "critical"}]
    assert not bad, "\n".join(f"{one.impact} {one.rule}: {one.help} {list(one.places[:5])}" for one in bad)


@functools.cache
def _axe_source() -> str:
    return importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


_AXE = """async ([exclude, about]) => {
  const found = await axe.run({ include: [["html"]], exclude }, { resultTypes: ["violations"], ...about });
  return found.violations.map((one) => ({
    rule: one.id, impact: one.impact, help: one.help,
    places: one.nodes.map((node) => node.target.flat().join(" ")),
  }));
}"""
