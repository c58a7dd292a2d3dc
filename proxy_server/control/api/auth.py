"""Who the caller is; ending a session."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from proxy_server.control.answers import Answer
from ultimate_lib.access import sessions
from ultimate_lib.access.roles import PERMISSIONS

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench


class Verified(Struct, kw_only=True):
    """Who the caller is."""

    user_id: str
    user_name: str
    permissions: list[str]
    by: str  # key | session
    key_id: str | None
    team: str | None
    project: str | None
    view: Literal["own", "team", "all"]  # whose calls it sees
    teams: list[str]
    leads: list[str]  # those of its teams that it leads
    sees_all_calls: bool
    expires_at: datetime | None
    csrf_token: str | None  # for a session: sent as X-CSRF-Token with every change


class Ended(Struct):
    """What a sign-out did."""

    signed_out: bool  # False: a key carried the request, and keys have no session


def verify(_bench: Workbench, caller: Caller, _: Nothing) -> Verified:
    """Return who the caller is and what it may do."""
    who = caller.known
    return Verified(
        user_id=who.user_id,
        user_name=who.user_name,
        permissions=[name for name in PERMISSIONS if name in who.permissions],
        by="session" if caller.session is not None else "key",
        key_id=who.key_id,
        team=who.team,
        project=who.project,
        view=who.view,
        teams=list(who.teams),
        leads=list(who.leads),
        sees_all_calls=who.sees_all,
        expires_at=datetime.fromtimestamp(who.expires_at_us / 1e6, UTC) if who.expires_at_us is not None else None,
        csrf_token=sessions.csrf_token(caller.session) if caller.session is not None else None,
    )


def logout(bench: Workbench, caller: Caller, _: Nothing) -> Answer:
    """End the session that carries this request."""
    if caller.session is None:
        return Answer(Ended(signed_out=False))
    sessions.end(bench.store, bench.clock, caller.session)
    return Answer(Ended(signed_out=True), sign_out=True)
