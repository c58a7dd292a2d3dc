"""The one pooled client towards providers; the only place that knows which library it is.

pyreqwest (Rust's reqwest) was chosen by measurement, see tests/bench/upstream.py: half of aiohttp's CPU a call at the
price of a few microseconds a chunk. `streamed_read_buffer_limit(0)` hands chunks on as they arrive; without it the
first 64 KB of a stream would be held back. Redirects are not followed: the destination is what configuration says.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pyreqwest import exceptions
from pyreqwest.client import ClientBuilder

from ultimate_lib.errors import UpstreamFailed

if TYPE_CHECKING:
    from pyreqwest.request import ConsumedRequest, StreamRequest

    from ultimate_lib.providers import Provider
    from ultimate_lib.settings import Limits

GATEWAY_TIMEOUT = 504


class Upstream:
    """Sends prepared calls to providers. TLS is verified; HTTPS_PROXY and NO_PROXY are honoured."""

    def __init__(self, limits: Limits) -> None:
        self._client: Any = (
            ClientBuilder()
            .follow_redirects(False)  # noqa: FBT003 - the library's own signature
            .gzip(False)  # noqa: FBT003
            .brotli(False)  # noqa: FBT003
            .zstd(False)  # noqa: FBT003
            .deflate(False)  # noqa: FBT003
            .referer(False)  # noqa: FBT003
            .connect_timeout(timedelta(seconds=limits.connect_s))
            .pool_max_idle_per_host(256)
            .pool_idle_timeout(timedelta(seconds=60))
            .build()
        )

    def plain(self, url: str, headers: list[tuple[str, str]], body: bytes) -> ConsumedRequest:
        """Return a request whose answer is read whole."""
        request: ConsumedRequest = self._client.post(url).headers(headers).body_bytes(body).build()
        return request

    def streamed(self, url: str, headers: list[tuple[str, str]], body: bytes) -> StreamRequest:
        """Return a request whose answer is read as it comes."""
        builder = self._client.post(url).headers(headers).body_bytes(body)
        request: StreamRequest = builder.streamed_read_buffer_limit(0).build_streamed()
        return request

    async def close(self) -> None:
        """Let go of all connections."""
        await self._client.close()


def credentials(provider: Provider, tokens: dict[str, str]) -> list[tuple[str, str]]:
    """Return the headers that name us, or with `auth = "client"` the caller, to the provider."""
    key = provider.api_key
    if provider.auth == "bearer":
        return [("authorization", f"Bearer {key}")]
    if provider.auth in {"x-api-key", "api-key"}:
        return [(provider.auth, key)]
    if provider.auth == "client":
        return [(name, value) for name, value in tokens.items() if name != "X-Ultimate-Key" and not _ours(value)]
    return []


def _ours(value: str) -> bool:
    return value.startswith("cp_") or value[:10].lower() == "bearer cp_"


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
    if isinstance(error, exceptions.RequestTimeoutError):
        return UpstreamFailed(
            f"{where} fell silent.", retryable=True, code="read_timeout", http_status=GATEWAY_TIMEOUT,
            hint="Try again, or raise limits.first_byte_s.",
        )  # fmt: skip
    return UpstreamFailed(f"{where} broke off ({_cause(error)}).", retryable=True, code="broken_off", hint="Try again.")


def _cause(error: exceptions.PyreqwestError) -> str:
    details = getattr(error, "details", None) or {}
    causes = details.get("causes") or [] if isinstance(details, dict) else []
    return str(causes[-1]["message"]) if causes else error.message
