"""Which paths below `/v1` there are, in whose protocol they speak, and what is read of their bodies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from ultimate_lib.protocols import RequestFacts, anthropic_messages, openai_chat
from ultimate_lib.protocols import body as look
from ultimate_lib.protocols.telling import Telling

if TYPE_CHECKING:
    from ultimate_lib.protocols.facts import Protocol
    from ultimate_lib.records import CallRecord

ANTHROPIC = cast("Protocol", anthropic_messages)
OPENAI = cast("Protocol", openai_chat)


class Surface(NamedTuple):
    """A path, or a family of paths, and how its calls are treated."""

    protocol: Protocol  # whose envelope its errors take and whose providers serve it
    operation: str  # the record's column
    methods: tuple[str, ...] = ("POST",)
    generates: bool = False  # its body is read as a call of the protocol; it may stream
    bills: bool = False  # the usage in its answer is what the call is billed for


_ANY = ("GET", "POST", "DELETE", "PUT", "PATCH", "HEAD")
_EXACT = {
    anthropic_messages.path: Surface(ANTHROPIC, anthropic_messages.operation, generates=True, bills=True),
    openai_chat.path: Surface(OPENAI, openai_chat.operation, generates=True, bills=True),
    "/v1/messages/count_tokens": Surface(ANTHROPIC, "count_tokens", generates=True),
    "/v1/embeddings": Surface(OPENAI, "embeddings", bills=True),
}
_FAMILIES = {
    "messages/batches": Surface(ANTHROPIC, "other", _ANY),
    **dict.fromkeys(
        (
            "responses", "batches", "completions", "images", "audio", "moderations", "uploads", "vector_stores",
            "fine_tuning", "conversations", "videos", "containers",
        ),
        Surface(OPENAI, "other", _ANY),
    ),
}  # fmt: skip
_FILES = {ANTHROPIC: Surface(ANTHROPIC, "other", _ANY), OPENAI: Surface(OPENAI, "other", _ANY)}
_SEGMENT = r"[A-Za-z0-9._~:@!$&'()*+,;=-]|%(?!2[eEfF]|5[cC])[0-9A-Fa-f]{2}"
_PATH = re.compile(rf"/v1(?:/(?!\.\.?(?:/|$))(?:{_SEGMENT})+)+")
"""Plain segments, nothing that a URL parser would resolve: a path cannot leave its provider's base address."""


def surface_of(path: str, *, anthropic: bool) -> Surface | None:
    """Return what a path is, or None; `anthropic` says that the client sent `anthropic-version`."""
    exact = _EXACT.get(path)
    if exact is not None or not _PATH.fullmatch(path):
        return exact
    first, _, rest = path[len("/v1/") :].partition("/")
    if first == "files":
        return _FILES[ANTHROPIC if anthropic else OPENAI]
    return _FAMILIES.get(first) or _FAMILIES.get(f"{first}/{rest.partition('/')[0]}")


def describe(record: CallRecord, facts: RequestFacts, surface: Surface) -> None:
    """Write the request's shape into its record."""
    record.stream = facts.stream
    record.model_requested = facts.model[: look.MOST_TEXT] or None
    if surface.bills:
        record.input_tokens = facts.input_estimate  # until the provider tells
        record.usage_source = "estimated"
    if not surface.generates:
        return
    record.max_tokens = facts.max_tokens
    record.message_count = facts.message_count
    record.tool_count = facts.tool_count
    record.has_system = facts.has_system
    record.has_tools = bool(facts.tool_count)
    record.has_images = facts.has_images
    record.has_documents = facts.has_documents
    if record.end_user is None:
        record.end_user = facts.end_user
    if facts.prefix:
        record.prefix_tokens = len(facts.prefix) // 4


class _Named(Telling):
    model: Any = None
    stream: Any = None


_named = msgspec.json.Decoder(_Named)


def other_facts(surface: Surface, body: bytes, content_type: str) -> RequestFacts:
    """Return the little that routes a call whose body is not understood: its model, when it is JSON that names one.

    Raises `Invalid` when a deciding key stands twice at its top level.
    """
    if not body or not content_type.lower().startswith("application/json"):
        return RequestFacts(model="")
    try:
        told = _named.decode(body)
    except look.UNREADABLE:
        return RequestFacts(model="")
    model = told.model
    if not isinstance(model, str) or not model:
        return RequestFacts(model="", stream=told.stream is True)
    return RequestFacts(
        model=model,
        model_span=look.model_span(body),
        stream=told.stream is True,
        input_estimate=look.estimate_tokens(body, encoded=False) if surface.bills else 0,
        plain=surface.bills and look.is_text(body) and not told.tells(),
    )
