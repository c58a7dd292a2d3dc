"""Repeated prefixes (tools and system) that a provider's prompt cache would have held.

Where a client has to ask for the cache (Anthropic's protocol) the calls that do not ask are simulated: a first call
writes, dearer than plain input, the calls within the time to live read, cheaper. Where a provider caches by itself
there is advice only if the calls that should have read it did not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from ultimate_lib.analytics.advice import caching, words
from ultimate_lib.analytics.advice.told import Draft, Looked

if TYPE_CHECKING:
    from ultimate_lib.analytics.advice.evidence import Evidence

_GROUP = ("key_id", "provider", "model")
_FEWEST_HITS = 5
_AUTOMATIC_FEWEST_HITS = 20
_AUTOMATIC_READ = 0.5  # of what could be read; who reads more is well served
_STEP = 128  # OpenAI caches prefixes in steps of so many tokens
_MOST_PREFIXES = 40  # that a filter names
_ASKS = "anthropic-messages"
_ESTIMATE = (
    "A prefix (tools and system) has as many tokens as its bytes over four: an estimate, never more than the input."
)
_SNIPPET = """{
  "system": [
    {"type": "text", "text": "…what repeats…", "cache_control": {"type": "ephemeral"%s}}
  ],
  "messages": [ … ]
}"""


def find(evidence: Evidence) -> Looked:
    """Return where caching pays, a draft a (key, provider, model) and way of caching."""
    calls = _calls(evidence)
    drafts = [*_asked(evidence, calls), *_automatic(evidence, calls)]
    return Looked(at=calls.height, found=drafts)


def _calls(evidence: Evidence) -> pl.DataFrame:
    minimum = pl.DataFrame(
        [(model, caching.fewest(model)) for model in evidence.survey["model"].drop_nulls().unique()],
        schema={"model": pl.String, "fewest": pl.Int64},
        orient="row",
    )
    prefix = pl.min_horizontal("prefix_tokens", "uncached")
    calls = (
        evidence.priced("prefix_hash", "prefix_tokens", "cache_read_tokens", "protocol_out", "ttft_ms", "duration_ms")
        .filter(pl.col("prefix_hash").is_not_null(), pl.col("cache_read_tokens").is_not_null())
        .join(minimum.lazy(), on="model")
        .filter(pl.col("prefix_tokens") >= pl.col("fewest"))
        .select(
            *_GROUP, "started_at", "block", "prefix_hash", "cost_nano_usd", "fair", "input", "read", "write_5m",
            "write_1h", "fewest", "cached",
            (pl.col("protocol_out") == _ASKS).fill_null(value=False).alias("asks"),
            (pl.col("written_5m") + pl.col("written_1h")).alias("written"),
            prefix.cast(pl.Int64).alias("prefix"),
            pl.min_horizontal("prefix_tokens", pl.col("uncached") + pl.col("cached")).cast(pl.Int64).alias("whole"),
            pl.coalesce("ttft_ms", "duration_ms").alias("answered_ms"),
            pl.struct(*_GROUP, "prefix_hash").hash(1).alias("group"),
        )
        .collect(engine="streaming")
    )  # fmt: skip
    return calls.filter(pl.col("group").is_duplicated())


# -- caches that have to be asked for ------------------------------------------------------------------------------


def _asked(evidence: Evidence, calls: pl.DataFrame) -> list[Draft]:
    plain = calls.filter(
        pl.col("asks"), pl.col("cached") == 0, pl.col("written") == 0, pl.col("prefix") >= pl.col("fewest"),
        pl.col("read") < pl.col("input"),
    )  # fmt: skip
    told = caching.hits(plain)
    for ttl in ("5m", "1h"):
        rate = pl.when(pl.col(f"hit_{ttl}")).then(pl.col("read")).otherwise(pl.col(f"write_{ttl}"))
        told = told.with_columns((pl.col("prefix") * (pl.col("input") - rate) * pl.col("fair")).alias(f"saved_{ttl}"))
    by_prefix = told.group_by(*_GROUP, "prefix_hash").agg(*_sums(), pl.col("hit_5m").sum(), pl.col("hit_1h").sum())
    drafts = []
    for ttl, other in (("5m", "1h"), ("1h", "5m")):
        worth = by_prefix.filter(pl.col(f"saved_{ttl}") > 0, pl.col(f"hit_{ttl}") >= _FEWEST_HITS)
        best = worth.group_by(*_GROUP).agg(pl.col(f"saved_{ttl}").sum())
        rival = by_prefix.filter(pl.col(f"saved_{other}") > 0, pl.col(f"hit_{other}") >= _FEWEST_HITS)
        rival = rival.group_by(*_GROUP).agg(pl.col(f"saved_{other}").sum().alias("rival"))
        best = best.join(rival, on=_GROUP, how="left", nulls_equal=True)
        wins = pl.col(f"saved_{ttl}") >= pl.col("rival").fill_null(0)
        if ttl == "1h":
            wins = pl.col(f"saved_{ttl}") > pl.col("rival").fill_null(0)
        drafts += [_asked_draft(evidence, told, worth, row, ttl) for row in best.filter(wins).iter_rows(named=True)]
    return drafts


def _sums() -> list[pl.Expr]:
    return [pl.col("saved_5m").sum(), pl.col("saved_1h").sum()]


def _of(row: dict[str, Any]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name).eq_missing(pl.lit(row[name])) for name in _GROUP)


def _asked_draft(evidence: Evidence, told: pl.DataFrame, worth: pl.DataFrame, row: dict[str, Any], ttl: str) -> Draft:
    hashes = worth.filter(_of(row)).sort(f"saved_{ttl}", descending=True)["prefix_hash"]
    own = told.filter(_of(row), pl.col("prefix_hash").is_in(hashes.implode()))
    read, tokens = int(own[f"hit_{ttl}"].sum()), own["prefix"].sum() / own.height
    first = own.row(0, named=True)
    life = "5 minutes" if ttl == "5m" else "1 hour"
    plain, write, cheap = (words.per_million(first[name]) for name in ("input", f"write_{ttl}", "read"))
    many = f"{len(hashes):,} prefixes" if len(hashes) > 1 else "one prefix"
    return Draft(
        title=f"Ask for prompt caching in {words.calls(own.height)} of {row['model']} with "
        f"{evidence.name_of(row['key_id'])}: they repeat {many} of {tokens:,.0f} tokens",
        where=_where(row, hashes),
        affected=own.height,
        condition=pl.col("prefix_hash").is_in(hashes.implode()) & (pl.col("cache_read_tokens") == 0),
        blocks=evidence.series(own, f"saved_{ttl}"),
        paid_nano=float(own["cost_nano_usd"].sum()),
        who=_who(row),
        how=[
            (
                f"Mark the end of tools or system with cache_control{'' if ttl == '5m' else ' and a ttl of 1h'}; "
                "what changes from call to call belongs after it."
            ),
            (
                f"A write costs {write} a million tokens instead of {plain}, a read {cheap}; the entry "
                f"lives {life} after "
                "each use."
            ),
            f"Of these {own.height:,} calls {read:,} would have read and {own.height - read:,} written.",
        ],
        snippet=_SNIPPET % ("" if ttl == "5m" else ', "ttl": "1h"'),
        assumptions=[
            _ESTIMATE,
            (
                "A prefix is in the cache from the first token of a call that carried it; only calls of "
                "the same key, "
                "provider and model share it."
            ),
            (
                "Prefixes that would not have paid are left out. What a conversation repeats beyond tools "
                "and system is "
                "not known here: caching it too may save more."
            ),
        ],
    )


# -- caches that work by themselves --------------------------------------------------------------------------------


def _automatic(evidence: Evidence, calls: pl.DataFrame) -> list[Draft]:
    alone = calls.filter(~pl.col("asks"), pl.col("read") < pl.col("input"))
    told = caching.hits(alone).with_columns((pl.col("whole") // _STEP * _STEP).alias("could"))
    told = told.filter(pl.col("hit_5m"), pl.col("could") >= pl.col("fewest"))
    missed = (pl.col("could") - pl.col("cached")).clip(lower_bound=0)
    told = told.with_columns((missed * (pl.col("input") - pl.col("read")) * pl.col("fair")).alias("saved"))
    groups = told.group_by(*_GROUP).agg(
        pl.len().alias("hits"), pl.col("could").sum(), pl.min_horizontal("could", "cached").sum().alias("did"),
        pl.col("saved").sum(),
    )  # fmt: skip
    wanted = groups.filter(
        pl.col("hits") >= _AUTOMATIC_FEWEST_HITS, pl.col("did") < _AUTOMATIC_READ * pl.col("could"),
        pl.col("saved") > 0,
    )  # fmt: skip
    return [_automatic_draft(evidence, told.filter(_of(row)), row) for row in wanted.iter_rows(named=True)]


def _automatic_draft(evidence: Evidence, own: pl.DataFrame, row: dict[str, Any]) -> Draft:
    missing = own.filter(pl.col("saved") > 0)
    hashes = missing.group_by("prefix_hash").agg(pl.col("saved").sum()).sort("saved", descending=True)["prefix_hash"]
    first = own.row(0, named=True)
    plain, cheap = words.per_million(first["input"]), words.per_million(first["read"])
    return Draft(
        title=f"{words.calls(missing.height)} of {row['model']} with {evidence.name_of(row['key_id'])} "
        f"repeat a prefix "
        f"within 5 minutes, but the provider's cache gave {row['did'] / row['could']:.0%} of it",
        where=_where(row, hashes),
        affected=missing.height,
        condition=pl.col("prefix_hash").is_in(hashes.implode()),
        blocks=evidence.series(missing, "saved"),
        paid_nano=float(missing["cost_nano_usd"].sum()),
        who=_who(row),
        how=[
            (
                "This provider caches by itself: put what repeats (system, tools, examples) at the very "
                "beginning, byte "
                "for byte the same, and what changes (dates, ids, the question) at the end."
            ),
            (
                "Where the provider takes one, send the same prompt_cache_key with calls that share a "
                "prefix, so that "
                "they reach the same machine."
            ),
            f"A token from the cache costs {cheap} a million instead of {plain}.",
        ],
        assumptions=[
            _ESTIMATE,
            (
                f"The cache keeps a prefix for 5 minutes after each use, in steps of {_STEP} tokens; "
                f"providers promise "
                "no hit."
            ),
        ],
    )


def _where(row: dict[str, Any], hashes: pl.Series) -> dict[str, tuple[str | None, ...]]:
    told: dict[str, tuple[str | None, ...]] = {
        "key": (row["key_id"],), "model": (row["model"],), "provider": (row["provider"],),
    }  # fmt: skip
    if len(hashes) <= _MOST_PREFIXES:
        told["prefix"] = tuple(str(one) for one in hashes)
    return told


def _who(row: dict[str, Any]) -> dict[str, str | None]:
    return {"key": row["key_id"], "provider": row["provider"], "model": row["model"]}
