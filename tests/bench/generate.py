"""Synthetic calls, as many as wanted, straight into a lake: 90 days, 20 models, 6 providers, 500 keys.

    python -m tests.bench.generate --rows 1000000 --data /tmp/lake        # then point data.folder there

Ids are as random as real ones, costs follow from tokens, errors and local models have nulls where real ones do, days
and weeks have their rhythm. The same seed gives the same rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from ultimate_lib.clock import SystemClock
from ultimate_lib.lake import Lake, optimize, schema
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import load

FIRST_DAY = date(2026, 1, 1)
DAYS = 90
KEYS, USERS, TEAMS, APPS, PROJECTS = 500, 300, 12, 40, 30
_DAY_US = 86_400_000_000
_FILE_ROWS = optimize.MERGE_ROWS
_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", dtype=np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


class Model(NamedTuple):
    """A model, its provider, and its price in nano-dollars a token; None: not priced."""

    name: str
    provider: str
    protocol: str
    input: int | None
    output: int | None


_PRICES = [(3000, 15000), (800, 4000), (15000, 75000), (150, 600), (2500, 10000), (100, 400), (1250, 10000)]
_PROVIDERS = ["anthropic", "openai", "gemini", "groq", "mistral", "ollama"]
MODELS = [
    Model(
        f"{provider}-model-{number}",
        provider,
        "anthropic-messages" if provider == "anthropic" else "openai-chat",
        *((None, None) if provider == "ollama" else _PRICES[(number + 3 * place) % len(_PRICES)]),
    )
    for place, provider in enumerate(_PROVIDERS)
    for number in range(4 if place < 2 else 3)
]


def fill(lake: Lake, rows: int, *, days: int = DAYS, seed: int = 1) -> int:
    """Write `rows` calls over `days` days into the lake's table; return how many rows the table holds then."""
    shares = _day_shares(days)
    counts = np.floor(shares * rows).astype(int)
    counts[: rows - int(counts.sum())] += 1
    for number, count in enumerate(counts):
        day = FIRST_DAY + timedelta(days=number)
        modified = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        files = [
            file for part in frames(day, int(count), seed) for file in lake.calls.write(part, modified_ms=modified)
        ]
        lake.calls.commit(files)
    optimize.maintain(lake)
    return sum(file.rows for file in lake.calls.snapshot().files)


