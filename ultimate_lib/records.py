"""The record: one immutable row per call. One line and one unit per column.

Field annotations name the column's type in the lake, so that journal, lake, readers and documentation share this
one list. Every default is null: unknown is null, never 0. Instants are microseconds since 1970, UTC; money is in
nano-dollars (1e-9 USD), integers; hashes are 64-bit, signed (Delta has no unsigned types), keyed per installation.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

LakeType = Literal["string", "int64", "int32", "int16", "float32", "bool", "timestamp", "strings"]


class Lake(NamedTuple):
    """How a field is stored: its type, and whether it names a person or a thing a purge must erase."""

    type: LakeType
    identity: bool = False


Text = Annotated[str | None, Lake("string")]
Identity = Annotated[str | None, Lake("string", identity=True)]
Int64 = Annotated[int | None, Lake("int64")]
Int32 = Annotated[int | None, Lake("int32")]
Int16 = Annotated[int | None, Lake("int16")]
Float32 = Annotated[float | None, Lake("float32")]
Flag = Annotated[bool | None, Lake("bool")]
Instant = Annotated[int | None, Lake("timestamp")]
Texts = Annotated[list[str] | None, Lake("strings")]


class CallRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One call. Null means unknown or not applicable."""

    # identity of the call
    call_id: Annotated[str, Lake("string", identity=True)]  # UUIDv7 text, ours
    started_at: Annotated[int, Lake("timestamp")]  # request's first byte at our door, µs since 1970 UTC
    upstream_id: Identity = None  # the provider's message id
    source: Text = None  # proxy | import | demo (made up)
    billing: Text = None  # metered | subscription | local

    # time
    duration_ms: Int32 = None  # first byte in to last byte out
    ttft_ms: Int32 = None  # first byte in to first token out (streams)
    upstream_ms: Int32 = None  # time spent waiting for the provider
    overhead_ms: Float32 = None  # ours: from the last byte in on, less waiting for the provider and for the client

    # who and what for
    key_id: Text = None  # the key's id in the store
    user_id: Identity = None  # the user's id in the store
    team: Text = None  # team name
    project: Text = None
    cost_center: Text = None
    app: Text = None
    end_user: Identity = None  # the client's own end user
    session_id: Identity = None
    agent_id: Identity = None
    parent_agent_id: Identity = None
    trace_id: Identity = None  # W3C trace id, 32 hex digits
    notebook: Text = None  # path of the notebook
    cell_id: Identity = None  # nbformat cell id
    kernel_id: Identity = None

    # what was asked
    operation: Text = None  # chat | responses | embeddings | count_tokens | models | other
    protocol_in: Text = None  # anthropic-messages | openai-chat | openai-responses | …
    protocol_out: Text = None  # what the provider was spoken to in
    stream: Flag = None
    endpoint: Text = None  # path without query, e.g. /v1/messages
    model_requested: Text = None  # as the client wrote it
    model_routed: Text = None  # as sent to the provider
    model_served: Text = None  # as the provider says it served
    provider: Text = None  # name in the configuration
    deployment: Text = None  # deployment of the model's route
    attempts: Int16 = None  # requests sent upstream for this call
    fallback_from: Text = None  # deployment that failed first

    # what it used
    input_tokens: Int64 = None  # includes cache reads and writes (OpenTelemetry gen_ai.usage.input_tokens)
    cache_read_tokens: Int64 = None
    cache_write_5m_tokens: Int64 = None
    cache_write_1h_tokens: Int64 = None
    output_tokens: Int64 = None  # includes reasoning
    reasoning_tokens: Int64 = None
    audio_input_tokens: Int64 = None
    audio_output_tokens: Int64 = None
    server_tool_requests: Int32 = None  # web searches and the like, billed per request
    service_tier: Text = None
    cache_hit: Flag = None  # the provider read some of the prompt from its cache
    usage_source: Text = None  # provider | estimated | none

    # what it cost, nano-dollars; the parts sum to cost_nano_usd; null when unpriced
    cost_nano_usd: Int64 = None
    input_cost_nano_usd: Int64 = None  # uncached input
    cache_read_cost_nano_usd: Int64 = None
    cache_write_cost_nano_usd: Int64 = None  # 5 m and 1 h together
    output_cost_nano_usd: Int64 = None
    other_cost_nano_usd: Int64 = None  # server tools, audio, rounding of a provider's own bill
    list_cost_nano_usd: Int64 = None  # before discounts
    cost_source: Text = None  # provider | table | estimated | none
    price_id: Text = None  # which dated price was used

    # how it ended
    status: Text = None  # ok | error | cut | refused | blocked
    http_status: Int16 = None  # what the client got
    error_type: Text = None  # our code or the provider's error type
    finish_reason: Text = None  # as the provider wrote it

    # shape of the request, no text
    message_count: Int32 = None
    tool_count: Int32 = None
    has_system: Flag = None
    has_tools: Flag = None
    has_images: Flag = None
    has_documents: Flag = None
    max_tokens: Int64 = None  # as the client asked
    request_bytes: Int64 = None
    response_bytes: Int64 = None
    prefix_hash: Int64 = None  # tools and system
    request_hash: Int64 = None  # whole request
    prefix_tokens: Int64 = None  # estimate for tools and system

    # verdict
    anomaly_score: Float32 = None
    anomaly_action: Text = None  # none | warn | block
    tags: Texts = None  # "key=value", at most 10


class Usage(msgspec.Struct, kw_only=True, frozen=True):
    """Tokens of one call. `input_tokens` includes what was read from or written to the prompt cache.

    Null is unknown; 0 is a statement by the provider.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    server_tool_requests: int | None = None
    service_tier: str | None = None
    cost_nano_usd: int | None = None  # the provider's own bill, when it sends one


class Column(NamedTuple):
    """One column of the record as the lake stores it."""

    name: str
    type: LakeType
    identity: bool


def _columns() -> tuple[Column, ...]:
    hints = get_type_hints(CallRecord, include_extras=True)
    columns = []
    for name in CallRecord.__struct_fields__:
        lake: Lake = hints[name].__metadata__[0]
        columns.append(Column(name, lake.type, lake.identity))
    return tuple(columns)


COLUMNS: tuple[Column, ...] = _columns()
"""Every column of the record, in order."""


def new_call_id(now_us: int | None = None) -> str:
    """Return a UUIDv7 (RFC 9562, section 5.7) as text: 48 bits of milliseconds, 74 random bits."""
    milliseconds = (now_us // 1000) if now_us is not None else time.time_ns() // 1_000_000
    bits = secrets.randbits(74)
    value = milliseconds << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


encode = msgspec.json.Encoder().encode
"""Return the record as one JSON object without its null columns."""


def decode(line: bytes) -> CallRecord:
    """Return the record in a JSON object; unknown members (kind, CRC, reserve) are passed over."""
    return _decoder.decode(line)


_decoder: msgspec.json.Decoder[CallRecord] = msgspec.json.Decoder(CallRecord)


def as_mapping(record: CallRecord) -> dict[str, Any]:
    """Return every column and its value, nulls included."""
    return {name: getattr(record, name) for name in CallRecord.__struct_fields__}
