"""An alert proposed from the history, over REST. Nothing is made: what comes back is a rule to look at."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from proxy_server.control.api.analytics import Filter
from proxy_server.control.api.predictive import Backtest, backtest_of, history, made_of, metric_of
from proxy_server.control.api.span import zone_of
from proxy_server.control.api.steps import later_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxy_server.control.answers import Caller
    from ultimate_lib.workbench import Workbench

_REPLAYED = {"hour": 60 * 24, "day": 90}
_MOST_TOLD = 100
_FAR = 2.0  # times, between two thresholds
_WHOLE = {"calls", "tokens"}


class AskedAlert(Struct, kw_only=True):
    """What to alert about, and how often it may be."""

    metric: Annotated[str, Meta(description="cost_usd, total_tokens, requests, error_ratio …")] = "cost_usd"
    window: Annotated[str, Meta(description="hour, or day: the calendar's.", pattern="^(hour|day)$")] = "day"
    alerts_per_month: Annotated[float, Meta(ge=0.1, le=300, description="Most that are wanted in 30 days.")] = 2.0
    filter: Filter = ()


class Firing(Struct, kw_only=True):
    """When it would have fired, and on what."""

    at: datetime  # the window's start
    value: float


class Replay(Struct, kw_only=True):
    """What the rule would have done with the history."""

    start: datetime
    end: datetime
    windows: int  # of known value
    unknown: int
    fired: int
    per_month: float
    firings: list[Firing]  # the newest hundred, newest first


class AlertProposed(Struct, kw_only=True):
    """A rule that is not made yet: `condition` is what an alert takes."""

    name: str
    condition: str
    metric: str
    unit: str
    window: str
    filter: list[str]
    threshold: float
    severity: Literal["critical", "high", "medium", "low"]
    wanted_per_month: float
    expected_per_month: float  # by the forecast of the next 30 days
    usual: float  # the middle of the windows replayed
    replay: Replay
    time_zone: str
    method: str
    backtest: Backtest | None
    notes: list[str]
    unpriced_requests: int


def propose(bench: Workbench, caller: Caller, asked: AskedAlert) -> AlertProposed:
    """Return an alert rule for a metric. Raises `Invalid`, `NotEnoughData`."""
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    from ultimate_lib.analytics import proposal  # noqa: PLC0415 - see above
    from ultimate_lib.metrics import METRICS  # noqa: PLC0415 - see above

    name, hourly = metric_of(asked.metric), asked.window == "hour"
    zone = zone_of(bench.settings.billing.time_zone)
    past = history(bench, caller, asked.filter, name, asked.window, bench.clock.now().astimezone(zone))
    steps = proposal.MONTH_DAYS * (24 if hourly else 1)
    made = made_of(past.values.tobytes(), past.tokens.tobytes(), steps, asked.window, name == "cost_usd")
    unit = METRICS[name].unit
    paths, form = made.paths[:, :steps], {"holds": hourly, "whole": unit in _WHOLE}
    futures = proposal.propose(paths, asked.alerts_per_month, **form)
    values, at = past.values[-_REPLAYED[asked.window] :], past.at[-_REPLAYED[asked.window] :]
    months = np.count_nonzero(~np.isnan(values)) / (24 if hourly else 1) / proposal.MONTH_DAYS
    had = proposal.of(paths, proposal.replayed(values, asked.alerts_per_month * months, holds=hourly), **form)
    found = max(futures, had, key=lambda one: one.threshold)
    replay = _replay(values, at, found.threshold, hourly=hourly)
    condition = f"{name} > {_plain(found.threshold)}{' over 1h' if hourly else ''}"
    return AlertProposed(
        name=f"{name} of {'an hour' if hourly else 'a day'} above {_plain(found.threshold)}",
        condition=condition,
        metric=name,
        unit=unit,
        window=asked.window,
        filter=list(asked.filter),
        threshold=found.threshold,
        severity=proposal.severity(max(found.expected, replay.per_month)),
        wanted_per_month=asked.alerts_per_month,
        expected_per_month=round(found.expected, 3),
        usual=float(np.nanmedian(values)),
        replay=replay,
        time_zone=zone.key,
        method=f"The forecast's futures of the next 30 days, and the history replayed; {made.method}",
        backtest=backtest_of(made),
        notes=[
            *_notes(values, found.threshold, hourly=hourly),
            *_apart(futures.threshold, had.threshold),
            *made.notes,
        ],
        unpriced_requests=past.answer.unpriced_requests,
    )


def _replay(values: NDArray[np.float64], at: list[datetime], threshold: float, *, hourly: bool) -> Replay:
    import numpy as np  # noqa: PLC0415 - the lake's libraries load with the first question

    from ultimate_lib.analytics import proposal  # noqa: PLC0415 - see above

    fired = proposal.firings(values, threshold, holds=hourly)
    known = int((~np.isnan(values)).sum())
    days = known / (24 if hourly else 1)
    return Replay(
        start=at[0],
        end=later_of(at[-1], at[-1].tzinfo, "hour" if hourly else "day", 1)[1],  # type: ignore[arg-type] # a ZoneInfo
        windows=known,
        unknown=len(values) - known,
        fired=len(fired),
        per_month=round(len(fired) * proposal.MONTH_DAYS / days, 2) if days else 0.0,
        firings=[Firing(at=at[one], value=float(values[one])) for one in fired[::-1][:_MOST_TOLD]],
    )


def _notes(values: NDArray[np.float64], threshold: float, *, hourly: bool) -> list[str]:
    notes = []
    if hourly:
        notes.append("Replayed by whole hours of the clock; hours in a row above the threshold are one alert.")
    if not (values > 0).any():
        notes.append("There has been nothing but 0: the first that is not would alert.")
    elif threshold <= 0:
        notes.append("So many alerts are wanted that any value above 0 is one.")
    return notes


def _apart(futures: float, had: float) -> list[str]:
    """Say where the futures and the history ask for very different thresholds; the larger one is taken."""
    if max(futures, had) <= _FAR * min(futures, had):
        return []
    words = (
        f"By the futures alone {_plain(futures)} would do, by the history {_plain(had)}. The larger is taken: with "
        "the smaller one of the two would alert more often than is wanted."
    )
    return [words]


def _plain(value: float) -> str:
    """Return a number without an exponent, as a condition takes it."""
    return f"{value:.12f}".rstrip("0").rstrip(".")
