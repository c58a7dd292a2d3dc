"""Prompt caching: twenty calls worked out by hand, caches that work by themselves, and what must not be told."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import pytest

from tests.analytics.advised import HAIKU, MINI, SINCE, SONNET, call, evidence, found, one, silent, usual
from ultimate_lib.analytics.advice import caching, words
from ultimate_lib.analytics.advice.kinds import prompt_caching
from ultimate_lib.records import CallRecord


class Worked(NamedTuple):
    """A call and what caching for 5 minutes and for an hour would have saved on it, in millionths of a dollar.

    Claude Sonnet 4.5, dollars a million tokens: input 3.00, write 3.75 (5 minutes) or 6.00 (an hour), read 0.30. So a
    prefix of 10,000 tokens costs 0.0300 plainly, 0.0375 or 0.0600 written and 0.0030 read.
    """

    minute: float
    prefix: int
    tokens: int
    saves_5m: int
    saves_1h: int
    why: str
    key: str = "key_a"
    model: str = SONNET
    ttft_ms: int = 0
    cached: int = 0


A, B, C, D = 11, 22, 33, 44
TWENTY = (
    Worked(0.0, A, 10_000, -7_500, -30_000, "the first one writes"),
    Worked(1.0, A, 10_000, 27_000, 27_000, "a minute later it is read"),
    Worked(4.0, A, 10_000, 27_000, 27_000, "read, and the five minutes begin again"),
    Worked(9.0, A, 10_000, 27_000, 27_000, "read at the last moment"),
    Worked(14.5, A, 10_000, -7_500, 27_000, "five and a half minutes later: gone, unless kept for an hour"),
    Worked(15.0, A, 10_000, 27_000, 27_000, "read"),
    Worked(15.2, B, 2_000, -1_500, -6_000, "another prefix writes its own entry"),
    Worked(16.0, B, 2_000, 5_400, 5_400, "and reads it"),
    Worked(16.2, C, 500, 0, 0, "too short to be cached (1,024)"),
    Worked(16.4, C, 500, 0, 0, "too short"),
    Worked(16.5, A, 10_000, 0, 0, "another key: its only one", key="key_b"),
    Worked(17.0, A, 10_000, 0, 0, "has read the cache already", cached=9_000),
    Worked(19.9, A, 10_000, 27_000, 27_000, "read: 4.9 minutes since 15.0"),
    Worked(20.0, A, 10_000, 27_000, 27_000, "read"),
    Worked(30.0, D, 4_000, -3_000, -12_000, "writes; the first token comes after three seconds", ttft_ms=3000),
    Worked(30.033, D, 4_000, -3_000, -12_000, "two seconds later: not yet there, writes as well", ttft_ms=3000),
    Worked(30.067, D, 4_000, 10_800, 10_800, "four seconds later: read", ttft_ms=3000),
    Worked(31.0, B, 2_000, 0, 0, "Haiku 4.5 caches from 4,096 on", model=HAIKU),
    Worked(31.5, B, 2_000, 0, 0, "as above", model=HAIKU),
    Worked(45.0, C, 500, 0, 0, "too short"),
)  # fmt: skip


def made(worked: Worked) -> CallRecord:
    return call(
        SINCE + timedelta(hours=10, minutes=worked.minute),
        worked.model,
        key_id=worked.key,
        prefix_hash=worked.prefix,
        prefix_tokens=worked.tokens,
        input_tokens=worked.tokens + 300,
        cache_read_tokens=worked.cached,
        ttft_ms=worked.ttft_ms,
    )


def test_twenty_calls_save_what_a_person_adds_up() -> None:
    calls = [made(one_) for one_ in TWENTY]
    (draft,) = prompt_caching.find(evidence(calls)).found
    of_a = [one_ for one_ in TWENTY if one_.prefix == A]
    five, hour = (sum(getattr(one_, name) for one_ in of_a) for name in ("saves_5m", "saves_1h"))
    assert (five, hour) == (147_000, 159_000)  # an hour is dearer to write, and still better here
    assert draft.blocks is not None
    assert draft.blocks.sum() == pytest.approx(159_000 * 1000, abs=1)  # nano-dollars
    assert draft.affected == 8
    assert "ttl" in (draft.snippet or "")
    assert draft.where["prefix"] == (str(A),)  # B and D are read too seldom to be told


def test_the_cache_of_five_minutes_is_the_one_of_the_table() -> None:
    calls = prompt_caching._calls(evidence([made(one_) for one_ in TWENTY]))
    plain = calls.filter(calls["cached"] == 0).sort("started_at")
    told = caching.hits(plain)
    worked = [
        one_
        for one_ in TWENTY
        if one_.tokens >= 1024 and not one_.cached and one_.key == "key_a" and one_.model == SONNET
    ]
    assert told["hit_5m"].to_list() == [one_.saves_5m > 0 for one_ in worked]
    assert told["hit_1h"].to_list() == [one_.saves_1h > 0 for one_ in worked]


def repeated(**told: object) -> list[CallRecord]:
    """Return twelve calls a minute apart on each of 20 days, with one prefix of 6,000 tokens."""
    plain = {"prefix_hash": 7, "prefix_tokens": 6000, "input_tokens": 6500, **told}
    return [
        call(SINCE + timedelta(days=day, hours=9, minutes=minute), str(plain.get("model", SONNET)),
             **{name: value for name, value in plain.items() if name != "model"})
        for day in range(20)
        for minute in range(12)
    ]  # fmt: skip


def test_a_repeated_prefix_is_found_to_the_cent_and_its_calls_are_shown() -> None:
    advice = one([*usual(), *repeated()], "prompt_caching")
    a_day = 11 * 6000 * 2.70e-6 - 6000 * 0.75e-6
    assert advice.saved_in_span_usd == pytest.approx(20 * a_day, abs=1e-6)
    assert advice.saving_usd == pytest.approx(20 * a_day * 30 / (20 - 8 / 24), rel=1e-3)
    assert advice.calls is not None
    assert (advice.calls.count, advice.calls.affected, len(advice.calls.sample_ids)) == (240, 240, 20)
    assert set(advice.calls.filters) == {"key:key_a", f"model:{SONNET}", "provider:anthropic", "prefix:7"}
    assert "$3.75 a million tokens instead of $3.00, a read $0.30" in advice.how[1]


@pytest.mark.parametrize(
    "told",
    [
        {"cache_read_tokens": 6000},
        {"cache_write_5m_tokens": 6000},
        {"prefix_tokens": 900},
        {"billing": "subscription"},
        {"prefix_hash": None},
        {"cache_read_tokens": None},
    ],
)
def test_nothing_is_told_where_caching_is_on_or_pays_nothing(told: dict[str, object]) -> None:
    silent([*usual(), *repeated(**told)], "prompt_caching")


def test_prefixes_that_never_come_again_in_time_are_not_told() -> None:
    calls = [
        call(
            SINCE + timedelta(days=day, hours=9, minutes=100 * turn), SONNET, prefix_hash=7, prefix_tokens=6000,
            input_tokens=6500,
        )
        for day in range(20)
        for turn in range(5)
    ]  # fmt: skip
    silent([*usual(), *calls], "prompt_caching")


def lonely(days: int) -> list[CallRecord]:
    """Return calls whose prefix was gone from the cache each time: twelve dearer writes on each of so many days."""
    return [
        call(
            SINCE + timedelta(days=1 + day, hours=2 * turn), SONNET, prefix_hash=7, prefix_tokens=6000,
            input_tokens=6500,
        )
        for day in range(days)
        for turn in range(12)
    ]  # fmt: skip


def busy(calls: int, *days: int) -> list[CallRecord]:
    """Return busy days: each call but a day's first reads."""
    plain = {"prefix_hash": 7, "prefix_tokens": 6000, "input_tokens": 6500}
    return [
        call(SINCE + timedelta(days=day, minutes=2 * turn), SONNET, **plain)
        for day in days or (0,)
        for turn in range(calls)
    ]


