"""Rolling sums: never less than what was spent within the window, and nothing that was spent a part before it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ultimate_lib.guard.spend import WINDOWS, Spend, rolls_off_s

START_US = 1_760_000_000_000_000


@given(st.lists(st.tuples(st.integers(0, 3 * 3_600_000_000), st.integers(0, 10**10)), max_size=40))
def test_the_sum_lies_between_that_of_the_window_and_that_of_one_part_more(told: list[tuple[int, int]]) -> None:
    spend, at, spent = Spend(), START_US, []
    for wait, amount in told:
        at += wait
        spend.add("k", at, amount)
        spent.append((at, amount))
    for window, total in zip(WINDOWS, spend.within("k", at), strict=True):
        length = window.part_us * window.parts
        least = sum(amount for when, amount in spent if when > at - length)
        most = sum(amount for when, amount in spent if when > at - length - window.part_us)
        assert least <= total <= most
    assert list(spend.within("k", at + 26 * 3_600_000_000)) == [0, 0, 0]
    assert spend.within("other", at) == (0, 0, 0)


def test_a_clock_that_goes_back_loses_nothing() -> None:
    spend = Spend()
    spend.add("k", START_US, 5)
    spend.add("k", START_US - 7_200_000_000, 7)
    assert list(spend.within("k", START_US - 7_200_000_000)) == [12, 12, 12]


@given(st.integers(10, 40 * 24 * 3600), st.integers(0, 30 * 3600))
def test_what_was_spent_while_the_clock_was_ahead_rolls_off_from_when_it_is_right(ahead_s: int, later_s: int) -> None:
    spend = Spend()
    for second, amount in ((0, 5), (50, 7), (3000, 11), (40_000, 13)):
        spend.add("k", START_US + (ahead_s + second) * 1_000_000, amount)
    assert spend.within("k", START_US + 40_000 * 1_000_000)[2] == 36
    told = spend.within("k", START_US + (40_000 + later_s) * 1_000_000)
    for window, total in zip(WINDOWS, told, strict=True):
        if later_s < window.part_us * window.parts / 1e6:
            assert total >= 13
        if later_s >= window.part_us * (window.parts + 1) / 1e6:
            assert total == 0


def test_memory_is_bounded_by_keys() -> None:
    spend = Spend()
    for number in range(20_010):
        spend.add(f"k{number}", START_US, 1)
    assert spend.within("k0", START_US) == (0, 0, 0)
    assert list(spend.within("k20009", START_US)) == [1, 1, 1]


@given(
    st.lists(st.tuples(st.integers(0, 2 * 3_600_000_000), st.integers(0, 10**10)), max_size=20),
    st.integers(0, 26 * 3_600_000_000),
)
def test_what_is_kept_over_a_restart_is_what_it_would_be_without(told: list[tuple[int, int]], away: int) -> None:
    before, at = Spend(), START_US
    for wait, amount in told:
        at += wait
        before.add("k", at, amount)
    after = Spend()
    after.take(before.kept(), at + away)
    assert list(after.within("k", at + away)) == list(before.within("k", at + away))


@given(
    st.lists(st.tuples(st.integers(0, 2 * 3_600_000_000), st.integers(1, 10**10)), min_size=1, max_size=20),
    st.sampled_from(range(len(WINDOWS))),
    st.floats(0.01, 1.0),
)
def test_it_is_told_when_enough_has_rolled_off(told: list[tuple[int, int]], number: int, share: float) -> None:
    spend, at = Spend(), START_US
    for wait, amount in told:
        at += wait
        spend.add("k", at, amount)
    spent = spend.within("k", at)[number]
    most = max(spent * share, 1)
    wait_us = round(rolls_off_s(number, spend.parts("k", number, at), spent, most, at) * 1e6)
    assert 0 < wait_us <= WINDOWS[number].part_us * (WINDOWS[number].parts + 1)
    assert spend.within("k", at + wait_us - 1)[number] >= most
    assert spend.within("k", at + wait_us)[number] < most
