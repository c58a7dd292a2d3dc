"""`ultimate-proxy doctor`: what could stand in the way, one line each, with what to do about it."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from proxy_server import sockets
from proxy_server.commands.common import add_places, running
from proxy_server.runfile import check_writable, supervisor_pid
from ultimate_lib.errors import UltimateError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ultimate_lib.settings import Settings

    Look = Callable[[Settings], Iterator[tuple[str, str]]]

_LOW_BYTES, _SHORT_BYTES = 1 << 30, 100 << 20
_FEW_FILES = 1024
_FRESH_S = 5.0
_FIRST_GOOD_YEAR = 2026
_PACKAGES = ("ultimate-proxy", "tornado", "uvloop", "polars", "deltalake", "SQLAlchemy", "pyarrow")
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(NamedTuple):
    """One line: ok, warn or fail; what was looked at; what is so, and what to do."""

    state: str
    about: str
    text: str


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="look for what could stand in the way",
        description="Look at environment, folders, port, clock, store, journal, lake and providers. Each line is ok, "
        "warn or fail, with what to do. The exit status is 1 when anything fails.",
    )
    add_places(parser)
    parser.add_argument("--port", type=int, metavar="N", help="the port that a start would use")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything; one trouble does not hide the next."""
    from rich.console import Console  # noqa: PLC0415 - other commands do not pay for it

    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for finding in _examine(arguments):
        failed = failed or finding.state == "fail"
        console.print(f"{finding.state:<5}", style=_COLOURS[finding.state], end="")
        console.print(f"{finding.about:<14} {finding.text}", markup=False)
    return 1 if failed else 0


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from _programs()
    try:
        settings = running(arguments)
    except UltimateError as error:
        yield Finding("fail", "configuration", str(error))
        return
    where = settings.config_path or "none; built-in values and the environment hold"
    yield Finding("ok", "configuration", str(where))
    for about, look in LOOKS.items():
        try:
            yield from (Finding(state, about, text) for state, text in look(settings))
        except (UltimateError, OSError) as error:
            yield Finding("fail", about, str(error))


def _programs() -> Iterator[Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed as a package")
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()}, {sys.executable}")
    yield Finding("ok", "packages", ", ".join(found))


def _folder(settings: Settings) -> Iterator[tuple[str, str]]:
    there = [path for path in (settings.data_dir, settings.run_dir, settings.journal_dir) if path.exists()]
    for path in there or [_nearest(settings.data_dir)]:
        check_writable(path, settings)
    if not there:
        yield "ok", f"{settings.data_dir} is not there yet; the first start makes it"
        return
    yield "ok", f"{settings.data_dir} can be written"
    if settings.data_dir.stat().st_mode & 0o077:
        yield "warn", f"Others can look into {settings.data_dir}. Run `chmod 700 {settings.data_dir}`."