def test_what_saved_on_one_day_and_would_have_cost_on_all_others_is_no_advice() -> None:
    told = prompt_caching.find(evidence([*busy(80), *lonely(18)])).found
    assert [draft.blocks is not None and draft.blocks.sum() > 0 for draft in told] == [True]  # in this very span
    silent([*busy(80), *lonely(18)], "prompt_caching")


def test_that_caching_may_cost_more_is_told_with_its_sign() -> None:
    advice = one([*busy(30, 0, 8, 9), *lonely(7), *usual()], "prompt_caching")
    assert advice.lower_usd is not None
    assert advice.lower_usd < 0
    assert words.usd(-0.5512) == "-$0.551"


def test_a_cache_that_works_by_itself_is_told_of_only_where_it_is_missed() -> None:
    missed = one([*usual(), *repeated(model=MINI)], "prompt_caching")
    a_day = 11 * (6000 // 128 * 128) * (0.75 - 0.075) * 1e-6
    assert missed.saved_in_span_usd == pytest.approx(20 * a_day, abs=1e-6)
    assert "gave 0% of it" in missed.title
    silent([*usual(), *repeated(model=MINI, cache_read_tokens=5888)], "prompt_caching")
    silent([*usual(), *repeated(model=MINI, cache_read_tokens=4096)], "prompt_caching")


def test_no_saving_exceeds_what_was_paid_for_the_input() -> None:
    told = found([*usual(), *repeated(prefix_tokens=9_000_000)], "prompt_caching")  # an estimate far off
    (advice,) = told.advice
    assert advice.saved_in_span_usd is not None
    assert advice.saved_in_span_usd <= 240 * 6500 * 3e-6


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-opus-5", 512),
        ("anthropic/claude-opus-4.8", 1024),
        ("claude-opus-4-7", 2048),
        ("us.anthropic.claude-opus-4-6-v1:0", 4096),
        ("claude-opus-4-5-20251101", 4096),
        ("claude-opus-4-20250514", 1024),
        ("claude-sonnet-4-6", 1024),
        ("claude-haiku-4-5", 4096),
        ("claude-3-5-haiku-latest", 2048),
        ("gpt-5.4-mini", 1024),
        ("gemini-2.5-flash", 2048),
        ("gemini-3.1-pro-preview", 4096),
        ("claude-opus-5-5", caching.FEWEST_UNSAID),  # no page that was read says it
        ("claude-opus-4-12", caching.FEWEST_UNSAID),
        ("llama-4", caching.FEWEST_UNSAID),
    ],
)
def test_the_least_prefix_is_the_vendors(model: str, tokens: int) -> None:
    assert caching.fewest(model) == tokens
