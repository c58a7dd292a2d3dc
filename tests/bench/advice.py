"""What prompt caching would have saved on a public trace, twenty calls to add up by hand, and how long it takes.

    python -m tests.bench.advice --data FOLDER          # FOLDER has mooncake_conversation.parquet
    python -m tests.bench.advice --data FOLDER --rows 10000000

The trace tells which blocks of 512 tokens each prompt begins with. The product sees tools and system as the prefix
of a call; here that is what a prompt has in common with others from its first block on: the longest beginning that at
least `--shared` prompts have. The bill is that of one key and one model of Anthropic at list price, whose calls ask
for no cache; what the calls of the trace did cost is not in it. `--rows` measures time and memory on calls
that are drawn from the trace's.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tests.bench.figures import Figure, emit
from ultimate_lib.analytics.advice import caching
from ultimate_lib.analytics.advice.advise import advise
from ultimate_lib.analytics.advice.evidence import Evidence
from ultimate_lib.analytics.advice.kinds import prompt_caching
from ultimate_lib.analytics.advice.prices import Prices
from ultimate_lib.lake import schema
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.records import Usage

if TYPE_CHECKING:
    from ultimate_lib.pricing import PriceTable

BLOCK = 512
MODEL = "claude-sonnet-4-5"
START = datetime(2026, 11, 2, tzinfo=UTC)
_SHOWN = 20


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True, help="folder with mooncake_conversation.parquet")
    asked.add_argument("--shared", type=int, default=10, help="prompts that must share a prefix (default: 10)")
    asked.add_argument("--rows", type=int, default=0, help="also measure on so many calls")
    told = asked.parse_args()
    path = told.data / "mooncake_conversation.parquet"
    if not path.exists():
        asked.error(f"There is no {path}; see the README of the data.")
    table = pricelist.load()
    trace = pl.read_parquet(path)
    calls = records(trace, PriceBook(table), told.shared)
    figures = savings(calls, table, told.shared)
    if told.rows:
        figures += measured(calls, table, told.rows)
    emit(figures)


def prefixes(trace: pl.DataFrame, shared: int) -> tuple[list[int | None], list[int]]:
    """Return for each prompt the last block of its longest beginning that enough prompts share, and its tokens."""
    blocks = trace["block_hashes"].to_list()
    times: Counter[int] = Counter(
        block for prompt in blocks for block in prompt
    )  # an id stands for all before it too
    hashes, tokens = [], []
    for prompt, size in zip(blocks, trace["input_tokens"].to_list(), strict=True):
        deep = 0
        while deep < len(prompt) and times[prompt[deep]] >= shared:
            deep += 1
        hashes.append(prompt[deep - 1] if deep else None)
        tokens.append(min(deep * BLOCK, size))
    return hashes, tokens


def records(trace: pl.DataFrame, book: PriceBook, shared: int) -> pl.DataFrame:
    """Return the trace as calls of one key and model at list price."""
    hashes, tokens = prefixes(trace, shared)
    at = [START + timedelta(milliseconds=one) for one in trace["timestamp_ms"]]
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(trace.iter_rows(named=True)):
        usage = Usage(input_tokens=row["input_tokens"], output_tokens=row["output_tokens"], cache_read_tokens=0)
        cost = book.cost("anthropic", MODEL, usage, int(at[number].timestamp() * 1e6))
        assert cost is not None
        rows.append({
            "call_id": f"call-{number:06}", "provider": "anthropic", "model_routed": MODEL, "key_id": "key_bench",
            "protocol_out": "anthropic-messages", "operation": "chat", "billing": "metered", "status": "ok",
            "stream": True, "input_tokens": row["input_tokens"], "output_tokens": row["output_tokens"],
            "cache_read_tokens": 0, "cost_nano_usd": cost.total, "input_cost_nano_usd": cost.input,
            "output_cost_nano_usd": cost.output, "price_id": cost.price_id, "prefix_hash": hashes[number],
            "prefix_tokens": tokens[number], "request_hash": number,
        })  # fmt: skip
    types = {name: kind for name, kind in schema.POLARS.items() if name != "started_at"}
    made = pl.DataFrame(rows, schema=types)
    return made.with_columns(pl.Series("started_at", at, dtype=pl.Datetime("us", "UTC")))


def savings(calls: pl.DataFrame, table: PriceTable, shared: int) -> list[Figure]:
    """Print the saving on the trace and twenty calls of it; return the figures."""
    evidence = of(calls, table)
    (draft,) = prompt_caching.find(evidence).found
    assert draft.blocks is not None
    saved, paid = draft.blocks.sum() / 1e9, float(calls["cost_nano_usd"].sum()) / 1e9
    by_input = float(calls["input_cost_nano_usd"].sum()) / 1e9
    print(draft.title)
    print(*draft.how, sep="\n")
    told = by_hand(evidence)
    print(f"\nTwenty calls of the most repeated prefixes, cache of 5 minutes; ${told['saved'].sum():.6f} in all:")
    with pl.Config(
        tbl_rows=_SHOWN,
        tbl_cols=12,
        tbl_width_chars=160,
        float_precision=6,
        tbl_hide_dataframe_shape=True,
    ):
        print(told)
    how = f"{calls.height:,} calls of one hour as {MODEL}, prefixes shared by {shared} prompts"
    return [
        Figure("mooncake_cache_saving_usd", saved, "usd", how=how),
        Figure("mooncake_paid_usd", paid, "usd", how=f"of it {by_input:.2f} for input"),
        Figure("mooncake_cache_saving_ratio", saved / paid, "ratio", how="of all that was paid"),
        Figure("mooncake_affected_calls", draft.affected, "calls", how="with a prefix that pays"),
    ]


def by_hand(evidence: Evidence) -> pl.DataFrame:
    """Return calls of the most repeated prefixes with the parts of what each would have saved."""
    calls = caching.hits(prompt_caching._calls(evidence))
    calls = calls.with_columns(pl.len().over("prefix_hash").alias("times"))
    own = calls.sort("times", "prefix_hash", "started_at", descending=[True, False, False]).head(_SHOWN)
    rate = pl.when(pl.col("hit_5m")).then(pl.col("read")).otherwise(pl.col("write_5m"))
    million = 1000  # nano-dollars a token → dollars a million
    return own.select(
        pl.col("started_at").dt.strftime("%H:%M:%S%.3f").alias("at"),
        (pl.col("started_at") - pl.col("started_at").shift().over("prefix_hash"))
        .dt.total_milliseconds()
        .alias("ms since"),
        pl.col("prefix_hash").alias("which"),
        pl.col("prefix").alias("tokens"),
        pl.when(pl.col("hit_5m")).then(pl.lit("read")).otherwise(pl.lit("write")).alias("does"),
        (pl.col("input") / million).alias("plain $/M"),
        (rate / million).alias("would $/M"),
        (pl.col("prefix") * pl.col("input") / 1e9).alias("paid"),
        (pl.col("prefix") * rate / 1e9).alias("would be"),
        (pl.col("prefix") * (pl.col("input") - rate) / 1e9).alias("saved"),
    )


def of(calls: pl.DataFrame | pl.LazyFrame, table: PriceTable, days: int = 1) -> Evidence:
    return Evidence(calls=calls.lazy(), prices=Prices(table), since=START, until=START + timedelta(days=days))


def measured(calls: pl.DataFrame, table: PriceTable, rows: int) -> list[Figure]:
    """Return how long all kinds take on so many calls of 30 days, with sessions and requests of their own."""
    dice = np.random.default_rng(1)
    at = pl.Series(np.sort(dice.integers(0, 30 * 86_400_000_000, rows))).cast(pl.Duration("us"))
    drawn = calls[dice.integers(0, calls.height, rows)].with_columns(
        pl.Series("request_hash", dice.integers(0, 2**62, rows)),
        pl.Series("session_id", dice.integers(0, rows // 20, rows)).cast(pl.String),
        pl.Series("key_id", dice.integers(0, 50, rows)).cast(pl.String),
        (pl.lit(START) + at).alias("started_at"),
    )  # fmt: skip
    path = Path(f"/tmp/bench-advice-{rows}.parquet")
    drawn.write_parquet(path)
    del drawn
    begun, cpu = time.perf_counter(), time.process_time()
    found = advise(of(pl.scan_parquet(path), table, 30))
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    path.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    how = f"{rows:,} calls in a Parquet file, {len(found.advice)} recommendations"
    return [
        Figure("advice_s", took, "s", how=how),
        Figure("advice_cpu_s", used, "s", how="all nine kinds"),
        Figure("advice_peak_mb", peak, "MB", how="the whole process, the making of the calls included"),
    ]


if __name__ == "__main__":
    main()
