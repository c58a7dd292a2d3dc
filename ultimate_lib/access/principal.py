"""Who is asking: the same small value for a key, a session and a job."""

from __future__ import annotations

import msgspec

from ultimate_lib.errors import Denied


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A known caller and what it may do."""

    user_id: str
    user_name: str
    permissions: frozenset[str]
    key_id: str | None = None
    team: str | None = None
    project: str | None = None
    cost_center: str | None = None
    app: str | None = None
    models: tuple[str, ...] | None = None  # allow-list; None: all
    loopback_only: bool = False
    expires_at_us: int | None = None
    sees_all: bool = False  # False: only its own calls

    def require(self, permission: str) -> None:
        """Raise `Denied` unless the permission is held."""
        if permission not in self.permissions:
            raise Denied(
                f"This needs the permission '{permission}', which '{self.user_name}' does not have here.",
                hint="Ask an administrator for a role that has it.",
                code="permission",
            )
