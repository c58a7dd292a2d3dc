"""JupyterLab as a child of the supervisor: on loopback, with a token of its own, in a working copy of the notebooks.

It asks nothing of the network, keeps its settings in the data folder and finds the proxy by CLAUDE_PROXY_URL (its key
by `local.json`). Its end is told and ends nothing else; the end of the supervisor, however it comes, ends it and its
kernels.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proxy_server.lab import notebooks
from proxy_server.lab.extension import search_paths
from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

PORT = 8888
FIRST_NOTEBOOK = "tour.ipynb"
_PORTS_TRIED = 50
_STOP_S = 12.0  # it ends its kernels first
_LAST_BYTES = 2000
_ENTRY = Path(__file__).with_name("child.py")
_DEFAULTS = {  # of JupyterLab's settings; what its user chooses wins
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},  # light or dark as the desktop is
}


class Lab:
    """One JupyterLab, started once. Raises `Unavailable` when JupyterLab is not installed."""

    def __init__(self, port: int | None = None) -> None:
        if importlib.util.find_spec("jupyterlab") is None:
            raise Unavailable(
                "JupyterLab is not installed here.",
                hint="Install it with: pip install 'ultimate-proxy[lab]'",
                code="lab_missing",
            )
        self.url = ""
        self.pid: int | None = None
        self._wished = port
        self._process: subprocess.Popen[bytes] | None = None
        self._life_fd = -1
        self._log = self._folder = Path()
        self._arguments: list[str] = []
        self._environment: dict[str, str] = {}
        self._stopping = False
        self._ended: asyncio.Event = asyncio.Event()

    def prepare(self, settings: Settings) -> None:
        """Choose its address and lay out its files. What stands in the way is logged; the proxy does not need it."""
        try:
            self._prepare(settings)
        except (OSError, Unavailable) as error:
            log.error("JupyterLab is not started: %s", error)  # noqa: TRY400 - a sentence

    def _prepare(self, settings: Settings) -> None:
        folder = settings.data_dir / "notebooks"
        for name in notebooks.update(folder):
            log.info("A new edition of a notebook lies beside yours: %s.", folder / name)
        defaults = settings.data_dir / "jupyter" / "labconfig" / "default_setting_overrides.json"
        defaults.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        defaults.write_text(json.dumps(_DEFAULTS, indent=1), encoding="utf-8")
        port = free_port(self._wished or PORT, exact=self._wished is not None)
        token = secrets.token_hex(24)
        self._log = settings.run_dir / "jupyterlab.log"
        self._folder, self._arguments, self._environment = (
            folder,
            arguments(folder, port, token),
            environment(settings),
        )
        first = f"/tree/{FIRST_NOTEBOOK}" if (folder / FIRST_NOTEBOOK).exists() else ""
        self.url = f"http://127.0.0.1:{port}/lab{first}?token={token}"

    def start(self) -> None:
        """Start it at the address that was chosen, unless none was or everything ends already."""
        if not self.url or self._stopping or self._process is not None:
            return
        try:
            self._start()
        except OSError as error:
            log.error("JupyterLab is not started: %s", error)  # noqa: TRY400 - a sentence

    def _start(self) -> None:
        life_fd, self._life_fd = os.pipe()
        try:
            with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    [sys.executable, "-P", str(_ENTRY), str(life_fd)],
                    stdin=subprocess.PIPE, stdout=out, stderr=out, pass_fds=[life_fd], cwd=self._folder,
                    env=self._environment, start_new_session=True,  # Ctrl-C is for the supervisor to act on
                )  # fmt: skip
        except OSError:
            os.close(self._life_fd)
            raise
        finally:
            os.close(life_fd)
        self.pid = self._process.pid
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended at once; `reap` tells
                self._process.stdin.write(json.dumps(self._arguments).encode())
                self._process.stdin.close()

    def reap(self) -> None:
        """Note whether it has ended, and tell if nobody asked it to."""
        if self._process is None or self._ended.is_set() or self._process.poll() is None:
            return
        self._ended.set()
        os.close(self._life_fd)
        if not self._stopping:
            status = self._process.returncode
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
            log.error(
                "JupyterLab (process %d) ended by %s; the proxy goes on. Its log is %s%s",
                self.pid, how, self._log, _last_line(self._log),
            )  # fmt: skip

    async def stop(self) -> None:
        """End it and its kernels, and return once it has left."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        if self._process is None or self._ended.is_set():
            return
        try:
            async with asyncio.timeout(_STOP_S):
                await self._ended.wait()
        except TimeoutError:
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """End it now."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def free_port(first: int, *, exact: bool = False) -> int:
    """Return the first free port of loopback from `first` on. Raises `Unavailable`."""
    for port in range(first, first + (1 if exact else _PORTS_TRIED)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    told = f"port {first} is" if exact else f"the ports {first} to {first + _PORTS_TRIED - 1} are"
    raise Unavailable(f"On loopback {told} taken.", hint="Give another with --lab-port.", code="port_taken")


def arguments(folder: Path, port: int, token: str) -> list[str]:
    """Return JupyterLab's command line: here alone, nothing from outside, no news, no update checks."""
    return [
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",  # a container's only user; it listens on loopback and asks for a token
        f"--IdentityProvider.token={token}",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--LanguageServerManager.autodetect=False",  # it would look for twenty programs, npm's among them
    ]


def environment(settings: Settings) -> dict[str, str]:
    """Return what JupyterLab and its kernels find around them: the caller's environment, and where the proxy is."""
    data, base = settings.data_dir, settings.data_dir
    if settings.data.demo and data.name == "demo":
        base = data.parent  # clients look for local.json there and in `demo` below it
    own = {
        "CLAUDE_PROXY_URL": settings.local_url,
        "ULTIMATE_DATA_FOLDER": str(base),
        "JUPYTER_CONFIG_DIR": str(data / "jupyter"),
    }
    given = dict(settings.environment)
    for name, paths in search_paths(data / "jupyter" / "share").items():
        before = given.get(name, "")
        own[name] = os.pathsep.join([*map(str, paths), *([before] if before else [])])
    return {**given, **own}


def _last_line(path: Path) -> str:
    try:
        lines = path.read_bytes()[-_LAST_BYTES:].decode(errors="replace").strip().splitlines()
    except OSError:
        return "."
    return f" and ends: {lines[-1].strip()}" if lines else "."
