"""What a provider's prompt cache would have held: which calls find their prefix in it. Pure.

A prefix is in the cache from the first token of a call that carried it, and for its time to live after that; each
further call renews it. Least lengths are those of the vendors' pages on prompt caching as copies and quotations of
them had it in November 2026: Anthropic (platform.claude.com, with LiteLLM's table of it; older copies have 2,048 for
Sonnet 4.6 and 4,096 for Opus 4.7), OpenAI (developers.openai.com: 1,024 by default) and Google (ai.google.dev, of
October 2026). A model of which none speaks counts as needing 4,096: advice is rather left out than wrong.
"""

from __future__ import annotations

import re
from datetime import timedelta

import polars as pl

TTL_5M, TTL_1H = timedelta(minutes=5), timedelta(hours=1)

# Fewest tokens of a prefix that are cached, by a model's family. A later minor version is another family.
_FEWEST = {
    512: ("claude-opus-5", "claude-fable-5", "claude-mythos-5"),
    1024: (
        "claude-opus-4", "claude-opus-4-0", "claude-opus-4-1", "claude-opus-4-8",
        "claude-sonnet-4", "claude-sonnet-4-0", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-sonnet-5",
        "claude-3-opus", "claude-3-sonnet", "claude-3-5-sonnet", "claude-3-7-sonnet",
        "gpt-", "chatgpt", "o1", "o3", "o4",
    ),
    2048: ("claude-opus-4-7", "claude-3-haiku", "claude-3-5-haiku", "gemini-2-5"),
    4096: ("claude-opus-4-5", "claude-opus-4-6", "claude-haiku-4-5", "gemini-3"),
}  # fmt: skip
FEWEST_UNSAID = 4096  # no page says of one that it needs more
_FAMILIES = sorted(
    ((name, tokens) for tokens, names in _FEWEST.items() for name in names), key=lambda one: -len(one[0])
)
_MINOR = r"(?!\d|-\d{1,2}(?!\d))"  # not another digit, and not -1 to -99, which a date is not


def fewest(model: str) -> int:
    """Return how many tokens a prefix of a model needs to be cached; 4,096 where no page was read that says it."""
    name = model.lower().rpartition("/")[2].replace(".", "-")
    name = name[name.index("claude") :] if "claude" in name else name
    for family, tokens in _FAMILIES:
        end = _MINOR if family.startswith("claude") else ""
        if re.match(re.escape(family) + end, name):
            return tokens
    return FEWEST_UNSAID


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
