"""Arguments that several commands take, the settings that follow from them, and which proxy is meant.

A demo has a data folder of its own below the one that is told. Commands that speak to a proxy mean the one that runs;
those that look into files mean the ones that are there. Where there are two it is the first, and they say so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_server.runfile import supervisor_pid
from ultimate_lib.errors import Unavailable
from ultimate_lib.settings import find_config, load, read

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


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


def demo_overrides(settings: Settings, *, history: bool, traffic: bool) -> dict[str, Any]:
    """Return what makes a demo of these settings: a folder, a lake and a store of its own, whatever is configured."""
    return {
        "data.folder": str(settings.data_dir / "demo"),
        "data.lake_url": "",
        "data.store_url": "",
        "data.demo": True,
        "data.demo_history": history,
        "data.demo_traffic": traffic,
    }


def running(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the proxy that runs, be it a demo; of the data folder that is told when none does."""
    return _meant(arguments, _runs, "runs")


def kept(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the proxy whose store is there, be it a demo; of the data folder told without one."""
    return _meant(arguments, _has_store, "has a store")


def running_or_kept(arguments: argparse.Namespace) -> Settings:
    """Return the settings of the proxy that runs; without one those of the proxy that has run."""
    found = running(arguments)
    return found if _runs(found) else kept(arguments)


def _meant(arguments: argparse.Namespace, fits: Callable[[Settings], bool], what: str) -> Settings:
    own, _ = settings_and_text(arguments, overrides(arguments))
    given = overrides(arguments) | demo_overrides(own, history=True, traffic=True)
    demo, _ = settings_and_text(arguments, given)
    if not fits(demo):
        return own
    if fits(own):
        told = f"This is about {own.data_dir}. A demo {what}, too: --data {demo.data_dir}"
    else:
        told = f"This is about the demo, which {what}: {demo.data_dir}"
    print(told, file=sys.stderr)
    return own if fits(own) else demo


def _runs(settings: Settings) -> bool:
    return supervisor_pid(settings.run_dir) is not None


def _has_store(settings: Settings) -> bool:
    from ultimate_lib.store import Store  # noqa: PLC0415 - a proxy that runs is found without

    with contextlib.closing(Store(settings.store_url)) as store:
        return store.path is None or store.path.exists()


@contextlib.contextmanager
def the_store(settings: Settings) -> Iterator[Store]:
    """Open the store of a proxy that has run. Raises `Unavailable` instead of making one."""
    from ultimate_lib.store import Store  # noqa: PLC0415 - as above

    with contextlib.closing(Store(settings.store_url)) as store:
        if store.schema()[0] is None:
            raise Unavailable(
                f"No proxy has run with the data folder {settings.data_dir}: it has no store yet.",
                hint="Start `ultimate-proxy up` once, or name the data folder of another with --data.",
                code="no_store",
            )
        yield store
