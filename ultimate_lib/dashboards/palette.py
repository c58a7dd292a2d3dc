"""Colours and patterns that tell series apart, also without colour.

Each colour has a contrast of at least 3 to both page backgrounds (WCAG 2.2, 1.4.11), and neighbours differ by at
least 12 in CIELAB for normal and for colour-blind eyes (Machado, Oliveira, Fernandes: "A physiologically-based model
for simulation of color vision deficiency", IEEE TVCG 15, 2009); a test computes both.
"""

from __future__ import annotations

from typing import NamedTuple

BACKGROUNDS = ("#ffffff", "#1d1f29")


class Look(NamedTuple):
    """How a series is drawn."""

    color: str
    hatch: str  # a pattern of Bokeh's, over a layer
    dash: tuple[int, ...]  # of a line; empty: solid


LOOKS: tuple[Look, ...] = (
    Look("#4467d8", " ", ()),
    Look("#d4791a", "/", (7, 4)),
    Look("#17806c", ".", (2, 3)),
    Look("#c26ad6", "\\", (10, 3, 2, 3)),
    Look("#b2485e", "-", (12, 5)),
    Look("#7b9c38", "x", (5, 2)),
    Look("#4f8fd0", "|", (3, 6)),
)
REST = Look("#80859a", "o", (1, 2))
"""How the rest is drawn."""

NEAR, FAR = 0.34, 0.15
"""How much of its colour a band of 80 % and one of 95 % has."""


def look(index: int) -> Look:
    """Return the look of a series by its place; what is beyond the looks there are is drawn as the rest."""
    return LOOKS[index] if index < len(LOOKS) else REST
