"""The proxy's own metrics as Prometheus reads them. Labels name providers, protocols and jobs, never a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from proxy_server.control.gateways import Seen
    from proxy_server.control.health import Health

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_CALL = ("provider", "protocol", "status")


class _Collector:
    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        yield from _calls(self._health.seen)
        yield from _processes(self._health.seen)
        yield from _lake(self._health)
        yield _gauge("ultimate_ready", "1 when all parts work, as /readyz says.", float(not self._health.reasons))


def render(health: Health) -> bytes:
    """Return the text for one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(health))
    return generate_latest(registry)


def _calls(seen: Seen) -> Iterator[Metric]:
    calls = CounterMetricFamily("ultimate_calls", "Calls that ended.", labels=_CALL)
    tokens = CounterMetricFamily("ultimate_tokens", "Tokens of ended calls.", labels=(*_CALL, "direction"))
    cost = CounterMetricFamily("ultimate_cost_usd", "Cost of ended calls; unpriced ones add nothing.", labels=_CALL)
    duration = SummaryMetricFamily(
        "ultimate_call_duration_seconds", "From a call's first byte in to its last byte out.", labels=_CALL
    )
    overhead = SummaryMetricFamily("ultimate_call_overhead_seconds", "The proxy's own part of it.", labels=_CALL)
    for row in seen.total.rows:
        labels = [row.provider, row.protocol, row.status]
        calls.add_metric(labels, row.calls)
        tokens.add_metric([*labels, "input"], row.input_tokens)
        tokens.add_metric([*labels, "output"], row.output_tokens)
        cost.add_metric(labels, row.cost_nano_usd / 1e9)
        duration.add_metric(labels, row.calls, row.duration_ms / 1e3)
        overhead.add_metric(labels, row.calls, row.overhead_ms / 1e3)
    yield from (calls, tokens, cost, duration, overhead)


def _processes(seen: Seen) -> Iterator[Metric]:
    fresh, total = seen.fresh, seen.total
    yield _gauge("ultimate_gateways", "Gateway processes that spoke within five seconds.", len(fresh))
    yield _gauge("ultimate_gateways_draining", "Those that finish their last calls.", sum(s.draining for s in fresh))
    yield _gauge("ultimate_calls_in_flight", "Calls under way.", sum(s.in_flight for s in fresh))
    yield _gauge("ultimate_connections", "Open client connections.", sum(s.connections for s in fresh))
    yield _counter("ultimate_journal_written", "Call lines written to the journal.", total.journal_written)
    yield _counter("ultimate_journal_dropped", "Calls that the journal could not record.", total.journal_dropped)
    yield _counter("ultimate_journal_sync_failures", "Syncs of the journal that failed.", total.journal_sync_failures)
    failing = sum(shot.journal_failure is not None for shot in fresh)
    yield _gauge("ultimate_journal_failing", "Gateways whose journal fails now.", failing)
    behind = sum(shot.guard_failure is not None for shot in fresh)
    yield _gauge("ultimate_guard_failing", "Gateways whose guard goes by what it knew before.", behind)


def _lake(health: Health) -> Iterator[Metric]:
    yield _gauge(
        "ultimate_journal_lag_seconds",
        "Age of the oldest sealed journal segment that the lake does not hold.",
        health.journal_lag_s,
    )
    if health.lake_version is not None:
        yield _gauge("ultimate_lake_version", "Version of the table of calls.", health.lake_version)
    if health.ingest_age_s is not None:
        yield _gauge(
            "ultimate_ingest_age_seconds", "Since the journal was last brought to the lake.", health.ingest_age_s
        )
    beat = health.heartbeat
    if beat is None:
        return
    succeeded = GaugeMetricFamily(
        "ultimate_worker_job_success_timestamp_seconds", "When a job last succeeded.", labels=("job",)
    )
    failures = CounterMetricFamily("ultimate_worker_job_failures", "Runs of a job that failed.", labels=("job",))
    for name, job in sorted(beat.jobs.items()):
        if job.succeeded_at_us is not None:
            succeeded.add_metric([name], job.succeeded_at_us / 1e6)
        failures.add_metric([name], job.failures)
    yield from (succeeded, failures)


def _gauge(name: str, sentence: str, value: float) -> Metric:
    return GaugeMetricFamily(name, sentence, value=value)


def _counter(name: str, sentence: str, value: float) -> Metric:
    return CounterMetricFamily(name, sentence, value=value)
