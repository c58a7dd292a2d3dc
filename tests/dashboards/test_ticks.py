"""The marks of an upright axis: round, few, below the top, and readable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultimate_lib.dashboards.ticks import ticks


@pytest.mark.parametrize(
    ("top", "unit", "labels", "axis"),
    [
        (5_200_000, "tokens", ["0", "2 M", "4 M"], "tokens"),
        (12_000, "tokens", ["0", "2.5 k", "5.0 k", "7.5 k", "10.0 k"], "tokens"),
        (3, "calls", ["0", "1", "2", "3"], "calls"),
        (900, "ms", ["0", "200", "400", "600", "800"], "milliseconds"),
        (4200, "ms", ["0", "1", "2", "3", "4"], "seconds"),
        (0.000065, "usd", ["$0", "$0.00002", "$0.00004", "$0.00006"], "US dollars"),
        (1.1, "usd", ["$0", "$0.25", "$0.50", "$0.75", "$1.00"], "US dollars"),
        (31_000, "usd", ["$0", "$10,000", "$20,000", "$30,000"], "US dollars"),
        (0.04, "ratio", ["0%", "1%", "2%", "3%", "4%"], "share"),
    ],
)
def test_marks_are_read_as_people_write(top: float, unit: str, labels: list[str], axis: str) -> None:
    found = ticks(top, unit)
    assert (found.labels, found.axis) == (labels, axis)


@given(st.floats(1e-9, 1e15), st.sampled_from(["usd", "tokens", "calls", "ms", "ratio"]))
def test_marks_are_few_ordered_distinct_and_within(top: float, unit: str) -> None:
    found = ticks(top, unit)
    assert 1 <= len(found.values) <= 7
    assert found.values[0] == 0
    assert found.values[-1] <= top * (1 + 1e-9)
    assert sorted(found.values) == found.values
    if top >= 1e-6 and not (unit == "ratio" and top < 0.01):
        assert len(set(found.labels)) == len(found.labels)


def test_nothing_yet_has_its_zero() -> None:
    assert ticks(0.0, "usd").labels == ["$0"]
