"""The ledger check: what a load client was told, line by line on disk, held against the lake.

    I1  no acknowledged call is missing          I3  every cut call has one row, marked, with partial usage
    I2  no call is there twice                   I4  tokens and cost of rows with the provider's usage are its truth

A client writes one synced line a request; the request carries the line's id as a tag, so that its row is found even
when the client never saw an answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
import polars as pl

from tests.harness import ROOT, Running
from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.lake.ingest import run_once
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.settings import load

MODEL = "demo/claude-sonnet-4-5"
INPUT_NANO_USD, OUTPUT_NANO_USD = 3_000, 15_000  # a token
_READ_S = 60.0


class Line(msgspec.Struct):
    """What one request was told: outcome is ok, error (a whole answer of status ≥ 400), cut (no end) or none."""

    id: str
    outcome: str
    status: int | None
    bytes: int
    input_tokens: int
    output_tokens: int
    call_id: str | None


class Ledger:
    """A file of lines, each on disk before the next request of its caller."""

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._sync = sync
        self.lines: list[Line] = []

    def write(self, line: Line) -> None:
        os.write(self._fd, msgspec.json.encode(line) + b"\n")
        if self._sync:
            os.fsync(self._fd)
        self.lines.append(line)

    def close(self) -> None:
        os.close(self._fd)


class Caller:
    """Calls one after the other over raw sockets, on one kept-alive connection or on a new one each time.

    It repeats nothing: a connection that breaks is a request that failed.
    """

    def __init__(self, proxy: Running, ledger: Ledger, name: str, *, keep_alive: bool) -> None:
        where = urlsplit(proxy.url)
        self._host, self._port, self._key = where.hostname or "", where.port or 0, proxy.key
        self._ledger = ledger
        self._name = name
        self._keep_alive = keep_alive
        self._count = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, *, stream: bool = False, begun: Callable[[], None] | None = None, **script: Any) -> Line:
        """Make one call; `begun` is called when the first byte of its answer is here."""
        self._count += 1
        line = Line(
            id=f"{self._name}-{self._count}", outcome="none", status=None, bytes=0, call_id=None,
            input_tokens=script.setdefault("input_tokens", 10 + self._count % 90),
            output_tokens=script.setdefault("output_tokens", 5 + self._count % 40),
        )  # fmt: skip
        try:
            reader, writer = await self._connected()
            writer.write(self._request(line.id, stream, script))
            await writer.drain()
            async with asyncio.timeout(_READ_S):
                await self._read(reader, line, begun)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
        self._ledger.write(line)
        if not self._keep_alive:
            self.close()
        return line

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    def _request(self, name: str, stream: bool, script: dict[str, Any]) -> bytes:
        body = json.dumps(
            {
                "model": MODEL, "max_tokens": 1000, "stream": stream,
                "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}],
            }
        ).encode()  # fmt: skip
        head = (
            f"POST /v1/messages HTTP/1.1\r\nHost: {self._host}\r\nX-Api-Key: {self._key}\r\n"
            f"X-Ultimate-Tags: ledger={name}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        return head.encode() + (b"\r\n" if self._keep_alive else b"Connection: close\r\n\r\n") + body

    async def _read(self, reader: asyncio.StreamReader, line: Line, begun: Callable[[], None] | None) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest if text)}
        line.status = int(first.split()[1])
        line.call_id = headers.get("x-ultimate-call-id")
        line.outcome = "cut"
        ended = False
        if "content-length" in headers:
            line.bytes = len(await reader.readexactly(int(headers["content-length"])))
            ended = True
        else:
            last = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                piece = await reader.readexactly(size + 2)
                line.bytes += size
                last = last[-200:] + piece[:-2]
                ended = ended or b"event: message_stop" in last
                if ended:  # a client stops reading here
                    line.outcome = "ok"
                if begun is not None:
                    begun()
                    begun = None
            await reader.readexactly(2)
        if ended:
            line.outcome = "ok" if line.status < 400 else "error"
        if headers.get("connection", "").lower() == "close":
            self.close()


class Verdict(NamedTuple):
    """The lines and rows that break a promise, by promise; all empty when it holds."""

    lost: list[str]
    doubled: list[str]
    unmarked: list[str]
    wrong: list[str]

    def __bool__(self) -> bool:
        return not any(self)


def rows(data_dir: Path) -> pl.DataFrame:
    """Bring everything of a stopped proxy's journal into its lake and return the rows of the last hours."""
    lake = Lake.open(load(environ={}, overrides={"data.folder": str(data_dir)}), SystemClock())
    run_once(lake)
    now = datetime.now(UTC)
    return scan_calls(lake, now - timedelta(hours=6), now + timedelta(hours=1)).collect()


