"""`up --demo --lab`: what is printed, what runs, and that everything ends with the proxy, however that ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from proxy_server.commands.browser import has_desktop, open_page
from proxy_server.lab.lab import free_port
from tests.harness import ROOT, Running, environment, start_proxy, wait_until
from ultimate_lib.demo.names import TAG
from ultimate_lib.errors import Unavailable

ROWS = ("sign in", "JupyterLab", "OpenAI", "Anthropic", "key", "data folder", "next", "demo data")


class Jupyter:
    """The JupyterLab that a proxy has told of."""

    def __init__(self, proxy: Running) -> None:
        (told,) = re.findall(r"JupyterLab +(\S+)", proxy.said)
        parts = urlsplit(told)
        self.path = parts.path
        self.port = int(parts.port or 0)
        self._root = f"http://{parts.netloc}"
        self._token = parse_qs(parts.query)["token"][0]

    def ask(self, path: str, body: dict[str, Any] | None = None, *, token: bool = True) -> Any:
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"token {self._token}"
        data = json.dumps(body).encode() if body is not None else None
        with urllib.request.urlopen(urllib.request.Request(self._root + path, data, headers), timeout=30) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            self.ask("/api/status")
            return True
        return False


@contextlib.contextmanager
def with_lab(folder: Path, *arguments: str) -> Iterator[tuple[Running, Jupyter]]:
    with start_proxy(
        folder, arguments=["--lab", "--lab-port", str(free_port(20_000 + os.getpid() % 9000)), *arguments]
    ) as proxy:
        lab = Jupyter(proxy)
        wait_until(lab.answers, 60, proxy)
        yield proxy, lab


def family(proxy: Running) -> list[psutil.Process]:
    return psutil.Process(proxy.process.pid).children(recursive=True)


def kernel_runs(processes: list[psutil.Process]) -> bool:
    return any("ipykernel_launcher" in " ".join(process.cmdline()) for process in processes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "ending",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.heavy), signal.SIGINT, signal.SIGKILL],  # the first two are one
)
def test_jupyterlab_and_its_kernels_end_with_the_proxy(tmp_path: Path, ending: signal.Signals) -> None:
    with with_lab(tmp_path) as (proxy, lab):
        lab.ask("/api/kernels", {})
        everyone = family(proxy)
        assert kernel_runs(everyone)
        proxy.process.send_signal(ending)
        assert proxy.process.wait(30) == (-ending if ending == signal.SIGKILL else 0)
        left = psutil.wait_procs(everyone, timeout=20)[1]
        assert not left, [process.cmdline() for process in left]


@pytest.mark.slow
def test_up_tells_everything_in_order_and_jupyterlab_is_closed_to_strangers(tmp_path: Path) -> None:
    with with_lab(tmp_path, "--demo") as (proxy, lab):
        told = [line[2:].split("  ")[0] for line in proxy.said.splitlines() if line.startswith("  ")]
        assert [name for name in told if name in ROWS] == list(ROWS)
        ends = {re.search(r"^  [\w ]+?  +", line).end() for line in proxy.said.splitlines() if line.startswith("  ")}  # type: ignore[union-attr]
        assert len(ends) == 1, "aligned"
        assert "made up" in proxy.said
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            lab.ask("/api/contents", token=False)
        refused.value.close()
        found = {entry["name"] for entry in lab.ask("/api/contents")["content"]}
        assert {path.name for path in (ROOT / "notebooks").glob("*.ipynb")} <= found
        listening = {
            connection.laddr.ip
            for process in family(proxy)
            if "lab/child.py" in " ".join(process.cmdline())
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
        (jupyter,) = [process for process in family(proxy) if "lab/child.py" in " ".join(process.cmdline())]
        assert "token" not in " ".join(jupyter.cmdline())
        jupyter.kill()
        wait_until(lambda: "the proxy goes on" in proxy.log(), 10, proxy)
        assert "SIGKILL" in proxy.log()
        assert proxy.get("/api/auth/verify")


@pytest.mark.slow
def test_a_taken_port_is_passed_over_or_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) > port
        with pytest.raises(Unavailable, match="taken"):
            free_port(port, exact=True)
        with start_proxy(tmp_path, arguments=["--lab", "--lab-port", str(port)]) as proxy:
            assert "JupyterLab" not in proxy.said
            assert f"JupyterLab is not started: On loopback port {port} is taken." in proxy.log()
            assert proxy.get("/api/auth/verify"), "the proxy does not need it"


def test_without_the_extra_the_sentence_names_it(tmp_path: Path) -> None:
    without = (
        "import importlib.util as found, sys; real = found.find_spec;"
        "found.find_spec = lambda name, *rest: None if name == 'jupyterlab' else real(name, *rest);"
        "from proxy_server.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", without, "up", "--lab", "--port", "0", "--data", str(tmp_path / "data")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "pip install 'ultimate-proxy[lab]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_demo_never_touches_a_configured_lake_or_store(tmp_path: Path) -> None:
    own = tmp_path / "own"
    config = f"[data]\nlake_url = '{own}/lake'\nstore_url = 'sqlite:///{own}/store.sqlite'\n"
    with start_proxy(tmp_path / "proxy", config=config, arguments=["--demo", "--demo-data"]) as proxy:
        wait_until(lambda: "7 of 77 days" in proxy.log(), 60, proxy)
        assert (proxy.data_dir / "demo" / "lake" / "calls").is_dir()
    assert not own.exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_leaves_every_call_once(tmp_path: Path) -> None:
    span = "start=2020-01-01&metrics=requests"
    with start_proxy(tmp_path, arguments=["--demo", "--demo-data"]) as proxy:
        wait_until(lambda: "21 of 77 days" in proxy.log(), 60, proxy)
        (worker,) = proxy.pids("worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "written and rolled up" in proxy.log(), 90, proxy)
        assert proxy.get(f"/api/analytics/aggregate?{span}")["rows"][0]["requests"] > 100_000
        folder = proxy.data_dir / "demo" / "lake"
        import polars as pl

        calls = pl.scan_delta(str(folder / "calls")).select("call_id").collect()
        assert calls["call_id"].n_unique() == calls.height > 100_000
        (again,) = proxy.pids("worker")
        assert again != worker


def test_the_trickle_of_calls_goes_through_the_port_and_is_marked(tmp_path: Path) -> None:
    with start_proxy(tmp_path, arguments=["--demo", "--demo-traffic"]) as proxy:
        wait_until(lambda: proxy.get("/api/analytics/calls")["rows"], 40, proxy)
        row = proxy.get("/api/analytics/calls")["rows"][-1]
        assert all(json.loads(line)["level"] for line in proxy.log().splitlines()), "a file gets JSON"
    assert (row["app"], row["provider"], row["source"]) == ("demo-traffic", "demo", "proxy")
    assert row["tags"] == [TAG, "traffic=live"]


def test_people_at_a_terminal_read_sentences(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy_server", "up", "--port", "0", "--data", str(tmp_path / "data")]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        until = time.monotonic() + 30
        while b"control-0 serves" not in said and time.monotonic() < until:
            with contextlib.suppress(OSError):
                said += os.read(ours, 65536)
    finally:
        process.terminate()
        assert process.wait(30) == 0
        os.close(ours)
    lines = said.decode().replace("\r", "").splitlines()
    logged = [line for line in lines if " serves (process" in line]
    assert len(logged) >= 3
    assert all(
        re.fullmatch(r"\d\d:\d\d:\d\d INFO +supervisor: \S+ serves \(process \d+\)\.", line) for line in logged
    )
    assert not any(line.startswith("{") for line in lines)


def test_a_browser_is_opened_on_a_desktop_alone() -> None:
    assert has_desktop({"DISPLAY": ":0"}) or sys.platform == "darwin"
    assert not has_desktop({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"})
    assert not open_page("http://127.0.0.1:9/", {"SSH_TTY": "/dev/pts/1", "DISPLAY": ":0"})
