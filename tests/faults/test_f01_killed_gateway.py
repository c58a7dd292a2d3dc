"""F1: a gateway is killed with a hundred streams open: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.faults.ledger import Caller, Ledger, Line, Verdict, compare, mutant, rows
from tests.harness import Running, start_proxy
from tests.stopwatch import Stopwatch, crowd

_STREAMS = 100
_QUICK = 4
_READY_S = 2.0

# Tells the client that its call has ended before that is on record.
_LATE = """
import asyncio
from ultimate_lib.journal import JournalWriter
real = JournalWriter.call
JournalWriter.call = lambda self, *told: asyncio.get_running_loop().call_later(0.3, real, self, *told)
"""


async def kill_with_open_streams(proxy: Running, ledger: Ledger, number: int) -> float:
    """Kill one of two gateways with many streams open and quick calls going on; return how long it was away."""
    begun = asyncio.Semaphore(0)
    over = asyncio.Event()

    async def stream(index: int) -> None:
        with contextlib.closing(Caller(proxy, ledger, f"stream{number}.{index}", keep_alive=False)) as caller:
            await caller.call(stream=True, begun=begun.release, delay_ms=80, chunks=20, output_tokens=20)

    async def quick(index: int) -> None:
        with contextlib.closing(Caller(proxy, ledger, f"quick{number}.{index}", keep_alive=index % 2 == 0)) as caller:
            while not over.is_set():
                await caller.call()

    tasks = [asyncio.create_task(stream(index)) for index in range(_STREAMS)]
    others = [asyncio.create_task(quick(index)) for index in range(_QUICK)]
    for _ in range(_STREAMS):
        await asyncio.wait_for(begun.acquire(), 30)
    pids = proxy.pids("gateway")
    killed = pids[number % len(pids)]

    def kill() -> tuple[datetime, float]:
        with Stopwatch() as took:
            at = datetime.now(UTC)
            os.kill(killed, signal.SIGKILL)
            proxy.wait_until_replaced("gateway", killed)
        return at, took.seconds

    killed_at, away_s = await asyncio.to_thread(kill)
    await asyncio.gather(*tasks)
    over.set()
    await asyncio.gather(*others)
    return min((serving_since(proxy) - killed_at).total_seconds(), away_s)  # the log's times know of no pause


def serving_since(proxy: Running) -> datetime:
    """Return when the latest gateway said that it serves."""
    lines = [json.loads(line) for line in proxy.log().splitlines() if " serves (process " in line]
    return max(datetime.fromisoformat(line["at"]) for line in lines if line["message"].startswith("gateway"))


class Outcome:
    """What a series of kills left behind."""

    def __init__(self, folder: Path, kills: int, env: dict[str, str] | None = None) -> None:
        ledger = Ledger(folder / "ledger.jsonl")
        arguments = ["--gateways", "2"]
        self.away_s: list[float] = []
        with start_proxy(folder / "proxy", arguments=arguments, env=env) as proxy:
            for number in range(kills):
                self.away_s.append(asyncio.run(kill_with_open_streams(proxy, ledger, number)))
            proxy.stop()
        ledger.close()
        self.lines: list[Line] = ledger.lines
        self.rows: pl.DataFrame = rows(proxy.data_dir)
        self.verdict: Verdict = compare(self.lines, self.rows)

    def check(self) -> None:
        told = Counter((line.id[:5], line.outcome) for line in self.lines)
        assert self.verdict, self.verdict
        kills = len(self.away_s)
        assert told["strea", "cut"] >= kills, "some streams were on the gateway that was killed"
        assert told["strea", "ok"] >= kills, "and some on the other"
        assert told["quick", "ok"] > 10 * kills
        cut = self.rows.filter(pl.col("status") == "cut")
        assert set(cut["error_type"]) == {"process_ended"}, "nobody else was harmed"
        assert cut.height >= told["strea", "cut"]
        assert max(self.away_s) <= _READY_S * crowd(), self.away_s


def test_f01_a_killed_gateway_loses_nothing(tmp_path: Path) -> None:
    Outcome(tmp_path, 3).check()


@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_f01_fifty_kills(tmp_path: Path) -> None:
    Outcome(tmp_path, 50).check()


def test_f01_bites_when_the_call_line_comes_late(tmp_path: Path) -> None:
    outcome = Outcome(tmp_path / "run", 1, mutant(tmp_path / "mutant", "gateway", _LATE))
    assert outcome.verdict.lost
