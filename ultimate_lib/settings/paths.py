"""Paths among the settings, made whole: a process finds the same files wherever it was started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADDRESSES = frozenset({"data.lake_url", "data.store_url"})
PATHS = frozenset({"data.folder", "server.tls_cert", "server.tls_key", *_ADDRESSES})
_IN_MEMORY = ":memory:"


def given(tree: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield (table, key, dotted name) of each path that a configuration file gives."""
    for dotted in PATHS:
        section, _, key = dotted.partition(".")
        table = tree.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            yield table, key, dotted
    providers = tree.get("providers")
    for name, entry in providers.items() if isinstance(providers, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("api_key_file"), str):
            yield entry, "api_key_file", f"providers.{name}.api_key_file"


def whole(dotted: str, value: str, base: Path | None) -> str:
    """Return a path, or an address that holds one, that does not begin at the working folder.

    `base` is where a relative one begins, None at the working folder, which is asked for by none but these: it may
    be gone. `~` is a home folder. What is no path of this machine stays. Raises RuntimeError for the home of a user
    that there is not.
    """
    if dotted == "data.store_url":
        scheme, mark, rest = value.partition(":///")
        file, asks, options = rest.partition("?")
        is_file = scheme.startswith("sqlite") and file not in {"", _IN_MEMORY} and not file.startswith("file:")
        return f"{scheme}{mark}{_absolute(file, base)}{asks}{options}" if is_file else value
    if dotted in _ADDRESSES:
        value = value.removeprefix("file://")
    if not value or (dotted in _ADDRESSES and "://" in value):
        return value
    return _absolute(value, base)


def _absolute(value: str, base: Path | None) -> str:
    path = Path(value).expanduser()
    return str(path.absolute() if base is None else base / path)
