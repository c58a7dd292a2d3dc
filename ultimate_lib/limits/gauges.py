"""One rate limit and what calls take of it. Every call under one passes here, so the usual way is short."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ultimate_lib.errors import Limited
from ultimate_lib.limits.counters import Refusal
from ultimate_lib.limits.rates import Window

if TYPE_CHECKING:
    from ultimate_lib.limits.calls import RateLimit
    from ultimate_lib.limits.counters import Ask, Hold
    from ultimate_lib.limits.rates import Entry
    from ultimate_lib.records import CallRecord

_BUSY_RETRY_S = 1.0


class Gauge:
    """A rate limit with its window and the number of calls that are under way."""

    __slots__ = ("_concurrent", "limit", "requests", "tokens", "under_way", "window")

    limit: RateLimit

    def __init__(self) -> None:
        self.window = Window()
        self.under_way = 0
        self.requests: int | None = None
        self.tokens: int | None = None
        self._concurrent: int | None = None

    def set(self, limit: RateLimit, gateways: int) -> None:
        """Go by this limit, of which each of several gateways takes its share."""
        self.limit = limit
        self.requests = _share(limit.requests_per_minute, gateways)
        self.tokens = _share(limit.tokens_per_minute, gateways)
        self._concurrent = _share(limit.concurrent, gateways)

    def refusal(self, now: float, tokens: int) -> Limited | None:
        """Return why a call must not begin now, or None."""
        if self._concurrent is not None and self.under_way >= self._concurrent:
            return _limited(self, f"{self._concurrent} calls at a time", _BUSY_RETRY_S)
        window, most = self.window, self.requests
        if most is not None and window.requests >= most:
            wait = window.wait_s(now, "requests", 1, most)
            if wait:
                return _limited(self, f"{most} requests a minute", wait)
        most = self.tokens
        if most is not None and window.tokens + tokens > most:
            wait = window.wait_s(now, "tokens", min(tokens, most), most)
            if wait:
                return _limited(self, f"{most} tokens a minute", wait)
        return None

    def take(self, now: float, tokens: int) -> Taken:
        """Count a call that begins. One that alone is larger than the limit takes all of it."""
        self.under_way += 1
        most = self.tokens
        if most is not None and tokens > most:
            tokens = most
        return self, self.window.take(now, tokens), tokens

    def unask(self, entry: Entry) -> None:
        """Count a request as never made."""
        self.window.correct(entry, -1, 0)

    def end(self, entry: Entry, more: int) -> None:
        """Count a call that has ended, and how many tokens more it was than it took."""
        self.under_way -= 1
        if more:
            self.window.correct(entry, 0, more)


Taken: TypeAlias = "tuple[Gauge, Entry, int]"
"""What one call has taken: the rate limit, where in its window, how many tokens."""


def take(gauges: list[Gauge], ask: Ask, hold: Hold, now: float) -> Refusal | None:
    """Count a call that begins under all of these, or return why it must not."""
    tokens = ask.tokens
    for gauge in gauges:
        error = gauge.refusal(now, tokens)
        if error is not None:
            return Refusal(error)
    hold.rates = taken = []
    for gauge in gauges:  # a comprehension is a call of its own
        taken.append(gauge.take(now, tokens))  # noqa: PERF401
    return None


def give_back(hold: Hold) -> None:
    """Free the place and the tokens of a call that is not admitted; that it asked still counts as a request."""
    taken, hold.rates = hold.rates, ()
    for gauge, entry, tokens in taken:
        gauge.end(entry, -tokens)


def unask(hold: Hold) -> None:
    """Count a call as no request, for something else than a limit refuses it; its place is freed as it ends."""
    for gauge, entry, _ in hold.rates:
        gauge.unask(entry)


def settle(hold: Hold, record: CallRecord, reached: bool) -> None:
    """Free the place of a call that has ended, and count the tokens that it truly used, if they are known."""
    taken, hold.rates = hold.rates, ()
    used: int | None = None if reached else 0
    if record.usage_source == "provider":
        used = (record.input_tokens or 0) + (record.output_tokens or 0)
    for gauge, entry, tokens in taken:
        gauge.end(entry, 0 if used is None else used - tokens)


def _share(limit: int | None, gateways: int) -> int | None:
    return None if limit is None else max(limit // gateways, 1)


def _limited(gauge: Gauge, what: str, wait_s: float) -> Limited:
    return Limited(
        f"The limit of {what} for {gauge.limit.title} is reached.",
        hint=f"Try again in {max(round(wait_s + 0.5), 1)} s.",
        code="rate_limit",
        retry_after_s=wait_s,
    )
