"""The models that a key may call, as the clients of either protocol read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy_server.gateway.surfaces import ANTHROPIC
from ultimate_lib.access import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.providers import Routes

_LISTED_AT = "2025-01-01T00:00:00Z"  # models are aliases of ours; clients want some date
_LISTED_AT_S = 1735689600


def told(routes: Routes, protocol: str, allowed: tuple[str, ...] | None, wanted: str) -> dict[str, Any]:
    """Return the models of a protocol that are `allowed`, or the `wanted` one. Raises `NotFound` for one of no route.

    A client of Anthropic's lists its own models alone; asked for by name it gets others, too.
    """
    if wanted:
        routes.find(protocol, wanted)  # the error names the known routes
    names = [wanted] if wanted else [name for name in routes.models(protocol) if models.allows(allowed, name)]
    if protocol == ANTHROPIC.name:
        return _as_anthropic(names, wanted)
    rows = [{"id": name, "object": "model", "created": _LISTED_AT_S, "owned_by": "ultimate-proxy"} for name in names]
    return rows[0] if wanted else {"object": "list", "data": rows}


def _as_anthropic(names: Sequence[str], wanted: str) -> dict[str, Any]:
    rows = [
        {"type": "model", "id": name, "display_name": name, "created_at": _LISTED_AT}
        for name in names
        if wanted or name.startswith(("claude", "anthropic"))
    ]
    if wanted:
        return rows[0]
    ends = {"first_id": rows[0]["id"] if rows else None, "last_id": rows[-1]["id"] if rows else None}
    return {"data": rows, "has_more": False, **ends}
