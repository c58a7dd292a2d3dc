"""What is learned from a call's bytes, the same for every protocol, and the shape a protocol has."""

from __future__ import annotations

from typing import Protocol as Shape

import msgspec

from ultimate_lib.records import Usage


class RequestFacts(msgspec.Struct, kw_only=True, frozen=True):
    """What a request says of itself. Null means that it does not say."""

    model: str
    stream: bool = False
    max_tokens: int | None = None
    choices: int | None = None  # OpenAI's `n`
    most_output: int | None = None  # the larger where it says two maxima
    odd_counts: bool = False  # a maximum or a count stands there and is no number: who knows what a provider reads
    message_count: int | None = None
    tool_count: int | None = None
    has_system: bool = False
    has_images: bool = False
    has_documents: bool = False
    end_user: str | None = None
    asked_usage: bool = False  # an OpenAI stream that asked for its usage chunk
    input_estimate: int = 0  # tokens, from the size of the text
    prefix: bytes = b""  # tools and system as they stand in the body
    model_span: tuple[int, int] = (0, 0)  # where the model's JSON string stands in the body
    plain: bool = False  # for sure text alone, of which its size bounds what it is billed for, see bounds.py


class ResponseFacts(msgspec.Struct, kw_only=True):
    """What a response says of itself; filled in as it arrives."""

    usage: Usage | None = None
    model_served: str | None = None
    upstream_id: str | None = None
    finish_reason: str | None = None
    error_type: str | None = None


class StreamWatch(Shape):
    """Reads along while a stream passes; holds back at most one unfinished event."""

    facts: ResponseFacts
    first_token: bool
    terminal: bool

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk as it came and return the bytes to pass on now: whole events only."""
        ...

    def finish(self) -> bytes:
        """Return what is still held back when the upstream has ended."""
        ...

    @property
    def output_estimate(self) -> int:
        """Output tokens seen so far, estimated from the size of the deltas."""
        ...


class Protocol(Shape):
    """A wire protocol: pure functions between bytes and meaning."""

    name: str
    path: str
    operation: str

    def read_request(self, body: bytes) -> RequestFacts:
        """Read a request body. Raises `Invalid` when it is not JSON, names no model or repeats a deciding key."""
        ...

    def prepare(self, body: bytes, facts: RequestFacts, *, model: str, stream_usage: str) -> bytes:
        """Return the body to send upstream: the very same object unless the model or the usage option changes."""
        ...

    def with_max_tokens(self, body: bytes, model: str, tokens: int) -> bytes:
        """Return the body with this maximum of output tokens a choice, in place of those that stand there."""
        ...

    def read_response(self, body: bytes) -> ResponseFacts:
        """Read a whole answer, good or error. Never raises: what is not understood stays null."""
        ...

    def watch(self, facts: RequestFacts, *, withhold_usage: bool) -> StreamWatch:
        """Return the reader of a streamed answer."""
        ...

    def error_body(self, http_status: int, code: str, message: str, request_id: str) -> bytes:
        """Return an error in the protocol's own envelope."""
        ...

    def error_event(self, http_status: int, code: str, message: str, request_id: str) -> bytes:
        """Return the event that tells a client in the middle of a stream that it failed."""
        ...
