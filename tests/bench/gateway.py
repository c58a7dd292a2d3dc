"""What the gateway costs, beside the upstream called directly and Debian's nginx as a proxy.

    python -m tests.bench.gateway [--quick] [--peers]

Everything is on: key, record, journal, price. The gateway runs on one core and everything else on the other, so that
what is counted is its own work. CPU figures are the lowest of several windows: noise of a shared machine only adds.
`--peers` also runs LiteLLM's proxy, when it is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.figures import Figure, emit
from tests.gateway.gateways import Gateway, start_gateway

PATH = "/v1/chat/completions"
BODY = (
    '{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are terse."},{"role":"user","content":'
    '"Say something about proxies, please, in one or two sentences."}],"max_tokens":100}'
)
STREAM = BODY[:-1] + ',"stream":true}'
CONNECTIONS = 10
NGINX = "/usr/sbin/nginx"
ALL_CORES = sorted(os.sched_getaffinity(0))


class Load(NamedTuple):
    """What a load of non-stream calls gave."""

    cpu_us: float
    rps: float
    p50_ms: float
    p99_ms: float


class Paces(NamedTuple):
    """How long the parts of the bench take, in seconds, and how much they carry."""

    windows: int
    window_s: float
    streams: int
    streams_s: float
    first_tokens: int
    open_streams: int


QUICK = Paces(windows=4, window_s=1.5, streams=60, streams_s=3.0, first_tokens=40, open_streams=0)
FULL = Paces(windows=6, window_s=4.0, streams=100, streams_s=10.0, first_tokens=200, open_streams=1000)


def cpu_s(pids: list[int]) -> float:
    """Return the CPU time of processes so far, all threads, as the scheduler counts it."""
    nanoseconds = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                nanoseconds += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def rss_mb(pid: int) -> float:
    told = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) / 1024  # type: ignore[index]


def on_core(number: int, pid: int = 0) -> None:
    """Keep a process, by default this one and what it starts, on one core."""
    core = {ALL_CORES[number % len(ALL_CORES)]}
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        os.sched_setaffinity(int(task.name), core)


@contextlib.contextmanager
def null_upstream(*arguments: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.null_upstream", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[tuple[int, list[int]]]:
    """Run nginx as a proxy in front of the upstream; give its port and its workers."""
    with contextlib.closing(__import__("socket").create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(
        f"""
        worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            upstream null {{ server 127.0.0.1:{upstream}; keepalive 64; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://null; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_buffering off;
                }}
            }}
        }}
        """,
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        yield port, [process.pid, *map(int, children)]
    finally:
        process.terminate()
        process.wait()


def load(port: int, key: str, pids: list[int], paces: Paces, folder: Path) -> Load:
    """Call over ten kept connections in several windows with wrk."""
    script = wrk_script(folder, key)
    windows = [window(port, pids, paces.window_s, script) for _ in range(paces.windows + 1)][1:]  # the first warms up
    best = min(windows, key=lambda one: one.cpu_us)
    middle = sorted(windows, key=lambda one: one.p99_ms)[len(windows) // 2]
    return Load(best.cpu_us, max(one.rps for one in windows), middle.p50_ms, middle.p99_ms)


def wrk_script(folder: Path, key: str) -> Path:
    """Write what wrk sends: a non-stream call as a client sends it."""
    script = folder / "load.lua"
    script.write_text(
        f"""
        wrk.method = "POST"
        wrk.body = '{BODY}'
        wrk.headers["Content-Type"] = "application/json"
        wrk.headers["Authorization"] = "Bearer {key}"
        wrk.headers["User-Agent"] = "OpenAI/Python 1.99.0"
        wrk.headers["Accept"] = "application/json"
        wrk.headers["X-Stainless-Lang"] = "python"
        wrk.headers["X-Stainless-Runtime"] = "CPython"
        """,
        encoding="utf-8",
    )
    return script


def window(port: int, pids: list[int], seconds: float, script: Path) -> Load:
    """Load for about so long, and return what it took."""
    whole_s = round(seconds if float(seconds).is_integer() else seconds + 0.5)  # wrk takes whole seconds
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole_s}s", "--latency", "-s", str(script)]
    before = cpu_s(pids)
    told = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{PATH}"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    used = cpu_s(pids) - before
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"the load failed:\n{told}")
    count = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    rps = float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1])  # type: ignore[index]
    return Load(used / count * 1e6, rps, _latency(told, "50%"), _latency(told, "99%"))


def _latency(told: str, row: str) -> float:
    value, unit = re.search(rf"{row}\s+([\d.]+)(us|ms|s)", told).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


class Reader(asyncio.Protocol):
    """Reads a stream and throws it away; counts chunks by their ends."""

    chunks = 0

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.first: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        Reader.chunks += data.count(b"\n\n")
        if not self.first.done() and b"data: " in data:
            self.first.set_result(time.perf_counter())


def request(key: str) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(STREAM)}\r\n\r\n{STREAM}"
    ).encode()


async def _open(port: int, key: str, count: int) -> list[Reader]:
    loop = asyncio.get_running_loop()
    readers = []
    for _ in range(count):
        _, reader = await loop.create_connection(lambda: Reader(request(key)), "127.0.0.1", port)
        readers.append(reader)
        await asyncio.sleep(0.002)
    await asyncio.gather(*(asyncio.wait_for(reader.first, 30) for reader in readers))
    return readers


async def per_chunk(port: int, key: str, pids: list[int], paces: Paces) -> float:
    """CPU a chunk while many streams run, their chunks 50 ms apart; opening them does not count."""
    readers = await _open(port, key, paces.streams)
    await asyncio.sleep(0.5)
    costs = []
    for _ in range(3):
        seen, used = Reader.chunks, cpu_s(pids)
        await asyncio.sleep(paces.streams_s / 3)
        costs.append((cpu_s(pids) - used) / (Reader.chunks - seen) * 1e6)
    for reader in readers:
        reader.transport.close()
    return min(costs)


async def first_token(port: int, key: str) -> float:
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(lambda: Reader(request(key)), "127.0.0.1", port)
    took = await reader.first - began
    transport.close()
    return took * 1e3


async def added_first_token(gateway: Gateway, upstream: int, paces: Paces) -> float:
    """Median of first tokens through the gateway less the median of those called directly, turn by turn."""
    through, direct = [], []
    for _ in range(paces.first_tokens):
        through.append(await first_token(gateway.port, gateway.key))
        direct.append(await first_token(upstream, gateway.key))
    return statistics.median(through) - statistics.median(direct)


async def rss_with_streams(gateway: Gateway, paces: Paces) -> float:
    readers = await _open(gateway.port, gateway.key, paces.open_streams)
    await asyncio.sleep(2)
    rss = rss_mb(gateway.pid)
    for reader in readers:
        reader.transport.close()
    return rss


def start_s(folder: Path, upstream: int) -> float | None:
    """Seconds from `python -m proxy_server` to the first answered call; None when it cannot be started here."""
    if importlib.util.find_spec("proxy_server.control") is None:
        print("start_s: skipped, the control process is not part of this checkout")
        return None
    with contextlib.closing(__import__("socket").create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    config = folder / "ultimate.toml"
    config.write_text(config_text(upstream), encoding="utf-8")
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server", "up", "--config", str(config), "--data", str(folder / "data"),
         "--port", str(port)],
        env={**os.environ, "BENCH_KEY": "sk-bench"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while time.perf_counter() - began < 30:
            with contextlib.suppress(OSError, ValueError, KeyError):
                import http.client
                import json

                key = json.loads((folder / "data" / "local.json").read_text(encoding="utf-8"))["key"]
                client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                client.request("POST", PATH, BODY, {"authorization": f"Bearer {key}"})
                if client.getresponse().status == 200:
                    return time.perf_counter() - began
            time.sleep(0.01)
    finally:
        process.terminate()
        process.wait(30)
    return None


def config_text(upstream: int) -> str:
    return f'[providers.openai]\nbase_url = "http://127.0.0.1:{upstream}/v1"\napi_key_env = "BENCH_KEY"\n'


def peers_of(folder: Path, upstream: int, paces: Paces, gateway: Gateway, *, more: bool) -> dict[str, Load]:
    found: dict[str, Load] = {}
    if Path(NGINX).exists():
        (folder / "nginx").mkdir()
        with nginx(folder / "nginx", upstream) as (port, pids):
            for pid in pids:
                on_core(0, pid)
            found["nginx"] = load(port, gateway.key, pids, paces, folder)
    else:
        print(f"nginx: skipped, {NGINX} is not here (apt-get install nginx-light)")
    if more:
        known = importlib.util.find_spec("litellm") is not None
        print("litellm: measured by hand, see DESIGN" if known else "litellm: skipped, the package is not installed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true")
    arguments = parser.parse_args()
    paces = QUICK if arguments.quick else FULL
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not here: apt-get install wrk")
    on_core(1)
    with (
        tempfile.TemporaryDirectory() as name,
        null_upstream("--chunks", "100000") as upstream,
        null_upstream("--chunks", "100000", "--spacing-ms", "1000") as slow,
    ):
        folder = Path(name)
        figures = measure(folder, upstream, slow, paces, more=arguments.peers)
        emit(figures)


def measure(folder: Path, upstream: int, slow: int, paces: Paces, *, more: bool) -> list[Figure]:
    (folder / "calls").mkdir()
    with start_gateway(folder / "calls", config_text(upstream), {"BENCH_KEY": "sk-bench"}) as gateway:
        on_core(0, gateway.pid)
        idle = rss_mb(gateway.pid)
        calls = load(gateway.port, gateway.key, [gateway.pid], paces, folder)
        chunk = asyncio.run(per_chunk(gateway.port, gateway.key, [gateway.pid], paces))
        token = asyncio.run(added_first_token(gateway, upstream, paces))
        peers = peers_of(folder, upstream, paces, gateway, more=more)
        direct = load(upstream, gateway.key, [gateway.pid], paces, folder)
        peers["direct"] = direct
    how = f"{CONNECTIONS} connections, one core, lowest of {paces.windows} windows"
    figures = [
        Figure(
            "cpu_us_per_call", calls.cpu_us, "us", 320, {n: p.cpu_us for n, p in peers.items() if n != "direct"}, how
        ),
        Figure("cpu_us_per_chunk", chunk, "us", 45, how=f"{paces.streams} streams, chunks 50 ms apart"),
        Figure("ttft_added_p50_ms", token, "ms", 2, how="new connection each, less the upstream called directly"),
        Figure("rps_c10", calls.rps, "1/s", None, {n: p.rps for n, p in peers.items()}, "best window"),
        Figure("p50_ms_c10", calls.p50_ms, "ms", None, {n: p.p50_ms for n, p in peers.items()}, "middle window"),
        Figure("p99_ms_c10", calls.p99_ms, "ms", None, {n: p.p99_ms for n, p in peers.items()}, "middle window"),
        Figure("rss_idle_mb", idle, "MB", 90, how="before the first call"),
    ]
    if paces.open_streams:
        (folder / "streams").mkdir()
        with start_gateway(folder / "streams", config_text(slow), {"BENCH_KEY": "sk-bench"}) as gateway:
            rss = asyncio.run(rss_with_streams(gateway, paces))
        figures.append(Figure(f"rss_{paces.open_streams}_streams_mb", rss, "MB", 300, how="chunks 1 s apart"))
    (folder / "start").mkdir()
    took = start_s(folder / "start", upstream)
    if took is not None:
        figures.append(Figure("start_s", took, "s", 2, how="python -m proxy_server up to the first answered call"))
    return figures


if __name__ == "__main__":
    main()
