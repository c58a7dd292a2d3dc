"""Where the proxy is, for this Jupyter server: the user's setting, the environment, files; never what a request says.

`proxyUrl` of JupyterLab's settings may name another port of this computer. Any other machine must be named where only
someone with a shell can write: CLAUDE_PROXY_URL, or `claude-proxy config set base_url`. So no page can send the key
elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import stat
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterlab_ultimate_proxy import NAME
from jupyterlab_ultimate_proxy.refusal import Refusal

if TYPE_CHECKING:
    from claude_proxy.places import Place

KEEP_S = 2.0
"""For how long an address that was found is believed; a page asks several routes at once."""
_SETTINGS = f"{NAME}/proxy.jupyterlab-settings"
_INSTALL = "Install ultimate-proxy into the environment of JupyterLab and start JupyterLab anew."


class Where:
    """Finds the proxy, at most once in a while. Call it from the event loop."""

    def __init__(self, settings_dir: Path | None = None) -> None:
        self._settings_dir = settings_dir
        self._found: Place | None = None
        self._found_at = 0.0

    async def __call__(self, *, fresh: bool = False) -> Place:
        """Return address and key. Raises `Refusal` when they cannot be told."""
        if self._found is None or fresh or time.monotonic() - self._found_at > KEEP_S:
            self._found = await asyncio.to_thread(look, self._settings_dir or user_settings_dir())
            self._found_at = time.monotonic()
        return self._found


def look(settings_dir: Path) -> Place:
    """Return address and key of the proxy that this user means. Reads files, may try a port. Raises `Refusal`."""
    try:
        from claude_proxy import places  # noqa: PLC0415 - a server without it must start all the same
        from claude_proxy.errors import ProxyError  # noqa: PLC0415
    except ImportError as error:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "not_installed", "The proxy's Python client is missing.", hint=_INSTALL
        ) from error
    told = chosen(settings_dir)
    key = os.environ.get(str(told.get("apiKeyVariable") or "")) or None
    try:
        configured = places.find(None, key)
        url = str(told.get("proxyUrl") or "").strip().rstrip("/").removesuffix("/v1")
        if not url or url == configured.url:
            return _proper(configured)
        if not is_loopback(url):
            raise Refusal(
                HTTPStatus.CONFLICT,
                "address_not_configured",
                f"The setting proxyUrl names {url[:200]}, which is not configured on this server.",
                hint="For a proxy on another computer set CLAUDE_PROXY_URL where JupyterLab starts, or run "
                "`claude-proxy config set base_url …`, and leave the setting empty.",
            )
        return _proper(places.find(url, key))
    except ProxyError as error:
        raise Refusal(HTTPStatus.CONFLICT, "configuration", error.message, hint=error.hint) from error


def chosen(settings_dir: Path) -> dict[str, Any]:
    """Return what the user set in JupyterLab, empty when nothing. Raises `Refusal` for a file that cannot be read."""
    import json5  # noqa: PLC0415 - JupyterLab's own format, loaded with the first question

    path = settings_dir / _SETTINGS
    try:
        told = json5.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refusal(
            HTTPStatus.CONFLICT,
            "configuration",
            f"JupyterLab's settings cannot be read ({error}).",
            hint=f"Mend or delete {path}.",
        ) from error
    return told if isinstance(told, dict) else {}


def user_settings_dir() -> Path:
    """Return the folder in which JupyterLab keeps the user's settings, by its own rule."""
    from jupyter_core.paths import jupyter_config_dir  # noqa: PLC0415 - read at the first question, not at import

    told = os.environ.get("JUPYTERLAB_SETTINGS_DIR")
    return Path(told) if told else Path(jupyter_config_dir()) / "lab" / "user-settings"


def is_loopback(url: str) -> bool:
    """Say whether an address is on this computer."""
    with contextlib.suppress(ValueError):
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    return False


def data_folder_of(url: str) -> Path | None:
    """Return the data folder of this user's proxy at an address, None when there is none on this computer."""
    from claude_proxy import places  # noqa: PLC0415 - see `look`

    if not is_loopback(url):
        return None
    for folder in (places.data_folder(), places.data_folder() / "demo"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = str(json.loads((folder / "local.json").read_text(encoding="utf-8"))["url"])
            if is_loopback(told) and urlsplit(told).port == urlsplit(url).port:
                return folder
    return None


def has_run_file(folder: Path) -> bool:
    """Say whether a proxy of this user may run there: its run file stands and is the user's own."""
    try:
        found = (folder / "run" / "supervisor.pid").stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_size > 0


def supervisor_of(folder: Path) -> int | None:
    """Return the number of the process that runs a data folder's proxy; None when it cannot be told."""
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "run" / "supervisor.pid").read_text(encoding="utf-8"))
    return None


def _proper(place: Place) -> Place:
    """Return a place whose address can be asked. Raises `Refusal`."""
    try:
        parts = urlsplit(place.url)
        good = parts.scheme in {"http", "https"} and parts.hostname and not parts.username
        good = good and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise Refusal(
            HTTPStatus.CONFLICT,
            "configuration",
            f"'{place.url[:200]}' ({place.source}) is no address of a proxy.",
            hint="Write http://127.0.0.1:8082, say.",
        )
    return place
