"""What is said of a call that is described: the score that counts, and what the guard would do."""

from __future__ import annotations

import random

from ultimate_lib.baseline import expected_high, learn
from ultimate_lib.guard.known import Known
from ultimate_lib.guard.rule import NEW, Anomaly, Rule, Standing
from ultimate_lib.guard.verdict import Described, Verdict, scored, verdict

RULE = Rule()
NOW = 1_770_000_000_000_000
DICE = random.Random(3)
COST = learn([DICE.lognormvariate(-3, 0.5) for _ in range(800)], since_s=0.0)
TOKENS = learn([DICE.lognormvariate(7, 0.5) for _ in range(800)], since_s=0.0)
assert COST is not None
assert TOKENS is not None
USUAL = Known(
    key_id="k", model="m", calls=800, first_us=0, last_us=NOW, enough_us=1, ripe_us=1, cost=COST,
    usual_usd=expected_high(COST), tokens=TOKENS, usual_tokens=expected_high(TOKENS),
)  # fmt: skip


def said(call: Described, mode: str = "block", standing: Standing = NEW, usual: Known = USUAL) -> Verdict:
    found = scored(usual, call)
    assert found is not None
    return verdict(RULE, usual, call, found, mode, standing, NOW)


def counted(number: int, minutes_ago: int = 5) -> Standing:
    ended = NOW - minutes_ago * 60_000_000
    return Standing(tuple(Anomaly(f"c{one}", ended, ended) for one in range(number)))


def test_the_more_surprising_of_both_counts() -> None:
    for call, measure in (
        (Described(cost_usd=9.0, input_tokens=1000), "cost_usd"),
        (Described(cost_usd=0.05, input_tokens=900_000), "input_tokens"),
        (Described(input_tokens=1000), "input_tokens"),
    ):
        found = scored(USUAL, call)
        assert found is not None
        assert found.measure == measure
    assert scored(USUAL, Described()) is None
    known = Known(**{name: getattr(USUAL, name) for name in USUAL.__struct_fields__} | {"cost": None})
    assert scored(known, Described(cost_usd=9.0)) is None


def test_what_is_usual_leads_to_nothing() -> None:
    told = said(Described(cost_usd=0.05))
    assert told.action == "none"
    assert "not unusual" in told.reason


def test_the_third_anomaly_within_the_window_blocks_and_the_first_two_warn() -> None:
    dear = Described(cost_usd=9.0)
    assert said(dear).action == "warn"
    assert "1st within 60 minutes; the 3rd begins" in said(dear).reason
    assert said(dear, standing=counted(2)).action == "block"
    assert said(dear, standing=counted(2, minutes_ago=61)).action == "warn"


def test_far_too_much_input_is_refused_at_the_door() -> None:
    assert said(Described(input_tokens=900_000, input_usd=2.7)).action == "block"
    cheap = said(Described(input_tokens=900_000, input_usd=0.01))
    assert (cheap.action, "or less blocks nothing" in cheap.reason) == ("none", True)
    assert said(Described(input_tokens=900_000)).action == "none"


def test_a_keys_mode_says_what_is_done() -> None:
    dear = Described(cost_usd=9.0)
    assert [said(dear, mode, counted(2)).action for mode in ("off", "observe", "warn", "block")] == [
        "none", "none", "warn", "block",
    ]  # fmt: skip
    assert "only observed" in said(dear, "observe").reason
    assert "switched off" in said(dear, "off").reason


def test_what_is_not_known_well_enough_or_cheap_counts_for_nothing() -> None:
    young = Known(**{name: getattr(USUAL, name) for name in USUAL.__struct_fields__} | {"ripe_us": None})
    told = said(Described(cost_usd=9.0), standing=counted(2), usual=young)
    assert (told.action, "14 days and 500 calls" in told.reason) == ("none", True)


def test_in_a_cool_down_each_call_is_refused() -> None:
    told = said(Described(cost_usd=0.05), standing=Standing((), NOW - 1, NOW + 60_000_000))
    assert (told.action, "cool-down" in told.reason) == ("block", True)
