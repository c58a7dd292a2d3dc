"""A whole proxy for a test: real processes on free ports in a folder of their own, gone when the test is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.stopwatch import Stopwatch

ROOT = Path(__file__).resolve().parent.parent
_START_S = 30.0
_STOP_S = 30.0
_QUIET = (("--no-demo-data", "--demo-data"), ("--no-demo-traffic", "--demo-traffic"))
_KEPT_VARIABLES = ("PATH", "TMPDIR", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")


class Running:
    """A running proxy. `process` is its supervisor; what it and its children said is in `log()`."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, config_path: Path, errors: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.config_path = config_path
        self.said = ""
        self.url = ""
        self.key = ""
        self._errors = errors

    def log(self) -> str:
        """Return what was written to standard error so far."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> Any:
        """GET a path with the key and return what its JSON says; raises `urllib.error.HTTPError` from 400 on."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def pids(self, role: str) -> list[int]:
        """Return the living children of a role: gateway, control, worker or demo."""
        return [int(child.pid) for child in self._children() if _role(child) == role]

    def wait_until_replaced(self, role: str, old: int, seconds: float = 20.0) -> int:
        """Wait until the seat of a child that has ended has another that serves, and return that one."""
        told = re.compile(rf'"message": "({role}-\d+) serves \(process (\d+)\)')

        def successors() -> list[int]:
            served = [(name, int(pid)) for name, pid in told.findall(self.log())]
            for seat in {name for name, pid in served if pid == old}:
                of_seat = [pid for name, pid in served if name == seat]
                return of_seat[of_seat.index(old) + 1 :]
            return []  # it is told of a little later than it serves

        wait_until(successors, seconds, self)
        return successors()[-1]

    def _children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def reload(self, config: str | None = None) -> None:
        """Ask for a reload, with another configuration if one is given, and return when it is done or refused."""
        if config is not None:
            self.config_path.write_text(config, encoding="utf-8")
        before = len(self._reloads())
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self._reloads()) > before, 60.0, self)

    def _reloads(self) -> list[str]:
        told = ("Reloaded", "The reload is refused", "The reload failed")
        return [line for line in self.log().splitlines() if any(text in line for text in told)]

    def stop(self) -> int:
        """Stop it as Ctrl-C would, and return the exit status; what does not leave in time is killed."""
        children = self._children()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
        if self.process.poll() is None:
            self.process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        status = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


def wait_until(true: Callable[[], object], seconds: float, running: Running | None = None) -> None:
    """Wait until something is true; fail with the proxy's log when it does not come true in time."""
    with Stopwatch() as waited:
        while not true():
            if waited.seconds > seconds:
                log = running.log()[-5000:] if running is not None else ""
                raise AssertionError(f"not true within {seconds:g} s\n{log}")
            time.sleep(0.02)


def environment(folder: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """Return an environment without anyone's keys, with `folder` as home."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    ours = os.pathsep.join((str(ROOT), str(ROOT / "ultimate_lib" / "sdk" / "src")))
    return {**kept, "HOME": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONPATH": ours, **(env or {})}


def launch(
    folder: Path, *, config: str = "", env: dict[str, str] | None = None, arguments: Sequence[str] = ()
) -> Running:
    """Start a proxy without waiting for it. The caller calls `stop`."""
    folder.mkdir(parents=True, exist_ok=True)
    config_path, data_dir, errors = folder / "ultimate.toml", folder / "data", folder / "stderr.log"
    config_path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "proxy_server", "up", "--port", "0", "--data", str(data_dir)]
    command += ["--config", str(config_path), *arguments]
    if "--demo" in arguments:  # an empty lake and no calls but the test's own, unless it asks for them
        command += [off for off, on in _QUIET if on not in arguments]
    with errors.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder, env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, text=True,
        )  # fmt: skip
    return Running(process, data_dir, config_path, errors)


def await_start(running: Running) -> None:
    """Wait until a launched proxy answers calls, and learn its address and key. Fails with its log."""
    out = running.process.stdout
    assert out is not None
    until = time.monotonic() + _START_S
    for line in iter(out.readline, ""):  # it prints within a second or ends; the pipe ends with it
        running.said += line
        if line.startswith("Ultimate Proxy answers at "):
            running.url = line.split()[-1]
        if running.url and not line.strip():
            break
        assert time.monotonic() < until
    if not running.url:
        status = running.process.wait(_STOP_S)
        raise AssertionError(f"The proxy did not start (status {status}):\n{running.log()}")
    for local in (running.data_dir / "local.json", running.data_dir / "demo" / "local.json"):
        if local.exists():
            running.key = json.loads(local.read_text(encoding="utf-8"))["key"]


@contextlib.contextmanager
def start_proxy(
    folder: Path, *, config: str = "", env: dict[str, str] | None = None, arguments: Sequence[str] = ()
) -> Iterator[Running]:
    """Run a proxy in `folder` (configuration, data, log) for the time of a `with` block."""
    running = launch(folder, config=config, env=env, arguments=arguments)
    try:
        await_start(running)
        yield running
    except BaseException:
        sys.stderr.write(f"--- log of the proxy in {folder}\n{running.log()[-20_000:]}\n")
        raise
    finally:
        running.stop()


def _role(process: psutil.Process) -> str:
    try:
        command = process.cmdline()
    except psutil.Error:
        return ""
    place = next((number for number, part in enumerate(command) if part.endswith("child.py")), None)
    return command[place + 1] if place is not None and len(command) > place + 1 else ""
