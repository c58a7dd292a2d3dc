"""Arguments that several commands take, and the settings that follow from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultimate_lib.settings import find_config, load, read

if TYPE_CHECKING:
    import argparse

    from ultimate_lib.settings import Settings


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add --config and --data."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file (default: ULTIMATE_CONFIG, ./ultimate.toml, then the user's configuration folder)",
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="data folder (default: the platform's)")


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says about settings, by dotted name."""
    given = {
        "data.folder": str(arguments.data.expanduser().absolute()) if arguments.data is not None else None,
        "server.port": getattr(arguments, "port", None),
        "server.bind": getattr(arguments, "bind", None),
        "server.gateways": getattr(arguments, "gateways", None),
        "server.insecure_http": getattr(arguments, "insecure_http", None) or None,
        "server.local_key": False if getattr(arguments, "no_local_key", False) else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def settings_and_text(arguments: argparse.Namespace, given: dict[str, Any]) -> tuple[Settings, str]:
    """Return the settings in force and the text of their file. Raises `Invalid`."""
    path = arguments.config
    path = path.expanduser().absolute() if path is not None else find_config(os.environ, Path.cwd())
    text = read(path) if path is not None else ""
    return load(path, overrides=given, text=text), text
