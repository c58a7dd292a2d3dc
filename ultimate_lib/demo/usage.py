"""Columns that say what a call used, how long it took and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from ultimate_lib.demo.draws import Draw

_FAILS, _CUT, _REFUSED = 0.012, 0.006, 0.004  # of all calls, of all streams, of all calls
_DOWN = 0.85  # of the calls while a provider is down
_SLOW = 3.0
_MOST_CONTEXT = 180_000  # tokens
_READ_S = 20_000.0  # tokens of input that a provider reads in a second
_REASONS = frozenset({"gpt-5.4", "gemini-3.5-flash", "claude-opus-5"})
_FAILURES = (
    (429, "rate_limit_error", 0.45), (529, "overloaded_error", 0.25), (500, "server_error", 0.15),
    (504, "upstream_timeout", 0.15),
)  # fmt: skip
_UNKNOWN_WITHOUT_ANSWER = (
    "upstream_id", "model_served", "input_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "cache_hit", "service_tier",
)  # fmt: skip
_UNKNOWN_WHEN_REFUSED = ("model_routed", "provider", "deployment", "attempts", "protocol_out", "billing")
_LESS_WHEN_CUT = ("duration_ms", "upstream_ms", "output_tokens", "reasoning_tokens", "response_bytes")


def tokens(draw: Draw, cold: np.ndarray) -> dict[str, pl.Series]:
    """Return the tokens of answered calls; `cold`: nothing is read from the provider's cache."""
    workload, rows, dice = draw.workload, draw.rows, draw.dice
    embeds = workload.operation == "embeddings"
    anthropic = np.array([model.protocol == "anthropic-messages" for model in draw.models])[draw.model]
    given = 1 + dice.lognormal(np.log(workload.input_tokens), workload.spread, rows)
    since = draw.place % max(2 * workload.session_calls, 1)  # agents compact their context now and then
    given = np.minimum(given + since * workload.context_tokens, _MOST_CONTEXT).astype(np.int64)
    made = 1 + dice.lognormal(np.log(max(workload.output_tokens, 1)), workload.spread, rows).astype(np.int64)
    share = workload.cached * dice.uniform(0.94, 1.0, rows)
    read = np.where((draw.place > 0) & ~cold, given * share, 0).astype(np.int64)
    writes = anthropic & bool(workload.context_tokens)
    written = np.where(writes, (given - read) * 0.9, 0).astype(np.int64)
    reasons = np.array([model.name in _REASONS for model in draw.models])[draw.model]
    told = pl.Series(anthropic)
    unknown = pl.repeat(None, rows, dtype=pl.Int64, eager=True)
    return {
        "input_tokens": pl.Series(given),
        "output_tokens": unknown if embeds else pl.Series(made),
        "cache_read_tokens": unknown if embeds else pl.Series(read),
        "cache_write_5m_tokens": pl.Series(written).zip_with(told, unknown),
        "cache_write_1h_tokens": pl.repeat(0, rows, dtype=pl.Int64, eager=True).zip_with(told, unknown),
        "reasoning_tokens": pl.Series((made * 0.35).astype(np.int64)).zip_with(pl.Series(reasons), unknown),
        "cache_hit": pl.Series(read > 0),
        "service_tier": pl.Series(["standard"]).gather(np.zeros(rows, dtype=np.int64)).zip_with(
            told, pl.repeat(None, rows, dtype=pl.String, eager=True)
        ),
        "prefix_tokens": pl.Series(np.where(embeds, 0, given // 3)),
        "request_bytes": pl.Series(given * 4 + 300),
        "response_bytes": pl.Series(np.where(embeds, 6200, made * 5 + 700)),
    }  # fmt: skip


def times(draw: Draw, used: dict[str, pl.Series], slow: np.ndarray) -> dict[str, pl.Series]:
    """Return how long answered calls took: the first token, then the others at the model's speed."""
    rows, dice = draw.rows, draw.dice
    fresh = (used["input_tokens"] - used["cache_read_tokens"].fill_null(0)).to_numpy()
    made = used["output_tokens"].fill_null(0).to_numpy()
    first = np.array([model.first_token_ms for model in draw.models])[draw.model]
    speed = np.array([model.tokens_per_s for model in draw.models])[draw.model]
    first = first * dice.lognormal(0, 0.35, rows) + fresh / _READ_S * 1000
    talk = np.divide(made * 1000, speed, out=np.zeros(rows), where=speed > 0) * dice.lognormal(0, 0.25, rows)
    first, talk = np.where(slow, first * _SLOW, first), np.where(slow, talk * _SLOW, talk)
    overhead = np.round(0.25 + dice.gamma(2.0, 0.12, rows), 3)
    return {
        "ttft_ms": pl.Series(np.round(first).astype(np.int64)),
        "upstream_ms": pl.Series(np.round(first + talk).astype(np.int64)),
        "overhead_ms": pl.Series(overhead),
        "duration_ms": pl.Series(np.ceil(first + talk + overhead).astype(np.int64)),
    }


def ended(rows: pl.DataFrame, draw: Draw, down: np.ndarray) -> pl.DataFrame:
    """Return the calls with how each ended; what is unknown then is null."""
    dice = draw.dice
    fate = dice.random(draw.rows)
    failed = fate < np.where(down, _DOWN, _FAILS)
    refused = ~failed & (fate > 1 - _REFUSED)
    cut = ~failed & ~refused & rows["stream"].to_numpy() & (dice.random(draw.rows) < _CUT)
    shares = [share for *_, share in _FAILURES]
    kind = np.where(down, len(_FAILURES), dice.choice(len(_FAILURES), draw.rows, p=shares))
    rows = rows.with_columns(
        pl.Series("_fate", np.where(failed, 1, np.where(refused, 2, np.where(cut, 3, 0)))),
        pl.Series("_code", [*(status for status, *_ in _FAILURES), 503], dtype=pl.Int64).gather(kind),
        pl.Series("_type", [*(name for _, name, _ in _FAILURES), "service_unavailable"]).gather(kind),
        pl.Series("_kept", dice.uniform(0.1, 0.7, draw.rows)),
        pl.Series("_failed_ms", dice.integers(60, 900, draw.rows)),
    )
    return rows.with_columns(_outcome()).drop("_fate", "_code", "_type", "_kept", "_failed_ms")


def _outcome() -> list[pl.Expr]:
    failed, refused, cut = (pl.col("_fate") == number for number in (1, 2, 3))
    unanswered = failed | refused

    def by_fate(ok: pl.Expr, fails: pl.Expr, refuses: pl.Expr, cuts: pl.Expr) -> pl.Expr:
        return pl.when(failed).then(fails).when(refused).then(refuses).when(cut).then(cuts).otherwise(ok)

    def texts(ok: str | None, fails: str | None, refuses: str | None, cuts: str | None) -> pl.Expr:
        return by_fate(pl.lit(ok), pl.lit(fails), pl.lit(refuses), pl.lit(cuts))

    def partly(name: str) -> pl.Expr:
        return (pl.col(name) * pl.col("_kept")).ceil().cast(pl.Int64)

    def unless(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
        return pl.when(~condition).then(value)

    finish = pl.when(pl.col("protocol_in") == "anthropic-messages").then(pl.lit("end_turn")).otherwise(pl.lit("stop"))
    part = {name: pl.when(cut).then(partly(name)).otherwise(pl.col(name)) for name in _LESS_WHEN_CUT}
    took = by_fate(part["duration_ms"], pl.col("_failed_ms"), pl.lit(1), part["duration_ms"])
    return [
        texts("ok", "error", "refused", "cut").alias("status"),
        by_fate(pl.lit(200), pl.col("_code"), pl.lit(403), pl.lit(200)).alias("http_status"),
        by_fate(pl.lit(None), pl.col("_type"), pl.lit("key_models"), pl.lit("client_left")).alias("error_type"),
        texts("provider", "none", "none", "estimated").alias("usage_source"),
        unless(unanswered | cut | (pl.col("operation") == "embeddings"), finish).alias("finish_reason"),
        took.alias("duration_ms"),
        unless(refused, pl.when(failed).then(pl.col("_failed_ms")).otherwise(part["upstream_ms"])).alias(
            "upstream_ms"
        ),
        unless(unanswered | ~pl.col("stream"), pl.min_horizontal("ttft_ms", took)).alias("ttft_ms"),
        unless(unanswered, part["output_tokens"]).alias("output_tokens"),
        unless(unanswered, part["reasoning_tokens"]).alias("reasoning_tokens"),
        pl.when(unanswered).then(400).otherwise(part["response_bytes"]).alias("response_bytes"),
        *(unless(unanswered, pl.col(name)).alias(name) for name in _UNKNOWN_WITHOUT_ANSWER),
        *(unless(refused, pl.col(name)).alias(name) for name in _UNKNOWN_WHEN_REFUSED),
    ]
