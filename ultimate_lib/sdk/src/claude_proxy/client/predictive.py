"""What is to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claude_proxy.client.transport import Transport
from claude_proxy.client.written import Filter, filters

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
        days: int | None = None,
        grain: str | None = None,
        method: str | None = None,
        by: str | None = None,
        groups: int | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        time_zone: str | None = None,
    ) -> Answer:
        """Return minutes, hours or days of a metric unlike those before, the newest first.

        Each of `anomalies` has `value`, the expected range, `reason` (what was unusual) and `made_by`, the model,
        project, notebook and key that made most of it. `method` is series, zscore or mad. With `by` each value of a
        dimension is a series of its own: the largest `groups`, the rest is told in `left_out`.
        """
        told = {"metric": metric, "days": days, "grain": grain, "method": method, "by": by, "groups": groups}
        answer: Answer = self.get(
            "/api/predictive/anomaly-history", filter=filters(filter), time_zone=time_zone, **told
        )
        return answer

    def analyze_cost(
        self,
        start: str | None = None,
        end: str | None = None,
        *,
        before_start: str | None = None,
        before_end: str | None = None,
        by: str | None = None,
        limit: int | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
    ) -> Answer:
        """Return why spend changed between two spans; without any, the last whole week and the one before.

        `effects` (volume, model mix, tokens a request, price) sum to `change_nano_usd`, and so do the `movers` of
        each of `dimensions` with its rest. `by` are dimensions between commas.
        """
        told = {"start": start, "end": end, "before_start": before_start, "before_end": before_end, "by": by}
        answer: Answer = self.get("/api/predictive/analyze-cost", limit=limit, filter=filters(filter), **told)
        return answer

    def get_trend(
        self,
        metric: str = "cost_usd",
        *,
        grain: str | None = None,
        days: int | None = None,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
        time_zone: str | None = None,
    ) -> Answer:
        """Return where a metric is going: `direction` up, down or none (none can be told), and `words` that say so.

        `slope_per_week` lies between `lower_95` and `upper_95`; `changes` are when the level changed. Raises
        `BadRequest` with under ten known steps.
        """
        told = {"metric": metric, "grain": grain, "days": days, "filter": filters(filter), "time_zone": time_zone}
        answer: Answer = self.get("/api/predictive/trend-analysis", **told)
        return answer

    def propose_alert(
        self,
        metric: str = "cost_usd",
        *,
        window: str = "day",
        alerts_per_month: float = 2.0,
        filter: Filter | None = None,  # noqa: A002 - as the route calls it
    ) -> Answer:
        """Return an alert rule for a metric; none is made.

        `condition` is what an alert takes, `replay` when it would have fired. `window` is hour or day. Raises
        `BadRequest` where the history is too short.
        """
        told: dict[str, Any] = {"metric": metric, "window": window, "alerts_per_month": alerts_per_month}
        answer: Answer = self.post("/api/predictive/smart-alert", {**told, "filter": filters(filter) or []})
        return answer

    def detect_anomaly(
        self,
        model: str,
        *,
        key_id: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost_usd: float | None = None,
        provider: str | None = None,
    ) -> Answer:
        """Return whether a call is unlike those before it of its key and model, and what the guard would do.

        Tell its `cost_usd`, or its tokens: both give the cost, by the price of `provider` where sellers differ;
        `input_tokens` alone are judged as at the door. `key_id` is the client's own unless told. The answer has
        `is_anomaly`, `action` (none, warn or block), `score` and its `limit`, `value` and `expected_high` of what is
        most unusual (`measure`), and a `reason`. Nothing is recorded. Raises `BadRequest` with too few calls to say.
        """
        told = {
            "model": model, "key_id": key_id, "input_tokens": input_tokens, "output_tokens": output_tokens,
            "cost_usd": cost_usd, "provider": provider,
        }  # fmt: skip
        body = {name: value for name, value in told.items() if value is not None}
        answer: Answer = self.post("/api/predictive/detect-anomaly", body)
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
