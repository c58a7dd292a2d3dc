"""Dashboards: widgets are a query and a view, drawn by Panel and Bokeh wherever Panel runs.

    from claude_proxy import ClaudeProxyClient
    from ultimate_lib.dashboards import RemoteSource, overview, setup

    setup()
    overview.view(RemoteSource(ClaudeProxyClient()))

The only room that knows Panel and Bokeh; importing it loads neither (2 s, 80 MB) before they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ultimate_lib.dashboards import forecasting, overview
    from ultimate_lib.dashboards.places import setup
    from ultimate_lib.dashboards.source import LocalSource, RemoteSource, Source

__all__ = ["LocalSource", "RemoteSource", "Source", "forecasting", "overview", "setup"]

_WHERE = {"LocalSource": "source", "RemoteSource": "source", "Source": "source", "setup": "places"}


def __getattr__(name: str) -> Any:
    if name in {"forecasting", "overview"}:
        return importlib.import_module(f"ultimate_lib.dashboards.{name}")
    if name in _WHERE:
        return getattr(importlib.import_module(f"ultimate_lib.dashboards.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'ultimate_lib.dashboards' has no attribute '{name}'")
