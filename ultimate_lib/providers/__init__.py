"""Providers: who is called, where, with which key. Data from presets, configuration and bare environment keys.

providers = configured(settings, demo_url="http://127.0.0.1:40001")
routes = Routes(settings, providers, book)
route = routes.find("anthropic-messages", "claude-sonnet-4-5")
route.provider.base_url, route.model
"""

from __future__ import annotations

from ultimate_lib.providers.configured import STORED, Provider, checked_key, configured, masked, offered
from ultimate_lib.providers.presets import PRESETS, Preset
from ultimate_lib.providers.routing import Route, Routes
from ultimate_lib.providers.tiers import check_tiers

__all__ = [
    "PRESETS",
    "STORED",
    "Preset",
    "Provider",
    "Route",
    "Routes",
    "check_tiers",
    "checked_key",
    "configured",
    "masked",
    "offered",
]
