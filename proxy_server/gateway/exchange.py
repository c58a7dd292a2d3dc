"""One request at the door: read, admitted or refused, and handed to where it is answered."""

from __future__ import annotations

import hashlib
import logging
import math
from typing import TYPE_CHECKING, Any

import msgspec
from tornado import httputil

from proxy_server.gateway import catalogue
from proxy_server.gateway.aside import Waiting
from proxy_server.gateway.framing import MOST_DIGITS
from proxy_server.gateway.headers import RequestHeaders
from proxy_server.gateway.relay import Relay
from proxy_server.gateway.surfaces import ANTHROPIC, OPENAI, describe, other_facts, surface_of
from ultimate_lib.access import models
from ultimate_lib.access.tokens import SHAPE
from ultimate_lib.errors import Denied, Invalid, Limited, NotFound, UltimateError, Unavailable
from ultimate_lib.limits.gauges import unask
from ultimate_lib.protocols.body import MOST_TEXT
from ultimate_lib.providers import Route
from ultimate_lib.records import CallRecord, new_call_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy_server.gateway.connection import Connection
    from proxy_server.gateway.state import State
    from proxy_server.gateway.surfaces import Surface
    from ultimate_lib.access.principal import Principal
    from ultimate_lib.limits.counters import Hold
    from ultimate_lib.protocols import RequestFacts

log = logging.getLogger(__name__)

_LOOPBACK = ("127.", "::1", "::ffff:127.")
_MODELS = "/v1/models"
_MOST_DISCARDED = 64 * 1024 * 1024
_JSON = b"Content-Type: application/json\r\n"
_RETRY_AFTER_S = 5
_RETRIED_S = 60  # the official clients wait no longer: they try again too soon


