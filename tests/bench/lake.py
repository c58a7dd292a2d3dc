"""What the lake costs: bytes and CPU a call, how soon a call is seen, and how fast questions are answered.

    python -m tests.bench.lake [--quick] [--rows N] [--data DIR]

With --data the lake in DIR is measured, made there first if DIR holds none, and kept; else one in a temporary folder.
CPU is of all threads of the measuring process.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.bench import generate
from tests.bench.figures import Figure, emit
from tests.bench.lake_queries import bench_queries, bench_rollup
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.lake import Lake, ingest
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.records import CallRecord, new_call_id
from ultimate_lib.settings import Record, load

FIRST = datetime.combine(generate.FIRST_DAY, datetime.min.time(), UTC)
LAST = FIRST + timedelta(days=generate.DAYS)
_JOURNAL_ROWS = 100_000
_LOOKS = 40
_LEAST_A_DAY = 10_000  # calls: fewer days for a smaller lake, not thinner ones
_IN_FLIGHT = 100
_AGAIN = 4  # times that the journal is written anew: the lowest counts, noise of a shared machine only adds
_ADMISSION = (  # what an intent knows
    "call_id", "started_at", "source", "billing", "key_id", "user_id", "team", "project", "cost_center", "app",
    "session_id", "operation", "protocol_in", "protocol_out", "stream", "endpoint", "model_requested", "model_routed",
    "provider", "deployment", "message_count", "tool_count", "has_system", "has_tools", "has_images", "has_documents",
    "max_tokens", "request_bytes", "prefix_hash", "request_hash", "prefix_tokens", "input_tokens", "usage_source",
)  # fmt: skip


def open_lake(data: Path) -> Lake:
    """Return the lake of a data folder."""
    return Lake.open(load(environ={}, overrides={"data.folder": str(data)}), SystemClock())


def table(data: Path, rows: int) -> tuple[int, list[Figure]]:
    """Fill the lake unless it is, and weigh it: data, log and checksums."""
    lake = open_lake(data)
    days = max(1, min(generate.DAYS, rows // _LEAST_A_DAY))
    present = sum(file.rows for file in lake.calls.snapshot().files) or generate.fill(lake, rows, days=days)
    size = sum(path.stat().st_size for path in Path(lake.url).rglob("*") if path.is_file())
    days = len({file.date for file in lake.calls.snapshot().files})
    how = f"{present:,} calls over {days} days, log and checksums included"
    return present, [Figure("bytes_per_call", size / present, "bytes", 90, how=how)]


def journal(data: Path, rows: int) -> list[Figure]:
    """Write intents and calls, then bring them into the table."""
    calls = generate.call_records(rows)
    intents = [
        CallRecord(**{name: getattr(call, name) for name in _ADMISSION if getattr(call, name) is not None})
        for call in calls
    ]
    lake = open_lake(data)
    writer, both_us = _write(lake.journal_dir, intents, calls)
    size = sum(path.stat().st_size for path in lake.journal_dir.rglob("*.seg"))
    began = time.process_time()
    done = ingest.run_once(lake)
    compact_us = (time.process_time() - began) / rows * 1e6
    if done.rows != rows:
        raise SystemExit(f"{done.rows} of {rows} calls came into the table.")
    writer.close()
    both_us = min(both_us, *(_again(data / f"both-{number}", intents, calls) for number in range(_AGAIN)))
    call_us = min(_again(data / f"alone-{number}", [], calls) for number in range(_AGAIN + 1))
    how = f"lowest of {_AGAIN + 1}: {rows:,} calls, {size / rows:.0f} bytes of journal a call, {_IN_FLIGHT} open"
    how += ", synced every 250 ms"
    return [
        Figure("journal_us", call_us, "us", 5, how=f"a call's record; {how}"),
        Figure("journal_both_us", both_us, "us", how="a call's record and, before it, its intent: two lines"),
        Figure("compact_us", compact_us, "us", 12.5, how="journal to Delta, CRC checked"),
    ]


def _again(folder: Path, intents: list[CallRecord], calls: list[CallRecord]) -> float:
    """Write once more, to a folder that does not stay; return the CPU a call, µs."""
    writer, used_us = _write(folder, intents, calls)
    writer.close()
    shutil.rmtree(folder)
    return used_us


def _write(folder: Path, intents: list[CallRecord], calls: list[CallRecord]) -> tuple[JournalWriter, float]:
    """Write to a journal until all is sealed; return its living writer and the CPU a call, µs, syncs included."""
    writer = JournalWriter(folder, "0", Record(segment_bytes=16 * 1024 * 1024, segment_age_s=0.5), SystemClock())
    writer.start()
    began = time.process_time()
    for number in range(len(calls)):
        if intents:
            writer.intent(intents[number])
        if number >= _IN_FLIGHT:
            writer.call(calls[number - _IN_FLIGHT])
    for call in calls[-_IN_FLIGHT:]:
        writer.call(call)
    while any(folder.rglob("*.open")):
        time.sleep(0.05)
    return writer, (time.process_time() - began) / len(calls) * 1e6


_INGEST = """
import sys, time
from pathlib import Path
from tests.bench.lake import open_lake
from ultimate_lib.lake import ingest
lake = open_lake(Path(sys.argv[1]))
while True:
    ingest.run_once(lake)
    ingest.maintain(lake)
    print("pass", flush=True)
    time.sleep(1)
