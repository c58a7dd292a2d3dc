"""What is drawn for the calls of one workload before their columns are made: who, which model, which session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ultimate_lib.demo.cast import Model, Workload

_PAUSE_US = 3_600_000_000  # after which a session is another


@dataclass(slots=True)
class Draw:
    """The calls of one workload in one block, an entry a call, in the order of time."""

    workload: Workload
    started: np.ndarray  # µs since 1970
    person: np.ndarray  # index of workload.people
    model: np.ndarray  # index of models
    models: list[Model]
    dice: np.random.Generator
    name: str  # of this block and workload; ids are made of it
    session: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # number within the block
    place: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # within its session, from 0

    @property
    def rows(self) -> int:
        """How many calls."""
        return len(self.started)


def sessions(draw: Draw) -> None:
    """Cut each person's calls into sessions: after a pause, and at random so that they have their usual length."""
    rows = draw.rows
    order = np.lexsort((draw.started, draw.person))
    person, started = draw.person[order], draw.started[order]
    begins = draw.dice.random(rows) < 1 / max(draw.workload.session_calls, 1)
    begins[:1] = True
    begins[1:] |= (person[1:] != person[:-1]) | (started[1:] - started[:-1] > _PAUSE_US)
    number = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    place = np.arange(rows) - first[number]
    draw.session = np.empty(rows, dtype=np.int64)
    draw.place = np.empty(rows, dtype=np.int64)
    draw.session[order], draw.place[order] = number, place
