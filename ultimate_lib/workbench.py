"""The one thing that is passed around: settings, lake, store, compute and clock, opened together. No logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock
    from ultimate_lib.compute import Compute
    from ultimate_lib.lake import Lake
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


@dataclass(frozen=True, slots=True)
class Workbench:
    """What every face and job works with."""

    settings: Settings
    lake: Lake
    store: Store
    compute: Compute
    clock: Clock
