"""Calls of every kind, at random: nulls, tags, subscriptions, refusals, token counts, several of everything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from ultimate_lib.clock import SteppedClock, to_us
from ultimate_lib.lake import Lake, schema
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Billing, Data, Settings


def make_lake(folder: Path, now: datetime, zone: str = "UTC", week_start: str = "monday") -> Lake:
    billing = Billing(time_zone=zone, week_start=week_start)
    return Lake.open(Settings(data=Data(folder=str(folder)), billing=billing), SteppedClock(now))


def random_call(dice: random.Random, at: datetime, number: int) -> CallRecord:
    def some(*values: object) -> object:
        return dice.choice([*values, None])

    status = dice.choice(["ok"] * 6 + ["error", "cut", "refused", "blocked"])
    turned_away = status in {"refused", "blocked"}
    model = dice.randrange(3)
    key = dice.randrange(4)
    known = dice.random() < 0.8 and not turned_away
    output = dice.randrange(2000) if known else None
    return CallRecord(
        call_id=f"call-{number:08d}-{dice.getrandbits(32):08x}",
        started_at=to_us(at),
        billing=dice.choice(["metered", "metered", "subscription", "local", None]),  # type: ignore[arg-type]
        operation=dice.choice(["chat"] * 8 + ["count_tokens", "models", "embeddings", None]),
        provider=f"provider-{model % 2}",
        model_requested=f"model-{model}",
        model_routed=None if turned_away else f"model-{model}",
        model_served=None if turned_away else f"model-{model}-2026",
        endpoint=dice.choice(["/v1/messages", "/v1/chat/completions"]),
        key_id=f"key-{key}",
        user_id=f"user-{key % 3}",
        team=f"team-{key % 2}",
        project=some("red", "blue"),  # type: ignore[arg-type]
        app=some("notebook", "script"),  # type: ignore[arg-type]
        notebook=some("a.ipynb"),  # type: ignore[arg-type]
        cell_id=some("c1", "c2"),  # type: ignore[arg-type]
        session_id=some("s1", "s2", "s3"),  # type: ignore[arg-type]
        status=status,
        duration_ms=dice.choice([0, 1, dice.randrange(60_000)]) if dice.random() < 0.95 else None,
        ttft_ms=dice.randrange(3000) if known and dice.random() < 0.5 else None,
        overhead_ms=dice.random() * 3 if dice.random() < 0.9 else None,
        input_tokens=dice.randrange(10_000) if known else None,
        output_tokens=output,
        cache_read_tokens=dice.randrange(1000) if known and dice.random() < 0.5 else None,
        reasoning_tokens=dice.randrange(100) if known and dice.random() < 0.2 else None,
        cost_nano_usd=dice.randrange(10**9) if known and dice.random() < 0.8 else None,
        anomaly_action=some("none", "warn", "block"),  # type: ignore[arg-type]
        tags=dice.choice([None, ["env=dev"], ["env=prod", "team=x"], []]),
    )


def random_frame(seed: int, count: int, start: datetime, end: datetime) -> pl.DataFrame:
    dice = random.Random(seed)
    length = (end - start) / timedelta(microseconds=1)
    return schema.frame_from_records(
        [
            random_call(dice, start + timedelta(microseconds=dice.randrange(int(length))), number)
            for number in range(count)
        ]
    )


def batches(frame: pl.DataFrame, count: int) -> Iterator[pl.DataFrame]:
    """Cut a frame, in the order of time, into `count` batches."""
    ordered = frame.sort("started_at")
    size = -(-ordered.height // count)
    for offset in range(0, ordered.height, size):
        yield ordered.slice(offset, size)