def compare(lines: Iterable[Line], found: pl.DataFrame) -> Verdict:
    """Hold a ledger against the lake."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for row in found.iter_rows(named=True):
        for tag in row["tags"] or ():
            if tag.startswith("ledger="):
                by_id.setdefault(tag.removeprefix("ledger="), []).append(row)
    verdict = Verdict([], [], [], [])
    for line in lines:
        of_line = by_id.pop(line.id, [])
        if len(of_line) > 1:
            verdict.doubled.append(line.id)
        if not of_line:
            if line.outcome != "none":
                verdict.lost.append(line.id)
            continue
        _judge(line, of_line[0], verdict)
    verdict.wrong.extend(f"{name} is in no ledger" for name in by_id)
    calls = Counter(found["call_id"].to_list())
    verdict.doubled.extend(call_id for call_id, count in calls.items() if count > 1)
    return verdict


def _judge(line: Line, row: dict[str, Any], verdict: Verdict) -> None:
    if line.outcome == "ok" and row["status"] != "ok":
        verdict.lost.append(f"{line.id}: told as ok, kept as {row['status']}")
    elif line.outcome == "error" and row["status"] not in {"error", "refused"}:
        verdict.wrong.append(f"{line.id}: an error kept as {row['status']}")
    elif row["status"] == "cut":
        partial = row["usage_source"] == "estimated" and row["input_tokens"] is not None
        if not partial or row["error_type"] is None:
            verdict.unmarked.append(line.id)
    elif row["status"] == "ok":
        cost = line.input_tokens * INPUT_NANO_USD + line.output_tokens * OUTPUT_NANO_USD
        kept = (row["usage_source"], row["input_tokens"], row["output_tokens"], row["cost_nano_usd"])
        if kept != ("provider", line.input_tokens, line.output_tokens, cost):
            verdict.wrong.append(f"{line.id}: {kept}, told {line.input_tokens}, {line.output_tokens}, {cost}")


def mutant(folder: Path, role: str, code: str) -> dict[str, str]:
    """Return an environment in which every child of a role runs `code` before anything else: a seeded fault."""
    folder.mkdir(parents=True)
    guard = (
        f"import sys\nif any(part.endswith('child.py') for part in sys.orig_argv) and {role!r} in sys.orig_argv:\n"
    )
    lines = [f"sys.path.insert(0, {str(ROOT)!r})", *code.strip().splitlines()]
    (folder / "sitecustomize.py").write_text(guard + "".join(f"    {line}\n" for line in lines), encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def main() -> None:
    """Compare a ledger file with a data folder: python -m tests.faults.ledger LEDGER DATA."""
    ledger, data = map(Path, sys.argv[1:])
    lines = [msgspec.json.decode(text, type=Line) for text in ledger.read_bytes().splitlines()]
    verdict = compare(lines, rows(data))
    print(f"{len(lines)} requests: {dict(Counter(line.outcome for line in lines))}")
    for name, broken in verdict._asdict().items():
        print(f"{name}: {len(broken)} {broken[:5]}")
    sys.exit(0 if verdict else 1)


if __name__ == "__main__":
    main()
