"""A quarter of made-up calls, written as a gateway writes them, before a proxy starts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.control import calls
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Settings, load

MODELS = {
    "claude-sonnet-4-5": (3_000, 15_000),
    "claude-haiku-4-5": (1_000, 5_000),
    "gpt-4o-mini": (150, 600),
    "gpt-5.1": (1_250, 10_000),
    "a-model-with-a-name-that-no-column-is-wide-enough-for-2026-11-01": (800, 2_400),
}
PROJECTS = ("search", "support bot", "evaluation of answers", None)
NOTEBOOKS = ("work/explore.ipynb", "work/a folder/prompts that we keep.ipynb", None, None)


def made_up(until: datetime, *, days: int = 90, a_day: int = 40, seed: int = 1) -> Iterator[CallRecord]:
    """Yield calls up to an instant: weekends are quieter, days have a noon, some fail, some have no price."""
    dice = random.Random(seed)
    for day in range(days):
        at_midnight = (until - timedelta(days=day)).replace(hour=0, minute=0, second=0, microsecond=0)
        busy = 0.4 if at_midnight.weekday() >= 5 else 1.0
        for _ in range(int(a_day * busy * dice.uniform(0.7, 1.3))):
            hour = min(23.99, max(0.0, dice.gauss(13, 4)))
            at = at_midnight + timedelta(hours=hour)
            if at < until:
                yield _call(at, dice)


def _call(at: datetime, dice: random.Random) -> CallRecord:
    model = dice.choices(list(MODELS), weights=(5, 3, 6, 2, 1))[0]
    asked, answered = int(dice.lognormvariate(7, 1)), int(dice.lognormvariate(5.5, 0.8))
    cached = asked // 2 if dice.random() < 0.3 else 0
    per_input, per_output = MODELS[model]
    told: dict[str, Any] = {
        "provider": "anthropic" if model.startswith("claude") else "openai",
        "model_routed": model,
        "project": dice.choice(PROJECTS),
        "notebook": dice.choice(NOTEBOOKS),
        "input_tokens": asked,
        "cache_read_tokens": cached,
        "output_tokens": answered,
        "cost_nano_usd": None if dice.random() < 0.02 else asked * per_input + answered * per_output,
        "duration_ms": int(dice.lognormvariate(7.3, 0.6) * (1 + 0.5 * math.sin(at.hour / 4))),
        "user_id": dice.choice(("user_ann", "user_bob")),
    }
    if dice.random() < 0.03:
        told |= {"status": "error", "http_status": 529, "cost_nano_usd": None, "output_tokens": None}
    return calls.call(at, **told)


def seed(data: Path, **how: Any) -> Settings:
    """Write such calls into the journal of a data folder on which no proxy runs yet."""
    settings = load(environ={}, overrides={"data.folder": str(data)})
    settings.journal_dir.mkdir(parents=True, exist_ok=True)
    calls.write(settings, *made_up(datetime.now(UTC), **how))
    return settings
