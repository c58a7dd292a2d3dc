"""The same request again: a copy that begins within a day of an answer is an answer not kept.

A copy that begins while those before it still run was sent at once with them, and is told as such. Copies of a
request that failed are retries, and told as such.
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
_AT_ONCE = (
    "Where equal requests are sent at once, send one and share its answer; where several answers are wanted, ask for "
    "them in one call if the provider has a number for that (n)."
)


def find(evidence: Evidence) -> Looked:
    """Return repeated requests, a draft a (key, model)."""
    calls = repeats.repeated(evidence, pl.col("status") == "ok")
    copies = _copies(calls)
    drafts = []
    for _, own in copies.group_by("key_id", "model", maintain_order=True):
        row = own.row(0, named=True)
        hashes = (
            own.group_by("request_hash").agg(pl.col("cost_nano_usd").sum()).sort("cost_nano_usd", descending=True)
        )
        streams = int(own["stream"].fill_null(value=False).sum())
        at_once = int((~own["answered"]).sum())
        drafts.append(
            Draft(
                title=f"{words.calls(own.height)} of {words.model(row['model'])} with "
                f"{evidence.name_of(row['key_id'])} "
                f"{_sent(own.height, at_once)} ({hashes.height:,} different "
                f"request{'s' if hashes.height > 1 else ''})",
                where=repeats.where(row, hashes["request_hash"]),
                affected=own.height,
                condition=pl.col("request_hash").is_in(hashes["request_hash"].implode()) & (pl.col("status") == "ok"),
                blocks=evidence.series(own, "cost_nano_usd"),
                paid_nano=float(own["cost_nano_usd"].sum()),
                who={"key": row["key_id"], "model": row["model"]},
                how=[
                    *([_AT_ONCE] if at_once else []),
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


def _copies(calls: pl.DataFrame) -> pl.DataFrame:
    """Return the calls that are copies: `answered` within the day before, or begun while an equal one still ran."""
    ended = pl.col("started_at") + pl.duration(milliseconds=pl.col("duration_ms").fill_null(0))
    calls = calls.sort("started_at").with_columns(ended.alias("ended"))
    ends = calls.select("group", pl.col("ended").alias("answered_at")).sort("answered_at")
    # A call's own answer comes at its start or later; where it takes no time the call before has to be found.
    begins = calls.with_columns(
        (pl.col("started_at") - pl.duration(microseconds=1)).alias("before"),
        pl.col("ended").cum_max().shift().over("group").alias("others_end"),
    )
    found = begins.join_asof(
        ends, left_on="before", right_on="answered_at", by="group", strategy="backward", check_sortedness=False
    )
    answered = ((pl.col("started_at") - pl.col("answered_at")) <= _WITHIN).fill_null(value=False)
    runs = (pl.col("others_end") >= pl.col("started_at")).fill_null(value=False)
    return found.with_columns(answered.alias("answered")).filter(pl.col("answered") | runs)


def _sent(number: int, at_once: int) -> str:
    if not at_once:
        return "sent again what had been answered within the day before"
    if at_once == number:
        return "were sent at once with others of the same bytes, before there was an answer"
    was = "was" if at_once == 1 else "were"
    return f"came again within the day; {at_once:,} of them {was} sent at once, before there was an answer"