def _nearest(folder: Path) -> Path:
    """Return what there is of a path: to look makes nothing."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _disk(settings: Settings) -> Iterator[tuple[str, str]]:
    free = shutil.disk_usage(_nearest(settings.data_dir)).free
    text = f"{free / 1e9:.1f} GB free"
    if free < _SHORT_BYTES:
        yield "fail", f"{text}: calls will not be recorded. Free space, or move the data folder with --data."
    elif free < _LOW_BYTES:
        yield "warn", f"{text}. Free space soon, or move the data folder with --data."
    else:
        yield "ok", text


def _files(_settings: Settings) -> Iterator[tuple[str, str]]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft <= _FEW_FILES:
        yield "warn", f"{soft} at a time, and a stream takes two. Raise it with `ulimit -n 65536`."
    else:
        yield "ok", f"{soft} at a time"


def _process(settings: Settings) -> Iterator[tuple[str, str]]:
    pid = supervisor_pid(settings.run_dir)
    yield "ok", f"process {pid} runs" if pid is not None else "not running; `ultimate-proxy up` starts it"


def _port(settings: Settings) -> Iterator[tuple[str, str]]:
    host, port = settings.server.bind, settings.server.port
    if supervisor_pid(settings.run_dir) is not None:
        try:
            with socket.create_connection((host if host != "0.0.0.0" else "127.0.0.1", port), 5):  # noqa: S104 - compared
                yield "ok", f"{host}:{port} accepts connections"
        except OSError as error:
            told = f"{host}:{port} accepts no connection ({error.strerror or error}) although the proxy runs"
            yield "fail", f"{told}. Give --port if it was started with another one; else look at its log."
        return
    for listener in sockets.listen(host, port):
        listener.close()
    yield "ok", f"{host}:{port} is free"


def _clock(_settings: Settings) -> Iterator[tuple[str, str]]:
    now = time.gmtime()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", now)
    if now.tm_year < _FIRST_GOOD_YEAR:
        yield "fail", f"{text} lies in the past: calls would get wrong dates. Set the clock."
    else:
        yield "ok", text


def _store(settings: Settings) -> Iterator[tuple[str, str]]:
    from ultimate_lib.store import Store  # noqa: PLC0415 - the database libraries are not needed before this line

    store = Store(settings.store_url)
    try:
        present, newest = store.schema()
    finally:
        store.close()
    if present is None:
        yield "ok", "no tables yet; the first start makes them"
    elif present == newest:
        yield "ok", f"schema {present}, up to date"
    elif present > newest:
        yield "fail", f"schema {present} is newer than this program ({newest}). Upgrade it, or restore a backup."
    else:
        yield "warn", f"schema {present}; the next start brings it up to {newest}, after a copy"


def _journal(settings: Settings) -> Iterator[tuple[str, str]]:
    from proxy_server import snapshot  # noqa: PLC0415 - see above

    told = snapshot.read_all(settings.run_dir, since_us=int((time.time() - _FRESH_S) * 1e6))
    dropped = sum(one.journal_dropped for one in told)
    failure = next((one.journal_failure for one in told if one.journal_failure), None)
    if failure:
        yield "fail", f"It cannot be written now: {failure}. Free space on the disk, or mend it."
    if dropped:
        yield "fail", f"{dropped} calls could not be recorded since the gateways started. Look at the disk."
    if not failure and not dropped:
        sealed = sum(1 for _ in settings.journal_dir.glob("slot-*/*/*.seg"))
        yield "ok", f"{sealed} sealed segments on disk, nothing dropped"
    aside = list(settings.journal_dir.glob("**/*.quarantine"))
    if aside:
        size = sum(path.stat().st_size for path in aside)
        yield (
            "warn",
            f"{size} bytes in {len(aside)} files failed their checksum, kept as *.quarantine to look at.",
        )


def _guard(settings: Settings) -> Iterator[tuple[str, str]]:
    from proxy_server import snapshot  # noqa: PLC0415 - see above
    from ultimate_lib.errors import Corrupt  # noqa: PLC0415
    from ultimate_lib.guard import known  # noqa: PLC0415

    if not settings.guard.enabled:
        yield "ok", "off (guard.enabled)"
        return
    told = snapshot.read_all(settings.run_dir, since_us=int((time.time() - _FRESH_S) * 1e6))
    failure = next((one.guard_failure for one in told if one.guard_failure), None)
    try:
        learnt = known.read(settings.run_dir)
    except (Corrupt, OSError) as error:
        yield "warn", f"{error} Gateways go by what they knew before."
        return
    if failure:
        yield "warn", f"A gateway goes by what it knew before ({failure}): look at the run folder and its log."
    elif learnt is None:
        yield "ok", "nothing learnt yet; the worker does it within a minute of its start"
    else:
        yield "ok", f"knows what is usual of {len(learnt.known)} keys and models"


def _lake(settings: Settings) -> Iterator[tuple[str, str]]:
    from ultimate_lib.clock import SystemClock  # noqa: PLC0415 - the frame libraries are not needed before this line
    from ultimate_lib.lake import Lake  # noqa: PLC0415

    lake = Lake.open(settings, SystemClock())
    folder = lake.storage.local("")
    if folder is not None:
        probe = _nearest(folder) / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"1")
            probe.unlink()
        except OSError as error:
            yield (
                "fail",
                (
                    f"{settings.lake_url} cannot be written ({error.strerror}). Make it writable or give another"
                    " data.lake_url; calls stay in the journal until then."
                ),
            )
            return
    snapshot = lake.calls.snapshot()
    rows = "no calls yet" if snapshot.version < 0 else f"version {snapshot.version}, {len(snapshot.files)} files"
    yield "ok", f"{settings.lake_url}: {rows}"


def _providers(settings: Settings) -> Iterator[tuple[str, str]]:
    from proxy_server.commands.check import effective_routes  # noqa: PLC0415 - see above

    names = [row["provider"] for row in effective_routes(settings).table() if row["provider"] != "demo"]
    if names:
        yield "ok", f"{', '.join(names)}: each has what it needs (`ultimate-proxy check` prints them)"
    else:
        yield "warn", "none but demo. Set ANTHROPIC_API_KEY or OPENAI_API_KEY, or write [providers.*]."


def _processors(_settings: Settings) -> Iterator[tuple[str, str]]:
    yield "ok", f"{os.cpu_count()}, load {os.getloadavg()[0]:.1f}"


LOOKS: dict[str, Look] = {
    "data folder": _folder,
    "disk": _disk,
    "open files": _files,
    "processors": _processors,
    "proxy": _process,
    "port": _port,
    "clock": _clock,
    "store": _store,
    "journal": _journal,
    "lake": _lake,
    "guard": _guard,
    "providers": _providers,
}
"""What is looked at, in this order; each yields (state, text)."""
