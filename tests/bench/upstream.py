"""Which client towards providers: aiohttp, pyreqwest or pycurl, each alone in a process against the same upstream.

    python -m tests.bench.upstream [--quick] [--client NAME]

Prints, for each client that is installed: CPU a call at 10 connections, CPU a chunk of streams whose chunks come
50 ms apart, the time to the first token of a slow stream, and how long the upstream waits to learn of a cancellation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import uvloop

from tests.bench.figures import Figure, emit

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say something about proxies, please."}]}'
STREAM = BODY[:-1] + b',"stream":true}'
HEADERS = [
    ("content-type", "application/json"),
    ("authorization", "Bearer sk-test-0123456789"),
    ("user-agent", "OpenAI/Python 1.99.0"),
    ("accept", "application/json"),
    ("x-stainless-lang", "python"),
    ("accept-encoding", "identity"),
]
CONNECTIONS = 10
FIRST_MS = 30.0
GIVEN_UP_MS = 2000.0


class Client(Protocol):
    async def whole(self, url: str) -> bytes: ...

    def stream(self, url: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...

    async def close(self) -> None: ...


class Aiohttp:
    def __init__(self) -> None:
        import aiohttp

        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)
        )

    async def whole(self, url: str) -> bytes:
        async with self.session.post(url, data=BODY, headers=HEADERS) as response:
            return await response.read()

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self.session.post(url, data=STREAM, headers=HEADERS) as response:
            yield response.content.iter_any()

    async def close(self) -> None:
        await self.session.close()


class Pyreqwest:
    limit: int | None = 0

    def __init__(self) -> None:
        from pyreqwest.client import ClientBuilder

        self.client = ClientBuilder().follow_redirects(False).gzip(False).brotli(False).zstd(False).build()

    async def whole(self, url: str) -> bytes:
        response = await self.client.post(url).headers(HEADERS).body_bytes(BODY).build().send()
        return bytes(await response.bytes())

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        builder = self.client.post(url).headers(HEADERS).body_bytes(STREAM)
        if self.limit is not None:
            builder = builder.streamed_read_buffer_limit(self.limit)
        async with builder.build_streamed() as response:
            read = response.body_reader.read_chunk

            async def chunks() -> AsyncIterator[bytes]:
                while (chunk := await read()) is not None:
                    yield bytes(chunk)

            yield chunks()

    async def close(self) -> None:
        await self.client.close()


class PyreqwestBuffered(Pyreqwest):
    limit = None


class Pycurl:
    """libcurl on the running loop through pycurl's own AsyncCurlMulti."""

    def __init__(self) -> None:
        import pycurl

        self.curl = pycurl
        self.multi = pycurl.AsyncCurlMulti()
        self.idle: list[Any] = []
        self.lines = [f"{name}: {value}" for name, value in HEADERS]

    def _start(self, url: str, body: bytes, write: Callable[[bytes], Any]) -> tuple[Any, asyncio.Future[Any]]:
        curl = self.curl
        handle = self.idle.pop() if self.idle else curl.Curl()
        handle.setopt(curl.URL, url)
        handle.setopt(curl.POSTFIELDS, body)
        handle.setopt(curl.HTTPHEADER, self.lines)
        handle.setopt(curl.WRITEFUNCTION, write)
        return handle, self.multi.add_handle(handle)

    async def whole(self, url: str) -> bytes:
        parts: list[bytes] = []
        handle, ended = self._start(url, BODY, parts.append)
        await ended
        self.idle.append(handle)
        return b"".join(parts)

    @asynccontextmanager
    async def stream(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        _, ended = self._start(url, STREAM, queue.put_nowait)
        ended.add_done_callback(lambda _: queue.put_nowait(b""))

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await queue.get():
                yield chunk

        try:
            yield chunks()
        finally:
            ended.cancel()

    async def close(self) -> None:
        await self.multi.aclose()


CLIENTS: dict[str, tuple[str, Callable[[], Client]]] = {
    "aiohttp": ("aiohttp", Aiohttp),
    "pyreqwest": ("pyreqwest", Pyreqwest),
    "pyreqwest_buffered": ("pyreqwest", PyreqwestBuffered),
    "pycurl": ("pycurl", Pycurl),
}

SHOWN = {
    "call_us": ("cpu_us_per_call", "us", "10 connections"),
    "chunk_us": ("cpu_us_per_chunk", "us", "chunks 50 ms apart"),
    "first_token_ms": ("first_token_ms", "ms", f"upstream's first event after {FIRST_MS:g} ms"),
    "cancel_ms": ("cancel_ms", "ms", "cancelled within a stream, to the upstream's end of file"),
    "cancel_unanswered_ms": ("cancel_unanswered_ms", "ms", f"cancelled before the answer; {GIVEN_UP_MS:g}: never"),
}


async def measure(make: Callable[[], Client], url: str, slow_url: str, *, quick: bool) -> dict[str, float]:
    client = make()
    told = {"first_token_ms": await _first_token(client, slow_url, 3 if quick else 10)}
    if not isinstance(client, PyreqwestBuffered):  # holds chunks back: nothing else of it is of interest
        told["call_us"] = await _calls(client, url, 1500 if quick else 8000)
        told["chunk_us"] = await _chunks(client, url, 40 if quick else 100, 2.0 if quick else 6.0)
        told["cancel_ms"] = await _cancel(client, 5 if quick else 30, answered=True)
        told["cancel_unanswered_ms"] = await _cancel(client, 3 if quick else 10, answered=False)
    await client.close()
    return told


async def _calls(client: Client, url: str, count: int) -> float:
    async def some(number: int) -> None:
        for _ in range(number):
            await client.whole(url)

    await asyncio.gather(*(some(20) for _ in range(CONNECTIONS)))
    before = time.process_time()
    await asyncio.gather(*(some(count // CONNECTIONS) for _ in range(CONNECTIONS)))
    return (time.process_time() - before) / count * 1e6


async def _chunks(client: Client, url: str, streams: int, seconds: float) -> float:
    seen = 0

    async def one() -> None:
        nonlocal seen
        async with client.stream(url) as chunks:
            async for _ in chunks:
                seen += 1

    tasks = [asyncio.create_task(one()) for _ in range(streams)]
    await asyncio.sleep(1.0)
    before, cpu = seen, time.process_time()
    await asyncio.sleep(seconds)
    cost = (time.process_time() - cpu) / (seen - before) * 1e6
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return cost


async def _first_token(client: Client, url: str, count: int) -> float:
    """The upstream sends headers at once, the first event after FIRST_MS, the next after 50 ms, and so on."""
    waits = []
    for _ in range(count):
        start = time.perf_counter()
        async with client.stream(url) as chunks:
            async for _chunk in chunks:
                waits.append((time.perf_counter() - start) * 1e3)
                break
    return statistics.median(waits)


async def _cancel(client: Client, count: int, *, answered: bool) -> float:
    """How long after a task is cancelled its upstream sees the connection end; the upstream here is our own."""
    asked: asyncio.Queue[None] = asyncio.Queue()
    gone: asyncio.Queue[float] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answered:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(b"9\r\ndata: 1\n\n\r\n")
        asked.put_nowait(None)
        with contextlib.suppress(asyncio.CancelledError):  # the loop ends with connections open; uvloop would tell
            while await reader.read(4096):
                pass
        gone.put_nowait(time.perf_counter())
        writer.close()

    async def one(url: str) -> None:
        async with client.stream(url) as chunks:
            async for _ in chunks:
                pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat/completions"
    waits = []
    for _ in range(count):
        task = asyncio.create_task(one(url))
        await asked.get()
        await asyncio.sleep(0.02)
        cancelled = time.perf_counter()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        try:
            waits.append((await asyncio.wait_for(gone.get(), GIVEN_UP_MS / 1e3) - cancelled) * 1e3)
        except TimeoutError:
            waits.append(GIVEN_UP_MS)
    server.close()
    return statistics.median(waits)


def start_upstream(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.null_upstream", *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{process.stdout.readline().strip()}/v1/chat/completions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--client", choices=CLIENTS)
    parser.add_argument("--at", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.at:
        _, make = CLIENTS[arguments.client]
        print(json.dumps(uvloop.run(measure(make, *arguments.at, quick=arguments.quick))))
        return
    fast, url = start_upstream("--chunks", "100000")
    slow, slow_url = start_upstream("--chunks", "40", "--first-ms", str(FIRST_MS))
    figures = []
    try:
        for name, (package, _) in CLIENTS.items():
            if arguments.client not in {None, name}:
                continue
            if importlib.util.find_spec(package) is None:
                print(f"{name}: skipped, the package {package} is not installed here")
                continue
            command = [sys.executable, "-m", "tests.bench.upstream", "--client", name, "--at", url, slow_url]
            done = subprocess.run(
                [*command, *(["--quick"] if arguments.quick else [])], stdout=subprocess.PIPE, text=True, check=True
            )
            told = json.loads(done.stdout)
            figures += [
                Figure(f"{name}_{figure}", told[key], unit, how=how)
                for key, (figure, unit, how) in SHOWN.items()
                if key in told
            ]
    finally:
        for process in (fast, slow):
            process.terminate()
            process.wait()
    emit(figures)


if __name__ == "__main__":
    main()