class Exchange(httputil.HTTPMessageDelegate):
    """A request below `/v1` or one that the gateway answers itself. Times are of the state's clock."""

    __slots__ = (
        "_caller", "_chunks", "_size", "_too_large", "body", "connection", "endpoint", "headers", "method",
        "principal", "query", "read_at", "started", "started_at", "state", "warning",
    )  # fmt: skip

    def __init__(self, state: State, connection: Connection, method: str, path: str, query: str) -> None:
        self.state = state
        self.connection = connection
        self.method = method
        self.endpoint = path
        self.query = query
        self.started_at = state.clock.now_us()
        self.started = self.read_at = state.clock.monotonic()
        self.body = b""
        self.headers: httputil.HTTPHeaders = httputil.HTTPHeaders()
        self.principal: Principal | None = None  # once it is known
        self.warning = ""  # what the guard tells the client of
        self._caller: Any = Waiting  # who calls, once it had to be read
        self._chunks: list[bytes] = []
        self._size = 0
        self._too_large = False

    # -- reading ------------------------------------------------------------------------------------------------

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,  # noqa: ARG002 - Tornado's signature
        headers: httputil.HTTPHeaders,
    ) -> None:
        """Take the headers. A body that says it is too large is refused at once."""
        self.headers = headers
        if "Content-Length" not in headers:
            return
        length, most = int(headers["Content-Length"][:MOST_DIGITS]), self.state.settings.limits.body_bytes
        if length > most:
            self._too_large = True
            if length > most + _MOST_DISCARDED:
                self._refuse_unread()
                return
            self._size = length
            if "Expect" not in headers:
                self.connection.linger()  # or a client that sends first and listens then would not hear of it
            self._serve()
            self.connection.linger()  # unless that has answered who asked first: its caller is still being read

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body; what is beyond the limit is read and dropped, so that the refusal is heard."""
        if self._too_large:
            if not self.connection.lingers:
                self._size += len(chunk)
                if self._size > self.state.settings.limits.body_bytes + _MOST_DISCARDED:
                    self._refuse_unread()
            return
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > self.state.settings.limits.body_bytes:
            self._too_large = True
            self._chunks.clear()

    def finish(self) -> None:
        """Answer, unless that is being done."""
        if self.connection.lingers:
            return
        self.read_at = self.state.clock.monotonic()
        chunks = self._chunks
        self.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._serve()

    def _serve(self) -> None:
        try:
            self._answer()
        except Waiting:
            return  # `_known` goes on
        except UltimateError as error:
            self.refuse(error.http_status, error.code, str(error))
        except Exception:
            log.exception("A request to %s failed before it was sent on.", self.endpoint)
            self.refuse(500, "internal", "The proxy failed; its log tells why.")

    def _known(self, caller: Any) -> None:
        """Answer, now that the caller has been read."""
        self._caller = caller
        if not self.connection.gone:
            self._serve()

    def on_connection_close(self) -> None:
        """Forget a request whose client left before it was complete."""
        self._chunks = []

    def _refuse_unread(self) -> None:
        error = self._size_error()
        self.refuse(error.http_status, error.code, str(error))

    def _size_error(self) -> Invalid:
        most = self.state.settings.limits.body_bytes
        error = Invalid(
            f"The request body is larger than {most} bytes.", hint="Send less, or raise limits.body_bytes.",
            code="too_large",
        )  # fmt: skip
        error.http_status = 413
        return error

    # -- answering ----------------------------------------------------------------------------------------------

    def _answer(self) -> None:
        endpoint = self.endpoint
        surface = surface_of(endpoint, anthropic="Anthropic-Version" in self.headers)
        if surface is not None:
            if self.method not in surface.methods:
                self.refuse(405, "method", f"{endpoint} takes {', '.join(surface.methods)}.")
            else:
                self._call(surface)
        elif endpoint in {"/health", "/healthz", "/"}:
            self.connection.reply(200, _JSON, b'{"status":"ok"}')
        elif endpoint == _MODELS or endpoint.startswith(f"{_MODELS}/"):
            if self.method in {"GET", "HEAD"}:
                self._models(endpoint[len(_MODELS) + 1 :])
            else:
                self.refuse(405, "method", f"{endpoint} takes GET.")
        else:
            self.refuse(
                404, "not_found", f"There is no {endpoint} here. Calls go to /v1/messages, /v1/chat/completions."
            )

    def _call(self, surface: Surface) -> None:
        told = RequestHeaders(self.headers)
        if self.state.installation in told.via:
            message = "This call has come back to the proxy that sent it. Check the base_url of its provider."
            self.refuse(508, "loop", message)
            return
        body = self.body
        record = CallRecord(
            call_id=new_call_id(self.started_at),
            started_at=self.started_at,
            source="proxy",
            operation=surface.operation,
            protocol_in=surface.protocol.name,
            endpoint=self.endpoint,
            request_bytes=self._size,
        )
        try:
            self.principal = principal = self._principal(told, record)
            if self._too_large:
                raise self._size_error()
            if surface.generates:
                facts = surface.protocol.read_request(body)
            else:
                facts = other_facts(surface, body, self.headers.get("Content-Type", ""))
            describe(record, facts, surface)
            record.request_hash = _hash(body, self.state.hash_key) if body else None
            if facts.prefix:
                record.prefix_hash = _hash(facts.prefix, self.state.hash_key)
            route = self._admit(principal, surface, facts, record)
            limits = self.state.admission
            if not limits.idle:
                limits.enter(self, surface, facts, route, record, told)
                return
        except UltimateError as error:
            self.refused(record, error)
            return
        self.go(surface, facts, route, record, told, None)

    def go(  # noqa: PLR0917 - what a call is made of
        self, surface: Surface, facts: RequestFacts, route: Route, record: CallRecord, told: RequestHeaders,
        hold: Hold | None,
    ) -> None:  # fmt: skip
        """Show a call that its limits admit to the guard, write that it is admitted, and send it on."""
        if not self.state.guard.idle:
            try:
                self.state.guard.enter(self, surface, facts, route, record, told.guard)
            except Limited as error:
                self.refused(record, error, status="blocked")
                if hold is not None:
                    unask(hold)  # or a key that is refused would use up the requests of others
                self.state.admission.settle(hold, record, reached=False)
                return
        self.state.journal.intent(record, hold.amounts if hold is not None else None)
        Relay(self, surface, facts, route, record, told, hold).start()

    def go_on(self, record: CallRecord, step: Callable[[], None]) -> None:
        """Take the next step of a call that was put aside for a moment, unless its client has left meanwhile."""
        if self.connection.gone:
            self.left(record)
            return
        try:
            step()
        except UltimateError as error:
            self.refused(record, error)
        except Exception:
            log.exception("A request to %s failed before it was sent on.", self.endpoint)
            self.refuse(500, "internal", "The proxy failed; its log tells why.", record.call_id)

    def left(self, record: CallRecord) -> None:
        """Leave the row of a call whose client has gone before it was admitted."""
        self._never_sent(record, "cut", "client_left")

    def _principal(self, told: RequestHeaders, record: CallRecord | None = None) -> Principal:
        """Return the caller, written into the record. Raises `Denied`."""
        key = told.key
        if not key:
            raise Denied(
                "This call carries a key of another kind." if told.tokens else "This call carries no key.",
                hint="Send a cp_ key of this proxy as x-api-key or as a bearer token; x-ultimate-key takes it too.",
                authenticated=False,
            )
        principal = self._find(key) if SHAPE.fullmatch(key) else None
        if principal is None:
            raise Denied("This key is unknown, ended or expired.", hint="Make a new one.", authenticated=False)
        if principal.loopback_only and not self.address.startswith(_LOOPBACK):
            raise Denied(
                "This key works on the proxy's own machine alone.",
                hint="Make another; a proxy in front of this one belongs into server.trusted_proxies.",
                authenticated=False,
            )
        if record is not None:
            record.key_id, record.user_id = principal.key_id, principal.user_id
            record.team, record.cost_center = principal.team, principal.cost_center
            record.project, record.app = principal.project, principal.app
            told.fill(record, principal)
        principal.require("proxy:call")
        return principal

    def _find(self, key: str) -> Principal | None:
        if self._caller is Waiting:
            return self.state.callers.find(key, self._known)
        if isinstance(self._caller, UltimateError):
            raise self._caller
        found: Principal | None = self._caller
        return found

    def _admit(self, principal: Principal, surface: Surface, facts: RequestFacts, record: CallRecord) -> Route:
        if len(facts.model) > MOST_TEXT:
            raise Invalid(f"The model's name is longer than {MOST_TEXT} characters.", code="model_long")
        self._check_model(principal.models, facts.model)
        if not self.state.journal.accepting:
            raise Unavailable("Calls cannot be recorded: the disk fails.", hint="Free space.", code="journal")
        protocol = surface.protocol.name
        route = self.state.routes.find(protocol, facts.model) if facts.model else self._modelless(protocol)
        record.provider = route.provider.name
        record.deployment = route.deployment
        record.model_routed = route.model or None
        record.protocol_out = protocol
        record.billing = route.provider.billing
        return route

    def _modelless(self, protocol: str) -> Route:
        """Return the first provider of the protocol, for files, batches and whatever else names no model."""
        providers = [provider for provider in self.state.providers.values() if not provider.lacks_key]
        speaking = [p for p in providers if p.protocol == protocol] or [p for p in providers if p.speaks(protocol)]
        if not speaking:
            raise NotFound(
                f"No provider that speaks {protocol} is configured.", hint="Set its key.", code="no_provider"
            )
        return Route(speaking[0], "", speaking[0].name)

    @staticmethod
    def _check_model(allowed: tuple[str, ...] | None, model: str) -> None:
        """Raise `Denied` for a model that is not on the key's list, or for none where there is a list."""
        if not models.allows(allowed, model):
            named = f"'{model}'" if model else "what names no model"
            raise Denied(
                f"This key may not call {named}.", hint=f"It may: {', '.join(allowed or ())}.", code="model_denied"
            )

    def refused(self, record: CallRecord, error: UltimateError, *, status: str = "refused") -> None:
        """Answer in the client's own envelope and leave a row, but for callers that nobody knows."""
        http_status = error.http_status
        if record.user_id is not None:
            record.http_status = http_status
            self._never_sent(record, status if http_status < 500 else "error", error.code)  # noqa: PLR2004 - the first server error
        after_s = error.retry_after_s if isinstance(error, Limited) else None
        again = status != "blocked" or (after_s is not None and after_s <= _RETRIED_S)
        self.refuse(http_status, error.code, str(error), record.call_id, after_s, again=again)

    def _never_sent(self, record: CallRecord, status: str, error_type: str) -> None:
        """Write the row of a call that has not gone to its provider."""
        record.status = status
        record.error_type = error_type
        record.input_tokens = None
        record.usage_source = "none"
        record.cost_source = "none"
        now = self.state.clock.monotonic()
        record.duration_ms = round((now - self.started) * 1000)
        record.overhead_ms = round((now - self.read_at) * 1000, 3)
        self.state.journal.call(record)
        self.state.count(record)

    def _models(self, wanted: str) -> None:
        """List the model names that can be called, or tell of one, in the shape of the client's protocol."""
        allowed = self._principal(RequestHeaders(self.headers)).models
        if wanted:
            self._check_model(allowed, wanted)
        protocol = ANTHROPIC if "Anthropic-Version" in self.headers else OPENAI
        told = catalogue.told(self.state.routes, protocol.name, allowed, wanted)
        self.connection.reply(200, _JSON, msgspec.json.encode(told))

    @property
    def address(self) -> str:
        """The client's address."""
        return str(getattr(self.connection.context, "remote_ip", ""))

    def refuse(
        self, status: int, code: str, message: str, call_id: str = "", retry_after_s: float | None = None, *,
        again: bool = True,
    ) -> None:  # fmt: skip
        """Answer with an error in the envelope of the client's protocol; `again`: it may try again of itself."""
        if self.connection.gone:
            return
        anthropic = self.endpoint.startswith("/v1/messages") or "Anthropic-Version" in self.headers
        request_id = call_id or new_call_id(self.started_at)
        body = (ANTHROPIC if anthropic else OPENAI).error_body(status, code, message, request_id)
        head = b"%bX-Ultimate-Call-Id: %b\r\n" % (_JSON, request_id.encode())
        if not again:
            head += b"X-Should-Retry: false\r\n"  # the official clients go by it, else they try three times
        if status in {429, 503} and (again or retry_after_s is not None):
            after_s = _RETRY_AFTER_S if retry_after_s is None else max(math.ceil(retry_after_s), 1)
            head += b"Retry-After: %d\r\n" % after_s
        self.connection.reply(status, head, body)


def _hash(data: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=key).digest(), "big", signed=True)
