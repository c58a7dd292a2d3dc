"""Where a dashboard's numbers come from: the lake of this machine, or a proxy's REST interface. Equal frames.

Both answer with the columns of `ultimate_lib.lake.query.Answer`: `step_at` (with a grain), the dimensions of `by` and
one column a metric. A caller who may see only its own calls gets those, whatever it asks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack
from weakref import WeakKeyDictionary

import polars as pl

from claude_proxy.errors import NotAllowed, ProxyError
from ultimate_lib.access.views import narrowed, whose
from ultimate_lib.errors import Denied, Invalid, NotEnoughData, NotFound, UltimateError, Unavailable
from ultimate_lib.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.lake import Lake
    from ultimate_lib.lake.query import Query
    from ultimate_lib.workbench import Workbench

STEP = "step_at"
CALL_COLUMNS: dict[str, pl.DataType] = {
    "started_at": pl.Datetime("us", "UTC"),
    "call_id": pl.String(),
    "model_routed": pl.String(),
    "model_requested": pl.String(),
    "provider": pl.String(),
    "project": pl.String(),
    "notebook": pl.String(),
    "status": pl.String(),
    "input_tokens": pl.Int64(),
    "output_tokens": pl.Int64(),
    "duration_ms": pl.Int64(),
    "cost_nano_usd": pl.Int64(),
}
"""What `calls` returns of each call."""
_WHOLE = {"calls", "tokens"}  # units that are counted
_MOST_KEPT = 32  # pages of calls, some KB each
MARK_S = 0.3  # how long one look for news is good for everybody's
_guard = threading.Lock()
_marks: WeakKeyDictionary[Lake, tuple[float, tuple[int, int]]] = WeakKeyDictionary()
_kept: WeakKeyDictionary[Lake, dict[str, pl.DataFrame]] = WeakKeyDictionary()


class Asked(TypedDict, total=False):
    """A question, as in `ultimate_lib.lake.query.Query`."""

    metrics: tuple[str, ...]
    start: datetime
    end: datetime
    by: tuple[str, ...]
    grain: str | None
    where: Mapping[str, tuple[str | None, ...]]
    time_zone: str | None
    order_by: str | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class About:
    """What a dashboard has to tell beside the numbers."""

    zone: str  # IANA name of the zone that cuts days
    who: str  # whose calls the numbers count, unless everybody's
    sees_all: bool
    demo: bool  # the numbers are made up


class Source(Protocol):
    """Whoever answers questions. Raises `UltimateError`, whose `hint` says what to do."""

    every_s: float
    """Seconds between two looks for news: as often as one look is cheap."""

    def about(self) -> About:
        """Return whose numbers these are."""
        ...

    def aggregate(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return one row."""
        ...

    def timeseries(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a step and group; every step of the span is there."""
        ...

    def breakdown(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a group, the largest first."""
        ...

    def calls(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return the newest calls of the span, newest first, with the columns `CALL_COLUMNS`."""
        ...

    def mark(self, **asked: Unpack[Asked]) -> object:
        """Return a value that differs from an earlier one when the span's numbers may have changed; cheap."""
        ...

    def missing_files(self, **asked: Unpack[Asked]) -> int:
        """Return how many damaged files had to be left out of the span's numbers."""
        ...


class AskedAhead(TypedDict, total=False):
    """A question about what is to come, or about what was unlike the rest."""

    metric: str
    days: int  # ahead, or back
    grain: str  # hour | day
    where: Mapping[str, tuple[str | None, ...]]


class PredictingSource(Source, Protocol):
    """A source that forecasts, too. Its answers are those of the REST interface, as JSON has them."""

    def forecast(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/forecast` answers. Raises `NotEnoughData`."""
        ...

    def anomalies(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/anomaly-history` answers. Raises `NotEnoughData`."""
        ...


class LocalSource:
    """The lake of this machine, as one principal may see it. Raises `Denied` without `dashboards:view`."""

    every_s = 1.0

    def __init__(self, bench: Workbench, principal: Principal) -> None:
        principal.require("dashboards:view")
        self._bench = bench
        self._who = principal

    def about(self) -> About:
        """Return whose numbers these are."""
        settings, who = self._bench.settings, self._who
        return About(
            settings.billing.time_zone, whose(who.user_name, who.view, who.teams), who.sees_all, settings.data.demo
        )

    def aggregate(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return one row."""
        from ultimate_lib.lake import numbers  # noqa: PLC0415 - the lake's libraries load with the first question

        return numbers.aggregate(self._bench.lake, self._query(asked), self._bench.compute).frame

    def timeseries(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a step and group."""
        from ultimate_lib.lake import numbers  # noqa: PLC0415 - see above

        return numbers.timeseries(self._bench.lake, self._query(asked), self._bench.compute).frame

    def breakdown(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a group, the largest first."""
        from ultimate_lib.lake import numbers  # noqa: PLC0415 - see above

        return numbers.breakdown(self._bench.lake, self._query(asked), self._bench.compute).frame

    def calls(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return the newest calls of the span; kept while the lake stays as it is, for all who look at it."""
        from ultimate_lib.lake import plan  # noqa: PLC0415 - see above
        from ultimate_lib.lake.calls import page  # noqa: PLC0415 - see above

        lake, limit = self._bench.lake, asked.get("limit") or 100
        where = self._where(asked.get("where") or {})
        key = repr((plan.position(lake), asked["start"], asked["end"], sorted(where.items()), limit))
        with _guard:
            found = _kept.setdefault(lake, {}).get(key)
        if found is None:
            columns = list(CALL_COLUMNS)
            frame = page(lake, asked["start"], asked["end"], where, limit=limit, columns=columns).frame
            found = frame.cast(pl.Schema(CALL_COLUMNS))
            with _guard:
                kept = _kept[lake]
                while len(kept) >= _MOST_KEPT:
                    kept.pop(next(iter(kept)))
                kept[key] = found
        return found

    def mark(self, **_asked: Unpack[Asked]) -> object:
        """Return the version of the calls and the length of the journal's tail: one look for all who ask."""
        from ultimate_lib.lake import plan  # noqa: PLC0415 - see above

        lake, now = self._bench.lake, self._bench.clock.monotonic()
        with _guard:
            looked_at, found = _marks.get(lake, (-MARK_S, None))
        if found is None or now - looked_at >= MARK_S:
            found = plan.position(lake)
            with _guard:
                _marks[lake] = now, found
        return found

    def missing_files(self, **asked: Unpack[Asked]) -> int:
        """Return how many damaged files had to be left out."""
        from ultimate_lib.lake import numbers  # noqa: PLC0415 - see above

        query = self._query({**asked, "metrics": ("requests",)})
        return numbers.aggregate(self._bench.lake, query, self._bench.compute).missing_files

    def _query(self, asked: Mapping[str, Any]) -> Query:
        from ultimate_lib.lake.query import Query  # noqa: PLC0415 - see above

        told: dict[str, Any] = {**asked, "where": self._where(asked.get("where") or {})}
        return Query(**told)

    def _where(self, told: Mapping[str, tuple[str | None, ...]]) -> dict[str, tuple[str | None, ...]]:
        return narrowed(self._who, told)


class Getter(Protocol):
    """What is needed of `claude_proxy.ClaudeProxyClient`."""

    def get(self, path: str, **params: Any) -> Any:
        """GET a path and return what its JSON says."""
        ...


class RemoteSource:
    """A proxy over HTTP, with the rights of the client's key.

    Raises what the proxy itself would raise here, and `Unavailable` when it does not answer.
    """

    every_s = 5.0

    def __init__(self, client: Getter) -> None:
        self._client = client
        self._about: About | None = None

    def about(self) -> About:
        """Return whose numbers these are; asked once."""
        if self._about is None:
            who = self._get("/api/auth/verify")
            told = self._get("/api/analytics/aggregate", metrics="requests")
            version = self._get("/api/version")
            self._about = About(
                told["time_zone"],
                whose(who["user_name"], who["view"], who["teams"]),
                who["view"] == "all",
                bool(version["demo"]),
            )
        return self._about

    def aggregate(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return one row."""
        return self._numbers("aggregate", asked)

    def timeseries(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a step and group."""
        return self._numbers("timeseries", asked)

    def breakdown(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return a row a group, the largest first."""
        return self._numbers("breakdown", asked)

    def calls(self, **asked: Unpack[Asked]) -> pl.DataFrame:
        """Return the newest calls of the span."""
        told = self._get("/api/analytics/calls", **_params({"limit": 100, **asked}))
        rows = [{name: row.get(name) for name in CALL_COLUMNS} for row in told["rows"]]
        raw = pl.Schema({**CALL_COLUMNS, "started_at": pl.String()})
        return pl.DataFrame(rows, schema=raw).with_columns(_instants("started_at"))

    def mark(self, **asked: Unpack[Asked]) -> object:
        """Return sums that every call changes."""
        told: Asked = {**asked, "metrics": ("requests", "errors", "total_tokens", "cost_usd")}
        return self.aggregate(**told).row(0)

    def missing_files(self, **asked: Unpack[Asked]) -> int:
        """Return how many damaged files had to be left out."""
        told = self._get("/api/analytics/aggregate", **_params({**asked, "metrics": ("requests",)}))
        return int(told["missing"]["files"])

    def forecast(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/forecast` answers."""
        told: dict[str, Any] = self._get("/api/predictive/forecast", **_ahead(asked))
        return told

    def anomalies(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/anomaly-history` answers."""
        told: dict[str, Any] = self._get("/api/predictive/anomaly-history", **_ahead(asked))
        return told

    def _get(self, path: str, **params: Any) -> Any:
        try:
            return self._client.get(path, **params)
        except ProxyError as error:
            raise _as_ours(error) from error

    def _numbers(self, shape: str, asked: Mapping[str, Any]) -> pl.DataFrame:
        told = self._get(f"/api/analytics/{shape}", **_params(asked))
        metrics, by = asked["metrics"], asked.get("by", ())
        schema: dict[str, Any] = {STEP: pl.String()} if shape == "timeseries" else {}
        schema |= dict.fromkeys(by, pl.String())
        schema |= {name: pl.Int64() if METRICS[name].unit in _WHOLE else pl.Float64() for name in metrics}
        frame = pl.DataFrame([{name: row[name] for name in schema} for row in told["rows"]], schema=pl.Schema(schema))
        if shape == "timeseries":
            frame = frame.with_columns(_instants(STEP).dt.convert_time_zone(told["time_zone"]))
        return frame


def _instants(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=True)


def _as_ours(error: ProxyError) -> UltimateError:
    """Return the error that the proxy itself would have raised here."""
    if isinstance(error, NotAllowed):
        known = error.status != HTTPStatus.UNAUTHORIZED
        return Denied(error.message, hint=error.hint, code=error.code, authenticated=known)
    kinds: tuple[type[UltimateError], ...] = (Invalid, NotFound, NotEnoughData)
    kind = next((one for one in kinds if one.http_status == error.status), Unavailable)
    return kind(error.message, hint=error.hint, code=error.code)


def _ahead(asked: Mapping[str, Any]) -> dict[str, Any]:
    params = {name: value for name, value in asked.items() if name != "where"}
    return params | {"filter": filters_of(asked.get("where") or {})}


def filters_of(where: Mapping[str, tuple[str | None, ...]]) -> list[str]:
    """Return filters as the REST interface takes them: dimension:value, with nothing behind the colon for none."""
    return [f"{name}:{value or ''}" for name, values in where.items() for value in values]


def _params(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return a question as parameters of the REST interface."""
    params: dict[str, Any] = {"start": asked["start"].isoformat(), "end": asked["end"].isoformat()}
    for name in ("metrics", "by"):
        if asked.get(name):
            params[name] = ",".join(asked[name])
    for name in ("grain", "time_zone", "order_by", "limit"):
        if asked.get(name):
            params[name] = asked[name]
    where = asked.get("where") or {}
    if where:
        params["filter"] = filters_of(where)
    return params
