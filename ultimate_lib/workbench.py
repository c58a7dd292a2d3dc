"""The one thing that is passed around: settings, store, compute, clock and lake, opened together. No logic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultimate_lib.clock import Clock
    from ultimate_lib.compute import Compute
    from ultimate_lib.lake import Lake
    from ultimate_lib.limits.status import Journaled
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store


@dataclass(frozen=True)
class Workbench:
    """What every face and job works with."""

    settings: Settings
    store: Store
    compute: Compute
    clock: Clock

    @cached_property
    def lake(self) -> Lake:
        """The lake; its libraries (0.4 s, 80 MB) load when it is first asked for."""
        from ultimate_lib.lake import Lake  # noqa: PLC0415 - see above

        return Lake.open(self.settings, self.clock)

    @cached_property
    def master(self) -> MasterKey:
        """The master key, read once: a file that is lost meanwhile must not part this process from the others."""
        from ultimate_lib.sealed import MasterKey  # noqa: PLC0415 - few need it

        return MasterKey.load(self.settings)

    @cached_property
    def budgets_seen(self) -> Journaled:
        """What budgets have spent, as store and journal tell; it remembers how far it has read."""
        from ultimate_lib.limits.status import Journaled  # noqa: PLC0415 - few need it

        return Journaled(self.store, self.clock, self.settings)
