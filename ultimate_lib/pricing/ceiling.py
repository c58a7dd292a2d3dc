"""The most that a call can cost, before it is made; and how much a model can write. Pure.

Every input token is taken at the dearest of the prices that it may fall under (uncached, written to the cache for
minutes or an hour, sound), at the dearest tier that so many tokens can reach, and the sum is rounded up.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.pricing.table import Rate

MILLIONTHS = 1_000_000
_FEMTO_A_NANO = 1_000_000
_ROUNDINGS = 5  # a cost is the sum of five parts, each rounded to a nano-dollar
_UP = (_ROUNDINGS + 1) * _FEMTO_A_NANO - 1  # what is added before a sum of femto-dollars is cut to nano-dollars

# Most output tokens of one answer, by the beginning of a model's name, the longest first. Vendors' pages, read in
# November 2026: docs.anthropic.com (Models overview), platform.openai.com (Models), ai.google.dev (Models).
_MOST_OUTPUT = (
    ("claude-3-5-haiku", 8_192),
    ("claude-3-5-sonnet", 8_192),
    ("claude-3-7-sonnet", 128_000),  # with its beta for long output
    ("claude-3-haiku", 4_096),
    ("claude-3-opus", 4_096),
    ("claude-haiku-4", 64_000),
    ("claude-sonnet-4", 64_000),
    ("claude-opus-4-5", 64_000),
    ("claude-opus-4-0", 32_000),
    ("claude-opus-4-1", 32_000),
    ("claude-opus-4-20", 32_000),
    ("gpt-3.5-turbo", 4_096),
    ("gpt-4o-2024-05-13", 4_096),
    ("gpt-4o-64k", 64_000),
    ("gpt-4o", 16_384),
    ("gpt-4.1", 32_768),
    ("gpt-4-turbo", 4_096),
    ("gpt-5-chat", 16_384),
    ("gpt-5", 128_000),
    ("o1-mini", 65_536),
    ("o1", 100_000),
    ("o3", 100_000),
    ("o4-mini", 100_000),
    ("gemini-2.5", 65_536),
    ("gemini-2.0", 8_192),
    ("gemini-1.5", 8_192),
)
UNSAID_OUTPUT = 4_096  # what a call without max_tokens gets where the model's limit is not known: no model takes less


@lru_cache(maxsize=1000)
def most_output(model: str) -> int | None:
    """Return how many tokens one answer of a model can have, or None when that is not known."""
    name = model.lower().rpartition("/")[2]
    for beginning, tokens in _MOST_OUTPUT:
        if name.startswith(beginning):
            return tokens
    return None


class Asked(Protocol):
    """What of a request decides which prices it may fall under."""

    @property
    def tier(self) -> str | None:
        """Its service tier."""
        ...

    @property
    def caches(self) -> bool:
        """Whether tokens may be written to the cache."""
        ...

    @property
    def caches_hour(self) -> bool:
        """Whether for an hour."""
        ...

    @property
    def sound(self) -> bool:
        """Whether there is sound in it."""
        ...


class Ceiling(msgspec.Struct, frozen=True, gc=False):
    """The most in some unit: `base` for the input and the request itself, `each` millionths for an output token."""

    base: int
    each: int

    def at(self, output: int) -> int:
        """Return what is needed for so many output tokens, rounded up."""
        return self.base + -(-output * self.each // MILLIONTHS)

    def fits(self, free: int) -> int:
        """Return for how many output tokens `free` pays; below 0 when not even for the input."""
        left = free - self.base
        if left < 0:
            return -1
        return left * MILLIONTHS // self.each if self.each else 1 << 62


class Dearest(msgspec.Struct, frozen=True, gc=False):
    """Femto-dollars of an input token, an output token and a request.

    For calls of more than `over` and at most `until` input tokens, edges of tiers between which no other lies.
    """

    input: int
    output: int
    request: int
    over: int
    until: int

    def of(self, input_tokens: int) -> Ceiling:
        """Return the most that so many input tokens cost, in nano-dollars."""
        if self.input or self.output or self.request:
            return Ceiling((input_tokens * self.input + self.request + _UP) // _FEMTO_A_NANO, self.output)
        return Ceiling(0, 0)


def dearest(rates: Iterable[Mapping[str, Rate]], input_tokens: int, about: Asked) -> Dearest | None:
    """Return the highest prices that a call may fall under, or None where a rate that it needs is missing."""
    most = Dearest(0, 0, 0, -1, 1 << 62)
    for one in rates:
        if about.sound and not ("input_audio_mtok" in one and "output_audio_mtok" in one):
            return None
        if "input_mtok" not in one:
            return None
        inputs = [_dearest(one.get("input_mtok"), input_tokens)]
        if about.caches:
            write = _dearest(one.get("cache_write_mtok"), input_tokens)
            inputs.append(write)
            if about.caches_hour:
                stated = one.get("cache_write_1h_mtok")
                hour = max(2 * inputs[0], write) if write else 0
                inputs.append(hour if stated is None else _dearest(stated, input_tokens))
        outputs = [_dearest(one.get("output_mtok"), input_tokens)]
        if about.sound:
            inputs.append(_dearest(one.get("input_audio_mtok"), input_tokens))
            outputs.append(_dearest(one.get("output_audio_mtok"), input_tokens))
        request = _dearest(one.get("requests_kcount"), input_tokens)
        edges = [above for rate in one.values() for above, _ in rate.tiers]
        most = Dearest(
            input=max(most.input, *inputs),
            output=max(most.output, *outputs),
            request=max(most.request, request),
            over=max(most.over, *(edge for edge in edges if edge < input_tokens), -1),
            until=min(most.until, *(edge for edge in edges if edge >= input_tokens), 1 << 62),
        )
    return most


def _dearest(rate: Rate | None, input_tokens: int) -> int:
    """Return the highest price of the tiers that a call with at most so many input tokens can fall under."""
    if rate is None:
        return 0
    if not rate.tiers:
        return rate.base
    return max(rate.base, *(price for above, price in rate.tiers if input_tokens > above), 0)
