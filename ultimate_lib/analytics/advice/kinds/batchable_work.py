"""Plain calls that come in the same few hours on many days, at a provider whose price list has a batch price."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ultimate_lib.analytics.advice import prices, words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ultimate_lib.analytics.advice.evidence import Evidence

_FEWEST_DAYS = 4
_FEWEST_A_DAY = 10
_HOURS = 4
_TOGETHER = 0.9  # of the calls lie within so many hours of the day
_SHARE_OF_DAYS = 0.5  # of the days between the first and the last there are calls
_GROUP = ("key_id", "app", "project", "provider", "model")


def find(evidence: Evidence) -> Looked:
    """Return work that could go as batches, a draft a (key, app, project, model)."""
    nobody_waits = (
        ~pl.col("stream").fill_null(value=True)
        & pl.col("session_id").is_null() & pl.col("notebook").is_null() & pl.col("agent_id").is_null()
        & (pl.col("status") == "ok")
        & pl.col("service_tier").fill_null("").is_in(["", "standard", "default", "auto", "on_demand"])
    )  # fmt: skip
    batch = evidence.standard_rates(prices.BATCH, "b_")
    hours = (
        evidence.priced("stream", "session_id", "notebook", "agent_id", "status", "app", "project")
        .filter(nobody_waits)
        .join(batch.lazy(), on=["price_id", "band"])
        .with_columns(prices.listed("b_").alias("would"))
        .filter(pl.col("would") < pl.col("listed"))
        .with_columns(((pl.col("listed") - pl.col("would")) * pl.col("fair")).alias("saved"))
        .with_columns(pl.col("started_at").dt.date().alias("day"), pl.col("started_at").dt.hour().alias("hour"))
        .group_by(*_GROUP, "block", "day", "hour")
        .agg(pl.len().alias("calls"), pl.col("saved").sum(), pl.col("cost_nano_usd").sum())
        .collect(engine="streaming")
    )  # fmt: skip
    drafts = []
    for _, own in hours.group_by(*_GROUP, maintain_order=True):
        days = own["day"].n_unique()
        span = (own["day"].max() - own["day"].min()).days + 1  # type: ignore[operator,union-attr] # dates
        if days < _FEWEST_DAYS or own["calls"].sum() < _FEWEST_A_DAY * days or days < _SHARE_OF_DAYS * span:
            continue
        by_hour = np.zeros(24)
        np.add.at(by_hour, own["hour"].to_numpy(), own["calls"].to_numpy())
        begin, share = _busiest(by_hour)
        if share >= _TOGETHER:
            drafts.append(_draft(evidence, own, begin, share, days))
    return Looked(at=int(hours["calls"].sum()), found=drafts)


def _busiest(by_hour: NDArray[np.float64]) -> tuple[int, float]:
    """Return the hour at which the busiest hours in a row begin, and the share of calls in them."""
    together = [np.roll(by_hour, -hour)[:_HOURS].sum() for hour in range(24)]
    begin = int(np.argmax(together))
    return begin, float(together[begin] / by_hour.sum())


def _draft(evidence: Evidence, own: pl.DataFrame, begin: int, share: float, days: int) -> Draft:
    row = own.row(0, named=True)
    number, paid = int(own["calls"].sum()), float(own["cost_nano_usd"].sum())
    part = 1 - float(own["saved"].sum()) / paid
    named = " of ".join(f"{what} '{row[what]}'" for what in ("app", "project") if row[what])
    return Draft(
        title=f"{words.calls(number)} of {words.model(row['model'])} with "
        f"{evidence.name_of(row['key_id'])} on {days} "
        f"days could go as "
        f"batches, at {part:.0%} of what they cost",
        where={
            name: (row[column],)
            for name, column in zip(("key", "app", "project", "provider", "model"), _GROUP, strict=True)
        },
        affected=number,
        condition=~pl.col("stream").fill_null(value=True) & (pl.col("status") == "ok"),
        blocks=evidence.series(own, "saved"),
        paid_nano=paid,
        who={
            "key": row["key_id"],
            "app": row["app"],
            "project": row["project"],
            "provider": row["provider"],
            "model": row["model"],
        },
        how=[
            (
                f"Send these requests{f' ({named})' if named else ''} through the provider's batch "
                f"interface and fetch the "
                "answers later, within 24 hours as a rule."
            ),
            (
                f"{share:.0%} of them come between {begin:02}:00 and {(begin + _HOURS) % 24:02}:00 UTC, "
                f"none is a stream, "
                "and none belongs to a session, an agent or a notebook."
            ),
        ],
        assumptions=[
            "That nobody waits for the answers is taken from when and how they are asked for.",
            "Repriced at today's batch price in the price list, with the tokens as they were.",
        ],
    )
