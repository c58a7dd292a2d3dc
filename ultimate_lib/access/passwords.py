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
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ultimate_lib.access import refusals, sessions
from ultimate_lib.access.changes import audited, expect
from ultimate_lib.access.common_passwords import is_common
from ultimate_lib.access.keys import digest
from ultimate_lib.access.reach import require_reach
from ultimate_lib.errors import Denied, Invalid, Limited, NotFound, Unavailable
from ultimate_lib.store import audit, people, sign_ins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy import Connection

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.store import Store

SHORTEST, LONGEST = 12, 128
FREE_FAILURES = 5
LONGEST_DELAY_S = 900.0
_FORGET = timedelta(hours=1)  # after so long without another failure
_AT_ONCE = 2
_NICE = 5
_MOST_WAITING = 4  # control has eight threads: pages go on
_LONGEST_NAME = 100
_SHORTEST_NAME = 4  # shorter names stand in too many good passwords


class Busy(Unavailable):
    """Too many passwords are being looked at."""

    code = "login_busy"
    retry_after_s = 1.0


class _Turns:
    """Lets a few in at a time, a few more wait, and sends the rest away."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._room = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + most_waiting)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn. Raises `Busy` when too many wait."""
        if not self._places.acquire(blocking=False):
            raise Busy("Too many people sign in just now.", hint="Try again in a few seconds.")
        try:
            with self._room:
                yield
        finally:
            self._places.release()


_turns = _Turns(_AT_ONCE, _MOST_WAITING)


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


def hashed(password: str, name: str, email: str | None = None) -> str:
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
    with _turns.turn():
        return _hash(ready)


def sign_in(  # noqa: PLR0917 - who signs in, from where
    store: Store, clock: Clock, name: str, password: str, address: str, agent: str
) -> str:
    """Return the token of a new session.

    Raises `Denied` (401) for a wrong name or password alike, `Limited` while a delay runs, also for the right
    password, and `Busy`.
    """
    with _turns.turn():
        _charge(store, clock, name, address)
        with store.begin() as connection:
            row = people.user_named(connection, name) if _can_be_a_name(name) else None
        kept = row["password_hash"] if row is not None and row["active"] else None
        ready = _folded(password)
        right = _verified(kept or _nobodys(), ready) and kept is not None
        if row is None or not right:
            told = "".join(one if one.isprintable() else "\ufffd" for one in name[:_LONGEST_NAME])
            refusals.note(store, clock, "anonymous", "session.refuse", f"name:{told}", address, "login")
            raise Denied(
                "Name or password is wrong.",
                hint="Ask an administrator for a link if you have forgotten them.",
                code="login",
                authenticated=False,
            )
        better = _hash(ready) if _hasher().check_needs_rehash(row["password_hash"]) else None
        now = clock.now()
        with store.begin() as connection:
            audit.take_turn(connection)
            user = people.user(connection, row["id"])
            if user is None or not user["active"] or user["password_hash"] != kept:
                raise Denied(
                    "Name or password is wrong.", code="login", authenticated=False
                )  # changed in this moment
            _forgive(connection, name, address)
            if better is not None:
                people.change_user(connection, row["id"], {"password_hash": better})
            return sessions.start(connection, clock, row["id"], by="password", address=address, agent=agent, at=now)


def change(
    store: Store,
    clock: Clock,
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
        _check_current(store, clock, row["name"], row["password_hash"], current, address)
    kept = hashed(password, row["name"], row["email"])
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
    kept = hashed(password, link["user_name"], link["email"])
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


def _check_current(store: Store, clock: Clock, name: str, kept: str, current: str | None, address: str) -> None:  # noqa: PLR0917
    if current is None:
        raise Invalid("To change a password, give the one that it has.", code="password_current")
    with _turns.turn():
        _charge(store, clock, name, address)
        right = _verified(kept, _folded(current))
    if not right:
        raise Denied("The current password is wrong.", code="password_current")
    with store.begin() as connection:
        _forgive(connection, name, address)


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


# -- delays -------------------------------------------------------------------------------------------------------


def delay_s(failures: int) -> float:
    """Return how long a name or an address waits after so many failures in a row."""
    beyond = failures - FREE_FAILURES
    return min(LONGEST_DELAY_S, 2.0 ** min(beyond, 20)) if beyond > 0 else 0.0


def _charge(store: Store, clock: Clock, name: str, address: str) -> None:
    """Count a failure in advance. Raises `Limited` while a delay runs, which counts as none."""
    now = clock.now()
    with store.begin() as connection:
        audit.take_turn(connection)
        counted = {}
        wait = 0.0
        for subject in _subjects(name, address):
            row = sign_ins.failures(connection, subject)
            failures = row["failures"] if row is not None and now - row["last_failed_at"] < _FORGET else 0
            if row is not None and failures:
                wait = max(wait, delay_s(failures) - (now - row["last_failed_at"]).total_seconds())
            counted[subject] = failures + 1
        if wait <= 0:
            sign_ins.forget_failures(connection, now - _FORGET)
            for subject, failures in counted.items():
                sign_ins.set_failures(connection, subject, failures, now)
    if wait > 0:
        raise Limited(
            f"Too many sign-ins have failed; wait {wait:.0f} s.",
            hint="A link of an administrator, or `ultimate-proxy link` on the server, works meanwhile.",
            code="login_delay",
            retry_after_s=wait,
        )


def _forgive(connection: Connection, name: str, address: str) -> None:
    """Take back what was counted in advance: all of the name's failures, one of the address's."""
    of_name, of_address = _subjects(name, address)
    for subject, left in ((of_name, 0), (of_address, None)):
        row = sign_ins.failures(connection, subject)
        if row is not None:
            failures = row["failures"] - 1 if left is None else left
            sign_ins.set_failures(connection, subject, failures, row["last_failed_at"])


def _subjects(name: str, address: str) -> tuple[str, str]:
    return f"name:{digest(name.casefold()).hex()[:32]}", f"address:{address}"
