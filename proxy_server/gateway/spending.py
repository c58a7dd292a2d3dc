"""What keys have spent lately, in this process and the others of its data folder, and what of it is forgiven."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ultimate_lib.guard.kept import KeptSums
from ultimate_lib.guard.spend import WINDOWS, Spend, rolls_off_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ultimate_lib.clock import Clock
    from ultimate_lib.guard.pace import TooMuch

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000
_KEEP_S, _FEW_KEEP_S = 10.0, 1.0
_FEW = 200  # keys whose sums are kept more often


class Spending:
    """The sums. For the loop's thread alone, but for `keep` and `read`."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._clock = clock
        self._here = Spend()  # of calls that ended in this process
        self._elsewhere = Spend()  # and in others, as far as those have kept it
        self._let_go: dict[str, int] = {}  # when somebody last ended a cool-down of a key
        self._forgiven = Spend()  # what such keys had spent by then
        self._kept = KeptSums(run_dir)
        self._kept_at = clock.monotonic()
        self._to_keep = False
        self.unkept = False
        """Whether the sums could not be kept."""

    def add(self, key_id: str, now_us: int, cost: int) -> None:
        """Add what a call has cost."""
        self._here.add(key_id, now_us, cost)
        self._to_keep = True

    def within(self, key_id: str, now_us: int, *, since_end: bool = False) -> Sequence[int]:
        """Return what a key has spent in each of `WINDOWS`; `since_end`: since a cool-down of it was last ended."""
        spent = self._here.within(key_id, now_us)
        if self._elsewhere:
            elsewhere = self._elsewhere.within(key_id, now_us)
            spent = [one + other for one, other in zip(spent, elsewhere, strict=True)]
        if since_end and key_id in self._let_go:
            forgiven = self._forgiven.within(key_id, now_us)
            spent = [max(all_of_it - before, 0) for all_of_it, before in zip(spent, forgiven, strict=True)]
        return spent

    def rolls_off_s(self, key_id: str, found: TooMuch, now_us: int, *, since_end: bool = False) -> float:
        """Return in how many seconds so much has rolled off that a key goes on, if it spends nothing meanwhile."""
        number = found.window
        parts = [part for one in (self._here, self._elsewhere) for part in one.parts(key_id, number, now_us)]
        if since_end and key_id in self._let_go:
            parts += [(at, -amount) for at, amount in self._forgiven.parts(key_id, number, now_us)]
        return rolls_off_s(number, parts, found.spent, found.most, now_us)

    def forgive(self, key_id: str, at_us: int) -> None:
        """Count what a key spends from here on: somebody has ended a cool-down of it.

        After a start what it has spent in the same part of a window is forgiven as well, for that is all one sum.
        """
        if at_us <= self._let_go.get(key_id, 0):
            return
        self._let_go[key_id] = at_us
        self._forgiven.forget(key_id)
        for spend in (self._here, self._elsewhere):
            rows = [row for row in spend.rows(key_id) if row[1] * WINDOWS[row[0]].part_us <= at_us]
            self._forgiven.take({key_id: rows}, self._clock.now_us())

    def forget(self) -> None:
        """Forget what was forgiven so long ago that it has rolled off."""
        oldest = self._clock.now_us() - 2 * _DAY_US
        for key_id in [key_id for key_id, at_us in self._let_go.items() if at_us < oldest]:
            del self._let_go[key_id]
            self._forgiven.forget(key_id)

    # -- over processes -----------------------------------------------------------------------------------------

    def due(self) -> bool:
        """Return whether it is time to keep the sums."""
        every_s = _FEW_KEEP_S if len(self._here) <= _FEW else _KEEP_S
        return self._to_keep and self._clock.monotonic() - self._kept_at >= every_s

    def keep(self) -> None:
        """Write what keys have spent here, so that others, and a successor, know it; in any thread."""
        if not self._to_keep:
            return
        self._kept_at = self._clock.monotonic()
        self._to_keep = False
        try:
            self._kept.write(self._here.kept())
        except OSError as error:
            self._to_keep = True
            if not self.unkept:  # told once
                log.warning("What keys have spent cannot be kept: %s", error)
            self.unkept = True
        else:
            self.unkept = False

    def read(self) -> Spend | None:
        """Return what others have kept, for `take`; None: as before. In any thread, one at a time."""
        now_us = self._clock.now_us()
        others = self._kept.others(now_us)
        if others is None:
            return None
        spend = Spend()
        for one in others:
            spend.take(one, now_us)
        return spend

    def take(self, elsewhere: Spend | None) -> None:
        """Go by what was read."""
        if elsewhere is not None:
            self._elsewhere = elsewhere
