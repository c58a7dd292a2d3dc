"""max_tokens far above what such calls ever write: a hard budget holds the worst case of each while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ultimate_lib.analytics.advice import words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

_FEWEST = 50
_FAR = 4  # the middle of what is asked is so many times the longest answer
_ROOM = 1.5  # of the longest answer
_STEP = 256
_CUT_OFF = ("length", "max_tokens", "max_output_tokens", "MAX_TOKENS")


def find(evidence: Evidence) -> Looked:
    """Return (key, model)s whose max_tokens a hard budget holds in vain."""
    if evidence.budgets is None:
        return Looked(at=0, few=evidence.why_not)
    hard = evidence.budgets.filter(pl.col("hard"), pl.col("enabled"), pl.col("unit") == "nano_usd")
    if not hard.height:
        return Looked(at=evidence.total, why="No hard budget in dollars holds worst cases.")
    held = (
        evidence.priced("max_tokens", "output_tokens", "status", "finish_reason", "user_id", "team", "project")
        .filter(_ANSWERED, pl.col("max_tokens") > 0, pl.col("made") > 0)
        .group_by("key_id", "provider", "model")
        .agg(
            pl.len().alias("calls"), pl.col("made").max().alias("longest"),
            pl.col("max_tokens").median().alias("asked"),
            pl.col("finish_reason").is_in(_CUT_OFF).fill_null(value=False).sum().alias("cut_off"),
            pl.col("cost_nano_usd").sum(), pl.col("output").median(),
            pl.col("user_id", "team", "project").drop_nulls().unique(),
        )
        .filter(pl.col("calls") >= _FEWEST, pl.col("cut_off") == 0, pl.col("asked") >= _FAR * pl.col("longest"))
        .sort("key_id", "provider", "model")
        .collect()
    )  # fmt: skip
    drafts = [
        _draft(evidence, row, names)
        for row in held.iter_rows(named=True)
        if (names := [_name(one) for one in hard.iter_rows(named=True) if _covers(one, row)])
    ]
    return Looked(at=evidence.total, found=drafts)


_ANSWERED = pl.col("status") == "ok"


def _covers(budget: dict[str, Any], row: dict[str, Any]) -> bool:
    subject, whose = budget["subject"], budget["subject_id"]
    if subject == "global":
        return True
    if subject == "key":
        return bool(whose == row["key_id"])
    return whose in row.get({"user": "user_id"}.get(subject, subject), ())


def _name(budget: dict[str, Any]) -> str:
    return f"'{budget['name'] or budget['id']}'"


def _draft(evidence: Evidence, row: dict[str, Any], budgets: list[str]) -> Draft:
    longest, asked = int(row["longest"]), int(row["asked"])
    better = -(-int(longest * _ROOM) // _STEP) * _STEP
    better = min(better, asked)
    now, then = asked * row["output"] / words.NANO, better * row["output"] / words.NANO
    return Draft(
        title=f"{words.calls(row['calls'])} of {words.model(row['model'])} with "
        f"{evidence.name_of(row['key_id'])} ask for up to "
        f"{asked:,} tokens, the longest answer had {longest:,}: each holds {words.usd(now)} of a budget",
        where={"key": (row["key_id"],), "model": (row["model"],), "provider": (row["provider"],)},
        affected=int(row["calls"]),
        condition=_ANSWERED & (pl.col("max_tokens") > better),
        paid_nano=float(row["cost_nano_usd"]),
        held_usd=now - then,
        who={"key": row["key_id"], "provider": row["provider"], "model": row["model"]},
        how=[
            (
                f"Set max_tokens to {better:,}: half as much again as the longest answer. A call then holds "
                f"{words.usd(then)} for its answer instead of {words.usd(now)}."
            ),
            f"Held by: {', '.join(budgets[:3])}{' and others' if len(budgets) > 3 else ''}.",  # noqa: PLR2004 - as it says
        ],
        snippet=f'{{"max_tokens": {better}}}',
        assumptions=[
            "Nothing is saved: what is held comes back when the call ends. Until then other calls may be refused.",
            f"No answer of these {row['calls']:,} calls was cut off at its limit.",
        ],
    )
