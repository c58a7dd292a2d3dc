"""Known calls for tests of what control shows, written as a gateway writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.records import CallRecord, new_call_id
from ultimate_lib.settings import Settings

DAY = datetime(2026, 3, 10, tzinfo=UTC)


def call(at: datetime, **told: Any) -> CallRecord:
    """Return a call with plain values where none are told."""
    at_us = int(at.timestamp() * 1_000_000)
    plain: dict[str, Any] = {
        "source": "proxy",
        "billing": "metered",
        "operation": "chat",
        "provider": "demo",
        "model_routed": "gpt-4o-mini",
        "endpoint": "/v1/chat/completions",
        "status": "ok",
        "http_status": 200,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_nano_usd": 27_000,
        "duration_ms": 800,
    }
    return CallRecord(call_id=new_call_id(at_us), started_at=at_us, **{**plain, **told})


def write(settings: Settings, *calls: CallRecord) -> None:
    """Write calls to a journal and seal it."""
    writer = JournalWriter(settings.journal_dir, "0", settings.record, SystemClock())
    for record in calls:
        writer.call(record)
    writer.close()
