"""What every change of what people edit has in common: the version it expects, the row of the audit it leaves."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

SYSTEM = "system"
"""How the audit calls the server itself, and who gives it commands on its own computer."""


class Changed(Invalid):
    """The row has changed since the caller read it."""

    code = "changed"
    http_status = 412


def expect(version: int | None, row: Mapping[Any, Any]) -> None:
    """Raise `Changed` (412) unless a row has the version that the caller names; None expects nothing."""
    if version is not None and row["version"] != version:
        named = f", not {version}" if version > 0 else ", which is not among those asked for"
        raise Changed(
            f"This has changed meanwhile: its version is {row['version']}{named}.",
            hint="Read it again, and repeat the change if it still holds.",
        )


def audited(  # noqa: PLR0917 - the columns of the row, in order
    at: datetime,
    actor: str,
    action: str,
    target: str,
    address: str,
    after: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a row of the audit for `store.audit.append`."""
    return {
        "at": at.astimezone(UTC),
        "actor": actor,
        "action": action,
        "object": target,
        "before": dict(before) if before is not None else None,
        "after": dict(after) if after is not None else None,
        "address": address or None,
    }
