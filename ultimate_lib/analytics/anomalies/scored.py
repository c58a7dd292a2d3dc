"""What every detector of anomalies in a series takes and says."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from typing import Self

Moment: TypeAlias = datetime | float
"""A time, or seconds since 1970. A time without a zone is UTC."""

_MOST = 1e100  # squares stay finite


class Scored(NamedTuple):
    """What a detector says of one point.

    `anomaly` holds where `score` has reached the detector's threshold. `reason` names the stream of evidence that
    weighed most, and is "" where nothing did. The expected range is where 99 % of such points lie, None before it is
    known. Which model, key or notebook made an anomaly is told by whoever knows the groups that the series sums.
    """

    score: float
    anomaly: bool
    reason: str
    expected_low: float | None
    expected_high: float | None


SKIPPED = Scored(0.0, False, "", None, None)
"""What is said of an unknown value."""


class Detector(Protocol):
    """Judges a series point by point. Its state is bounded, and survives a restart through `to_dict`."""

    THRESHOLD: ClassVar[float]

    def __init__(self, *, learning: int) -> None:
        """Call no anomaly within the first `learning` points."""

    def update(self, at: Moment, value: float) -> Scored:
        """Judge a point by those before it, then learn from it; an unknown value (NaN) does neither."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON holds it."""
        ...

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Return a detector that goes on where `to_dict` was called."""
        ...


def seconds(at: Moment) -> int:
    """Return a moment as whole seconds since 1970."""
    if isinstance(at, datetime):
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    return int(at)


def known(value: float) -> bool:
    """Return whether a value is known; `Invalid` for one that no series has."""
    if abs(value) < _MOST:
        return True
    if math.isnan(value):
        return False
    raise Invalid(f"A series cannot hold {value:g}.", hint="Mark what is unknown as NaN.")


def same_version(state: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a detector's state if it is of this version."""
    if state.get("version") != version:
        raise Invalid(
            f"The detector's state is of version {state.get('version')}, and this program reads {version}.",
            hint="Drop the state: the detector learns the series anew.",
        )
    return state
