"""Where the proxy is and which key opens it.

In this order: what is given, the environment (CLAUDE_PROXY_URL, CLAUDE_PROXY_API_KEY), `~/.claude_proxy/config.json`,
`local.json`, which a proxy of this computer writes into its data folder, and http://127.0.0.1:8082 without a key. A
key that stands in a file beside an address goes to that address alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from claude_proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "http://127.0.0.1:8082"
NOWHERE = "nothing says another"
"""Source of the default address."""
_APP = "ultimate-proxy"
_CONNECT_S = 0.3
_HERE = {"127.0.0.1", "localhost", "::1"}


class Place(NamedTuple):
    """The address of a proxy, the key for it, and where each was found."""

    url: str  # without a slash at its end
    key: str  # empty: none was found
    source: str  # in words, for messages

    def __repr__(self) -> str:
        """Show everything but the key."""
        return f"Place(url={self.url!r}, key={'set' if self.key else 'none'}, source={self.source!r})"


def find(url: str | None = None, key: str | None = None, environ: Mapping[str, str] | None = None) -> Place:
    """Return where the proxy is. Raises `ProxyError` when a file cannot be read, or the address is none."""
    environ = os.environ if environ is None else environ
    config = read_config(environ)
    for found, words in (
        (url, "given"),
        (environ.get("CLAUDE_PROXY_URL"), "CLAUDE_PROXY_URL"),
        (config.get("base_url"), str(config_path(environ))),
    ):
        if found:
            url, source = str(found).rstrip("/").removesuffix("/v1"), words
            break
    else:
        url, source = "", ""
    _check(url, source)
    key = key or environ.get("CLAUDE_PROXY_API_KEY") or _key_of(config, url)
    if url and key:
        return Place(url, key, source)
    local = _local(environ, url)
    if local is not None:
        return Place(local.url, key or local.key, source or local.source)
    return Place(url or DEFAULT_URL, key, source or NOWHERE)


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the client's own settings stand."""
    environ = os.environ if environ is None else environ
    folder = environ.get("CLAUDE_PROXY_HOME")
    return (Path(folder).expanduser() if folder else Path.home() / ".claude_proxy") / "config.json"


def read_config(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the client's own settings, empty when there are none. Raises `ProxyError`."""
    path = config_path(environ)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ProxyError(
            f"{path} cannot be read ({error}).", hint="Mend it, or delete it and set it anew.", code="config"
        ) from error
    if not isinstance(told, dict):
        raise ProxyError(f"{path} is no JSON object.", hint="Delete it and set it anew.", code="config")
    return told


def data_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the data folder of a proxy on this computer, as the proxy itself computes it."""
    environ = os.environ if environ is None else environ
    told = environ.get("ULTIMATE_DATA_FOLDER")
    if told:
        return Path(told).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _APP
    if sys.platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _APP
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / _APP


def is_here(url: str) -> bool:
    """Say whether an address is on this computer."""
    return urlsplit(url).hostname in _HERE


def _check(url: str, source: str) -> None:
    """Raise `ProxyError` for what cannot be taken apart as an address: the port is no number, a bracket is open."""
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise ProxyError(
            f"The address of the proxy is none: {error} (it is from: {source}).",
            hint="Write one such as http://127.0.0.1:8082.", code="address",
        ) from error  # fmt: skip


def _key_of(config: Mapping[str, Any], url: str) -> str:
    """Return the key in the client's own settings, unless it is for another address than this one."""
    meant, key = config.get("base_url"), str(config.get("api_key") or "")
    return key if not (meant and url) or _same(str(meant), url) else ""


def _local(environ: Mapping[str, str], url: str) -> Place | None:
    """Return what `local.json` says, of a proxy that listens if there is one; with `url`, of the proxy there."""
    found = []
    for path in (data_folder(environ) / "local.json", data_folder(environ) / "demo" / "local.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.read_text(encoding="utf-8"))
            place = Place(str(told["url"]).rstrip("/"), str(told["key"]), str(path))
            if not url or _same(url, place.url):
                found.append(place)
    return next((place for place in found if _listens(place.url)), found[0] if found else None)


def _same(one: str, other: str) -> bool:
    """Say whether two addresses are the same server; the names of this computer are all the same."""
    try:
        first, second = urlsplit(one), urlsplit(other)
        equal = first.scheme == second.scheme and first.port == second.port
    except ValueError:  # what is no address is nobody's
        return False
    hosts = {first.hostname, second.hostname}
    return equal and (len(hosts) == 1 or hosts <= _HERE)


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=_CONNECT_S):
            return True
    except OSError:
        return False
