"""Delays after failed sign-ins: long ones for a name at an address, and for an address; short ones for a name alone.

Whoever fails on purpose holds up its own address. A name alone waits some seconds at most, and never at the first try
from an address (for IPv6 a /48), so that nobody shuts its owner out. At an address from which the owner has signed in
lately, nothing counts but the failures of that name there. How many guesses that leaves is told in docs/rbac.md, and
a test counts them.
"""

from __future__ import annotations

import hmac
import math
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from ultimate_lib.access.addresses import network, site
from ultimate_lib.errors import Limited
from ultimate_lib.store import audit, sign_ins

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from ultimate_lib.clock import Clock
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.store import Store

FREE_FAILURES = 5  # of a name at an address
FREE_OF_ADDRESS = 30  # whatever names it tries: many people may share one
LONGEST_S = 900.0
LONGEST_KNOWN_S = 60.0  # of a user at an address from which it has signed in lately
FREE_OF_NAME = 20
NAME_S = 3.0  # of a name, wherever it is tried from
KNOWN = timedelta(days=30)
_FORGET = timedelta(hours=1)  # after so long without another failure
_FORGET_EVERY = timedelta(minutes=1)  # rows are removed: not at each try, which holds the store
_forgets_at: WeakKeyDictionary[Store, datetime] = WeakKeyDictionary()


class Try(NamedTuple):
    """A try to sign in: what it counts for."""

    pair: str  # a name at an address
    address: str
    name: str
    site: str  # a name at all addresses that are likely one customer's
    known: bool  # the user has signed in from there lately: only the first holds it up

    @property
    def subjects(self) -> tuple[str, ...]:
        """Under which a failure is counted."""
        return self.pair, self.address, self.name, self.site


def of(  # noqa: PLR0917 - whose try, from where, when
    connection: Connection, master: MasterKey, user_id: str | None, name: str, address: str, now: datetime
) -> Try:
    """Return what a try of a name counts for; `user_id` is None for a name that nobody has.

    Every name counts by itself, so that no delay tells which names exist. One that nobody has may be a password in
    the wrong field: what is kept of a name is therefore keyed, and a copy of the store alone lets nobody try.
    """
    place = network(address)
    seen = sign_ins.addresses(connection, user_id or "", now - KNOWN)
    told = hmac.new(master.derive("sign-in-names"), name.encode("utf-8", "surrogatepass"), "sha256").hexdigest()
    known = any(network(one) == place for one in seen)
    return Try(f"pair:{told} {place}", f"address:{place}", f"name:{told}", f"site:{told} {site(address)}", known)


def of_pair(failures: int) -> float:
    """Return how long a name waits at an address after so many failures in a row."""
    return _doubled(failures - FREE_FAILURES, LONGEST_S)


def of_address(failures: int) -> float:
    """Return how long an address waits after so many failures, whatever names it tried."""
    return _doubled(failures - FREE_OF_ADDRESS, LONGEST_S)


def _doubled(beyond: int, longest_s: float) -> float:
    return min(longest_s, 2.0 ** min(beyond, 20)) if beyond > 0 else 0.0


def of_known(failures: int) -> float:
    """Return how long a user waits at an address from which it has signed in lately."""
    return _doubled(failures - FREE_FAILURES, LONGEST_KNOWN_S)


def of_name(failures: int) -> float:
    """Return how long a name waits after so many failures, wherever they came from."""
    return NAME_S if failures > FREE_OF_NAME else 0.0


def check(connection: Connection, tried: Try, now: datetime) -> None:
    """Raise `Limited` while a delay runs. Only reads."""
    rules = {tried.pair: of_pair, tried.address: of_address, tried.name: of_name}
    if tried.known:
        rules = {tried.pair: of_known}
    elif not _counted(connection, tried.site, now)[0]:
        del rules[tried.name]  # its first try there: else who fails from ever new places shuts its owner out
    wait = 0.0
    for subject, delay_s in rules.items():
        failures, last = _counted(connection, subject, now)
        if last is not None:
            wait = max(wait, delay_s(failures) - (now - last).total_seconds())
    if wait > 0:
        raise Limited(
            f"Too many sign-ins have failed; wait {math.ceil(wait)} s.",
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
        if now >= _forgets_at.get(store, now):
            _forgets_at[store] = now + _FORGET_EVERY
            sign_ins.forget_failures(connection, now - _FORGET)
        for subject in tried.subjects:
            sign_ins.set_failures(connection, subject, _counted(connection, subject, now)[0] + 1, now)


def forgive(connection: Connection, tried: Try) -> None:
    """Take back what was counted in advance; failures of the name at this address are forgotten."""
    for subject in tried.subjects:
        row = sign_ins.failures(connection, subject)
        if row is not None:
            left = 0 if subject == tried.pair else row["failures"] - 1
            sign_ins.set_failures(connection, subject, left, row["last_failed_at"])


def _counted(connection: Connection, subject: str, now: datetime) -> tuple[int, datetime | None]:
    row = sign_ins.failures(connection, subject)
    if row is None or now - row["last_failed_at"] >= _FORGET:
        return 0, None
    return row["failures"], row["last_failed_at"]
