"""Why spend changed: planted changes are told by their names, and the parts sum to the last nano-dollar."""

from __future__ import annotations

import random

import pytest

from ultimate_lib.analytics.drivers import REST, Effects, Used, effects, movers


def used(calls: int, tokens: float, price: float) -> Used:
    return Used(calls, tokens, round(calls * tokens * price))


BEFORE = {"small": used(300, 1000, 10), "large": used(100, 1000, 100)}


def test_each_planted_change_is_told_by_its_name_alone() -> None:
    more_calls = {"small": used(600, 1000, 10), "large": used(200, 1000, 100)}
    assert effects(BEFORE, more_calls) == Effects(13_000_000, 0, 0, 0)
    other_models = {"small": used(100, 1000, 10), "large": used(300, 1000, 100)}
    assert effects(BEFORE, other_models) == Effects(0, 18_000_000, 0, 0)
    longer = {"small": used(300, 2000, 10), "large": used(100, 2000, 100)}
    assert effects(BEFORE, longer) == Effects(0, 0, 13_000_000, 0)
    dearer = {"small": used(300, 1000, 15), "large": used(100, 1000, 100)}
    assert effects(BEFORE, dearer) == Effects(0, 0, 0, 1_500_000)


def test_two_changes_share_what_only_both_together_make() -> None:
    # 100 calls x 10 tokens x 1 -> 200 x 20 x 1: alone each adds 1000, both together 3000
    found = effects({"m": used(100, 10, 1)}, {"m": used(200, 20, 1)})
    assert found == Effects(1500, 0, 1500, 0)


def test_a_model_that_is_new_or_gone_is_one_of_the_mix() -> None:
    before = {"old": used(100, 1000, 10)}
    after = {"new": used(100, 500, 100)}
    assert effects(before, after) == Effects(0, 4_000_000, 0, 0)
    assert effects(after, before) == Effects(0, -4_000_000, 0, 0)


def test_a_span_without_calls_makes_all_of_it_volume() -> None:
    assert effects({}, BEFORE) == Effects(13_000_000, 0, 0, 0)
    assert effects(BEFORE, {}) == Effects(-13_000_000, 0, 0, 0)
    assert effects({}, {}) == Effects(0, 0, 0, 0)


def test_calls_of_unknown_tokens_have_a_price_a_call() -> None:
    found = effects({"image": Used(10, 0.0, 400)}, {"image": Used(10, 7.0, 900)})
    assert found == Effects(0, 0, 0, 500)
    assert effects({"free": Used(10, 5.0, 0)}, {"free": Used(90, 5.0, 0)}) == Effects(0, 0, 0, 0)


def test_tokens_hidden_by_unpriced_calls_leave_longer_and_dearer_one_part() -> None:
    found = effects({"m": used(10, 100, 1)}, {"m": Used(10, None, 1500)})
    assert found == Effects(0, 0, None, None, 500)
    assert effects({}, {"new": Used(10, None, 1500)}) == Effects(1500, 0, 0, 0)  # nothing to compare its tokens with


def test_what_is_too_much_to_tell_apart_is_no_mover() -> None:
    assert [one.value for one in movers({}, {("a", "m"): used(1, 1, 1), (REST, REST): Used(9, None, 9)})] == ["a"]


@pytest.mark.parametrize("seed", range(20))
def test_parts_sum_to_the_change_whatever_it_is(seed: int) -> None:
    dice = random.Random(seed)

    def side() -> dict[tuple[str | None, str | None], Used]:
        return {
            (dice.choice(["a", "b", None]), f"m{at}"): Used(
                dice.randint(0, 10**6), dice.choice([0.0, dice.uniform(1, 1e5)]), dice.randint(0, 10**13)
            )
            for at in range(dice.randint(0, 9))
        }  # fmt: skip

    before, after = side(), side()
    before = {key: one for key, one in before.items() if one.calls}
    after = {key: one for key, one in after.items() if one.calls}
    for one in movers(before, after):
        assert sum(one.effects) == one.change
    whole = sum(one.cost for one in after.values()) - sum(one.cost for one in before.values())
    assert sum(one.change for one in movers(before, after)) == whole
    by_model = [{str(at): one for at, one in enumerate(told.values())} for told in (before, after)]
    assert sum(effects(*by_model)) == whole  # type: ignore[arg-type]


def test_movers_are_told_the_largest_first_and_those_that_stood_still_not_at_all() -> None:
    before = {("a", "m"): used(10, 10, 1), ("b", "m"): used(10, 10, 1), ("c", "m"): used(5, 10, 1)}
    after = {("a", "m"): used(12, 10, 1), ("b", "m"): used(1, 10, 1), ("c", "m"): used(5, 10, 1)}
    found = movers(before, after)
    assert [(one.value, one.change) for one in found] == [("b", -90), ("a", 20)]
    assert found[0].effects == Effects(-90, 0, 0, 0)
