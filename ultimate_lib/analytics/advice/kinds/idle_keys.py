"""Keys that may call and have not for the whole span: a risk that buys nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence


def find(evidence: Evidence) -> Looked:
    """Return keys older than the span without a call in it.

    `keys` has `id`, `name`, `user_name`, `created_at`, `expires_at` (null: never), `may_call`, `used`: whether
    anybody's call in the span was made with it.
    """
    keys = evidence.keys
    if keys is None:
        return Looked(at=0, few=evidence.why_not)
    live = keys.filter(pl.col("may_call"))
    idle = live.filter(~pl.col("used"), pl.col("created_at") < evidence.since)
    days = (evidence.until - evidence.since).days
    drafts = []
    for row in idle.sort("created_at").iter_rows(named=True):
        age = (evidence.until - row["created_at"]).days
        ends = "It never ends." if row["expires_at"] is None else f"It ends on {row['expires_at']:%Y-%m-%d}."
        drafts.append(
            Draft(
                title=f"The key '{row['name'] or row['id']}' of {row['user_name'] or 'nobody'} may call and "
                f"has not for "
                f"{days} days; it is {age} days old",
                about_calls=False,
                who={"key": row["id"], "user": row["user_name"]},
                how=[
                    "End it if nobody needs it: whoever finds its secret can spend with it.",
                    f"{ends} A new key takes a minute when it is needed again.",
                ],
                snippet=f"claude-proxy keys revoke {row['id']}",
                assumptions=["Nothing is saved by this: an idle key is a risk, not a cost."],
            )
        )
    return Looked(at=live.height, found=drafts)