def frames(day: date, rows: int, seed: int = 1) -> Iterator[pl.DataFrame]:
    """Yield one day's calls in the order of time, at most a file's worth at once."""
    dice = np.random.default_rng([seed, day.toordinal()])
    hours = 1 + 0.8 * np.sin((np.arange(24) - 9) / 24 * 2 * np.pi)
    hour = np.sort(dice.choice(24, size=rows, p=hours / hours.sum()))
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    started = np.sort(start + hour * (_DAY_US // 24) + dice.integers(0, _DAY_US // 24, rows))
    for first in range(0, rows, _FILE_ROWS):
        yield _frame(started[first : first + _FILE_ROWS], dice)


def call_records(rows: int, seed: int = 2) -> list[CallRecord]:
    """Return calls as a gateway would record them."""
    frame = next(frames(FIRST_DAY, rows, seed)).with_columns(pl.col("started_at").dt.epoch("us"))
    return [
        CallRecord(**{name: value for name, value in row.items() if value is not None})
        for row in frame.iter_rows(named=True)
    ]


def _day_shares(days: int) -> np.ndarray:
    weekday = np.array([(FIRST_DAY + timedelta(days=number)).weekday() for number in range(days)])
    shares = np.where(weekday < 5, 1.0, 0.35) * (1 + np.arange(days) / days * 0.4)
    return shares / shares.sum()


def _zipf(dice: np.random.Generator, size: int, among: int) -> np.ndarray:
    weights = 1 / np.arange(1, among + 1) ** 0.8
    return dice.choice(among, size=size, p=weights / weights.sum())


def _pick(values: list[str | None], at: np.ndarray) -> pl.Series:
    return pl.Series(values, dtype=pl.String).gather(at)


def _frame(started: np.ndarray, dice: np.random.Generator) -> pl.DataFrame:
    rows = len(started)
    model = _zipf(dice, rows, len(MODELS))
    key = _zipf(dice, rows, KEYS)
    failed = dice.random(rows) < 0.03
    stream = dice.random(rows) < 0.6
    told = pl.DataFrame(
        {
            "started_at": pl.Series(started).cast(pl.Datetime("us", "UTC")),
            **_ids(started, dice),
            **_who(key, dice),
            **_what(model, stream, dice),
            **_usage(model, dice),
            **_times(rows, dice),
            "failed": failed,
        }
    )
    unused = [
        name for name in told.columns if name.endswith(("_tokens", "_cost_nano_usd")) or name == "cost_nano_usd"
    ]
    unused = [name for name in unused if name not in {"max_tokens", "prefix_tokens"}] + [
        "upstream_id",
        "finish_reason",
    ]
    failure = pl.col("failed")
    told = told.with_columns(
        *(pl.when(failure).then(None).otherwise(pl.col(name)).alias(name) for name in unused),
        pl.when(failure | ~pl.col("stream")).then(None).otherwise(pl.col("ttft_ms")).alias("ttft_ms"),
        pl.when(failure).then(pl.lit("error")).otherwise(pl.lit("ok")).alias("status"),
        pl.when(failure).then(529).otherwise(200).alias("http_status"),
        pl.when(failure).then(pl.lit("overloaded_error")).alias("error_type"),
        pl.when(failure).then(pl.lit("none")).otherwise(pl.lit("provider")).alias("usage_source"),
        pl.when(failure | pl.col("cost_nano_usd").is_null())
        .then(pl.lit("none")).otherwise(pl.lit("table")).alias("cost_source"),
    )  # fmt: skip
    missing = [pl.lit(None).alias(name) for name in schema.POLARS if name not in told.columns]
    return told.with_columns(*missing).select(list(schema.POLARS)).cast(schema.POLARS)


def _ids(started: np.ndarray, dice: np.random.Generator) -> dict[str, pl.Series]:
    """Make UUIDv7 call ids of the calls' own times, message ids of 22 base-62 digits, and hashes."""
    rows = len(started)
    text = np.empty((rows, 36), dtype=np.uint8)
    milliseconds = started // 1000
    places = [place for place in range(36) if place not in {8, 13, 18, 23}]
    for number, place in enumerate(places):
        digit = milliseconds >> (44 - 4 * number) & 15 if number < 12 else dice.integers(0, 16, rows)
        text[:, place] = _HEX[digit]
    text[:, [8, 13, 18, 23]] = ord("-")
    text[:, 14], text[:, 19] = ord("7"), _HEX[8 + (text[:, 19] & 3)]
    message = np.full((rows, 28), ord("0"), dtype=np.uint8)
    message[:, :6] = np.frombuffer(b"msg_01", dtype=np.uint8)
    message[:, 6:] = _ALPHABET[dice.integers(0, 62, (rows, 22))]
    session = dice.integers(0, max(rows // 20, 1), rows)
    prefixes = dice.integers(-(2**62), 2**62, 2000)
    return {
        "call_id": pl.Series(text.view("S36").ravel().astype("U36")),
        "upstream_id": pl.Series(message.view("S28").ravel().astype("U28")),
        "session_id": "session-" + pl.Series(session).cast(pl.String),
        "request_hash": pl.Series(dice.integers(-(2**62), 2**62, rows)),
        "prefix_hash": pl.Series(prefixes[_zipf(dice, rows, 2000)]),
    }


def _who(key: np.ndarray, dice: np.random.Generator) -> dict[str, pl.Series]:
    rows = len(key)
    user = key % USERS
    notebooks = [f"notebooks/analysis-{number}.ipynb" for number in range(40)]
    return {
        "key_id": _pick([f"key_{number:04d}" for number in range(KEYS)], key),
        "user_id": _pick([f"user_{number:04d}" for number in range(USERS)], user),
        "team": _pick([f"team-{number}" for number in range(TEAMS)], user % TEAMS),
        "cost_center": _pick([f"cc-{number}" for number in range(TEAMS)], user % TEAMS),
        "app": _pick([f"app-{number}" for number in range(APPS)], key % APPS),
        "project": _pick([f"project-{number}" for number in range(PROJECTS)], _zipf(dice, rows, PROJECTS)),
        "notebook": _pick([*notebooks, None], np.minimum(dice.integers(0, 400, rows), 40)),
        "tags": pl.Series([["stage=test"], ["stage=prod", "run=7"], None]).gather(
            dice.choice(3, rows, p=[0.1, 0.2, 0.7])
        ),
    }


def _what(model: np.ndarray, stream: np.ndarray, dice: np.random.Generator) -> dict[str, pl.Series]:
    rows = len(model)
    names = [told.name for told in MODELS]
    anthropic = np.array([told.provider == "anthropic" for told in MODELS])[model]
    path = _pick(["/v1/chat/completions", "/v1/messages"], anthropic.astype(int))
    protocol = _pick([told.protocol for told in MODELS], model)
    tools = dice.random(rows) < 0.4
    return {
        "source": pl.repeat("proxy", rows, eager=True),
        "billing": _pick(["local" if told.input is None else "metered" for told in MODELS], model),
        "operation": pl.repeat("chat", rows, eager=True),
        "protocol_in": protocol,
        "protocol_out": protocol,
        "endpoint": path,
        "stream": pl.Series(stream),
        "model_requested": _pick(names, model),
        "model_routed": _pick(names, model),
        "model_served": _pick([f"{name}-2026" for name in names], model),
        "provider": _pick([told.provider for told in MODELS], model),
        "deployment": _pick([f"{told.provider}/{told.name}" for told in MODELS], model),
        "attempts": pl.repeat(1, rows, eager=True),
        "service_tier": _pick([None, "standard"], anthropic.astype(int)),
        "finish_reason": _pick(["stop", "end_turn", "max_tokens"], np.where(dice.random(rows) < 0.05, 2, anthropic)),
        "message_count": pl.Series(dice.geometric(0.2, rows)),
        "tool_count": pl.Series(np.where(tools, dice.integers(1, 20, rows), 0)),
        "has_system": pl.Series(dice.random(rows) < 0.8),
        "has_tools": pl.Series(tools),
        "has_images": pl.Series(dice.random(rows) < 0.02),
        "has_documents": pl.Series(dice.random(rows) < 0.01),
        "max_tokens": pl.Series(np.array([1024, 4096, 8192, 32000])[dice.integers(0, 4, rows)]),
        "price_id": _pick([None if told.input is None else f"2026-01:{told.name}" for told in MODELS], model),
    }


def _usage(model: np.ndarray, dice: np.random.Generator) -> dict[str, pl.Series]:
    rows = len(model)
    given = 1 + dice.lognormal(6.8, 1.3, rows).astype(np.int64)
    made = 1 + dice.lognormal(5.2, 1.1, rows).astype(np.int64)
    read = np.where(dice.random(rows) < 0.3, (given * 0.8).astype(np.int64), 0)
    price_in = np.array([told.input or 0 for told in MODELS])[model]
    price_out = np.array([told.output or 0 for told in MODELS])[model]
    priced = pl.Series(price_in > 0)
    costs = {
        "input_cost_nano_usd": (given - read) * price_in,
        "cache_read_cost_nano_usd": read * price_in // 10,
        "cache_write_cost_nano_usd": np.zeros(rows, dtype=np.int64),
        "output_cost_nano_usd": made * price_out,
        "other_cost_nano_usd": np.zeros(rows, dtype=np.int64),
    }
    whole = sum(costs.values())
    shown = {
        name: pl.Series(cost) for name, cost in {**costs, "cost_nano_usd": whole, "list_cost_nano_usd": whole}.items()
    }
    return {
        "input_tokens": pl.Series(given),
        "cache_read_tokens": pl.Series(read),
        "cache_write_5m_tokens": pl.repeat(0, rows, eager=True),
        "cache_write_1h_tokens": pl.repeat(0, rows, eager=True),
        "output_tokens": pl.Series(made),
        "cache_hit": pl.Series(read > 0),
        "prefix_tokens": pl.Series(given // 3),
        "request_bytes": pl.Series(given * 4 + 300),
        "response_bytes": pl.Series(made * 5 + 700),
        **{name: cost.zip_with(priced, pl.Series([None], dtype=pl.Int64)) for name, cost in shown.items()},
    }


def _times(rows: int, dice: np.random.Generator) -> dict[str, pl.Series]:
    upstream = dice.lognormal(7.6, 0.9, rows)
    overhead = np.round(0.25 + dice.gamma(2.0, 0.15, rows), 3)
    return {
        "duration_ms": pl.Series(np.round(upstream + overhead).astype(np.int64)),
        "upstream_ms": pl.Series(np.round(upstream).astype(np.int64)),
        "overhead_ms": pl.Series(overhead),
        "ttft_ms": pl.Series(np.round(upstream * dice.uniform(0.1, 0.5, rows)).astype(np.int64)),
    }


def main() -> None:
    """Fill the lake in a data folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True, help="data folder; the lake goes into its folder `lake`")
    told = parser.parse_args()
    lake = Lake.open(load(environ={}, overrides={"data.folder": str(told.data)}), SystemClock())
    began = time.process_time()
    rows = fill(lake, told.rows, days=told.days, seed=told.seed)
    print(f"{rows:,} rows in {told.data}/lake, {(time.process_time() - began) / told.rows * 1e6:.1f} µs CPU a row")


if __name__ == "__main__":
    main()
