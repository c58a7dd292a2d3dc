"""One call: all its columns, why this price, and how to ask the same again."""

from __future__ import annotations

import json
import shlex
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from proxy_server.control.answers import Page
from proxy_server.control.api import calls, span
from proxy_server.control.pages import shown, subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from proxy_server.control.answers import Caller
    from proxy_server.control.api.calls import OneCall, Price
    from ultimate_lib.workbench import Workbench

GROUPS: tuple[tuple[str, dict[str, str]], ...] = (
    ("The call", {
        "call_id": "Id", "started_at": "Started", "upstream_id": "Provider's id", "source": "Recorded by",
        "billing": "Billing",
    }),
    ("Time", {
        "duration_ms": "Took", "ttft_ms": "To the first token", "upstream_ms": "Waiting for the provider",
        "overhead_ms": "Spent in the proxy",
    }),
    ("Who, and what for", {
        "key_id": "Key", "user_id": "User", "team": "Team", "project": "Project", "cost_center": "Cost center",
        "app": "App", "end_user": "End user", "session_id": "Session", "agent_id": "Agent",
        "parent_agent_id": "Parent agent", "trace_id": "Trace", "notebook": "Notebook", "cell_id": "Cell",
        "kernel_id": "Kernel",
    }),
    ("What was asked", {
        "operation": "Operation", "protocol_in": "Client's protocol", "protocol_out": "Provider's protocol",
        "stream": "Streamed", "endpoint": "Path", "model_requested": "Model asked for",
        "model_routed": "Model sent on", "model_served": "Model that answered", "provider": "Provider",
        "deployment": "Deployment", "attempts": "Attempts", "fallback_from": "Failed first",
    }),
    ("What it used", {
        "input_tokens": "Input tokens", "cache_read_tokens": "… read from the cache",
        "cache_write_5m_tokens": "… cached for 5 minutes", "cache_write_1h_tokens": "… cached for an hour",
        "output_tokens": "Output tokens", "reasoning_tokens": "… of them reasoning",
        "audio_input_tokens": "Audio input tokens", "audio_output_tokens": "Audio output tokens",
        "server_tool_requests": "Server tool requests", "service_tier": "Service tier", "cache_hit": "Cache hit",
        "usage_source": "Told by",
    }),
    ("What it cost", {
        "cost_nano_usd": "Cost", "input_cost_nano_usd": "… input", "cache_read_cost_nano_usd": "… cache reads",
        "cache_write_cost_nano_usd": "… cache writes", "output_cost_nano_usd": "… output",
        "other_cost_nano_usd": "… other", "list_cost_nano_usd": "List price", "cost_source": "Cost from",
        "price_id": "Price",
    }),
    ("How it ended", {
        "status": "Outcome", "http_status": "HTTP status", "error_type": "Error", "finish_reason": "Finish reason",
    }),
    ("Shape of the request", {
        "message_count": "Messages", "tool_count": "Tools", "has_system": "System prompt", "has_tools": "Has tools",
        "has_images": "Has images", "has_documents": "Has documents", "max_tokens": "Most tokens allowed",
        "request_bytes": "Request", "response_bytes": "Response", "prefix_hash": "Prefix hash",
        "request_hash": "Request hash", "prefix_tokens": "Prefix tokens",
    }),
    ("Verdict", {"anomaly_score": "Anomaly score", "anomaly_action": "Action", "tags": "Tags"}),
)  # fmt: skip
"""Every column of the record in its order, with what people call it."""

_KEY = "$CLAUDE_PROXY_API_KEY"
_DAY = timedelta(days=1)


class Line(NamedTuple):
    """One part of the price."""

    what: str
    quantity: str
    rate: str
    cost: str


