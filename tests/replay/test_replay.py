"""A trace sent to the scripted provider, to servers that misbehave, and as people run it from the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from proxy_server.replay.ledger import Ledger, read_ledger
from proxy_server.replay.send import Plan, Sender, Totals
from proxy_server.replay.shapes import SHAPES
from proxy_server.replay.trace import Trace
from proxy_server.replay.wire import Origin
from tests.harness import wait_until
from ultimate_lib.errors import Unavailable

ROOT = Path(__file__).resolve().parent.parent.parent
CALLS = 200


@contextlib.contextmanager
def providing(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run the scripted provider; give its address and the file in which it tells of each call when that has ended."""
    truth = folder / "truth.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server.demo_upstream", "--truth", str(truth)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", truth
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with providing(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """One for those who count what it tells: of others' calls it may tell a moment after they have ended."""
    with providing(tmp_path_factory.mktemp("counted")) as found:
        yield found


def trace_of(calls: int, every_s: float = 0.0) -> Trace:
    return Trace(
        [number * every_s for number in range(calls)],
        [100 + number % 37 for number in range(calls)],
        [1 + number % 11 for number in range(calls)],
    )


def save(path: Path, trace: Trace) -> Path:
    columns = {"timestamp": trace.due_s, "input_tokens": trace.input_tokens, "output_tokens": trace.output_tokens}
    pl.DataFrame(columns).write_parquet(path)
    return path


def send(url: str, trace: Trace, ledger: Path | None = None, **plan: object) -> Totals:
    async def run() -> Totals:
        async with Ledger(ledger) as lines:
            made = Plan(
                origin=Origin.parse(url),
                **{"shape": SHAPES["openai-chat"], "speed": None, **plan},  # type: ignore[arg-type]
            )
            return await Sender(trace, made, lines).run()

    return asyncio.run(run())


def command(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "proxy_server", "replay", *(str(argument) for argument in arguments)], cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values())
def test_every_call_is_sent_once_and_told_what_the_trace_says(
    counted: tuple[str, Path], tmp_path: Path, shape: object
) -> None:
    url, truth = counted
    before = len(truth.read_text(encoding="utf-8").splitlines())
    trace = trace_of(CALLS)
    totals = send(url, trace, tmp_path / "l.jsonl", shape=shape, concurrency=8)
    assert (totals.ok, totals.failed.total(), totals.in_flight) == (CALLS, 0, 0)
    wait_until(
        lambda: len(truth.read_text(encoding="utf-8").splitlines()) >= before + CALLS, 10
    )  # told after the end
    told = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()[before:]]
    sums = sum(trace.input_tokens), sum(trace.output_tokens)
    assert len(told) == CALLS
    assert (sum(line["input_tokens"] for line in told), sum(line["output_tokens"] for line in told)) == sums
    assert (totals.sent_input_tokens, totals.sent_output_tokens) == sums
    assert (totals.told_input_tokens, totals.told_output_tokens) == sums
    lines = read_ledger(tmp_path / "l.jsonl")
    assert sorted(line.call for line in lines) == list(range(CALLS))
    assert len({line.trace_id for line in lines}) == CALLS
    for line in lines:
        assert (line.outcome, line.attempt, line.status) == ("ok", 1, 200)
        assert (line.input_tokens, line.output_tokens) == (
            trace.input_tokens[line.call],
            trace.output_tokens[line.call],
        )


def test_calls_go_out_at_their_time_and_no_more_than_the_cap_are_in_flight(provider: tuple[str, Path]) -> None:
    trace = trace_of(40, every_s=1.0)
    totals = send(provider[0], trace, speed=40.0)
    assert totals.ok == 40
    assert totals.wall_s >= 39 / 40, "an hour of arrivals takes an hour over the speed"
    slow = send(provider[0], trace_of(6), concurrency=2, delay_ms=20.0, chunks=4)
    assert slow.ok == 6
    assert slow.wall_s >= 3 * 4 * 0.02, "two at a time, three rounds"


