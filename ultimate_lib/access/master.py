"""Rotation of the master key: another key seals, everything is sealed anew, then the old one goes.

Killed at any moment, it leaves a key file that opens everything; asked again, it goes on where it was.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access import once, provider_keys
from ultimate_lib.access.changes import audited
from ultimate_lib.errors import Corrupt
from ultimate_lib.store import audit, sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultimate_lib.clock import Clock
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.store import Store
    from ultimate_lib.store.sealed import Sealed

_ROUNDS = 5
SETTLE_S = 1.0
"""How long another process may take between sealing and writing; then what it has written is looked for again."""


class Rotated(NamedTuple):
    """What a rotation did."""

    sealed: int  # values under the new key
    dropped: bool  # False: the older keys stand in the environment, which is not ours to change


def rotate(
    store: Store, clock: Clock, master: MasterKey, *, actor: str, pause: Callable[[float], None] = time.sleep
) -> Rotated:
    """Seal everything under another master key and forget the older ones.

    Raises `Corrupt` when a value does not open: then nothing is dropped.
    """
    if master.is_file and not master.rotating:
        master.add_newer()
    total = 0
    for _ in range(_ROUNDS):
        total += (done := _seal_again(store, clock, master, actor))
        if not done and total:
            break
        pause(SETTLE_S)
    if not master.is_file:
        return Rotated(total, dropped=not master.rotating)
    with store.begin() as connection:
        left = [row for row in sealed.everything(connection) if not master.is_current(row.ciphertext)]
    if left:
        raise Corrupt(
            f"{len(left)} values are still sealed under the old master key.",
            hint="Both keys stay. Ask again when less is being changed.",
            code="master_key",
        )
    master.drop_older()
    return Rotated(total, dropped=True)


def _seal_again(store: Store, clock: Clock, master: MasterKey, actor: str) -> int:
    """Seal what an older key has sealed, all of it or nothing, and return how much that was."""
    with store.begin() as connection:
        old = [row for row in sealed.everything(connection) if not master.is_current(row.ciphertext)]
        done = 0
        for row in old:
            purpose, name = _bound_to(row)
            again = master.seal(purpose, name, master.open(purpose, name, row.ciphertext))
            done += sealed.seal_again(connection, row, again)
        if done:
            after = {"values": done, "key": master.id.hex()}
            audit.append(connection, audited(clock.now(), actor, "master_key.rotate", "master_key", "", after))
    return done


def _bound_to(row: Sealed) -> tuple[str, str]:
    """Return purpose and name under which a value was sealed."""
    if row.table == "secrets":
        return provider_keys.PURPOSE, row.key[0]
    return once.PURPOSE, ":".join(row.key)