def call(bench: Workbench, caller: Caller, asked: OneCall) -> Page:
    """Return the page of a call. Raises `NotFound`."""
    row = calls.find(bench, caller, asked.id)
    zone = span.zone_of(bench.settings.billing.time_zone)
    price = calls.price_of(bench, row)
    base = (bench.settings.server.public_url or caller.origin + caller.root).rstrip("/")
    model = row["model_served"] or row["model_routed"] or row["model_requested"] or "unknown model"
    started = shown.aware(row["started_at"]).astimezone(zone)
    values = {
        "call": row,
        "model": model,
        "status": row["status"] or shown.UNKNOWN,
        "started": f"{started:%Y-%m-%d %H:%M:%S}",
        "zone": zone.key,
        "groups": [(title, _fields({**row, **_names(bench, caller, row)}, fields, zone)) for title, fields in GROUPS],
        "lines": _lines(price),
        "total": shown.nano_usd(price.total_nano_usd),
        "sentence": price.sentence,
        "curl": curl(row, base),
        "related": _related(row),
    }
    return Page("call.html", f"Call of {model}", values, current="calls")


def _names(bench: Workbench, caller: Caller, row: dict[str, Any]) -> dict[str, str]:
    """Return key and user with the names that the caller may know them by."""
    found = {}
    for column, kind in (("key_id", "key"), ("user_id", "user")):
        name = subjects.name(bench, caller, kind, row[column]) if row[column] else None
        if name is not None:
            found[column] = f"{name} ({row[column]})"
    return found


def _fields(row: dict[str, Any], fields: dict[str, str], zone: ZoneInfo) -> list[tuple[str, str, str]]:
    return [(name, label, _shown(name, row[name], zone)) for name, label in fields.items()]


def _shown(name: str, value: Any, zone: ZoneInfo) -> str:
    if value is None:
        return shown.UNKNOWN
    if name == "started_at":
        return shown.aware(value).astimezone(zone).isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or shown.UNKNOWN
    for ending, told in _BY_UNIT.items():
        if name.endswith(ending):
            return told(value)
    return str(value)


_BY_UNIT: dict[str, Callable[[Any], str]] = {
    "_nano_usd": shown.nano_usd,
    "_ms": shown.took,
    "_tokens": lambda value: f"{value:,}",
    "_bytes": shown.size,
    "_hash": lambda value: f"{value & (1 << 64) - 1:016x}",
}


def _lines(price: Price) -> list[Line]:
    return [
        Line(
            what=line.what,
            quantity=f"{line.count:,} {line.unit}" if line.count is not None else shown.UNKNOWN,
            rate=shown.rate(line.usd_per_million),
            cost=shown.nano_usd(line.cost_nano_usd),
        )
        for line in price.lines
    ]


def curl(row: dict[str, Any], base: str) -> str:
    """Return a command that asks the same model the same way; the body is not recorded and is left to fill in."""
    endpoint = row["endpoint"] or "/v1/chat/completions"
    anthropic = row["protocol_in"] == "anthropic-messages"
    headers = (
        [f'"x-api-key: {_KEY}"', '"anthropic-version: 2023-06-01"']
        if anthropic
        else [f'"Authorization: Bearer {_KEY}"']
    )
    body: dict[str, Any] = {"model": row["model_requested"] or row["model_served"] or "MODEL"}
    if row["max_tokens"] is not None or anthropic:
        body["max_tokens"] = row["max_tokens"] or 1024
    if row["stream"]:
        body["stream"] = True
    body["messages"] = [{"role": "user", "content": "YOUR TEXT"}]
    parts = [f"curl {shlex.quote(base + endpoint)}", *(f"-H {header}" for header in headers)]
    parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"]
    return " \\\n  ".join(parts)


def _related(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return links to calls of the same session, notebook, cell and key, from the day before to the day after."""
    day = shown.aware(row["started_at"]).date()
    around = {"start": (day - _DAY).isoformat(), "end": (day + _DAY).isoformat()}
    wanted = [
        ("session", {"session": row["session_id"]}),
        ("notebook", {"notebook": row["notebook"]}),
        ("cell", {"notebook": row["notebook"], "cell": row["cell_id"]}),
        ("key", {"key": row["key_id"]}),
    ]
    return [
        (f"Calls of the same {label}", "/calls?" + urlencode({**{k: v for k, v in told.items() if v}, **around}))
        for label, told in wanted
        if all(told.values()) or (label == "cell" and row["cell_id"])
    ]
