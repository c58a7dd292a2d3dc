"""Forecasts and anomalies for a dashboard of this process: what REST answers, without the way over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import msgspec

from proxy_server.control.answers import Caller
from proxy_server.control.api import anomalies, predictive
from ultimate_lib.dashboards.source import LocalSource, filters_of
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.dashboards.source import AskedAhead
    from ultimate_lib.workbench import Workbench

Asked = TypeVar("Asked")


class PredictingLocalSource(LocalSource):
    """The lake of this machine, as one principal may see it. Raises `Denied` without `dashboards:view`."""

    def __init__(self, bench: Workbench, principal: Principal) -> None:
        super().__init__(bench, principal)
        self._caller = Caller(principal=principal)

    def forecast(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/forecast` answers. Raises `Denied`, `NotEnoughData`."""
        self._who.require("analytics:view")
        told = predictive.forecast(self._bench, self._caller, _checked(asked, predictive.AskedForecast))
        answer: dict[str, Any] = msgspec.to_builtins(told)
        return answer

    def anomalies(self, **asked: Unpack[AskedAhead]) -> dict[str, Any]:
        """Return what `/api/predictive/anomaly-history` answers. Raises `Denied`, `NotEnoughData`."""
        self._who.require("analytics:view")
        told = anomalies.history_of(self._bench, self._caller, _checked(asked, anomalies.AskedAnomalies))
        answer: dict[str, Any] = msgspec.to_builtins(told)
        return answer


def _checked(asked: Mapping[str, Any], kind: type[Asked]) -> Asked:
    """Return the question as the route takes it. Raises `Invalid`: what a browser sends may be anything."""
    told = {name: value for name, value in asked.items() if name != "where"}
    try:
        return msgspec.convert(told | {"filter": filters_of(asked.get("where") or {})}, kind)
    except msgspec.ValidationError as error:
        raise Invalid("This cannot be forecast.", hint=f"{error}.") from error
