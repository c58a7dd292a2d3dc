"""Creating once however often it is asked: the answer is kept for a day under the name that the client chose.

The change and its kept answer are one transaction. A process that dies before it has committed has changed nothing,
and the next request of that name does the work; one that dies after it has left the answer, which is given again.
A request that is slow loses its claim after half a minute, and then changes nothing: it finds that out as it commits.
The answer is sealed, since it may hold a new key, and goes only to the credential that asked first.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.errors import Corrupt, Invalid, UltimateError
from ultimate_lib.store import kept_answers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ultimate_lib.clock import Clock
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

KEPT = timedelta(hours=24)
CLAIM = timedelta(seconds=30)
PURPOSE = "kept-answer"
_NAME = re.compile(r"[\x21-\x7e]{1,255}")


class UnderWay(UltimateError):
    """A request of that name has been asked and not answered yet."""

    code = "idempotency_busy"
    http_status = HTTPStatus.CONFLICT
    retry_after_s = 1.0


class Kept(NamedTuple):
    """An answer: what a request was told, and whether it was told before."""

    status: int
    body: str
    again: bool = False


class Once(NamedTuple):
    """One request under the name that its client gave it."""

    store: Store
    clock: Clock
    master: MasterKey
    user_id: str
    name: str
    request_hash: bytes

    def run(self, work: Callable[[], tuple[int, str]]) -> Kept:
        """Return what `work` (status, body) returns, or returned when it was asked first.

        Raises `Invalid` (422) when the name was used for another request, `UnderWay` (409), and what `work` raises;
        then nothing is changed and nothing is kept.
        """
        found = self._claim()
        if isinstance(found, Kept):
            return found
        try:
            return self._done(work, found)
        except BaseException:
            with contextlib.suppress(UltimateError), self.store.begin() as connection:
                kept_answers.release(connection, self.user_id, self.name, found)
            raise

    def _done(self, work: Callable[[], tuple[int, str]], claimed: datetime) -> Kept:
        """Do the work and keep its answer, both or neither."""
        lost = UnderWay("Another request of this name has taken over.", hint="Ask again in a moment.")
        with self.store.together() as connection:
            if not kept_answers.take_over(connection, self.user_id, self.name, claimed, claimed):
                raise lost
            status, body = work()
            sealed = self.master.seal(PURPOSE, self._sealed_as, body)
            if not kept_answers.keep(connection, self.user_id, self.name, claimed, status=status, ciphertext=sealed):
                raise lost
        return Kept(status, body)

    def _claim(self) -> datetime | Kept:
        """Return the instant under which the claim stands, or the kept answer."""
        now = self.clock.now()
        with self.store.begin() as connection:
            kept_answers.remove_before(connection, now - KEPT)
            if kept_answers.claim(connection, self.user_id, self.name, self.request_hash, now):
                return now
            row = kept_answers.one(connection, self.user_id, self.name)
            if row is None:
                raise UnderWay("The first request of this name has just failed.", hint="Ask again.")
            if row["request_hash"] != self.request_hash:
                raise _mismatch()
            if row["status"] is None:
                claimed = row["created_at"]
                stale = now - claimed > CLAIM  # its process has died, or will find that it has lost the claim
                if not (stale and kept_answers.take_over(connection, self.user_id, self.name, claimed, now)):
                    raise UnderWay(
                        "The first request of this name is still under way.", hint="Ask again in a moment."
                    )
                return now
        try:
            return Kept(row["status"], self.master.open(PURPOSE, self._sealed_as, row["ciphertext"]), again=True)
        except Corrupt as error:
            log.warning("A kept answer does not open: %s", error)
            raise _lost() from error

    @property
    def _sealed_as(self) -> str:
        return f"{self.user_id}:{self.name}"


def checked_name(name: str) -> str:
    """Return an Idempotency-Key as it may be. Raises `Invalid`."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            "The Idempotency-Key is not 1 to 255 visible ASCII characters.",
            hint="Send a new random one with each thing to be made, a UUID, say.",
            code="idempotency_key",
        )
    return name


def hashed(master: MasterKey, *parts: bytes) -> bytes:
    """Return what tells one request from another: its parts, each with its length.

    Keyed, so that a copy of the store alone does not let anybody try what a body held, a password, say.
    """
    told = hmac.new(master.derive("idempotency-request"), digestmod="sha256")
    for part in parts:
        told.update(b"%d:%b" % (len(part), part))
    return told.digest()


def clean(store: Store, clock: Clock) -> int:
    """Forget answers that are older than a day and return how many there were."""
    with store.begin() as connection:
        return kept_answers.remove_before(connection, clock.now() - KEPT)


def _mismatch() -> Invalid:
    error = Invalid(
        "This Idempotency-Key was used for another request, or with another key or session.",
        hint="Send a new one with each thing to be made.",
        code="idempotency_mismatch",
    )
    error.http_status = HTTPStatus.UNPROCESSABLE_ENTITY
    return error


def _lost() -> UltimateError:
    error = UltimateError(
        "This was done before, but its answer cannot be told again: the master key has changed since.",
        hint="Look in the list for what was made.",
        code="idempotency_lost",
    )
    error.http_status = HTTPStatus.CONFLICT
    return error
