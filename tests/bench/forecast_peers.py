"""What other libraries forecast: statsforecast's models and Prophet, asked as their guides do (extra `bench`)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Predicted: TypeAlias = tuple[Floats, Floats, Floats]  # point, lower and upper at 95 %

_WEEK = 168


def predicted(trains: Sequence[Floats], length: int, step: str, season: int) -> dict[str, list[Predicted]]:
    """Return each library's forecasts of the next `length` steps of every series, by name."""
    try:
        found = _statsforecast(trains, length, step, season)
        found["Prophet"] = [_prophet(one, length, step) for one in trains]
    except ImportError as error:
        raise SystemExit(f"--peers needs {error.name}: pip install 'ultimate-proxy[bench]'") from None
    return found


def _statsforecast(trains: Sequence[Floats], length: int, step: str, season: int) -> dict[str, list[Predicted]]:
    from statsforecast import StatsForecast
    from statsforecast.models import MSTL, AutoCES, AutoETS, AutoTheta, SeasonalNaive

    seasons = [season, _WEEK] if step == "hour" and len(trains[0]) > 2 * _WEEK else season
    models = [AutoETS(season), AutoTheta(season), AutoCES(season), MSTL(seasons), SeasonalNaive(season)]
    rows = [
        pl.DataFrame({"unique_id": number, "ds": np.arange(len(one)), "y": one}) for number, one in enumerate(trains)
    ]
    told = (
        StatsForecast(models=models, freq=1, n_jobs=1)
        .forecast(df=pl.concat(rows), h=length, level=[95])
        .sort("unique_id", "ds")
    )
    found: dict[str, list[Predicted]] = {}
    for name in [column for column in told.columns if f"{column}-lo-95" in told.columns]:
        columns = (name, f"{name}-lo-95", f"{name}-hi-95")
        found[name] = [
            (of[columns[0]].to_numpy(), of[columns[1]].to_numpy(), of[columns[2]].to_numpy())
            for _, of in told.group_by("unique_id", maintain_order=True)
        ]
    return found


def _prophet(values: Floats, length: int, step: str) -> Predicted:
    """Return Prophet's forecast, its settings as they come; the dates are made up, its seasons need only the step."""
    import pandas as pd
    from prophet import Prophet

    logging.getLogger("cmdstanpy").disabled = True
    freq = "h" if step == "hour" else "D"
    model = Prophet(interval_width=0.95)
    model.fit(pd.DataFrame({"ds": pd.date_range("2026-01-05", periods=len(values), freq=freq), "y": values}))
    told = model.predict(model.make_future_dataframe(length, freq=freq, include_history=False))
    return told["yhat"].to_numpy(), told["yhat_lower"].to_numpy(), told["yhat_upper"].to_numpy()