"""


def visible(data: Path) -> list[Figure]:
    """Measure from a call line's write to the first look that shows it, while another process ingests."""
    lake = open_lake(data)
    worker = subprocess.Popen([sys.executable, "-c", _INGEST, str(data)], stdout=subprocess.PIPE)
    if worker.stdout is None or not worker.stdout.readline():
        raise SystemExit("The ingesting process did not start.")
    writer = JournalWriter(lake.journal_dir, "0", Record(segment_age_s=1), SystemClock())
    writer.start()
    waits: list[float] = []
    try:
        for number in range(_LOOKS):
            now = datetime.now(UTC)
            call = CallRecord(call_id=new_call_id(), started_at=int(now.timestamp() * 1e6), provider="demo")
            writer.intent(call)
            began = time.perf_counter()
            writer.call(call)
            while not _seen(lake, now, call.call_id):
                pass
            waits.append((time.perf_counter() - began) * 1000)
            time.sleep(0.02 * (number % 5))
    finally:
        writer.close()
        worker.kill()
        worker.wait()
        worker.stdout.close()
    waits.sort()
    how = f"worst of {_LOOKS}, median {waits[len(waits) // 2]:.0f} ms; a reader that looks without pause"
    return [Figure("visible_ms", waits[-1], "ms", 1000, how=how)]


def _seen(lake: Lake, now: datetime, call_id: str) -> bool:
    found = scan_calls(lake, now - timedelta(minutes=1), now + timedelta(minutes=1), ["call_id"])
    return call_id in found.collect()["call_id"]


_SCAN = """
import sys
from pathlib import Path
import polars as pl
from tests.bench.lake import FIRST, LAST, open_lake
from ultimate_lib.lake.reader import scan_calls
calls = scan_calls(open_lake(Path(sys.argv[1])), FIRST, LAST, ["started_at", "model_served", "cost_nano_usd"])
days = calls.group_by(pl.col("started_at").dt.date(), "model_served").agg(pl.col("cost_nano_usd").sum(), pl.len())
counted = days.collect(engine="streaming")["len"].sum()
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(counted, peak.split()[1])  # not ru_maxrss, which a child inherits from its parent
"""


def memory(data: Path, rows: int) -> list[Figure]:
    """Take the peak memory of a process that checks every file and sums 90 days by day and model."""
    ran = subprocess.run([sys.executable, "-c", _SCAN, str(data)], capture_output=True, text=True, check=True)
    counted, peak_kib = map(int, ran.stdout.split())
    if counted < rows:
        raise SystemExit(f"{counted} of {rows} calls were read.")
    how = "peak of a process that checks all files and sums them raw by day and model"
    return [Figure("rss_mb", peak_kib / 1024, "MB", 600, how=how)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200,000 calls; ends within 50 seconds")
    parser.add_argument("--rows", type=int, help="calls in the lake (default 1,000,000)")
    parser.add_argument("--data", type=Path, help="data folder to use and keep")
    told = parser.parse_args()
    rows = told.rows or (200_000 if told.quick else 1_000_000)
    with tempfile.TemporaryDirectory() as temporary:
        data = told.data or Path(temporary) / "data"
        rows, figures = table(data, rows)
        figures += memory(data, rows)
        lake = open_lake(data)
        figures += bench_rollup(lake) + bench_queries(lake)
        aside = Path(temporary) / "journal"  # so that a lake that is kept stays as it is
        figures += journal(aside, min(rows, _JOURNAL_ROWS))
        figures += visible(aside)
    emit(figures)


if __name__ == "__main__":
    main()
