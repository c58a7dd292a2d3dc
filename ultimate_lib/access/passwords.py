"""Passwords: argon2id, a few at a time, and signing in with one.

A name that is not known costs as much time as a wrong password and gets the same words. Failures are counted before
the password is looked at, so that many tries at once are as many failures.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
import threading
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ultimate_lib.access import delays, refusals, sessions
from ultimate_lib.access.addresses import network
from ultimate_lib.access.changes import audited, expect
from ultimate_lib.access.common_passwords import is_common
from ultimate_lib.access.keys import digest
from ultimate_lib.access.reach import require_reach
from ultimate_lib.errors import Denied, Invalid, Limited, NotFound
from ultimate_lib.store import audit, people, sign_ins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.store import Store

SHORTEST, LONGEST = 12, 128
MOST_INSIDE = 4
"""Sign-ins and new passwords that hold a thread at a time, half of those that control has: pages go on."""
KNOWN_INSIDE = 2
"""Sign-ins beside these from where their user has signed in lately: strangers who take all places hold none up."""
_AT_ONCE = 2  # of these at work, the rest waits
_MOST_OF_ONE = 2  # inside from one address
_NICE = 5
UNKNOWN_NAME = "unknown name"
"""What the audit calls a name that no user has: it may be a password in the wrong field."""
_LONGEST_NAME = 100
_SHORTEST_NAME = 4  # shorter names stand in too many good passwords


class Busy(Limited):
    """Too many passwords are being looked at."""

    code = "login_busy"


class _Turns:
    """Lets a few in at a time, a few more wait, and sends the rest away: no address takes all places."""

    def __init__(self, at_once: int, most_inside: int, most_of_one: int, known_inside: int = 0) -> None:
        self._room = threading.BoundedSemaphore(at_once)
        self._most_of_one = most_of_one
        self._most = {False: most_inside, True: known_inside}
        self._guard = threading.Lock()
        self._inside: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}

    @contextlib.contextmanager
    def turn(self, address: str, *, known: bool = False) -> Iterator[None]:
        """Wait for a turn; who is known at the address has places of its own.

        Raises `Busy` when too many wait, or too many from this address.
        """
        place, inside = network(address), self._inside[known]
        with self._guard:
            if inside[place] >= self._most_of_one or inside.total() >= self._most[known]:
                raise Busy("Too many people sign in just now.", hint="Try again in a few seconds.", retry_after_s=1.0)
            inside[place] += 1
        try:
            with self._room:
                yield
        finally:
            with self._guard:
                inside[place] -= 1
                if not inside[place]:
                    del inside[place]


_turns = _Turns(_AT_ONCE, MOST_INSIDE, _MOST_OF_ONE, KNOWN_INSIDE)


@functools.cache
def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


@functools.cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_AT_ONCE, "passwords", initializer=_step_back)


def _step_back() -> None:
    """Let calls have the processor first: Linux counts the niceness of each thread by itself."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _hash(password: str) -> str:
    return _workers().submit(_hasher().hash, password).result()


@functools.cache
def _nobodys() -> str:
    """Return a hash whose password nobody has: it takes the time that a user's would."""
    return _hash(secrets.token_urlsafe(32))


def hashed(password: str, name: str, email: str | None = None, *, address: str = "") -> str:
    """Return what is kept of a new password. Raises `Invalid` when it is too short, too long or easily guessed."""
    ready = _folded(password)
    if not SHORTEST <= len(ready) <= LONGEST:
        raise Invalid(f"A password has {SHORTEST} to {LONGEST} characters.", code="password_length")
    parts = [name, *((email, email.partition("@")[0]) if email else ())]
    if any(len(part) >= _SHORTEST_NAME and part.casefold() in ready.casefold() for part in parts):
        raise Invalid("A password does not contain its user's name or e-mail address.", code="password_name")
    if is_common(ready):
        raise Invalid(
            "This password is easily guessed.",
            hint="Take some words that have nothing to do with each other, or what a password manager makes.",
            code="password_common",
        )
    with _turns.turn(address):
        return _hash(ready)


def sign_in(  # noqa: PLR0917 - who signs in, from where
    store: Store, clock: Clock, master: MasterKey, name: str, password: str, address: str, agent: str
) -> str:
    """Return the token of a new session.

    Raises `Denied` (401) for a wrong name or password alike, `Limited` while a delay runs, also for the right
    password, and `Busy`.
    """
    ready = _folded(password)
    with store.begin() as connection:
        row = people.user_named(connection, name) if _can_be_a_name(name) else None
        tried = delays.of(connection, master, row["id"] if row is not None else None, name, address, clock.now())
        delays.check(connection, tried, clock.now())  # who has to wait takes nobody's turn
    kept = row["password_hash"] if row is not None and row["active"] else None
    with _turns.turn(address, known=tried.known):
        delays.charge(store, clock, tried)
        right = _verified(kept or _nobodys(), ready) and kept is not None
        better = _hash(ready) if right and kept and _hasher().check_needs_rehash(kept) else None
    if row is None or not right:
        told = f"name:{row['name']}" if row is not None else UNKNOWN_NAME
        refusals.note(store, clock, refusals.STRANGER, "session.refuse", told, address, "login")
        raise _wrong()
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        user = people.user(connection, row["id"])
        if user is None or not user["active"] or user["password_hash"] != kept:
            raise _wrong()  # changed in this moment
        delays.forgive(connection, tried)
        if better is not None:
            people.change_user(connection, row["id"], {"password_hash": better})
        return sessions.start(connection, clock, row["id"], by="password", address=address, agent=agent, at=now)


