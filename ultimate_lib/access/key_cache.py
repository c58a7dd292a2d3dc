"""The principal of a key, from memory on the hot path; what a store that is away does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access import chain
from ultimate_lib.access.tokens import SHAPE, digest
from ultimate_lib.errors import UltimateError
from ultimate_lib.store import audit, keys

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

FRESH_S = 5.0
"""How long what was read is gone by: a key that has ended is refused within these seconds."""
GRACE_S = 60.0
"""How long, since it was read, a known key goes on working when the store is away."""
RENEW_S = 2.5
"""From which age on what is kept should be read anew by whoever can do so beside its work."""
_LOOK_S = 0.4
_MOST_KEPT = 10_000
_NO_KEYS_MATTER = frozenset({
    "session.start", "session.end", "session.refuse", "change.refuse", "browser.refuse", "user.link", "user.password",
})  # fmt: skip
"""What is in the audit and changes no key: anyone who fails to sign in could otherwise have all keys read anew."""


class Unread(Exception):
    """What is kept does not tell who a key is."""


class _Kept(NamedTuple):
    principal: Principal | None
    read_at: float
    known: int  # number of the audit's last row before it was read


class KeyCache:
    """Finds the principal of a key: what was read is gone by for five seconds.

    A key that is revoked, or whose user is deactivated, stops working within these five seconds; sooner when the
    audit shows that something was changed. While the store does not answer, keys that are known go on for a minute
    since they were read. The whole key is the key of the cache. Several threads may use one.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = clock.monotonic
        self._kept: dict[str, _Kept] = {}
        self._changes = 0  # number of the audit's last row that may concern keys, when it was last looked at
        self._seen: int | None = None  # number of its last row of all, then
        self._looked = float("-inf")
        self.away = False
        """Whether the store did not answer when it was last asked."""

    def kept(self, token: str) -> Principal | None:
        """Return the caller behind a key from memory, None for a wrong one. Raises `Unread`: see `read`."""
        kept = self._kept.get(token)
        if kept is None:
            raise Unread
        age = self._monotonic() - kept.read_at
        most = GRACE_S if self.away and kept.principal is not None else FRESH_S
        if age >= most or (kept.known < self._changes and not self.away):
            raise Unread
        return self._unexpired(kept.principal)

    def ages(self, token: str) -> bool:
        """Say whether what is kept of a key should be read anew, though it may still be gone by."""
        kept = self._kept.get(token)
        return kept is None or self._monotonic() - kept.read_at >= RENEW_S

    def knows(self, token: str) -> bool:
        """Say whether a key was right when it was last read, however long ago."""
        kept = self._kept.get(token)
        return kept is not None and kept.principal is not None

    def read(self, token: str) -> Principal | None:
        """Return the caller behind a key as the store knows it now. Waits for the store; not for an event loop.

        Raises `Unavailable` when the store is away and the key is not known from the last minute.
        """
        if not SHAPE.fullmatch(token):
            return None
        now = self._monotonic()
        try:
            known, principal = self._read(token)
        except UltimateError:
            self.away = True
            kept = self._kept.get(token)
            if kept is None or kept.principal is None or self._monotonic() - kept.read_at >= GRACE_S:
                raise
            return self._unexpired(kept.principal)
        self.away = False
        if len(self._kept) >= _MOST_KEPT:  # wrong keys are kept too, but not without end
            self._forget_wrong()
        newer = self._kept.get(token)
        if newer is None or newer.read_at <= now:  # a read that took long does not undo a later one
            self._kept[token] = _Kept(principal, now, known)
        return self._unexpired(principal)

    def _forget_wrong(self) -> None:
        """Forget wrong keys, so that who makes them up drives no right one out; all when that is not enough."""
        right = {token: kept for token, kept in list(self._kept.items()) if kept.principal is not None}
        self._kept = right if len(right) < _MOST_KEPT // 2 else {}

    def lookup(self, token: str) -> Principal | None:
        """Return the caller behind a key, or None. May wait for the store; raises `Unavailable` like `read`."""
        self.look()
        try:
            return self.kept(token)
        except Unread:
            return self.read(token)

    def look(self) -> None:
        """See, some times a second at most, whether anything was changed and the store answers. May wait for it."""
        now = self._monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        try:
            with self._store.begin() as connection:
                self._see(connection)
        except UltimateError:
            self.away = True
        else:
            self.away = False

    def _see(self, connection: Connection) -> None:
        last, seen = audit.last(connection), self._seen
        if seen is None or last < seen:  # the first look, or a backup was put in place
            self._changes = last
        elif last > seen:
            self._changes = audit.last_of_others(connection, _NO_KEYS_MATTER, seen) or self._changes
        self._seen = last

    def _read(self, token: str) -> tuple[int, Principal | None]:
        with self._store.begin() as connection:
            known = audit.last(connection)  # first: what changes meanwhile is then read again
            row = keys.by_hash(connection, digest(token))
            found = chain.read(connection, row) if row is not None else None
        return known, chain.principal(found) if found is not None else None

    def _unexpired(self, principal: Principal | None) -> Principal | None:
        if principal is None or principal.expires_at_us is None or self._clock.now_us() < principal.expires_at_us:
            return principal
        return None
