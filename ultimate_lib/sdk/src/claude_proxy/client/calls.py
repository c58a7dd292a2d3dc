"""Single calls: page by page, one with its price, and live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.answers import Answer, Calls
from claude_proxy.client.live import Follow
from claude_proxy.client.transport import Transport
from claude_proxy.client.written import Filter, Moment, filters, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PAGE = 500


class SingleCalls(Transport):
    """Routes about single calls."""

    def calls(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        limit: int | None = None,
        page_size: int = _PAGE,
        time_zone: str | None = None,
    ) -> Calls:
        """Return an iterator of calls, newest first, that asks for one page after another.

        At most `limit` calls; None: all of the span. Default span: the last 24 hours. Both ends of the span are fixed
        by the first page, so that calls that arrive meanwhile shift nothing.
        """
        told = {"start": start, "end": end, "filter": filters(filter), "time_zone": time_zone}

        def ask(turn: dict[str, Any]) -> Answer:
            page: Answer = self.get("/api/analytics/calls", **told, **turn)
            if start is None:  # "the last 24 hours" would move on with each page
                told["start"] = page["start"]
            return page

        return Calls(ask, limit, page_size)

    def call(self, call_id: str) -> Answer:
        """Return one call: `call` with every column, `price` with its lines, sum and a sentence that says why."""
        answer: Answer = self.get(f"/api/calls/{segment(call_id)}")
        return answer

    def live(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        patience_s: float = 60.0,
        on_gap: Callable[[str], None] | None = None,
    ) -> Iterator[Answer]:
        """Iterate over calls as they end, until the iterator is closed.

        A lost connection is made anew and goes on after the last call that was seen; where the proxy has forgotten
        what came after it, `on_gap` is told (default: the log). Raises `Unreachable` when the proxy stays away for
        `patience_s`, and other `ProxyError`s at once.
        """
        return Follow(self, {"filter": filters(filter)}, patience_s, on_gap).calls()
