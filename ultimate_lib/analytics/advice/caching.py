"""What a provider's prompt cache would have held: which calls find their prefix in it. Pure.

A prefix is in the cache from the first token of a call that carried it, and for its time to live after that; each
further call renews it (docs.anthropic.com, Prompt caching; platform.openai.com, Prompt caching; read November 2026).
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

TTL_5M, TTL_1H = timedelta(minutes=5), timedelta(hours=1)

# Fewest tokens of a prefix that are cached, by the beginning of a model's name, the longest first.
_FEWEST = (
    ("claude-haiku-4-5", 4096),
    ("claude-3-5-haiku", 2048),
    ("claude-3-haiku", 2048),
    ("claude-3", 1024),
    ("claude-sonnet-4", 1024),
    ("claude-opus-4-5", 4096),
    ("claude-opus-4-6", 4096),
    ("claude-opus-4", 1024),
    ("gpt-", 1024),
    ("o1", 1024),
    ("o3", 1024),
    ("o4", 1024),
    ("chatgpt", 1024),
    ("gemini", 4096),
)
FEWEST_UNSAID = 4096  # no provider asks for more


def fewest(model: str) -> int:
    """Return how many tokens a prefix of a model needs to be cached."""
    name = model.lower().rpartition("/")[2]
    name = name[name.index("claude") :] if "claude" in name else name
    return next(
        (tokens for beginning, tokens in sorted(_FEWEST, key=_longest) if name.startswith(beginning)), FEWEST_UNSAID
    )


def _longest(one: tuple[str, int]) -> int:
    return -len(one[0])


def hits(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the calls with `hit_5m` and `hit_1h`: whether an earlier call had left the prefix in the cache.

    Columns in: `group` (calls of one group share a cache entry), `started_at`, `answered_ms` (until the first token;
    null counts as 0). The order of rows is by time.
    """
    calls = calls.sort("started_at")
    ready = calls.select(
        "group", (pl.col("started_at") + pl.duration(milliseconds=pl.col("answered_ms").fill_null(0))).alias("ready")
    ).filter(pl.len().over("group") > 1)
    ready = ready.sort("ready")
    # A call's own answer comes at its start or later; where it takes no time the call before has to be found.
    begins = calls.with_columns((pl.col("started_at") - pl.duration(microseconds=1)).alias("before"))
    found = begins.join_asof(
        ready, left_on="before", right_on="ready", by="group", strategy="backward", check_sortedness=False
    )
    passed = pl.col("started_at") - pl.col("ready")
    return found.with_columns(
        (passed <= TTL_5M).fill_null(value=False).alias("hit_5m"),
        (passed <= TTL_1H).fill_null(value=False).alias("hit_1h"),
    ).drop("before", "ready")