def test_the_proxys_own_failures_are_counted_by_reason(tmp_path: Path) -> None:
    slow = b'{"error":{"message":"Slow."}}'
    answers = iter(
        [
            b"",
            b"HTTP/1.1 429 Too Many\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(slow), slow),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: {\r\n",
        ]
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> Totals:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        plan = Plan(origin=Origin.parse(url), shape=SHAPES["openai-chat"], speed=None, concurrency=1)
        async with Ledger(tmp_path / "l.jsonl") as ledger:
            totals = await Sender(trace_of(3), plan, ledger).run()
        server.close()
        await server.wait_closed()
        return totals

    totals = asyncio.run(run())
    assert totals.ok == 0
    assert totals.failed == Counter({"no answer": 1, "HTTP 429": 1, "cut": 1})
    assert totals.samples["HTTP 429"] == "Slow."
    assert [line.outcome for line in read_ledger(tmp_path / "l.jsonl")] == ["no answer", "HTTP 429", "cut"]


@contextlib.contextmanager
def late(port: int, ledger: Path) -> Iterator[None]:
    """Start a provider on a port as soon as a ledger tells of a call that got no connection there."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        wait_until(lambda: ledger.exists() and b"not connected" in ledger.read_bytes(), 20)
        command = [sys.executable, "-m", "proxy_server.demo_upstream", "--port", str(port)]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL))

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        for process in started:
            process.kill()
            process.wait()


def test_what_got_no_connection_was_not_sent_and_only_retry_sends_it_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    totals = send(url, trace_of(2), tmp_path / "once.jsonl")
    outcomes = [line.outcome for line in read_ledger(tmp_path / "once.jsonl")]
    assert (totals.ok, totals.failed, outcomes) == (0, Counter({"not connected": 2}), ["not connected"] * 2)
    ledger = tmp_path / "again.jsonl"
    with late(port, ledger):
        totals = send(url, trace_of(2), ledger, retry=True)
    outcomes = [line.outcome for line in read_ledger(ledger)]
    assert (totals.ok, totals.failed.total(), outcomes.count("ok")) == (2, 0, 2)
    assert totals.resent == outcomes.count("not connected") > 0


def test_a_hopeless_run_stops_early_and_says_what_to_do(provider: tuple[str, Path]) -> None:
    with pytest.raises(Unavailable, match=r"first 20 calls all failed alike.*ultimate-proxy up"):
        send("http://127.0.0.1:1", trace_of(500), concurrency=4)
    with pytest.raises(Unavailable, match=r"HTTP 404"):
        send(provider[0] + "/elsewhere", trace_of(500), concurrency=4)
    assert send("http://127.0.0.1:1", trace_of(3)).failed == Counter({"not connected": 3}), "a short one just ends"


def test_a_ledger_survives_its_writer_and_a_torn_line_is_left_out(provider: tuple[str, Path], tmp_path: Path) -> None:
    trace = save(tmp_path / "t.parquet", trace_of(400))
    ledger = tmp_path / "l.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server", "replay", str(trace), "--url", provider[0], "--speed", "max",
         "--delay-ms", "20", "--concurrency", "4", "--ledger", str(ledger)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 20
    while time.monotonic() < until and not (ledger.exists() and ledger.read_bytes().count(b"\n") > 30):
        time.sleep(0.01)
    process.kill()
    process.wait()
    whole = read_ledger(ledger)
    assert len(whole) > 30
    with ledger.open("ab") as file:
        file.write(b'{"call":7,"atte')
    assert read_ledger(ledger) == whole


# -- as people run it -----------------------------------------------------------------------------------------------


def test_the_command_prints_what_was_sent_and_ends_well_only_if_all_is(
    provider: tuple[str, Path], tmp_path: Path
) -> None:
    trace = save(tmp_path / "t.parquet", trace_of(50))
    good = command(tmp_path, trace, "--url", provider[0], "--speed", "max")
    assert good.returncode == 0, good.stderr
    told = {line[:13].strip(): line[13:].split() for line in good.stdout.splitlines()}
    assert told["sent"][0] == told["ok"][0] == "50"
    assert told["input tokens"][0] == f"{sum(trace_of(50).input_tokens):,}"
    assert "equal to the trace" in good.stdout
    assert "50 calls" in good.stderr, "plain lines without a terminal"
    bad = command(tmp_path, trace, "--url", "http://127.0.0.1:1", "--speed", "max", "--limit", 5)
    assert bad.returncode == 1
    assert "not connected" in bad.stdout
    assert "refused. Start the proxy" in " ".join(bad.stdout.split())


def test_bad_input_is_a_sentence(tmp_path: Path) -> None:
    trace = save(tmp_path / "t.parquet", trace_of(3))
    for arguments, told in (
        ((tmp_path / "nowhere.parquet", "--url", "http://127.0.0.1:1"), "There is no file"),
        ((ROOT / "pyproject.toml", "--url", "http://127.0.0.1:1"), "cannot be read as Parquet"),
        ((trace,), "Start it with `ultimate-proxy up`"),
        ((trace, "--url", "localhost"), "not an http URL"),
        ((trace, "--url", "http://127.0.0.1:1", "--ledger", "/nowhere/l.jsonl"), "cannot be written"),
        ((trace, "--speed", "0"), "neither a number above 0 nor 'max'"),
        ((trace, "--limit", "none"), "not a whole number above 0"),
    ):
        done = command(tmp_path, *arguments)
        assert done.returncode in {1, 2}
        assert told in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr


def test_the_local_key_goes_to_its_own_address_alone(tmp_path: Path) -> None:
    from argparse import Namespace

    from proxy_server.replay import _address

    data = tmp_path / "data"
    data.mkdir()
    (data / "local.json").write_text('{"url": "http://127.0.0.1:8082", "key": "cp_local"}', encoding="utf-8")

    def told(url: str | None, key: str | None) -> tuple[str, str]:
        return _address(Namespace(url=url, key=key, data=data, config=None))

    assert told(None, None) == ("http://127.0.0.1:8082", "cp_local")
    assert told("http://127.0.0.1:8082/", None)[1] == "cp_local"
    assert told("http://elsewhere:8082", None)[1] == ""
    assert told("http://elsewhere:8082", "cp_given")[1] == told(None, "cp_given")[1] == "cp_given"


def test_ctrl_c_lets_open_calls_end_and_tells_what_was_done(provider: tuple[str, Path], tmp_path: Path) -> None:
    trace = save(tmp_path / "t.parquet", trace_of(5000, every_s=0.05))
    ledger = tmp_path / "l.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server", "replay", str(trace), "--url", provider[0], "--speed", "1",
         "--delay-ms", "30", "--ledger", str(ledger)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    until = time.monotonic() + 20
    while time.monotonic() < until and not (ledger.exists() and ledger.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "of 5,000 in the trace" in out
    assert {line.outcome for line in read_ledger(ledger)} == {"ok"}
