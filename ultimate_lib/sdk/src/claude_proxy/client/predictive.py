"""What is to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_proxy.client.transport import Filter, Transport, filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_proxy.answers import Answer


class Predictive(Transport):
    """Routes below /api/predictive."""

    def get_predictions(
        self,
        days: int = 7,
        *,
        metric: str = "cost_usd",
        grain: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        time_zone: str | None = None,
    ) -> Answer:
        """Return the forecast of a metric, 1 to 90 days ahead, by hour or day (`grain`).

        `rows` have `value` and the bounds that hold 80 % and 95 % of what may come; `summary` has the total
        (`total_cost` in dollars for cost_usd), `risk_level` low, medium, high or unknown with its `risk_reason`,
        `budgets` when each would be spent, `backtest` how the same method did before. Raises `BadRequest` where
        the history is too short.
        """
        told = {"days": days, "metric": metric, "grain": grain, "filter": filters(filter), "time_zone": time_zone}
        answer: Answer = self.get("/api/predictive/forecast", **told)
        return answer

    def get_smart_thresholds(
        self,
        metric: str = "cost_usd",
        *,
        period: str = "day",
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
    ) -> Answer:
        """Return what the running day, week or month will hardly exceed.

        Above `warning` lie 10 % of what it may become, above `critical` 1 %; `so_far` has been, `expected` is the
        forecast. Raises `BadRequest` where the history is too short.
        """
        told = {"metric": metric, "period": period, "filter": filters(filter)}
        answer: Answer = self.get("/api/predictive/thresholds", **told)
        return answer

    def get_patterns(
        self,
        metric: str = "requests",
        *,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        time_zone: str | None = None,
    ) -> Answer:
        """Return the shape of a metric's days and weeks over the last 60 days, and when its level changed.

        `daily` and `weekly` have `means`, `strength` (share of the variance), `p_value` and `there`. Raises
        `BadRequest` with under three days of calls.
        """
        told = {"metric": metric, "filter": filters(filter), "time_zone": time_zone}
        answer: Answer = self.get("/api/predictive/patterns", **told)
        return answer

    def get_anomaly_history(
        self,
        metric: str = "cost_usd",
        *,
        days: int = 30,
        grain: str | None = None,
        method: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        time_zone: str | None = None,
    ) -> Answer:
        """Return hours (or days) of a metric unlike those before, the newest first.

        Each of `anomalies` has `value`, the expected range, `reason` (what was unusual) and `made_by`, the model,
        project, notebook and key that made most of it. `method` is series, zscore or mad.
        """
        told = {"metric": metric, "days": days, "grain": grain, "method": method, "filter": filters(filter)}
        answer: Answer = self.get("/api/predictive/anomaly-history", time_zone=time_zone, **told)
        return answer

    def get_recommendations(
        self,
        days: int = 30,
        *,
        kinds: Sequence[str] | None = None,
        limit: int = 50,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
    ) -> Answer:
        """Return what would save money or risk, the largest saving first; no language model writes it.

        Each of `recommendations` has `title`, `saving_usd` for 30 days with `lower_usd` and `upper_usd` (null: none
        can be computed), `calls` (count, ids, and the filters that show them), `how` and `assumptions`. `kinds` says
        how each of the nine was looked for: found, nothing, too_few or not_asked.
        """
        told = {"days": days, "kinds": ",".join(kinds) if kinds else None, "limit": limit, "filter": filters(filter)}
        answer: Answer = self.get("/api/predictive/recommendations", **told)
        return answer
