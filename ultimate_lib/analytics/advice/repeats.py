"""Requests that were sent more than once with the same bytes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ultimate_lib.analytics.advice.evidence import COUNTED, MODEL, SPENT

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

MOST_HASHES = 40  # that a filter names


def repeated(evidence: Evidence, wanted: pl.Expr) -> pl.DataFrame:
    """Return the paid calls whose key has sent the same request at least twice; `group` is one such request."""
    calls = (
        evidence.calls.filter(COUNTED, SPENT, pl.col("request_hash").is_not_null(), wanted)
        .select(
            "started_at", "duration_ms", "key_id", MODEL, "request_hash", "cost_nano_usd", "stream",
            evidence.block_of, pl.struct("key_id", "request_hash").hash(1).alias("group"),
        )
        .collect(engine="streaming")
    )  # fmt: skip
    return calls.filter(pl.col("group").is_duplicated())


def where(row: dict[str, Any], hashes: pl.Series) -> dict[str, tuple[str | None, ...]]:
    """Return the filters of a (key, model), and of its requests where they are few."""
    told: dict[str, tuple[str | None, ...]] = {"key": (row["key_id"],), "model": (row["model"],)}
    if len(hashes) <= MOST_HASHES:
        told["request"] = tuple(str(one) for one in hashes)
    return told
