"""Calls as they end, told to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from proxy_server.control.api import analytics
from proxy_server.control.live import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy_server.control.answers import Caller
    from ultimate_lib.records import CallRecord
    from ultimate_lib.workbench import Workbench

    Where = Mapping[str, tuple[str | None, ...]]


class Listening(Struct, kw_only=True):
    """Which calls, and from where on."""

    filter: analytics.Filter = ()
    after: Annotated[
        str,
        Meta(
            max_length=100,
            description="Id of the last call that the client knows; the header Last-Event-ID says the same. "
            "Default: calls from now on.",
        ),
    ] = ""


def live(_bench: Workbench, caller: Caller, asked: Listening) -> Events:
    """Return what the caller is to be told of: its own calls unless it may see all."""
    return Events(matching(analytics.where(caller, asked.filter)), caller.known.user_id, asked.after)


def matching(where: Where) -> Callable[[CallRecord], bool]:
    """Return whether a call passes filters, as `lake.merges.matching` does for frames. Raises `Invalid`."""
    if not where:
        return lambda _record: True
    from ultimate_lib.lake.query import check_where  # noqa: PLC0415 - the lake's libraries load with the first filter
    from ultimate_lib.metrics import DIMENSIONS  # noqa: PLC0415

    check_where(where)
    asked = [
        (DIMENSIONS[name].columns, DIMENSIONS[name].multiple, frozenset(wanted)) for name, wanted in where.items()
    ]

    def passes(record: CallRecord) -> bool:
        for columns, multiple, wanted in asked:
            values = [value for value in (getattr(record, column) for column in columns) if value is not None]
            value = values[0] if values else None
            held = (value or [None]) if multiple else [str(value) if isinstance(value, int) else value]
            if wanted.isdisjoint(held):
                return False
        return True

    return passes
