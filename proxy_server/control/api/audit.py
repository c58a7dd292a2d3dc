"""The audit: who changed what, from where, and whether nobody has changed that since."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from proxy_server.control import cursors
from ultimate_lib.access import audits

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench

_KIND = "audit"
_Instant = Annotated[datetime, Meta(tz=True)]


class AuditAsked(Struct, kw_only=True):
    """Which rows. `from` is included, `to` is not; both are instants with their zone."""

    actor: str = ""
    action: str = ""
    object: str = ""
    from_: _Instant | None = msgspec.field(default=None, name="from")
    to: _Instant | None = None
    cursor: cursors.Cursor = ""
    limit: cursors.Limit = 100


class AuditRow(Struct, kw_only=True):
    """One thing that was done, or refused."""

    number: int
    at: datetime
    actor: str
    action: str
    object: str
    before: Any
    after: Any
    address: str | None


class AuditPage(Struct):
    """A page of the audit, newest first."""

    audit: list[AuditRow]
    next: str | None


class AuditVerified(Struct, kw_only=True):
    """Whether the chain of rows holds. Rows cut off at the end show when an earlier `last_hash` is kept elsewhere."""

    whole: bool
    rows: int  # that were looked at
    broken_at: int | None  # number of the first row that does not follow from the one before
    last_number: int  # of the last row that does
    last_hash: str


def found(bench: Workbench, caller: Caller, asked: AuditAsked) -> AuditPage:
    """Return a page of rows."""
    place = cursors.decode(asked.cursor, _KIND, tuple[int])
    equal = {"actor": asked.actor, "action": asked.action, "object": asked.object}
    rows = audits.found(
        bench.store,
        caller.known,
        {name: value for name, value in equal.items() if value},
        start=asked.from_,
        end=asked.to,
        before=place[0] if place is not None else None,
        limit=asked.limit + 1,
    )
    shown, cursor = cursors.page(rows, asked.limit, lambda row: (row["number"],), _KIND)
    return AuditPage(msgspec.convert(list(shown), list[AuditRow]), cursor)


def verify(bench: Workbench, _caller: Caller, _: Nothing) -> AuditVerified:
    """Look through the whole chain."""
    told = audits.verify(bench.store, bench.clock)
    return AuditVerified(
        whole=told.broken_at is None,
        rows=told.rows,
        broken_at=told.broken_at,
        last_number=told.last_number,
        last_hash=told.last_hash.hex(),
    )
