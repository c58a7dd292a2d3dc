from __future__ import annotations

from typing import Any

import pytest

from ultimate_lib.kernel.line import seconds, sums, text, usd


def row(**told: Any) -> dict[str, Any]:
    return {
        "call_id": "1", "started_at": "2026-11-24T10:00:00Z", "duration_ms": 1000, "operation": "chat",
        "billing": "metered", "status": "ok", "input_tokens": 1000, "output_tokens": 400, "cost_nano_usd": 4_100_000,
        "cache_hit": False, **told,
    }  # fmt: skip


def test_the_line_of_the_specification() -> None:
    rows = [
        row(),
        row(started_at="2026-11-24T10:00:00.500Z", duration_ms=600),
        row(started_at="2026-11-24T10:00:05Z", input_tokens=1010, cache_hit=True),
    ]
    assert text(sums(rows)) == "3 calls · 4,210 tokens · $0.0123 · 2.1 s · 1 cache hit", "calls at once take once"


def test_unknown_is_told_as_unknown() -> None:
    unpriced = row(cost_nano_usd=None)
    assert text(sums([unpriced])) == "1 call · 1,400 tokens · cost unknown (unpriced model) · 1.0 s"
    assert text(sums([row(), unpriced])) == "2 calls · 2,800 tokens · $0.0041 · 1.0 s · 1 unpriced"
    silent = row(cost_nano_usd=None, input_tokens=None, output_tokens=None, status="error", duration_ms=None)
    assert text(sums([silent])) == "1 call · — tokens · no cost · 1 error"
    told = sums([silent])
    assert (told.cost_nano_usd, told.input_tokens, told.unpriced) == (None, None, 0)


def test_calls_that_have_no_row_are_told() -> None:
    told = sums([row()])
    assert text(told, running=2).endswith("1.0 s · 2 still running")
    assert text(told, running=2).startswith("3 calls · ")
    assert text(told, missing=1).endswith(" · 1 not recorded yet")
    assert text(told, direct=2).endswith(" · 2 more went directly, unrecorded")
    assert text(sums([]), direct=1) == "1 call went directly to the provider, unrecorded"
    assert text(sums([]), running=1) == "1 call · 1 still running"
    assert not text(sums([]))


def test_what_is_no_spend_is_not_counted_as_spend() -> None:
    rows = [row(billing="subscription"), row(billing="local", cost_nano_usd=None), row(status="refused")]
    told = sums(rows)
    assert (told.calls, told.cost_nano_usd, told.unpriced, told.subscription, told.refused) == (3, 4_100_000, 0, 1, 1)
    assert sums([row(operation="count_tokens"), row(operation="models")]).calls == 0


@pytest.mark.parametrize(
    ("nano", "told"),
    [
        (0, "$0"), (1, "$0.000000001"), (21_000, "$0.000021"), (12_345_678, "$0.0123"), (10_000_000, "$0.01"),
        (999_600_000, "$1.00"), (1_234_560_000_000, "$1,234.56"), (500_000_000, "$0.50"),
    ],
)  # fmt: skip
def test_money(nano: int, told: str) -> None:
    assert usd(nano) == told


def test_times() -> None:
    assert [seconds(ms) for ms in (0, 3, 99, 100, 2140, 61_000)] == [
        "0 ms",
        "3 ms",
        "99 ms",
        "0.1 s",
        "2.1 s",
        "61.0 s",
    ]
