"""Which models a key may call: names, and beginnings of names with a star at their end (`claude-*`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_PATTERNS = 100
_LONGEST = 200


def allows(patterns: Iterable[str] | None, model: str) -> bool:
    """Say whether a model is on a list; no list allows all."""
    return patterns is None or any(covers(pattern, model) for pattern in patterns)


def covers(wide: str, narrow: str) -> bool:
    """Say whether one pattern allows all that another does; a name is a pattern that allows itself."""
    return wide == narrow or (wide.endswith("*") and narrow.startswith(wide[:-1]))


def within(narrow: Iterable[str] | None, wide: Sequence[str] | None) -> str | None:
    """Return the first pattern that allows more than a list does, or None; "every model" stands for no list."""
    if wide is None:
        return None
    if narrow is None:
        return "every model"
    return next((one for one in narrow if not any(covers(pattern, one) for pattern in wide)), None)


def meet(one: Sequence[str] | None, other: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the list that allows what both do."""
    if one is None or other is None:
        both = one if other is None else other
        return tuple(both) if both is not None else None
    narrower = [a for a in one if any(covers(b, a) for b in other)]
    narrower += [b for b in other if any(covers(a, b) for a in one)]
    return tuple(dict.fromkeys(narrower))


def join(one: Sequence[str] | None, other: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the list that allows what either does."""
    return None if one is None or other is None else tuple(dict.fromkeys((*one, *other)))


def checked(patterns: Sequence[str] | None) -> list[str] | None:
    """Return a list as it may be kept. Raises `Invalid`."""
    if patterns is None:
        return None
    if len(patterns) > MOST_PATTERNS:
        raise Invalid(f"A key's list holds at most {MOST_PATTERNS} models.", code="key_models_many")
    for pattern in patterns:
        if not 0 < len(pattern) <= _LONGEST or not pattern.isprintable() or "*" in pattern[:-1]:
            raise Invalid(
                f"'{pattern[:60]}' is no model's name and no beginning of one.",
                hint="Write a name, or a beginning with a star at its end: claude-*.",
                code="key_model",
            )
    return list(dict.fromkeys(patterns))
