"""The client's own settings: `~/.claude_proxy/config.json`, readable by its owner alone, replaced whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claude_proxy import places
from claude_proxy.errors import BadRequest, ProxyError

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS = {
    "base_url": "address of the proxy",
    "api_key": "key of the proxy",
    "output": "table, json or csv",
    "timeout": "longest silence of the proxy in seconds",
}
OUTPUTS = ("table", "json", "csv")
_ALIASES = {"url": "base_url", "key": "api_key"}
_REAL_KEY = re.compile(r"cp_[A-Za-z0-9_-]{43}")
_SHOWN = 7  # `cp_` and four characters


def change(name: str, value: str | None, environ: Mapping[str, str] | None = None) -> None:
    """Set a setting, or forget it with None. Raises `BadRequest` for a wrong one, `ProxyError`."""
    name = known(name)
    told = places.read_config(environ)
    told.pop(name, None)
    if value is not None:
        told[name] = _checked(name, value.strip())
    _write(told, environ)


def known(name: str) -> str:
    """Return a setting's name. Raises `BadRequest` when there is none like it."""
    name = _ALIASES.get(name, name)
    if name not in SETTINGS:
        raise BadRequest(f"There is no setting '{name}'.", hint=f"There are: {', '.join(SETTINGS)}.", code="setting")
    return name


def is_real_key(key: str) -> bool:
    """Say whether this looks like a key that a proxy made."""
    return _REAL_KEY.fullmatch(key) is not None


def shown(name: str, value: Any) -> str:
    """Return a setting as it may be seen: of a key its beginning."""
    text = str(value)
    if name != "api_key":
        return text
    return f"{text[:_SHOWN]}…" if is_real_key(text) else f"{text[:3]}…"


def _checked(name: str, value: str) -> Any:
    if not value or not value.isprintable():
        raise BadRequest(f"'{name}' needs a value of printable characters.", code="setting")
    if name == "output" and value not in OUTPUTS:
        raise BadRequest(f"output = '{value}' is none of {', '.join(OUTPUTS)}.", code="setting")
    if name == "base_url" and not value.startswith(("http://", "https://")):
        raise BadRequest(f"'{value}' is no address.", hint="Write one such as http://127.0.0.1:8082.", code="setting")
    if name != "timeout":
        return value
    with contextlib.suppress(ValueError):
        seconds = float(value)
        if 0 < seconds <= 3600:  # noqa: PLR2004 - an hour; also refuses what is no finite number
            return seconds
    raise BadRequest(f"timeout = '{value}' is no number of seconds up to 3600.", code="setting")


def _write(told: Mapping[str, Any], environ: Mapping[str, str] | None) -> None:
    """Replace the file: whoever reads meanwhile finds the old one or the new one, and nobody else may read."""
    path = places.config_path(environ)
    temporary = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config.")  # made with mode 0600
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(told, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise ProxyError(f"{path} cannot be written ({error.strerror}).", code="config") from error
