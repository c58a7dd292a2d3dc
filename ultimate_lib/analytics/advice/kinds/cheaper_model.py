"""Short and simple calls of a dear model, repriced as a cheaper one of the same provider that is known here.

Short means: no longer than nine of ten calls that the cheaper model already answers for this user, or, where it is
only configured, than the shortest quarter of the dear model's own calls. Simple means: no tools, no pictures, no
documents, no reasoning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ultimate_lib.analytics.advice import caching, prices, words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

_FEWEST = 20
_LONGEST = 0.9  # quantile of the cheaper model's own calls
_SHORTEST = 0.25  # quantile of the dear model's calls, where the cheaper one has none
_CHEAPER = 0.8  # both of its prices are at most so much of the dear one's
_COLUMNS = ("has_tools", "has_images", "has_documents", "reasoning_tokens", "operation", "status")
_SIMPLE = (
    ~pl.any_horizontal(pl.col("has_tools", "has_images", "has_documents").fill_null(value=False))
    & (pl.col("reasoning_tokens").fill_null(0) == 0)
    & ~pl.col("operation").is_in(["embeddings", "other"]).fill_null(value=False)
    & (pl.col("status") == "ok")
    & (pl.col("output_tokens") > 0)
)


def find(evidence: Evidence) -> Looked:
    """Return calls that a cheaper model could answer, a draft a (key, model)."""
    used = _used(evidence)
    at = int(used["calls"].sum()) if used.height else 0
    pairs = _pairs(evidence, used)
    if not pairs.height:
        return Looked(at=at)
    calls = evidence.priced("input_tokens", "output_tokens", *_COLUMNS).filter(_SIMPLE)
    target = evidence.standard_rates(None, "t_").rename({"price_id": "target_price"})
    cheaper = (
        calls.join(pairs.lazy(), on=["provider", "model"])
        .filter(pl.col("input_tokens") <= pl.col("most_input"), pl.col("output_tokens") <= pl.col("most_output"))
        .join(target.lazy(), on=["target_price", "band"])
        .with_columns(prices.listed("t_", "fewest").alias("would"))
        .filter(pl.col("would").is_not_null())
        .with_columns(((pl.col("listed") - pl.col("would")) * pl.col("fair")).alias("saved"))
        .group_by("key_id", "provider", "model", "target", "most_input", "most_output", "from_history", "block")
        .agg(pl.len().alias("calls"), pl.col("saved").sum(), pl.col("cost_nano_usd").sum())
        .collect(engine="streaming")
    )
    drafts = []
    for _, own in cheaper.group_by("key_id", "provider", "model", maintain_order=True):
        if own["calls"].sum() >= _FEWEST and own["saved"].sum() > 0:  # all of them would move, the dearer ones too
            drafts.append(_draft(evidence, own))
    return Looked(at=at, found=drafts)


def _used(evidence: Evidence) -> pl.DataFrame:
    """Return the models of simple calls: how many, how long, and what a token costs them."""
    own = evidence.priced("input_tokens", "output_tokens", *_COLUMNS).filter(_SIMPLE)
    quantiles = [
        pl.col(f"{what}_tokens").quantile(q, "nearest").alias(f"{name}_{what}")
        for what in ("input", "output")
        for name, q in (("longest", _LONGEST), ("shortest", _SHORTEST))
    ]
    return (
        own.group_by("provider", "model")
        .agg(
            pl.len().alias("calls"),
            *quantiles,
            pl.col("price_id").sort_by("started_at").last(),
            pl.col("input", "output").median(),
        )
        .sort("provider", "model")
        .collect()
    )


def _pairs(evidence: Evidence, used: pl.DataFrame) -> pl.DataFrame:
    """Return for each dear model the next cheaper one of its provider, and how long calls may be."""
    rows = []
    history = {(row["provider"], row["model"]): row for row in used.iter_rows(named=True)}
    for (provider, model), dear in history.items():
        known: list[tuple[float, str, str, float, float, bool]] = []
        for (whose, name), one in history.items():
            if (
                whose == provider
                and name != model
                and _is_cheaper(one["input"], one["output"], dear)
                and one["calls"] >= _FEWEST
            ):
                price = one["input"] + one["output"]
                known.append((price, name, one["price_id"], one["longest_input"], one["longest_output"], True))
        for (whose, name), told in evidence.known.items():
            if whose == provider and (whose, name) not in history and _is_cheaper(told.input, told.output, dear):
                price = told.input + told.output
                known.append((price, name, told.price_id, dear["shortest_input"], dear["shortest_output"], False))
        if known:
            _, name, price_id, most_input, most_output, seen = max(known)
            rows.append((provider, model, name, price_id, most_input, most_output, seen, caching.fewest(name)))
    schema = {
        "provider": pl.String, "model": pl.String, "target": pl.String, "target_price": pl.String,
        "most_input": pl.Float64, "most_output": pl.Float64, "from_history": pl.Boolean, "fewest": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def _is_cheaper(input_: float, output: float, dear: dict[str, Any]) -> bool:
    return bool(input_ <= _CHEAPER * dear["input"] and output <= _CHEAPER * dear["output"])


def _draft(evidence: Evidence, own: pl.DataFrame) -> Draft:
    row = own.row(0, named=True)
    number, paid = int(own["calls"].sum()), float(own["cost_nano_usd"].sum())
    share = float(own["saved"].sum()) / paid
    most_input, most_output = int(row["most_input"]), int(row["most_output"])
    known = (
        f"nine of ten of your own calls that {row['target']} answers are no longer"
        if row["from_history"]
        else f"the shortest quarter of your calls of {row['model']} is ({row['target']} is only configured)"
    )
    return Draft(
        title=f"{words.calls(number)} of {row['model']} with {evidence.name_of(row['key_id'])} are short and simple: "
        f"as {row['target']} they would have cost {1 - share:.0%} of what they did",
        where={"key": (row["key_id"],), "model": (row["model"],), "provider": (row["provider"],)},
        affected=number,
        condition=_SIMPLE & (pl.col("input_tokens") <= most_input) & (pl.col("output_tokens") <= most_output),
        blocks=evidence.series(own, "saved"),
        paid_nano=paid,
        who={"key": row["key_id"], "provider": row["provider"], "model": row["model"], "instead": row["target"]},
        how=[
            (
                f"Ask for {row['target']} where a call has up to {most_input:,} tokens in and "
                f"{most_output:,} out, and no "
                "tools, pictures, documents or reasoning."
            ),
            "Try it on some of the calls shown first and compare the answers.",
        ],
        assumptions=[
            "Whether the answers would be as good is not judged.",
            f"Short is what {known}: {most_input:,} tokens in, {most_output:,} out.",
            f"Repriced with the tokens as they were; {row['target']} may count and write others.",
            (
                f"{row['target']} caches prefixes from {caching.fewest(row['target']):,} tokens on: what was cached "
                "of shorter ones is priced as plain input there."
            ),
        ],
    )
