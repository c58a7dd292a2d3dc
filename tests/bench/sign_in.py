"""What signing in costs, and what it adds to the calls that pass meanwhile.

    python -m tests.bench.sign_in [--windows 3] [--window-s 10]

The whole proxy runs as `ultimate-proxy up` starts it. Calls are sent at 50 a second whatever becomes of the ones
before; in every other window five people a second sign in as well. `login_added_p99_ms` is the 99th percentile of
all calls in windows with sign-ins less that of those without.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.bench.figures import Figure, emit
from tests.bench.gateway import BODY, PATH, config_text, null_upstream
from ultimate_lib.access import passwords

CALLS_A_S, LOGINS_A_S = 50, 5
PASSWORD = "violet tractor in june 7"


class Proxy(NamedTuple):
    """A running proxy."""

    port: int
    key: str


@contextlib.contextmanager
def proxy(folder: Path, upstream: int) -> Iterator[Proxy]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (folder / "ultimate.toml").write_text(config_text(upstream), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server", "up", "--config", str(folder / "ultimate.toml"),
         "--data", str(folder / "data"), "--port", str(port)],
        env={**os.environ, "BENCH_KEY": "sk-bench"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            time.sleep(0.1)
            with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
                key = json.loads((folder / "data" / "local.json").read_text(encoding="utf-8"))["key"]
                running = Proxy(port, key)
                if call(running) and ask(running, "GET", "/api/auth/verify", None).status == 200:
                    break
        else:
            raise SystemExit("the proxy did not start within a minute")
        yield running
    finally:
        process.terminate()
        process.wait(30)


class Reply(NamedTuple):
    status: int
    took_ms: float


_connections = threading.local()


def ask(running: Proxy, method: str, path: str, told: object, *, key: bool = True) -> Reply:
    """Send JSON over this thread's kept connection."""
    kept = getattr(_connections, "kept", None)
    if kept is None:
        kept = _connections.kept = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    headers = {"Content-Type": "application/json", "Host": f"127.0.0.1:{running.port}"}
    if key:
        headers["Authorization"] = f"Bearer {running.key}"
    body = told if isinstance(told, str) else json.dumps(told) if told is not None else None
    began = time.perf_counter()
    try:
        kept.request(method, path, body, headers)
        answer = kept.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        _connections.kept = None
        raise
    return Reply(answer.status, (time.perf_counter() - began) * 1e3)


def call(running: Proxy) -> float:
    reply = ask(running, "POST", PATH, BODY)
    if reply.status != 200:
        raise OSError(f"a call got {reply.status}")
    return reply.took_ms


def sign_in(running: Proxy) -> float:
    reply = ask(running, "POST", "/api/auth/login", {"name": "bench", "password": PASSWORD}, key=False)
    if reply.status != 200:
        raise OSError(f"a sign-in got {reply.status}")
    return reply.took_ms


def at_pace(work: Callable[[], float], a_second: float, seconds: float, threads: ThreadPoolExecutor) -> list[float]:
    """Do something at a steady pace, however long each takes, and return how long each took in ms."""
    began, futures = time.perf_counter(), []
    for number in range(int(a_second * seconds)):
        time.sleep(max(0.0, began + number / a_second - time.perf_counter()))
        futures.append(threads.submit(work))
    return [future.result() for future in futures]


def window(running: Proxy, seconds: float, *, with_logins: bool) -> tuple[list[float], list[float]]:
    logins: list[float] = []
    with ThreadPoolExecutor(8) as callers, ThreadPoolExecutor(8) as people:
        beside = threading.Thread(
            target=lambda: logins.extend(at_pace(lambda: sign_in(running), LOGINS_A_S, seconds, people))
        )
        if with_logins:
            beside.start()
        calls = at_pace(lambda: call(running), CALLS_A_S, seconds, callers)
        if with_logins:
            beside.join()
            if not logins:
                raise SystemExit("no sign-in went through")
    return calls, logins


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def verify_cost() -> tuple[float, float]:
    """Return the lowest wall and CPU time of one look at a password, in ms."""
    kept = passwords.hashed(PASSWORD, "bench")
    walls, cpus = [], []
    for _ in range(10):
        wall, cpu = time.perf_counter(), time.process_time()
        assert passwords._verified(kept, PASSWORD)
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return min(walls), min(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--window-s", type=float, default=10.0)
    arguments = parser.parse_args()
    wall, cpu = verify_cost()
    calm: list[float] = []
    busy: list[float] = []
    logins: list[float] = []
    with tempfile.TemporaryDirectory() as name, null_upstream() as upstream, proxy(Path(name), upstream) as running:
        made = {"name": "bench", "roles": {}, "password": PASSWORD}
        if ask(running, "POST", "/api/users", made).status != 201:
            raise SystemExit("the user cannot be made")
        window(running, 2, with_logins=True)  # warm
        for _ in range(arguments.windows):
            calm += window(running, arguments.window_s, with_logins=False)[0]
            calls, people = window(running, arguments.window_s, with_logins=True)
            busy += calls
            logins += people
    emit(
        [
            Figure("password_verify_ms", wall, "ms"),
            Figure("password_verify_cpu_ms", cpu, "ms"),
            Figure("login_p50_ms", statistics.median(logins), "ms"),
            Figure("login_p99_ms", p99(logins), "ms"),
            Figure("gateway_p99_ms", p99(calm), "ms"),
            Figure("login_added_p99_ms", p99(busy) - p99(calm), "ms", 5.0),
        ]
    )


if __name__ == "__main__":
    main()
