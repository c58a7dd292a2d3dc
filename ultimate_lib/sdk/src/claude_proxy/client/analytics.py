"""Numbers over a span of time."""

from __future__ import annotations

from typing import Any

from claude_proxy.answers import Rows
from claude_proxy.client.transport import Transport
from claude_proxy.client.written import Filter, Moment, Names, filters, names


class Analytics(Transport):
    """Routes below /api/analytics.

    `start` and `end` are days (the last one included) or instants; `metrics` and `by` names between commas or in a
    list; `filter` is `"project:search"`, several of them, or `{"project": ["a", "b"]}`: the same dimension means or,
    another means and. Left out: the proxy's defaults. Money is `cost_usd`; unknown is None, never 0.
    """

    def get_analytics(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        metrics: Names | None = None,
        by: Names | None = None,
        grain: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        **more: Any,
    ) -> Rows:
        """Return metrics over a span: one row, one a group with `by`, one a step of time with `grain`."""
        told: dict[str, Any] = {"metrics": metrics, "by": by, "filter": filter, **more}
        if grain is not None:
            return self.get_timeseries(start, end, grain=grain, **told)
        return self.get_aggregate_stats(start, end, **told)

    def get_custom_query(self, metrics: Names, **question: Any) -> Rows:
        """Return the named metrics; the rest as in `get_analytics`."""
        return self.get_analytics(metrics=metrics, **question)

    def get_aggregate_stats(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        metrics: Names | None = None,
        by: Names | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        order_by: str | None = None,
        limit: int | None = None,
        time_zone: str | None = None,
    ) -> Rows:
        """Return metrics in one row, or one a group. Default: the last 24 hours."""
        told = {"order_by": order_by, "limit": limit, "time_zone": time_zone}
        return self._rows("aggregate", start, end, metrics, by, filter, told)

    def get_timeseries(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        metrics: Names | None = None,
        by: Names | None = None,
        grain: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        limit: int | None = None,
        time_zone: str | None = None,
    ) -> Rows:
        """Return metrics in one row a step of time (`step_at`), and a group. Default: the last 7 days.

        `grain`: minute, hour, day, week or month; default: by the span's length. `limit`: most groups.
        """
        told = {"grain": grain, "limit": limit, "time_zone": time_zone}
        return self._rows("timeseries", start, end, metrics, by, filter, told)

    def get_breakdown(
        self,
        by: Names,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        metrics: Names | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        order_by: str | None = None,
        limit: int | None = None,
        time_zone: str | None = None,
    ) -> Rows:
        """Return the largest groups first. Default: the last 7 days, by the first metric, 20 groups."""
        told = {"order_by": order_by, "limit": limit, "time_zone": time_zone}
        return self._rows("breakdown", start, end, metrics, by, filter, told)

    def _rows(  # noqa: PLR0917 - the parts of a question
        self,
        question: str,
        start: Moment | None,
        end: Moment | None,
        metrics: Names | None,
        by: Names | None,
        filter: Filter | None,  # noqa: A002 - as the route calls it
        more: dict[str, Any],
    ) -> Rows:
        told = {"start": start, "end": end, "metrics": names(metrics), "by": names(by), "filter": filters(filter)}
        return Rows(self.get(f"/api/analytics/{question}", **told, **more))
