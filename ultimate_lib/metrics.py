"""The metric table: every number that any face shows, once, by name.

    frame = calls.lazy().select(row_parts(["requests", "cost_nano_usd"]))      # one row a call
    sums = frame.select(merged(["requests", "cost_nano_usd"]))                 # any number of times, in any order
    sums.select(METRICS["cost_per_request_usd"].value)

A metric is an expression over **parts**: 64-bit sums over calls that merge by addition, so that rollups, raw rows and
distributed partial results give the same answer to the last digit. Money is summed in nano-dollars and becomes
dollars once, at the end. Quantiles come from a **measure**: counts per logarithmic bucket, also merged by addition.

What every metric means by a call, and by nothing:
* `COUNTED` calls alone: token counting and model listings ask no model for an answer and are not requests of one.
* Unknown is null, never 0: a sum over calls of which none is known is null; a ratio takes both its sides from the
  same calls, those in which both are known, and is null when there are none.
* Calls with `billing = subscription` are requests and use tokens, but their price-list equivalent is no spend: it
  stands in `subscription_cost_usd` and nowhere else. Local models send no bill and are not "unpriced".

Two names of the specification are not here: `cost_change_ratio` compares two spans and `budget_used_ratio` needs the
budgets of the store; neither is an expression over the calls of one span.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

NANO = 1_000_000_000
GAMMA = 1.02
"""Ratio of neighbouring bucket edges: a value read from its bucket is off by ≤ (gamma - 1) / (gamma + 1) = 0.99 %.

Masson, Rim, Lee: "DDSketch", PVLDB 12 (2019), section 2.1.
"""
LOWEST_MS = 0.001
"""What is shorter falls into the lowest bucket and reads as 0."""
_PER_LOG = 1.0 / math.log(GAMMA)
_LOWEST_BUCKET = math.ceil(math.log(LOWEST_MS) * _PER_LOG)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number: its unit, its meaning, and how it is made of parts, or of a measure's buckets and a quantile."""

    name: str
    unit: str  # calls | tokens | usd | ratio | ms | tokens/s
    sentence: str
    parts: tuple[str, ...] = ()
    value: pl.Expr | None = None  # over the parts
    measure: str | None = None
    quantile: float | None = None
    adds: bool = False  # the figures of two spans add up to that of both


@dataclass(frozen=True, slots=True)
class Dimension:
    """What calls can be grouped and filtered by: the first known of `columns`; `multiple` when a call has several.

    Values are text; of what is `hashed` the columns hold numbers.
    """

    name: str
    columns: tuple[str, ...]
    sentence: str
    multiple: bool = False
    hashed: bool = False

    @property
    def value(self) -> pl.Expr:
        """The dimension's value of a call, as text (hashes are numbers), under the dimension's name."""
        value = pl.coalesce(self.columns)
        return (value.cast(pl.String) if self.hashed else value).alias(self.name)


# -- dimensions and grains ----------------------------------------------------------------------------------------

DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        Dimension("provider", ("provider",), "Provider as named in the configuration."),
        Dimension(
            "model",
            ("model_routed", "model_requested", "model_served"),
            "Model as sent to the provider; as requested when the call was never routed.",
        ),
        Dimension("key", ("key_id",), "Id of the key."),
        Dimension("user", ("user_id",), "Id of the user."),
        Dimension("team", ("team",), "Team."),
        Dimension("project", ("project",), "Project."),
        Dimension("app", ("app",), "Application."),
        Dimension("notebook", ("notebook",), "Path of the notebook."),
        Dimension("cell_id", ("cell_id",), "Cell of the notebook."),
        Dimension("kernel", ("kernel_id",), "Kernel that ran the cell."),
        Dimension("session", ("session_id",), "Session of the client."),
        Dimension("agent", ("agent_id",), "Agent within the session."),
        Dimension("prefix", ("prefix_hash",), "Hash of tools and system.", hashed=True),
        Dimension("request", ("request_hash",), "Hash of the whole request.", hashed=True),
        Dimension("endpoint", ("endpoint",), "Path of the request."),
        Dimension("status", ("status",), "ok, error, cut, refused or blocked."),
        Dimension("tag", ("tags",), 'One "key=value"; a call counts under each of its tags.', multiple=True),
    )
}

GRAINS: tuple[str, ...] = ("minute", "hour", "day", "week", "month")
"""Steps of a time series, cut in a named time zone; weeks begin on the configured day."""

