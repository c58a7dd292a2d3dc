"""A real JupyterLab for tests: its own folders, a token, a free port, our extension from the source tree."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness import ROOT, environment

EXTENSION = ROOT / "extension"
_START_S, _STOP_S = 60.0, 20.0
_QUIET = {  # JupyterLab's own questions to the network
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/extensionmanager-extension/plugin": {"enabled": False},
}


@dataclass
class Lab:
    """A running JupyterLab: `url` opens it, `root` holds its notebooks, `config` its settings."""

    url: str
    root: Path
    config: Path
    log: Path
    token: str = field(repr=False)

    @property
    def page(self) -> str:
        """The address that signs in and opens an empty workspace."""
        return f"{self.url}/lab/workspaces/t{secrets.token_hex(4)}?token={self.token}"

    def setting(self, plugin: str, **values: Any) -> None:
        """Write a user's setting, as the settings editor would."""
        path = self.config / "lab" / "user-settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")

    def notebook(self, name: str, *cells: str) -> Path:
        """Write a notebook of code cells whose ids are c0, c1, …"""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        told = [
            {"cell_type": "code", "id": f"c{number}", "metadata": {}, "outputs": [], "execution_count": None,
             "source": source}
            for number, source in enumerate(cells)
        ]  # fmt: skip
        document = {"cells": told, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def open(self, name: str) -> str:
        """The address that signs in and opens a notebook."""
        return f"{self.url}/lab/workspaces/t{secrets.token_hex(4)}/tree/{name}?token={self.token}"


def extension_paths(folder: Path) -> dict[str, str]:
    """Return the variables by which Jupyter finds the extension in this source tree; makes a link in `folder`."""
    link = folder / "labextensions" / "@ultimate-proxy" / "jupyterlab"
    link.parent.mkdir(parents=True)
    link.symlink_to(EXTENSION / "jupyterlab_ultimate_proxy" / "labextension")
    return {"JUPYTER_PATH": str(folder), "JUPYTER_CONFIG_PATH": str(EXTENSION / "jupyter-config")}


@contextlib.contextmanager
def start_lab(folder: Path, env: dict[str, str] | None = None) -> Iterator[Lab]:
    """Run JupyterLab in `folder` for the time of a `with` block."""
    for name in ("root", "config", "share"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    lab = Lab(
        f"http://127.0.0.1:{port}", folder / "root", folder / "config", folder / "lab.log", secrets.token_hex(16)
    )
    for plugin, values in _QUIET.items():
        lab.setting(plugin, **values)
    told = environment(folder, env) | extension_paths(folder / "share")
    told["PYTHONPATH"] += os.pathsep + str(EXTENSION)
    told |= {
        "JUPYTER_CONFIG_DIR": str(lab.config),
        "JUPYTER_DATA_DIR": str(folder / "jupyter-data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter-runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={lab.token}", f"--ServerApp.root_dir={lab.root}",
        "--LabApp.news_url=", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with lab.log.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=lab.root, env=told, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _await(process, lab)
        yield lab
    except BaseException:
        sys.stderr.write(f"--- log of JupyterLab\n{lab.log.read_text(errors='replace')[-10_000:]}\n")
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], lab: Lab) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{lab.url}/api", timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise AssertionError("JupyterLab did not start")
