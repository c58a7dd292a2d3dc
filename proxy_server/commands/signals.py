"""`ultimate-proxy reload | stop | status`: speak to the supervisor of a data folder, found by its locked pid file."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, running
from proxy_server.runfile import supervisor_pid
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    import argparse

    from ultimate_lib.settings import Settings

_GRACE_S = 30.0  # beyond the time for draining


def add(subparsers: Any) -> None:
    """Add the three commands."""
    reload = subparsers.add_parser(
        "reload",
        help="take a changed configuration without dropping a call",
        description="Check the configuration, then replace every process by one that uses it. No call is dropped.",
    )
    reload.set_defaults(run=run_reload)
    stop = subparsers.add_parser(
        "stop", help="finish open calls and stop", description="Let open calls finish, then stop the proxy."
    )
    stop.set_defaults(run=run_stop)
    status = subparsers.add_parser(
        "status", help="say whether it runs", description="Say whether the proxy of this data folder runs, and where."
    )
    status.set_defaults(run=run_status)
    for parser in (reload, stop, status):
        add_places(parser)


def run_reload(arguments: argparse.Namespace) -> int:
    """Ask for a reload; a configuration that is wrong is told here already."""
    settings = running(arguments)
    pid = _pid(settings)
    os.kill(pid, signal.SIGHUP)
    print(f"Process {pid} reloads; its log tells when it is done.")
    return 0


def run_stop(arguments: argparse.Namespace) -> int:
    """Stop it and return once it is gone."""
    settings = running(arguments)
    pid = _pid(settings)
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + settings.server.drain_s + _GRACE_S
    while supervisor_pid(settings.run_dir) == pid:
        if time.monotonic() > until:
            raise Unavailable(f"Process {pid} has not left.", hint=f"End it with `kill -9 {pid}`.", code="stop_late")
        time.sleep(0.05)
    print(f"Process {pid} has stopped.")
    return 0


def run_status(arguments: argparse.Namespace) -> int:
    """Say whether it runs: exit status 0 if so."""
    settings = running(arguments)
    pid = supervisor_pid(settings.run_dir)
    print(
        f"Process {pid} runs." if pid is not None else "The proxy does not run.", f"Data folder {settings.data_dir}"
    )
    return 0 if pid is not None else 1


def _pid(settings: Settings) -> int:
    pid = supervisor_pid(settings.run_dir)
    if pid is None:
        raise Unavailable(
            f"No proxy runs with the data folder {settings.data_dir}.",
            hint="Start it with `ultimate-proxy up`, or name its folder with --data.",
            code="not_running",
        )
    return pid
