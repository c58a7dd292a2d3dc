"""What the importers' tests share: a lake in a folder, what stands in it, and session logs made to measure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake
from ultimate_lib.lake.reader import scan_calls
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.settings import load

FIXTURES = Path(__file__).parent / "fixtures"
SESSION = FIXTURES / "session"
RESUMED = FIXTURES / "resumed"
BOOK = PriceBook(pricelist.load())
_FIRST = datetime(2025, 11, 3, 9, tzinfo=UTC)


def open_lake(data: Path) -> Lake:
    return Lake.open(load(environ={}, overrides={"data.folder": str(data)}), SystemClock())


def rows(lake: Lake) -> pl.DataFrame:
    start, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC)
    return scan_calls(lake, start, end).collect().sort("started_at", "call_id")


def answer(number: int, *, output: int = 7, **changes: Any) -> dict[str, Any]:
    """Return one assistant line as a log holds it; `changes` replace or add members, None takes one away."""
    at = _FIRST + timedelta(seconds=number)
    message = {
        "id": f"msg_01{number:022d}", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Well."}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": output, "service_tier": "standard"},
    }  # fmt: skip
    line = {
        "type": "assistant", "message": message, "requestId": f"req_{number}", "sessionId": "s-1", "cwd": "/w/shop",
        "isSidechain": False, "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "uuid": f"u-{number}-{output}", "version": "2.0.14",
    }  # fmt: skip
    for name, value in changes.items():
        holder = message if name in message else line
        holder[name] = value
    return {name: value for name, value in line.items() if value is not None}


def write_log(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path
