"""Answers that were paid for and lost: a call that broke off or failed with a bill, and was then sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.analytics.advice import repeats, words
from ultimate_lib.analytics.advice.evidence import COUNTED, MODEL, SPENT
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

_WITHIN = timedelta(hours=1)
_LOST = pl.col("status").is_in(["error", "cut"])


def find(evidence: Evidence) -> Looked:
    """Return paid calls that were lost and sent again, a draft a (key, model)."""
    named = evidence.calls.filter(COUNTED, pl.col("request_hash").is_not_null())
    lost = named.filter(_LOST, SPENT).select("key_id", "request_hash").unique().collect(engine="streaming")
    if not lost.height:
        return Looked(at=evidence.total)
    calls = (
        named.join(lost.lazy(), on=["key_id", "request_hash"], how="semi", nulls_equal=True)
        .select(
            "started_at", "key_id", MODEL, "request_hash", "cost_nano_usd", "status", "attempts", "error_type",
            evidence.block_of, SPENT.fill_null(value=False).alias("spent"),
        )
        .collect(engine="streaming")
    )  # fmt: skip
    following = pl.col("started_at").shift(-1).over("key_id", "request_hash", order_by="started_at")
    again = calls.filter(_LOST & pl.col("spent") & ((following - pl.col("started_at")) <= _WITHIN))
    drafts = [_draft(evidence, own) for _, own in again.group_by("key_id", "model", maintain_order=True)]
    return Looked(at=evidence.total, found=drafts)


def _draft(evidence: Evidence, own: pl.DataFrame) -> Draft:
    row = own.row(0, named=True)
    hashes = own.group_by("request_hash").agg(pl.col("cost_nano_usd").sum()).sort("cost_nano_usd", descending=True)
    cut = int((own["status"] == "cut").sum())
    more = int((own["attempts"].fill_null(1) - 1).clip(lower_bound=0).sum())
    reasons = own["error_type"].drop_nulls().value_counts(sort=True).head(3)
    told = ", ".join(f"{name} ({number:,})" for name, number in reasons.rows())
    return Draft(
        title=f"{words.calls(own.height)} of {words.model(row['model'])} with {evidence.name_of(row['key_id'])} were "
        f"paid for, lost "
        "and sent again within the hour",
        where=repeats.where(row, hashes["request_hash"]),
        affected=own.height,
        condition=pl.col("request_hash").is_in(hashes["request_hash"].implode()) & _LOST,
        blocks=evidence.series(own, "cost_nano_usd"),
        paid_nano=float(own["cost_nano_usd"].sum()),
        who={"key": row["key_id"], "model": row["model"]},
        how=[
            f"{cut:,} of them broke off and {own.height - cut:,} failed{f': {told}' if told else ''}.",
            (
                "Where the client left, give its time-out more room than the longest answer takes, or "
                "stream, so that it "
                "sees the answer come."
            ),
            "Retry only what may go well a second time, after a pause that doubles; not what is refused as invalid.",
        ],
        assumptions=[
            "The first sending is what would be saved: the same bytes of the same key followed within an hour.",
            "What is paid for a call that broke off is our own estimate where the provider did not get to tell it.",
            *(
                [f"The proxy itself sent {more:,} more attempts for these calls; what those cost is not known."]
                if more
                else []
            ),
        ],
    )
