"""Control as a process: light when idle, late with the lake's libraries, and it answers before it leaves."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from proxy_server.control.router import KNOWN, PUBLIC, Route
from tests.control import alone
from tests.harness import wait_until

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import socket, sys
from proxy_server.process import Child, run_child
from ultimate_lib.settings import load
listener = socket.socket(fileno=int(sys.argv[2]))
settings = load(environ={}, overrides={"data.folder": sys.argv[1], "server.drain_s": 5.0})
child = Child(settings=settings, role="control", slot=0, listener=listener, control_address="", demo_url="")
sys.exit(run_child(child, life_fd=None))
"""


@contextlib.contextmanager
def process(folder: Path, code: str = CHILD) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", code, str(folder), str(listener.fileno())]
        started = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()])
    try:
        yield started, port
    finally:
        started.kill()
        started.wait()


def ask(port: int, path: str, key: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


def test_idle_it_is_small_and_holds_no_data_frame_library(tmp_path: Path) -> None:
    with process(tmp_path) as (started, port):
        assert ask(port, "/healthz")[0] == 200
        assert ask(port, "/")[0] == 200
        assert ask(port, "/metrics")[0] == 200
        assert psutil.Process(started.pid).memory_info().rss < 100 << 20
        loaded = {Path(found.path).name for found in psutil.Process(started.pid).memory_maps()}
        assert not any("polars" in name or "arrow" in name or "deltalake" in name for name in loaded)
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0


def test_what_has_been_asked_is_answered_before_it_leaves(tmp_path: Path) -> None:
    begun = threading.Event()

    def slow(*_: object) -> dict[str, str]:
        begun.set()
        time.sleep(1)
        return {"answer": "whole"}

    table = (Route("GET", "/api/slow", slow, PUBLIC, "Slow.", ""),)
    told: list[tuple[int, bytes]] = []
    with alone.start(tmp_path, table=table) as control:
        thread = threading.Thread(target=lambda: told.append(ask(control.port, "/api/slow")))
        thread.start()
        assert begun.wait(20)
    thread.join(20)  # leaving the block drains the server
    assert told == [(200, b'{"answer":"whole"}')]
    with pytest.raises(ConnectionRefusedError):
        ask(control.port, "/api/slow")


def test_few_questions_to_the_lake_at_a_time_and_the_rest_stays_quick(tmp_path: Path) -> None:
    running, most = 0, 0
    guard, free = threading.Lock(), threading.Event()

    def heavy(*_: object) -> dict[str, str]:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        free.wait(60)
        with guard:
            running -= 1
        return {}

    table = (
        Route("GET", "/api/heavy", heavy, KNOWN, "Heavy.", "", heavy=True),
        Route("GET", "/api/light", lambda *_: {}, PUBLIC, "Light.", ""),
    )
    statuses: list[int] = []
    with alone.start(tmp_path, table=table) as control:

        def one() -> None:
            statuses.append(ask(control.port, "/api/heavy", control.key)[0])

        threads = [threading.Thread(target=one) for _ in range(60)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) >= 10, 20)
        assert statuses == [503] * 10, "fifty wait or run, the others are told to come again"
        assert ask(control.port, "/api/light")[0] == 200
        assert running == 2, "the others hold on"
        free.set()
        for thread in threads:
            thread.join(30)
    assert most == 2
    assert sorted(statuses) == [200] * 50 + [503] * 10
