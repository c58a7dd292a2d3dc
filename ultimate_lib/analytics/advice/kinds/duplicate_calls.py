"""The same request again, after it had been answered: a copy within a day of the one before is an answer not kept.

Copies of a request that failed are retries, and told as such.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.analytics.advice import repeats, words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

_WITHIN = timedelta(days=1)


def find(evidence: Evidence) -> Looked:
    """Return repeated requests, a draft a (key, model)."""
    calls = repeats.repeated(evidence, pl.col("status") == "ok")
    before = pl.col("started_at").shift().over("group", order_by="started_at")
    copies = calls.filter((pl.col("started_at") - before) <= _WITHIN)
    drafts = []
    for _, own in copies.group_by("key_id", "model", maintain_order=True):
        row = own.row(0, named=True)
        hashes = (
            own.group_by("request_hash").agg(pl.col("cost_nano_usd").sum()).sort("cost_nano_usd", descending=True)
        )
        streams = int(own["stream"].fill_null(value=False).sum())
        drafts.append(
            Draft(
                title=f"{words.calls(own.height)} of {row['model']} with {evidence.name_of(row['key_id'])} "
                f"sent again "
                f"what had been answered within the day before ({hashes.height:,} different "
                f"request{'s' if hashes.height > 1 else ''})",
                where=repeats.where(row, hashes["request_hash"]),
                affected=own.height,
                condition=pl.col("request_hash").is_in(hashes["request_hash"].implode()) & (pl.col("status") == "ok"),
                blocks=evidence.series(own, "cost_nano_usd"),
                paid_nano=float(own["cost_nano_usd"].sum()),
                who={"key": row["key_id"], "model": row["model"]},
                how=[
                    (
                        "Keep the answer where the request is made (a file or a table by the request's "
                        "text) and look "
                        "there first."
                    ),
                    "Where a page, a cell or a job simply runs again, have it ask only for what has changed.",
                ],
                assumptions=[
                    (
                        "Requests are the same byte for byte; the first of each is not counted, and "
                        "neither is a copy of "
                        "one that failed."
                    ),
                    (
                        "Whether an answer was to be the same again is not known: with a temperature above "
                        "0 copies may "
                        "be wanted."
                    ),
                    f"{streams:,} of the {own.height:,} copies were streams.",
                ],
            )
        )
    return Looked(at=evidence.total, found=drafts)