UNCOUNTED_OPERATIONS = ("count_tokens", "models")
COUNTED = ~pl.col("operation").is_in(UNCOUNTED_OPERATIONS).fill_null(value=False)
"""Which calls the metrics are about."""

# -- parts: one expression a call, merged by sum -------------------------------------------------------------------

_cost = pl.col("cost_nano_usd")
_spend = pl.when(pl.col("billing").ne_missing("subscription")).then(_cost)
_turned_away = pl.col("status").is_in(("refused", "blocked")).fill_null(value=False)
_answered = pl.col("output_tokens").fill_null(0) > 0
_billed = ~pl.col("billing").is_in(("subscription", "local")).fill_null(value=False)
_both_timed = pl.col("output_tokens").is_not_null() & (pl.col("duration_ms") > 0)

PARTS: dict[str, pl.Expr] = {
    "requests": pl.col("started_at").is_not_null(),
    "errors": pl.col("status").eq_missing(pl.lit("error")),
    "refused": _turned_away,
    "priced_requests": _spend.is_not_null(),
    "unpriced_requests": _cost.is_null()
    & _billed
    & ~_turned_away
    & (pl.col("status").ne_missing(pl.lit("error")) | _answered),
    "input_tokens": pl.col("input_tokens"),
    "output_tokens": pl.col("output_tokens"),
    "reasoning_tokens": pl.col("reasoning_tokens"),
    "cache_read_tokens": pl.col("cache_read_tokens"),
    "cache_told_read_tokens": pl.when(pl.col("input_tokens").is_not_null()).then(pl.col("cache_read_tokens")),
    "cache_told_input_tokens": pl.when(pl.col("cache_read_tokens").is_not_null()).then(pl.col("input_tokens")),
    "cost_nano_usd": _spend,
    "subscription_cost_nano_usd": pl.when(pl.col("billing").eq_missing(pl.lit("subscription"))).then(_cost),
    "priced_output_nano_usd": pl.when(pl.col("output_tokens").is_not_null()).then(_spend),
    "priced_output_tokens": pl.when(_spend.is_not_null()).then(pl.col("output_tokens")),
    "timed_output_tokens": pl.when(_both_timed).then(pl.col("output_tokens")),
    "timed_ms": pl.when(_both_timed).then(pl.col("duration_ms")),
    "anomalies": pl.col("anomaly_action").is_in(("warn", "block")),
}
"""Each is an integer a call, or null when unknown."""

COUNTS = frozenset({"requests", "errors", "refused", "priced_requests", "unpriced_requests"})
"""Parts that are known of every call: over no calls they are 0, the others null."""

MEASURES: dict[str, str] = {"latency": "duration_ms", "ttft": "ttft_ms", "overhead": "overhead_ms"}
"""Name → column in milliseconds. Calls that were refused or blocked reached no provider and are left out."""
MEASURED = ~_turned_away


def row_parts(names: Iterable[str]) -> list[pl.Expr]:
    """Return expressions that give the named parts of each call, Int64."""
    return [PARTS[name].cast(pl.Int64).alias(name) for name in names]


def merged(names: Iterable[str]) -> list[pl.Expr]:
    """Return aggregations that merge the named parts, of calls or of earlier merges; null when none is known."""
    return [_sum(name) for name in names]


def _sum(name: str) -> pl.Expr:
    part = pl.col(name)
    if name in COUNTS:
        return part.sum()
    return pl.when(part.count() > 0).then(part.sum()).alias(name)


def bucket(measure: str) -> pl.Expr:
    """Return the expression that puts a call's value into its bucket: the b with gamma^(b-1) < value ≤ gamma^b."""
    value = pl.col(MEASURES[measure]).cast(pl.Float64).clip(lower_bound=LOWEST_MS)
    return (value.log() * _PER_LOG).ceil().cast(pl.Int16)


def bucket_value_ms(bucket: pl.Expr) -> pl.Expr:
    """Return the value a bucket stands for: the point from which both its edges are equally far, relatively."""
    middle = (bucket.cast(pl.Float64) * math.log(GAMMA)).exp() * (2 / (1 + GAMMA))
    return pl.when(bucket > _LOWEST_BUCKET).then(middle).when(bucket.is_not_null()).then(0.0)


