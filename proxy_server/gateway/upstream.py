"""The one pooled client towards providers; the only place that knows which library it is.

pyreqwest (Rust's reqwest) was chosen by measurement, `python -m tests.bench.upstream`: half of aiohttp's CPU a call,
somewhat more a chunk; pycurl costs as much and would need its own event loop glue and back-pressure.
`streamed_read_buffer_limit(0)` hands chunks on as they arrive; without it the first 64 KB of a stream are held back.

Redirects are not followed: the destination is what configuration says. TLS is verified against the system's
certificates, or those in SSL_CERT_FILE and SSL_CERT_DIR. HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are
honoured, except that an address of this machine is never asked of a proxy.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyreqwest import exceptions
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.http import Url

from ultimate_lib.errors import UpstreamFailed

if TYPE_CHECKING:
    from pyreqwest.request import StreamRequest

    from ultimate_lib.providers import Provider
    from ultimate_lib.settings import Limits

GATEWAY_TIMEOUT = 504
_MOST_KEPT = 1000


class Upstream:
    """Sends prepared calls to providers."""

    def __init__(self, limits: Limits, installation: str) -> None:
        self._connect = timedelta(seconds=limits.connect_s)
        self._clients: dict[bool, Client] = {}  # by whether the provider is on this machine
        self._targets: dict[tuple[str, str], tuple[Client, Url]] = {}
        self._credentials: dict[str, list[tuple[str, str]]] = {}
        self._hop = f"1.1 {installation}"

    def request(  # noqa: PLR0917 - the parts of a request
        self, provider: Provider, method: str, endpoint: str, query: str, headers: list[tuple[str, str]], body: bytes
    ) -> StreamRequest:
        """Return a request whose answer is read as it comes: `async with request as response`."""
        target = self._targets.get((provider.name, endpoint)) or self._target(provider, endpoint)
        client, url = target
        builder = client.request(method, url.with_query_string(query) if query else url).headers(headers)
        if body or method == "POST":
            builder = builder.body_bytes(body)
        return builder.streamed_read_buffer_limit(0).build_streamed()

    def headers(
        self, provider: Provider, passed: list[tuple[str, str]], tokens: dict[str, str], via: str
    ) -> list[tuple[str, str]]:
        """Add to a client's headers what names us, or with `auth = "client"` the caller, to the provider."""
        if provider.auth == "client":
            named = [(name, value) for name, value in tokens.items() if name != "X-Ultimate-Key" and not _ours(value)]
        else:
            named = self._credentials.get(provider.name) or self._credential(provider)
        return [
            *passed,
            *named,
            ("accept-encoding", "identity"),
            ("via", f"{via}, {self._hop}" if via else self._hop),
        ]

    def _credential(self, provider: Provider) -> list[tuple[str, str]]:
        key = provider.api_key
        named = []
        if provider.auth == "bearer":
            named = [("authorization", f"Bearer {key}")]
        elif provider.auth in {"x-api-key", "api-key"}:
            named = [(provider.auth, key)]
        self._credentials[provider.name] = named
        return named

    def _target(self, provider: Provider, endpoint: str) -> tuple[Client, Url]:
        if len(self._targets) >= _MOST_KEPT:  # endpoints with an id in them come from clients
            self._targets.clear()
        address = provider.address(endpoint)
        target = self._client(_on_this_machine(address)), Url(address)
        self._targets[provider.name, endpoint] = target
        return target

    def _client(self, here: bool) -> Client:
        client = self._clients.get(here)
        if client is None:
            builder = (
                ClientBuilder()
                .follow_redirects(False)
                .gzip(False)
                .brotli(False)
                .zstd(False)
                .deflate(False)
                .referer(False)
                .user_agent("ultimate-proxy")
                .connect_timeout(self._connect)
                .pool_max_idle_per_host(256)
                .pool_idle_timeout(timedelta(seconds=60))
            )
            client = self._clients[here] = (builder.no_proxy() if here else builder).build()
        return client

    async def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients.values():
            await client.close()


def _ours(value: str) -> bool:
    return value.startswith("cp_") or value[:10].lower() == "bearer cp_"


def _on_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def failed(error: exceptions.PyreqwestError, provider: Provider) -> UpstreamFailed:
    """Return what a transport error means, in a sentence."""
    where = f"The provider '{provider.name}' at {provider.base_url}"
    if isinstance(error, exceptions.ConnectTimeoutError):
        return UpstreamFailed(
            f"{where} did not accept a connection in time.", retryable=True, code="connect_timeout",
            http_status=GATEWAY_TIMEOUT, hint="Check the address and the network.",
        )  # fmt: skip
    if isinstance(error, exceptions.ConnectError):
        return UpstreamFailed(
            f"{where} cannot be reached ({_cause(error)}).", retryable=True, code="connect",
            hint="Check that it runs and that providers.base_url is right.",
        )  # fmt: skip
    if isinstance(error, exceptions.BuilderError):
        return UpstreamFailed(
            f"{where} cannot be asked this ({_cause(error)}).", retryable=False, code="request",
            hint="Look at the request's headers and query.",
        )  # fmt: skip
    return UpstreamFailed(
        f"{where} broke off ({_cause(error)}).", retryable=True, code="broken_off", hint="Try again."
    )


def _cause(error: exceptions.PyreqwestError) -> str:
    details = getattr(error, "details", None) or {}
    causes = details.get("causes") or [] if isinstance(details, dict) else []
    return str(causes[-1]["message"]) if causes else error.message
