"""What a new budget begins with, where clocks are not what they should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gateway.limited import make_budget, settings_of
from tests.limits.test_sums import CLOCK, call, folder, work, writer
from ultimate_lib import journal
from ultimate_lib.clock import SteppedClock
from ultimate_lib.limits.calendar import span
from ultimate_lib.limits.spent import Elsewhere, read
from ultimate_lib.store import Store

__all__ = ["folder"]


@pytest.mark.parametrize("own", [True, False])
def test_a_new_budget_knows_what_a_clock_that_was_put_back_wrote_ahead(folder: Path, own: bool) -> None:
    ahead = SteppedClock(CLOCK.now())
    ahead.advance(2 * 86_400)
    one = writer(folder)
    store = Store(settings_of(folder).store_url)
    seen = Elsewhere(settings_of(folder), store, CLOCK, one.writer if own else "")
    for number in (1, 2):  # the second seals the first
        one.call(call(started_at=ahead.now_us()))
        (segments,) = [journal.segments(owner) for owner in journal.writer_folders(settings_of(folder).journal_dir)]
        os.utime(segments[-1].path, (ahead.now().timestamp(),) * 2)
        assert segments[-1].number == number
    one._sync()
    seen.look([], one.position)
    work(folder)
    made = make_budget(folder, 10**6)
    found = read(store)
    assert found is not None
    told = seen.look(found.budgets, one.position)
    start = span("day", ahead.now_us(), settings_of(folder).billing).start_us
    assert told.spent[made, start] == 20
    one.close()
    store.close()
