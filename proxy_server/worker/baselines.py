"""Learns what is usual of each key and model, for the guard of the gateways; keeps their log of anomalies short.

It reads a month of calls, so it does so only when the lake has gained some, and rarely enough that it is at work for
a twentieth of the time at most: every ten minutes, but each minute while it knows nothing or the lake has doubled, as
after a first start or an import. Once a key and model can be blocked they stay so while they are called: their first
calls leave the month, not what is known of them.
"""

from __future__ import annotations

import zlib
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib.baseline import expected_high
from ultimate_lib.clock import to_datetime
from ultimate_lib.errors import Corrupt
from ultimate_lib.guard import events, known
from ultimate_lib.guard.events import EventLog
from ultimate_lib.guard.known import About, Known
from ultimate_lib.guard.rule import Rule, ripe_at

if TYPE_CHECKING:
    from ultimate_lib.guard.events import Accepted
    from ultimate_lib.guard.known import Baselines
    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.baselines import Usual
    from ultimate_lib.lake.files import Snapshot
    from ultimate_lib.settings import Settings

    Pairs = dict[tuple[str, str], Accepted]

Told = dict[str, bool | int | float | str | None]

_APART_S = 600.0
_GROWN = 2  # times the rows that were there: what was learnt of them says little
_DAYS = 30  # of calls that are learnt from, at least
_DAY_US = 86_400_000_000
_SHARE = 20  # of the time it is at work for one part at most
_KEPT = timedelta(days=2)  # of the log, beside what the rule looks at


class Learning:
    """The job. What it keeps in memory stands in its file as well."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rule = Rule.of(settings.guard)
        self._last: Baselines | None = None
        self._read = False
        self._soonest = self._next = float("-inf")

    def __call__(self, lake: Lake) -> Told:
        """Learn if that is due."""
        if not self._settings.guard.enabled:
            return {"known": 0, "learnt": False}
        now_us = lake.clock.now_us()
        kept_us = self._rule.window_us + self._rule.cooldown_us + _KEPT // timedelta(microseconds=1)
        days = max(_DAYS, self._rule.after_days + 1)
        events.compact(self._settings.run_dir, now_us - kept_us, accepted_us=now_us - days * _DAY_US)
        accepted = _accepted(self._settings, now_us - days * _DAY_US)
        due = self._due(lake, accepted)
        if due:
            began = lake.clock.monotonic()
            self._learn(lake, now_us, days, accepted)
            took = lake.clock.monotonic() - began
            self._soonest = began + _SHARE * took
            self._next = max(self._soonest, began + _APART_S)
        return {"known": len(self._last.known) if self._last is not None else 0, "learnt": due}

    def _due(self, lake: Lake, accepted: Pairs) -> bool:
        from ultimate_lib.lake.changes import changed  # noqa: PLC0415 - loads polars

        if not self._read:
            self._last, self._read = _before(self._settings), True
        last = self._last
        if last is None or not self._same_rule() or not known.path(self._settings.run_dir).exists():
            return True
        if last.about.accepted != _mark(accepted):
            return True  # somebody waits for it
        now_s = lake.clock.monotonic()
        if now_s < self._soonest or (now_s < self._next and last.known and not _grown(lake, last)):
            return False
        return changed(lake, last.about.version) != []

    def _same_rule(self) -> bool:
        about, rule = self._last.about if self._last is not None else None, self._rule
        return about is not None and (about.after_days, about.after_calls) == (rule.after_days, rule.after_calls)

    def _learn(self, lake: Lake, now_us: int, days: int, accepted: Pairs) -> None:
        from ultimate_lib.lake import baselines, rates  # noqa: PLC0415 - loads polars
        from ultimate_lib.lake.accepted import levels, with_levels  # noqa: PLC0415

        with lake.calls.lock:
            snapshot = lake.calls.snapshot()  # first: what is committed meanwhile is learnt next time
        until = to_datetime(now_us)
        new = levels(lake, until, accepted, days=days)
        usuals = baselines.baselines_of(lake, until, enough=self._rule.after_calls, days=days)
        found = with_levels(usuals, new)
        newest = sorted(found, key=lambda one: one.last_us, reverse=True)[: known.MOST]
        before = self._last.known if self._last is not None and self._same_rule() else {}
        rows = []
        for usual in newest:
            pair = (usual.key_id, usual.model)
            row = _known(self._rule, usual, before.get(pair))
            if pair in new:
                since_us = accepted[pair].since_us if new[pair].alone else None
                row = msgspec.structs.replace(row, accepted_us=accepted[pair].at_us, since_us=since_us)
            rows.append(row)
        about = About(
            made_us=now_us, version=snapshot.version, lake_rows=_rows(snapshot), after_days=self._rule.after_days,
            after_calls=self._rule.after_calls, accepted=_mark(accepted),
        )  # fmt: skip
        ripe: dict[str, int] = {}
        for one in rows:
            if one.ripe_us is not None:
                ripe[one.key_id] = min(one.ripe_us, ripe.get(one.key_id, one.ripe_us))
        spent = [
            msgspec.structs.replace(rate, ripe_us=ripe.get(rate.key_id))
            for rate in rates.rates_of(lake, until, accepted)
        ]
        known.write(self._settings.run_dir, about, rows, spent)
        self._last = known.Baselines(about, {(one.key_id, one.model): one for one in rows}, {})


def _accepted(settings: Settings, oldest_us: int) -> Pairs:
    """Return the acceptances that matter still. Raises OSError."""
    told = events.accepted(EventLog(settings.run_dir).read()[1])
    return {pair: one for pair, one in told.items() if one.at_us >= oldest_us}


def _mark(accepted: Pairs) -> int:
    return zlib.crc32(repr(sorted(accepted.items())).encode()) if accepted else 0


def _rows(snapshot: Snapshot) -> int:
    return sum(file.rows for file in snapshot.files)


def _grown(lake: Lake, last: Baselines) -> bool:
    with lake.calls.lock:
        return _rows(lake.calls.snapshot()) > _GROWN * last.about.lake_rows


def _before(settings: Settings) -> Baselines | None:
    try:
        return known.read(settings.run_dir)
    except Corrupt:  # gateways tell of it; here another one is made
        return None


def _known(rule: Rule, usual: Usual, before: Known | None) -> Known:
    first_us, enough_us = usual.first_us, usual.enough_us
    if before is not None:
        first_us = min(first_us, before.first_us)
        enough_us = before.enough_us if before.enough_us is not None else enough_us
    cost, tokens = usual.cost, usual.tokens
    return Known(
        key_id=usual.key_id,
        model=usual.model,
        calls=usual.priced_calls,
        first_us=first_us,
        last_us=usual.last_us,
        enough_us=enough_us,
        ripe_us=ripe_at(rule, first_us, enough_us),
        cost=cost,
        usual_usd=expected_high(cost) if cost is not None else None,
        tokens=tokens,
        usual_tokens=expected_high(tokens) if tokens is not None else None,
    )
