"""Settings: frozen, read once from `ultimate.toml` and the environment. The only reader of either.

    settings = load()                       # ULTIMATE_CONFIG, ./ultimate.toml, or the user's configuration folder
    settings.server.port                    # 8082
    settings.origin("server.port")          # "ultimate.toml:3", "ULTIMATE_SERVER_PORT" or "default"

Every value `key` in `[section]` can also be given as `ULTIMATE_SECTION_KEY`; the environment wins over the file.
A wrong file raises `Invalid` that names the file, the line, the value and what would be right.
"""

from __future__ import annotations

from ultimate_lib.settings.reading import CONFIG_NAME, find_config, load, read
from ultimate_lib.settings.sections import (
    APP_NAME,
    SECTIONS,
    Billing,
    Data,
    Deployment,
    Environment,
    Guard,
    Limits,
    Log,
    ModelEntry,
    ProviderEntry,
    Record,
    Server,
    Settings,
    Tiers,
)

__all__ = [
    "APP_NAME",
    "CONFIG_NAME",
    "SECTIONS",
    "Billing",
    "Data",
    "Deployment",
    "Environment",
    "Guard",
    "Limits",
    "Log",
    "ModelEntry",
    "ProviderEntry",
    "Record",
    "Server",
    "Settings",
    "Tiers",
    "find_config",
    "load",
    "read",
]