def _wrong() -> Denied:
    return Denied(
        "Name or password is wrong.",
        hint="Ask an administrator for a link if you have forgotten them.",
        code="login",
        authenticated=False,
    )


def change(  # noqa: PLR0917 - who changes whose
    store: Store,
    clock: Clock,
    master: MasterKey,
    actor: Principal,
    user_id: str,
    password: str,
    *,
    current: str | None = None,
    version: int | None = None,
    address: str = "",
    agent: str | None = None,
) -> str | None:
    """Set a password and end all sessions of its user: one's own, with the one it has; or another's, by who may.

    Returns the token of a new session for a browser (`agent`) that changes its own. Raises `Denied`, `NotFound`,
    `Limited` and `Busy` as signing in does.
    """
    own = user_id == actor.user_id
    if not own and "users:manage" not in actor.permissions:
        raise NotFound(f"There is no user '{user_id[:60]}' that you may change.", code="user_unknown")
    with store.begin() as connection:
        row = people.user(connection, user_id)
        if row is None:
            raise NotFound(f"There is no user '{user_id[:60]}'.", code="user_unknown")
        require_reach(connection, actor, user_id)
        expect(version, row)
    if own and row["password_hash"] is not None:
        _check_current(store, clock, master, row, current, address)
    kept = hashed(password, row["name"], row["email"], address=address)
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        require_reach(connection, actor, user_id)
        found = people.user(connection, user_id)
        expect(row["version"], found or {"version": 0})
        _replace(connection, user_id, kept, now)
        audit.append(connection, audited(now, actor.user_name, "user.password", user_id, address, {"by": "change"}))
        if not own or agent is None:
            return None
        return sessions.start(connection, clock, user_id, by="password", address=address, agent=agent, at=now)


def set_by_link(  # noqa: PLR0917 - what is set, from where
    store: Store, clock: Clock, token: str, password: str, address: str, agent: str
) -> str:
    """Use a link for new people up: set a password and return the token of a new session.

    A password that is refused (`Invalid`) leaves the link as it is. Raises `Denied` for a link that does not work.
    """
    with store.begin() as connection:
        link = sign_ins.link_by_hash(connection, digest(token), clock.now())
    if link is None or not link["sets_password"]:
        raise _dead_link()
    kept = hashed(password, link["user_name"], link["email"], address=address)
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        if sign_ins.link_by_hash(connection, digest(token), now) is None:
            raise _dead_link()
        user_id = link["user_id"]
        _replace(connection, user_id, kept, now)
        audit.append(connection, audited(now, link["user_name"], "user.password", user_id, address, {"by": "link"}))
        return sessions.start(connection, clock, user_id, by="link", address=address, agent=agent, at=now)


def _dead_link() -> Denied:
    return Denied(
        "This link is used up, too old or not complete.", hint="Ask an administrator for another.", code="login_link"
    )


def _replace(connection: Connection, user_id: str, kept: str, now: datetime) -> None:
    people.change_user(connection, user_id, {"password_hash": kept, "password_changed_at": now})
    sign_ins.end_sessions(connection, user_id, now)
    sign_ins.void_links(connection, user_id, now)


def _check_current(  # noqa: PLR0917 - whose, from where
    store: Store, clock: Clock, master: MasterKey, row: RowMapping, current: str | None, address: str
) -> None:
    if current is None:
        raise Invalid("To change a password, give the one that it has.", code="password_current")
    ready = _folded(current)
    with store.begin() as connection:
        tried = delays.of(connection, master, row["id"], row["name"], address, clock.now())
        delays.check(connection, tried, clock.now())
    with _turns.turn(address, known=tried.known):
        delays.charge(store, clock, tried)
        right = _verified(row["password_hash"], ready)
    if not right:
        raise Denied("The current password is wrong.", code="password_current")
    with store.begin() as connection:
        audit.take_turn(connection)
        delays.forgive(connection, tried)


def _can_be_a_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and "\0" not in name  # PostgreSQL takes no text with a NUL in it


def _verified(kept: str, password: str) -> bool:
    if len(password) > LONGEST:
        password = ""  # as much work as any other wrong one
    try:
        return _workers().submit(_hasher().verify, kept, password).result()
    except (VerificationError, InvalidHashError):
        return False


def _folded(password: str) -> str:
    """Return a password as it is hashed: the same letters are the same, however a keyboard composes them."""
    try:
        password.encode()
    except UnicodeEncodeError:
        raise Invalid("The password is no text.", code="password_text") from None
    return unicodedata.normalize("NFKC", password)
