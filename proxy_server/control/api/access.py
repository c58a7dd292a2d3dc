"""The permissions and roles there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ultimate_lib.access.roles import GRANTABLE, PERMISSIONS

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.workbench import Workbench


def permissions(_bench: Workbench, _caller: Caller, _: Nothing) -> dict[str, str]:
    """Return each permission's sentence."""
    return PERMISSIONS


def roles(_bench: Workbench, _caller: Caller, _: Nothing) -> dict[str, list[str]]:
    """Return the permissions of each role and preset, in the order of the table of permissions."""
    return {role: [name for name in PERMISSIONS if name in held] for role, held in GRANTABLE.items()}
