"""Delays after failed sign-ins: long ones for where the tries come from, short ones for a name tried everywhere.

Whoever fails on purpose holds up its own address. A name alone waits some seconds at most, so that nobody shuts its
owner out; and at an address from which the owner has signed in lately, nothing counts but the failures of that name
there. How many guesses that leaves is told in docs/rbac.md, and a test counts them.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access.addresses import network
from ultimate_lib.errors import Limited
from ultimate_lib.store import audit, sign_ins

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

FREE_FAILURES = 5
LONGEST_S = 900.0  # of an address
LONGEST_KNOWN_S = 60.0  # of a user at an address from which it has signed in lately
FREE_OF_NAME = 20
NAME_S = 3.0  # of a name, wherever it is tried from
KNOWN = timedelta(days=30)
_FORGET = timedelta(hours=1)  # after so long without another failure
_UNKNOWN_DIGITS = 4


class Try(NamedTuple):
    """A try to sign in: under which subjects its failure is counted."""

    name: str
    address: str
    pair: str | None  # of a user and an address from which it has signed in lately: it alone holds such a try up


def of(connection: Connection, user_id: str | None, name: str, address: str, now: datetime) -> Try:
    """Return what a try of a name counts for; `user_id` is None for a name that nobody has.

    Of such a name, which may be a password in the wrong field, no more is kept than which of 65,536 groups it is in.
    """
    place = network(address)
    seen = sign_ins.addresses(connection, user_id or "", now - KNOWN)
    told = user_id or f"?{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:_UNKNOWN_DIGITS]}"
    known = any(network(one) == place for one in seen)
    return Try(f"name:{told}", f"address:{place}", f"pair:{told} {place}" if known else None)


def of_address(failures: int, longest_s: float = LONGEST_S) -> float:
    """Return how long an address waits after so many failures in a row."""
    beyond = failures - FREE_FAILURES
    return min(longest_s, 2.0 ** min(beyond, 20)) if beyond > 0 else 0.0


def of_known(failures: int) -> float:
    """Return how long a user waits at an address from which it has signed in lately."""
    return of_address(failures, LONGEST_KNOWN_S)


def of_name(failures: int) -> float:
    """Return how long a name waits after so many failures, wherever they came from."""
    return NAME_S if failures > FREE_OF_NAME else 0.0


def check(connection: Connection, tried: Try, now: datetime) -> None:
    """Raise `Limited` while a delay runs. Only reads."""
    rules = {tried.pair: of_known} if tried.pair is not None else {tried.address: of_address, tried.name: of_name}
    wait = 0.0
    for subject, delay_s in rules.items():
        failures, last = _counted(connection, subject, now)
        if last is not None:
            wait = max(wait, delay_s(failures) - (now - last).total_seconds())
    if wait > 0:
        raise Limited(
            f"Too many sign-ins have failed; wait {wait:.0f} s.",
            hint="A link of an administrator, or `ultimate-proxy link` on the server, works meanwhile.",
            code="login_delay",
            retry_after_s=wait,
        )


def charge(store: Store, clock: Clock, tried: Try) -> None:
    """Count a failure in advance. Raises `Limited` while a delay runs, which counts as none."""
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        check(connection, tried, now)
        sign_ins.forget_failures(connection, now - _FORGET)
        for subject in _subjects(tried):
            sign_ins.set_failures(connection, subject, _counted(connection, subject, now)[0] + 1, now)


def forgive(connection: Connection, tried: Try) -> None:
    """Take back what was counted in advance; a user's failures at an address that it knows are forgotten."""
    for subject in _subjects(tried):
        row = sign_ins.failures(connection, subject)
        if row is not None:
            left = 0 if subject == tried.pair else row["failures"] - 1
            sign_ins.set_failures(connection, subject, left, row["last_failed_at"])


def _subjects(tried: Try) -> tuple[str, ...]:
    return tuple(subject for subject in tried if subject is not None)


def _counted(connection: Connection, subject: str, now: datetime) -> tuple[int, datetime | None]:
    row = sign_ins.failures(connection, subject)
    if row is None or now - row["last_failed_at"] >= _FORGET:
        return 0, None
    return row["failures"], row["last_failed_at"]