def quantiles(buckets: pl.LazyFrame, by: list[str], asked: dict[str, float]) -> pl.LazyFrame:
    """Return the asked quantiles (name → 0-1) of each group, by nearest rank.

    `buckets`: columns `by`, `bucket`, `n`, each bucket once a group. Returned: `by` and one column a name, in ms.
    """
    if not by:
        return quantiles(buckets.with_columns(pl.lit(0).alias("_all")), ["_all"], asked).drop("_all")
    ranked = buckets.sort("bucket").with_columns(
        pl.col("n").cum_sum().over(by).alias("_to"), pl.col("n").sum().over(by).alias("_of")
    )
    return ranked.group_by(by).agg(
        bucket_value_ms(pl.col("bucket").filter(pl.col("_to") >= (pl.col("_of") * quantile).ceil()).min()).alias(name)
        for name, quantile in asked.items()
    )


# -- metrics: one line each ----------------------------------------------------------------------------------------


def _ratio(above: pl.Expr, below: pl.Expr) -> pl.Expr:
    return pl.when(below > 0).then(above / below)


def _sum_of(name: str, unit: str, sentence: str) -> Metric:
    return Metric(name, unit, sentence, (name,), pl.col(name), adds=True)


def _usd(name: str, part: str, sentence: str) -> Metric:
    return Metric(name, "usd", sentence, (part,), pl.col(part) / NANO, adds=True)


def _share(name: str, unit: str, above: str, below: str, sentence: str, *, times: int = 1, per: int = 1) -> Metric:
    # whole numbers up to the one division, so that a single call's price comes out as it went in
    return Metric(name, unit, sentence, (above, below), _ratio(pl.col(above) * times, pl.col(below) * per))


def _quantile(measure: str, percent: int, sentence: str) -> Metric:
    return Metric(f"{measure}_p{percent}_ms", "ms", sentence, measure=measure, quantile=percent / 100)


_in, _out = pl.col("input_tokens"), pl.col("output_tokens")

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _sum_of("requests", "calls", "Calls, whatever became of them."),
        _sum_of("errors", "calls", "Calls that ended in an error of a provider or of ours."),
        _share("error_ratio", "ratio", "errors", "requests", "Errors over requests."),
        _sum_of("refused", "calls", "Calls turned away at the door: permission, limits, budgets, guard."),
        _sum_of("input_tokens", "tokens", "Input tokens, those read from and written to the prompt cache included."),
        _sum_of("output_tokens", "tokens", "Output tokens, reasoning included."),
        _sum_of("cache_read_tokens", "tokens", "Input tokens read from the provider's prompt cache."),
        _share(
            "cache_hit_ratio", "ratio", "cache_told_read_tokens", "cache_told_input_tokens", "Cache reads over input."
        ),
        _sum_of("reasoning_tokens", "tokens", "Output tokens spent on reasoning."),
        Metric(
            "total_tokens",
            "tokens",
            "Input and output tokens.",
            ("input_tokens", "output_tokens"),
            pl.coalesce(_in + _out, _in, _out),
            adds=True,
        ),
        _usd("cost_usd", "cost_nano_usd", "Spend: cost of priced calls, subscriptions left out."),
        _share(
            "cost_per_request_usd",
            "usd",
            "cost_nano_usd",
            "priced_requests",
            "Spend over priced requests.",
            per=NANO,
        ),
        _share(
            "cost_per_1k_output_tokens_usd",
            "usd",
            "priced_output_nano_usd",
            "priced_output_tokens",
            "Spend over thousands of output tokens.",
            per=NANO // 1000,
        ),
        _usd(
            "subscription_cost_usd",
            "subscription_cost_nano_usd",
            "What calls on a subscription would have cost by the price list; no spend.",
        ),
        _sum_of("priced_requests", "calls", "Calls whose cost is known and is spend."),
        _sum_of("priced_output_tokens", "tokens", "Output tokens of priced requests."),
        _sum_of("unpriced_requests", "calls", "Calls that a provider bills and whose cost is not known."),
        _quantile("latency", 50, "Half of the calls took at most this, first byte in to last byte out."),
        _quantile("latency", 95, "95 % of the calls took at most this, first byte in to last byte out."),
        _quantile("latency", 99, "99 % of the calls took at most this, first byte in to last byte out."),
        _quantile("ttft", 50, "Half of the streams gave their first token within this."),
        _quantile("ttft", 95, "95 % of the streams gave their first token within this."),
        _share(
            "tokens_per_s",
            "tokens/s",
            "timed_output_tokens",
            "timed_ms",
            "Output tokens over the whole duration of their calls.",
            times=1000,
        ),
        _quantile("overhead", 99, "99 % of the calls were delayed by us by at most this."),
        _sum_of("anomalies", "calls", "Calls the guard warned of or blocked, among those it scored."),
    )
}
