"""The environment variables that LLM libraries read, set to the proxy for a time and put back."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PUBLIC_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}
PUBLIC_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
BASE_VARIABLES = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}
_HERE = {"127.0.0.1", "localhost", "::1"}
_VIA = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY")
_OPENAI = ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY")
_ANTHROPIC = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


class Environment:
    """What was set. `before` holds each variable's earlier value, None when there was none."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.before: dict[str, str | None] = {}
        self.left: dict[str, str] = {}  # variable → somebody's own gateway, to which it keeps pointing
        self._ours: dict[str, str | None] = {}

    def point(self, url: str, key: str) -> None:
        """Point both families to the proxy, except one that is pointed to another gateway already.

        Anthropic's key goes into ANTHROPIC_API_KEY, which every library reads; ANTHROPIC_AUTH_TOKEN is taken away,
        for a client sends it beside or instead of the key.
        """
        self._point(_OPENAI, (f"{url}/v1", f"{url}/v1", key), url)
        self._point(_ANTHROPIC, (url, key, None), url)
        self._keep_near(urlsplit(url).hostname or "")

    def restore(self) -> None:
        """Put back what was there; a value that was changed meanwhile is the user's and stays."""
        for name, before in self.before.items():
            if self._environ.get(name) != self._ours[name]:
                continue
            if before is None:
                self._environ.pop(name, None)
            else:
                self._environ[name] = before
        self.before.clear()
        self._ours.clear()
        self.left.clear()

    def _keep_near(self, host: str) -> None:
        """Let requests to a proxy on this computer not take the way over the company's HTTP proxy."""
        names = [name for name in _VIA if self._environ.get(name)]
        if host not in _HERE or not names:
            return
        for name in ("no_proxy", "NO_PROXY"):
            present = self._environ.get(name)
            told = [part.strip() for part in (present or "").split(",") if part.strip()]
            if "*" not in told and host not in told:
                self._set(name, ",".join([*told, host]))

    def _point(self, names: tuple[str, ...], values: tuple[str | None, ...], url: str) -> None:
        for name, value in zip(names, values, strict=True):
            present = self._environ.get(name)
            if value is not None and "BASE" in name and present and not _may_move(present, url):
                self.left[name] = present
        if any(name in self.left for name in names):
            return
        for name, value in zip(names, values, strict=True):
            self._set(name, value)

    def _set(self, name: str, value: str | None) -> None:
        self.before[name] = self._environ.get(name)
        self._ours[name] = value
        if value is None:
            self._environ.pop(name, None)
        else:
            self._environ[name] = value


def _may_move(present: str, url: str) -> bool:
    parts = urlsplit(present)
    return parts.hostname in PUBLIC_HOSTS.values() or parts.netloc == urlsplit(url).netloc
