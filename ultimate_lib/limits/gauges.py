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
_UNLIMITED = 1 << 62


class Gauge:
    """A rate limit with its window and the number of calls that are under way.

    `requests`, `tokens` (a minute) and `concurrent` are the most, more than there will ever be where it has no such.
    """

    __slots__ = ("concurrent", "limit", "requests", "tokens", "under_way", "window")

    limit: RateLimit
    requests: int
    tokens: int
    concurrent: int

    def __init__(self) -> None:
        self.window = Window()
        self.under_way = 0

    def set(self, limit: RateLimit, gateways: int) -> None:
        """Go by this limit, of which each of several gateways takes its share."""
        self.limit = limit
        self.requests = _share(limit.requests_per_minute, gateways)
        self.tokens = _share(limit.tokens_per_minute, gateways)
        self.concurrent = _share(limit.concurrent, gateways)

    def refusal(self, now: float, tokens: int) -> Limited | None:
        """Return why a call must not begin now, or None."""
        if self.under_way >= self.concurrent:
            return _limited(self, f"{self.concurrent} calls at a time", _BUSY_RETRY_S)
        wait = self.window.wait_s(now, "requests", 1, self.requests)
        if wait:
            return _limited(self, f"{self.requests} requests a minute", wait)
        wait = self.window.wait_s(now, "tokens", min(tokens, self.tokens), self.tokens)
        if wait:
            return _limited(self, f"{self.tokens} tokens a minute", wait)
        return None


Taken: TypeAlias = "tuple[Gauge, Entry, int]"
"""What one call has taken: the rate limit, where in its window, how many tokens."""


def take(gauges: list[Gauge], ask: Ask, hold: Hold, now: float) -> Refusal | None:
    """Count a call that begins under all of these, or return why it must not.

    One that alone is larger than a limit takes all of it.
    """
    tokens = ask.tokens
    for gauge in gauges:
        window = gauge.window
        if (
            gauge.under_way >= gauge.concurrent
            or window.requests >= gauge.requests
            or window.tokens + tokens > gauge.tokens
        ):  # or it has room for sure
            error = gauge.refusal(now, tokens)
            if error is not None:
                return Refusal(error)
    taken = []
    for gauge in gauges:
        gauge.under_way += 1
        most = gauge.tokens
        its = tokens if tokens <= most else most  # noqa: FURB136 - a call for every call
        taken.append((gauge, gauge.window.take(now, its), its))
    hold.rates = taken
    return None


def give_back(hold: Hold) -> None:
    """Free the place and the tokens of a call that is not admitted; that it asked still counts as a request."""
    taken, hold.rates = hold.rates, ()
    for gauge, entry, tokens in taken:
        gauge.under_way -= 1
        gauge.window.correct(entry, -tokens)


def unask(hold: Hold) -> None:
    """Count a call as no request, for something else than a limit refuses it; its place is freed as it ends."""
    for gauge, entry, _ in hold.rates:
        gauge.window.unask(entry)


def settle(hold: Hold, record: CallRecord, reached: bool) -> None:
    """Free the place of a call that has ended, and count the tokens that it truly used, if they are known."""
    taken, hold.rates = hold.rates, ()
    used: int | None = None if reached else 0
    if record.usage_source == "provider":
        used = (record.input_tokens or 0) + (record.output_tokens or 0)
    for gauge, entry, tokens in taken:
        gauge.under_way -= 1
        if used is not None and used != tokens:
            gauge.window.correct(entry, used - tokens)


def _share(limit: int | None, gateways: int) -> int:
    return _UNLIMITED if limit is None else max(limit // gateways, 1)


def _limited(gauge: Gauge, what: str, wait_s: float) -> Limited:
    return Limited(
        f"The limit of {what} for {gauge.limit.title} is reached.",
        hint=f"Try again in {max(round(wait_s + 0.5), 1)} s.",
        code="rate_limit",
        retry_after_s=wait_s,
    )
