"""Starting and stopping the user's own proxy on this computer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterlab_ultimate_proxy import state
from jupyterlab_ultimate_proxy.refusal import Refusal
from jupyterlab_ultimate_proxy.where import data_folder_of, has_run_file

if TYPE_CHECKING:
    from claude_proxy.places import Place
    from jupyterlab_ultimate_proxy.upstream import Upstream
    from jupyterlab_ultimate_proxy.where import Where

START_S = 15.0
STOP_S = 30.0
LOG = "started-by-jupyterlab.log"
_LOOK_S = 0.2
_PATHS = ("ULTIMATE_CONFIG", "ULTIMATE_DATA_FOLDER")
_PROGRAM = (sys.executable, "-P", "-m", "proxy_server")  # -P: no module of the working folder takes its place


class Process:
    """Starts and stops; one at a time. Processes that were started outlive this server."""

    def __init__(self, where: Where, upstream: Upstream, *, start_s: float = START_S, stop_s: float = STOP_S) -> None:
        self._where = where
        self._upstream = upstream
        self._start_s = start_s
        self._stop_s = stop_s
        self._one = asyncio.Lock()
        self._started: list[subprocess.Popen[bytes]] = []  # kept so that they are reaped when they end

    async def start(self) -> dict[str, Any]:
        """Start it, unless it runs, and return the state once it answers. Raises `Refusal`: the log's last word."""
        async with self._one:
            self._reap()
            told = await state.describe(self._where, self._upstream, fresh=True)
            if told["state"] != "unreachable":
                return told
            if not told["can_start"]:
                raise Refusal(
                    HTTPStatus.CONFLICT,
                    "cannot_start",
                    f"A proxy at {told['url']} cannot be started from here.",
                    hint="Start it on its own computer, or install ultimate-proxy beside JupyterLab.",
                )
            place = await self._where()
            log = _log_path()
            process = await asyncio.to_thread(launch, place, log)
            self._started.append(process)
            return await self._wait(process, log)

    async def _wait(self, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
        until = time.monotonic() + self._start_s
        told: dict[str, Any] = {"reachable": False}
        while time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
            status = process.poll()
            if status is not None:
                last = last_line(log)
                raise Refusal(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "start_failed",
                    f"The proxy did not start: {last}"
                    if last
                    else f"The proxy did not start (exit status {status}).",
                    hint=f"Its log is {log}.",
                )
            told = await state.describe(self._where, self._upstream, fresh=True)
            if told["state"] == "running":
                return told
        if told["reachable"]:
            return told  # it came, but not as it should; the state says how
        raise Refusal(
            HTTPStatus.GATEWAY_TIMEOUT,
            "start_slow",
            f"The proxy has been starting for {self._start_s:g} s and does not answer yet: {last_line(log)}",
            hint=f"Wait a little; its log is {log}.",
        )

    async def stop(self) -> dict[str, Any]:
        """Stop it, after its open calls, and return the state then. Raises `Refusal`."""
        async with self._one:
            place = await self._where(fresh=True)
            folder = data_folder_of(place.url)
            if folder is None or not has_run_file(folder):
                raise Refusal(
                    HTTPStatus.CONFLICT,
                    "not_ours",
                    f"The proxy at {place.url} was not started by you on this computer.",
                    hint="Stop it where it was started.",
                )
            await self._run_stop(folder)
            self._reap()
            return await state.describe(self._where, self._upstream, fresh=True)

    def _reap(self) -> None:
        """Let the system forget those that have ended."""
        self._started = [process for process in self._started if process.poll() is None]

    async def _run_stop(self, folder: Path) -> None:
        process = await asyncio.create_subprocess_exec(
            *_PROGRAM, "stop", "--data", str(folder), cwd=folder, env=_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            _, said = await asyncio.wait_for(process.communicate(), self._stop_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # the command that waits; the proxy goes on finishing its calls
            await process.wait()
            raise Refusal(
                HTTPStatus.GATEWAY_TIMEOUT,
                "stop_slow",
                "The proxy was told to stop and is finishing its open calls.",
                hint="It leaves by itself when they end.",
            ) from None
        if process.returncode:
            lines = said.decode("utf-8", "replace").strip().splitlines()
            message = lines[-1].removeprefix("ultimate-proxy: ") if lines else "The proxy could not be stopped."
            raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "stop_failed", message)


def launch(place: Place, log: Path) -> subprocess.Popen[bytes]:
    """Start `ultimate-proxy up` in a session of its own, its standard error in `log`. Raises `Refusal`.

    Not in the folder where JupyterLab was started: that may be somebody else's repository, and an `ultimate.toml` in
    it would send this user's keys where it likes.
    """
    from claude_proxy import places  # noqa: PLC0415 - see where.py

    command = [*_PROGRAM, "up"]
    folder = data_folder_of(place.url)
    if folder is not None and folder.name == "demo":
        command.append("--demo")
    if place.source != places.NOWHERE:  # the built-in address leaves the port to the proxy's configuration
        command += ["--port", str(urlsplit(place.url).port or 80)]
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise Refusal(
            HTTPStatus.INTERNAL_SERVER_ERROR, "start_failed", f"{log} cannot be written ({error.strerror})."
        ) from error
    with open(handle, "wb") as errors:  # noqa: PTH123 - an open file descriptor
        return subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # it prints a link that signs in
            stderr=errors,
            cwd=log.parent,
            env=_environment(),
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    """Return our environment with the paths in it as they are meant, for a program that begins in another folder."""
    told = {name: os.environ[name] for name in _PATHS if os.environ.get(name)}
    return {**os.environ, **{name: str(Path(path).expanduser().absolute()) for name, path in told.items()}}


def last_line(log: Path) -> str:
    """Return the last sentence in a log, empty when there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(lines[-1])["message"])
    return lines[-1].removeprefix("ultimate-proxy: ")


def _log_path() -> Path:
    from claude_proxy import places  # noqa: PLC0415 - see where.py

    return places.data_folder() / LOG
