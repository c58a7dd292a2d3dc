"""What the load client and the importer themselves cost: `python -m tests.bench.replay [--quick]`.

The load client's CPU a call is part of every figure measured with it, so it stands here beside pyreqwest's for the
same calls to the same scripted provider.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from pyreqwest.client import ClientBuilder

from proxy_server.replay import shapes
from proxy_server.replay.ledger import Ledger
from proxy_server.replay.send import Plan, Sender
from proxy_server.replay.trace import Trace
from proxy_server.replay.wire import Origin
from tests.bench.figures import Figure, emit
from tests.importers.logs import BOOK, answer, open_lake, write_log
from ultimate_lib.lake import importing
from ultimate_lib.lake.importers import Row
from ultimate_lib.lake.importers.claude_code import importer

_IN_FLIGHT = 32
_SHAPE = shapes.SHAPES["openai-chat"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 50 seconds")
    calls = 4_000 if parser.parse_args().quick else 20_000
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy_server.demo_upstream"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            own, peer = uvloop.run(_own(url, calls, Path(folder))), uvloop.run(_pyreqwest(url, calls))
        finally:
            process.kill()
            process.wait()
        speed, each = _import(Path(folder), calls)
    how = f"{calls} streamed calls, {_IN_FLIGHT} in flight, scripted provider, uvloop"
    emit(
        [
            Figure(
                "replay_cpu_us_per_call", own, "us", None, {"pyreqwest, answer unread": peer}, f"{how}; ledger kept"
            ),
            Figure("import_read_mb_per_cpu_s", speed, "MB/s", None, None, f"{calls} calls of 3 lines, 21 KB a call"),
            Figure("import_us_per_call", each, "us", None, None, "priced, compared with the lake and committed"),
        ]
    )


async def _own(url: str, calls: int, folder: Path) -> float:
    trace = Trace([0.0] * calls, [1154] * calls, [211] * calls)
    plan = Plan(origin=Origin.parse(url), shape=_SHAPE, speed=None, concurrency=_IN_FLIGHT)
    async with Ledger(folder / "ledger.jsonl") as ledger:
        totals = await Sender(trace, plan, ledger).run()
    assert totals.ok == calls
    return 1e6 * totals.cpu_s / calls


async def _pyreqwest(url: str, calls: int) -> float:
    body = shapes.body_template(_SHAPE, _SHAPE.model, {"chunks": 4}) % (1154, 211)
    client = ClientBuilder().pool_max_idle_per_host(256).build()
    numbers = iter(range(calls))

    async def work() -> None:
        for _ in numbers:
            post = client.post(url + _SHAPE.path).headers([("content-type", "application/json")]).body_bytes(body)
            async with post.streamed_read_buffer_limit(0).build_streamed() as response:
                while await response.body_reader.read_chunk() is not None:
                    pass

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(_IN_FLIGHT)))
    return 1e6 * (time.process_time() - began) / calls


def _import(folder: Path, calls: int) -> tuple[float, float]:
    """Return MB read a CPU second, and µs CPU a call for what follows reading."""
    text = "x" * 20_000
    lines = (
        ({"type": "user", "message": {"content": text}}, answer(number, output=1), answer(number, output=90))
        for number in range(calls)
    )
    path = write_log(folder / "log.jsonl", [line for three in lines for line in three])
    began = time.process_time()
    assert sum(isinstance(item, Row) for item in importer.read([path], 1 << 62, lambda _: None)) == calls
    reading = time.process_time() - began
    warm = write_log(folder / "warm.jsonl", [answer(1)])
    importing.run(open_lake(folder / "warm"), "claude_code", [warm], book=BOOK)
    began = time.process_time()
    assert importing.run(open_lake(folder / "data"), "claude_code", [path], book=BOOK).taken == calls
    whole = time.process_time() - began
    return path.stat().st_size / 1e6 / reading, 1e6 * (whole - reading) / calls


if __name__ == "__main__":
    main()
