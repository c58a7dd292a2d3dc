"""The metric table: what unknown, unpriced, refused and subscribed mean, and that parts merge in any order."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import polars as pl
import pytest

from tests.lake.random_calls import random_frame
from ultimate_lib import records
from ultimate_lib.lake import schema
from ultimate_lib.metrics import (
    COUNTED,
    COUNTS,
    DIMENSIONS,
    GAMMA,
    MEASURES,
    METRICS,
    PARTS,
    bucket,
    bucket_value_ms,
    merged,
    quantiles,
    row_parts,
)
from ultimate_lib.records import CallRecord

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
SPECIFIED = (
    "requests errors error_ratio refused input_tokens output_tokens cache_read_tokens cache_hit_ratio "
    "reasoning_tokens total_tokens cost_usd cost_per_request_usd cost_per_1k_output_tokens_usd unpriced_requests "
    "latency_p50_ms latency_p95_ms latency_p99_ms ttft_p50_ms ttft_p95_ms tokens_per_s overhead_p99_ms anomalies"
)


def values(*calls: dict[str, object]) -> dict[str, object]:
    rows = [CallRecord(call_id=str(n), started_at=n, **call) for n, call in enumerate(calls)]  # type: ignore[arg-type]
    frame = schema.frame_from_records(rows).filter(COUNTED)
    sums = frame.select(row_parts(PARTS)).select(merged(PARTS))
    asked = [metric.value.alias(name) for name, metric in METRICS.items() if metric.value is not None]
    return sums.select(asked).row(0, named=True)


def test_every_specified_metric_is_there_with_its_unit_and_sentence() -> None:
    assert set(SPECIFIED.split()) <= set(METRICS)
    assert set(METRICS) - set(SPECIFIED.split()) == {
        "subscription_cost_usd", "priced_requests", "priced_output_tokens",
    }  # fmt: skip
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.sentence.endswith(".")
        assert metric.unit in {"calls", "tokens", "usd", "ratio", "ms", "tokens/s"}
        assert (metric.value is None) == (metric.measure is not None)
        assert set(metric.parts) <= set(PARTS)
        if metric.value is not None:
            assert set(metric.value.meta.root_names()) == set(metric.parts)
        for suffix, unit in (("_usd", "usd"), ("_ratio", "ratio"), ("_ms", "ms"), ("_tokens", "tokens")):
            assert not name.endswith(suffix) or metric.unit == unit


def test_parts_and_dimensions_name_columns_of_the_record() -> None:
    columns = {column.name for column in records.COLUMNS}
    for expression in PARTS.values():
        assert set(expression.meta.root_names()) <= columns
    assert {name for dimension in DIMENSIONS.values() for name in dimension.columns} <= columns
    assert set(MEASURES.values()) <= columns
    assert set(PARTS) >= COUNTS


def test_unknown_is_null_and_never_0() -> None:
    unknown = values({"status": "ok", "operation": "chat"}, {"status": "ok"})
    assert unknown["requests"] == 2
    for name in ("input_tokens", "output_tokens", "total_tokens", "cost_usd", "cache_hit_ratio", "anomalies"):
        assert unknown[name] is None, name
    half = values({"input_tokens": 5, "cost_nano_usd": 7}, {})
    assert half["input_tokens"] == half["total_tokens"] == 5
    assert half["cost_usd"] == 7e-9
    assert half["cost_per_request_usd"] == 7e-9
    assert values({"output_tokens": 0})["output_tokens"] == 0


def test_no_calls_have_no_ratio() -> None:
    nothing = values()
    assert {nothing[name] for name in COUNTS & set(METRICS)} == {0}
    assert all(nothing[name] is None for name in METRICS if name in nothing and name not in COUNTS)


def test_a_subscription_is_no_spend_and_not_unpriced() -> None:
    found = values(
        {"billing": "subscription", "cost_nano_usd": 5 * 10**9, "status": "ok", "output_tokens": 10},
        {"billing": "subscription", "status": "ok"},
        {"billing": "metered", "cost_nano_usd": 10**9, "status": "ok", "output_tokens": 500},
        {"billing": None, "cost_nano_usd": 10**9, "status": "ok"},
    )
    assert found["cost_usd"] == 2.0
    assert found["subscription_cost_usd"] == 5.0
    assert found["unpriced_requests"] == 0
    assert found["cost_per_request_usd"] == 1.0
    assert found["cost_per_1k_output_tokens_usd"] == 2.0
    assert found["requests"] == 4
    assert found["output_tokens"] == 510


@pytest.mark.parametrize(
    ("call", "unpriced"),
    [
        ({"status": "ok", "billing": "metered"}, 1),
        ({"status": "cut", "billing": "metered"}, 1),
        ({"status": "ok", "billing": None}, 1),
        ({"status": "ok", "billing": "local"}, 0),
        ({"status": "ok", "billing": "metered", "cost_nano_usd": 0}, 0),
        ({"status": "refused", "billing": None}, 0),
        ({"status": "blocked", "billing": "metered"}, 0),
        ({"status": "error", "billing": "metered"}, 0),
        ({"status": "error", "billing": "metered", "output_tokens": 3}, 1),
    ],
)
def test_unpriced_is_what_somebody_bills_and_we_cannot_price(call: dict[str, object], unpriced: int) -> None:
    assert values(call)["unpriced_requests"] == unpriced


def test_counting_tokens_is_no_request_of_a_model() -> None:
    found = values({"operation": "count_tokens", "input_tokens": 9}, {"operation": "models"}, {"operation": "chat"})
    assert found["requests"] == 1
    assert found["input_tokens"] is None


def test_ratios_take_both_sides_from_the_same_calls() -> None:
    found = values(
        {"input_tokens": 100, "cache_read_tokens": 50},
        {"input_tokens": 900},
        {"output_tokens": 100, "duration_ms": 2000},
        {"output_tokens": 100},
        {"duration_ms": 5000},
    )
    assert found["cache_hit_ratio"] == 0.5
    assert found["tokens_per_s"] == 50.0


def test_anomalies_are_counted_among_calls_that_were_scored() -> None:
    assert values({"anomaly_action": "none"}, {})["anomalies"] == 0
    assert values({"anomaly_action": "warn"}, {"anomaly_action": "block"}, {})["anomalies"] == 2


def test_parts_merge_to_the_same_in_any_order_and_grouping() -> None:
    frame = random_frame(1, 500, START, END).filter(COUNTED).select(row_parts(PARTS))
    whole = frame.select(merged(PARTS))
    dice = random.Random(2)
    for _ in range(5):
        cut = frame.with_columns(pl.Series("part", [dice.randrange(40) for _ in range(frame.height)]))
        merges = cut.group_by("part").agg(merged(PARTS)).sample(fraction=1, shuffle=True, seed=3)
        assert merges.select(merged(PARTS)).equals(whole)


def test_money_is_summed_exactly() -> None:
    costs = [2**53 + 1, 1, 1, 1]  # a float would drop the ones
    assert values(*({"cost_nano_usd": cost} for cost in costs))["cost_usd"] == sum(costs) / 1e9


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_a_bucket_is_off_by_less_than_one_percent(measure: str) -> None:
    dice = random.Random(4)
    values_ms = [dice.lognormvariate(2, 3) for _ in range(4000)] + [1.0, 1.02, 0.001, 3.6e6]
    if measure != "overhead":
        values_ms = [max(1, round(value)) for value in values_ms]
    frame = pl.DataFrame({MEASURES[measure]: values_ms}).with_columns(bucket(measure).alias("bucket"))
    found = frame.with_columns(bucket_value_ms(pl.col("bucket")).alias("read"))
    error = (
        found.filter(pl.col("read") > 0).select((pl.col("read") / pl.col(MEASURES[measure]) - 1).abs().max()).item()
    )
    assert error <= (GAMMA - 1) / (GAMMA + 1) + 1e-9
    assert (GAMMA - 1) / (GAMMA + 1) < 0.01


def test_a_duration_of_nothing_reads_as_0_and_an_unknown_one_has_no_bucket() -> None:
    frame = pl.DataFrame({"duration_ms": [0, None, -3]}).select(bucket("latency").alias("bucket"))
    read = frame.select(bucket_value_ms(pl.col("bucket")).alias("read"))["read"].to_list()
    assert read == [0.0, None, 0.0]


def test_quantiles_are_nearest_ranks_of_each_group() -> None:
    buckets = pl.LazyFrame({"key": ["a"] * 3 + ["b"], "bucket": [10, 20, 30, 40], "n": [50, 45, 5, 1]})
    buckets = buckets.with_columns(pl.col("bucket").cast(pl.Int16))
    found = quantiles(buckets, ["key"], {"p50": 0.5, "p95": 0.95, "p99": 0.99}).sort("key").collect()
    expected = pl.DataFrame({"bucket": pl.Series([10, 20, 30, 40], dtype=pl.Int16)})
    ten, twenty, thirty, forty = expected.select(bucket_value_ms(pl.col("bucket")).alias("v"))["v"]
    assert found.rows() == [("a", ten, twenty, thirty), ("b", forty, forty, forty)]
