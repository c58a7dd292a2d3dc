"""One request at the door: read, admitted or refused, and handed to where it is answered."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec
from tornado import httputil

from proxy_server.gateway.headers import RequestHeaders
from proxy_server.gateway.relay import Relay
from ultimate_lib import protocols
from ultimate_lib.errors import Denied, Invalid, UltimateError, Unavailable
from ultimate_lib.protocols import anthropic_messages, openai_chat
from ultimate_lib.records import CallRecord, new_call_id

if TYPE_CHECKING:
    from tornado.http1connection import HTTP1Connection

    from proxy_server.gateway.state import State
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.protocols import RequestFacts
    from ultimate_lib.protocols.facts import Protocol
    from ultimate_lib.providers import Route

log = logging.getLogger(__name__)

_COUNT_TOKENS = "/v1/messages/count_tokens"
_LOOPBACK = ("127.", "::1", "::ffff:127.")
_JSON = "application/json"


class Exchange(httputil.HTTPMessageDelegate):
    """A request below `/v1` or one that the gateway answers itself."""

    __slots__ = (
        "body", "chunks", "connection", "endpoint", "headers", "method", "protocol", "query", "size", "started_at",
        "started", "state",
    )  # fmt: skip

    def __init__(self, state: State, connection: HTTP1Connection, method: str, path: str, query: str) -> None:
        self.state = state
        self.connection = connection
        self.method = method
        self.endpoint = path
        self.query = query
        self.started_at = state.clock.now_us()
        self.started = state.clock.monotonic()
        self.chunks: list[bytes] = []
        self.size = 0
        self.body = b""
        self.protocol: Protocol | None = protocols.for_path(path)
        self.headers: httputil.HTTPHeaders = httputil.HTTPHeaders()

    # -- reading ------------------------------------------------------------------------------------------------

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,  # noqa: ARG002 - Tornado's signature
        headers: httputil.HTTPHeaders,
    ) -> None:
        """Take the headers; a body that says it is too large is refused before it is read."""
        self.headers = headers
        length = headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > self.state.settings.limits.body_bytes:
            self._too_large()
        elif headers.get("Expect", "").lower() == "100-continue":
            self.connection.write_headers(httputil.ResponseStartLine("", 100, "Continue"), httputil.HTTPHeaders())

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self.size += len(chunk)
        if self.size <= self.state.settings.limits.body_bytes:
            self.chunks.append(chunk)
        elif self.chunks:
            self.chunks = []
            self._too_large()

    def finish(self) -> None:
        """Answer."""
        self.body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        try:
            self._answer()
        except UltimateError as error:
            self.refuse(error.http_status, error.code, str(error))
        except Exception:
            log.exception("A request to %s failed before it was sent on.", self.endpoint)
            self.refuse(500, "internal", "The proxy failed; its log tells why.")

    def on_connection_close(self) -> None:
        """Forget a request whose client left before it was complete."""
        self.chunks = []

    def _too_large(self) -> None:
        most = self.state.settings.limits.body_bytes
        self.refuse(413, "too_large", f"The request body is larger than {most} bytes. Send less, or raise it.")

    # -- answering ----------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        if self.endpoint in {"/health", "/healthz", "/"}:
            self._healthy()
        elif self.endpoint == "/v1/models" and self.method in {"GET", "HEAD"}:
            self._models()
        elif self.protocol is not None or self.endpoint == _COUNT_TOKENS:
            if self.method != "POST":
                self.refuse(405, "method", f"{self.endpoint} takes POST.")
            else:
                self._call()
        else:
            self.refuse(404, "not_found", f"There is no {self.endpoint} here. Known: /v1/messages, /v1/chat/completions.")

    def _healthy(self) -> None:
        self.reply(200, b'{"status":"ok"}' if self.method != "HEAD" else b"")

    def _call(self) -> None:
        counting = self.endpoint == _COUNT_TOKENS
        protocol: Protocol = self.protocol or anthropic_messages  # type: ignore[assignment] # a module fits the shape
        told = RequestHeaders(self.headers)
        record = CallRecord(
            call_id=new_call_id(self.started_at),
            started_at=self.started_at,
            source="proxy",
            operation="count_tokens" if counting else protocol.operation,
            protocol_in=protocol.name,
            endpoint=self.endpoint,
            request_bytes=len(self.body),
        )
        try:
            principal = self._principal(told)
            told.fill(record)
            record.key_id, record.user_id = principal.key_id, principal.user_id
            record.team, record.cost_center = principal.team, principal.cost_center
            record.project = record.project or principal.project
            record.app = record.app or principal.app
            facts = protocol.read_request(self.body)
            self._describe(record, facts)
            route = self._admit(told, principal, protocol, facts, record)
        except UltimateError as error:
            self._refused(record, error)
            return
        self.state.journal.intent(record)
        Relay(self, protocol, facts, route, record, told, counting=counting).start()

    def _principal(self, told: RequestHeaders) -> Principal:
        key = told.key
        if not key:
            raise Denied(
                "This call carries no key.",
                hint="Send a cp_ key as x-api-key or as a bearer token.",
                authenticated=False,
            )
        principal = self.state.keys.lookup(key)
        if principal is None:
            raise Denied("This key is unknown, ended or expired.", hint="Make a new one.", authenticated=False)
        if principal.loopback_only and not self.address.startswith(_LOOPBACK):
            raise Denied("This key works on the proxy's own machine alone.", hint="Make another.", authenticated=False)
        principal.require("proxy:call")
        return principal

    def _describe(self, record: CallRecord, facts: RequestFacts) -> None:
        record.stream = facts.stream
        record.model_requested = facts.model
        record.max_tokens = facts.max_tokens
        record.message_count = facts.message_count
        record.tool_count = facts.tool_count
        record.has_system = facts.has_system
        record.has_tools = bool(facts.tool_count)
        record.has_images = facts.has_images
        record.has_documents = facts.has_documents
        if record.end_user is None:
            record.end_user = facts.end_user
        record.input_tokens = facts.input_estimate  # until the provider tells
        record.usage_source = "estimated"
        record.request_hash = _hash(self.body, self.state.hash_key)
        if facts.prefix:
            record.prefix_hash = _hash(facts.prefix, self.state.hash_key)
            record.prefix_tokens = len(facts.prefix) // 4

    def _admit(
        self, told: RequestHeaders, principal: Principal, protocol: Protocol, facts: RequestFacts, record: CallRecord
    ) -> Route:
        if self.state.installation in told.via:
            raise Invalid("This call has come back to the proxy that sent it.", code="loop", hint="Check base_url.")
        if principal.models is not None and facts.model not in principal.models:
            raise Denied(f"This key may not call '{facts.model}'.", hint=f"It may: {', '.join(principal.models)}.")
        if not self.state.journal.accepting:
            raise Unavailable("Calls cannot be recorded: the disk fails.", hint="Free space.", code="journal")
        route = self.state.routes.find(protocol.name, facts.model)
        record.provider = route.provider.name
        record.deployment = route.deployment
        record.model_routed = route.model
        record.protocol_out = protocol.name
        record.billing = route.provider.billing
        return route

    def _refused(self, record: CallRecord, error: UltimateError) -> None:
        """Answer in the client's own envelope and leave a row, but for callers that nobody knows."""
        status = 508 if error.code == "loop" else error.http_status
        if record.user_id is not None:
            record.status = "refused" if status < 500 else "error"  # noqa: PLR2004 - the first server error
            record.http_status = status
            record.error_type = error.code
            record.input_tokens = None
            record.usage_source = "none"
            record.cost_source = "none"
            record.duration_ms = round((self.state.clock.monotonic() - self.started) * 1000)
            self.state.journal.call(record)
            self.state.count(record)
        self.refuse(status, error.code, str(error), record.call_id)

    def _models(self) -> None:
        told = RequestHeaders(self.headers)
        self._principal(told)
        if "anthropic-version" in self.headers:
            ids = [name for name in self.state.routes.models(anthropic_messages.name) if _is_claude(name)]
            rows = [
                {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z"}
                for name in ids
            ]
            ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
            self.reply(200, msgspec.json.encode({"data": rows, "has_more": False, **ends}))
            return
        ids = self.state.routes.models(openai_chat.name)
        data = [{"id": name, "object": "model", "created": 1735689600, "owned_by": "ultimate-proxy"} for name in ids]
        self.reply(200, msgspec.json.encode({"object": "list", "data": data}))

    @property
    def address(self) -> str:
        """The client's address."""
        context = self.connection.context
        return str(getattr(context, "remote_ip", ""))

    def refuse(self, status: int, code: str, message: str, call_id: str = "") -> None:
        """Answer with an error in the envelope of the client's protocol."""
        shaped: Protocol | None = self.protocol
        if shaped is None and (self.endpoint.startswith("/v1/messages") or "anthropic-version" in self.headers):
            shaped = anthropic_messages  # type: ignore[assignment] # a module fits the shape
        request_id = call_id or new_call_id(self.started_at)
        body = (shaped or openai_chat).error_body(status, code, message, request_id)
        headers = {"x-ultimate-call-id": request_id}
        if status in {429, 503}:
            headers["retry-after"] = "5"
        self.reply(status, body, headers)

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer."""
        line = httputil.ResponseStartLine("HTTP/1.1", status, httputil.responses.get(status, "Unknown"))
        told = httputil.HTTPHeaders({"Content-Type": _JSON, "Content-Length": str(len(body)), **(headers or {})})
        self.connection.write_headers(line, told, body if self.method != "HEAD" else b"")
        self.connection.finish()


def _hash(data: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big", signed=True)


def _is_claude(name: str) -> bool:
    return name.startswith(("claude", "anthropic"))


