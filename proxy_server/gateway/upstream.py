"""The one pooled client towards providers; the only place that knows which library it is.

libcurl through pycurl was chosen by measurement, `python -m tests.bench.upstream`: half of aiohttp's CPU a call and
about the same a chunk. pyreqwest costs as much but goes on with a cancelled request until the provider answers, so a
client that leaves would still be paid for; it was ruled out for that.

Redirects are not followed: the destination is what configuration says. TLS is verified against the system's
certificates, or those in SSL_CERT_FILE and SSL_CERT_DIR. HTTPS_PROXY, http_proxy, ALL_PROXY and NO_PROXY are honoured
by libcurl, except that an address of this machine is never asked of a proxy.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pycurl

from proxy_server.gateway.multi import Multi
from proxy_server.gateway.transfer import Transfer

if TYPE_CHECKING:
    from ultimate_lib.providers import Provider
    from ultimate_lib.settings import Limits

_MOST_KEPT = 1000
_MOST_IDLE = 64
_LARGE_BYTES = 64 * 1024
_SUPPRESS_CONNECT_HEADERS = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, which pycurl does not name
_OUR_KEY = re.compile(r"(?:^|\s)cp_")  # after any scheme, or none
# What libcurl would add by itself: left out unless the client sent it.
_NOT_ADDED = {"Accept": "Accept:", "Content-Type": "Content-Type:", "User-Agent": "User-Agent:"}


class Upstream:
    """Sends prepared calls to providers."""

    def __init__(self, limits: Limits, installation: str) -> None:
        self._connect_ms = round(limits.connect_s * 1000)
        self._multi = Multi()
        self._idle: dict[bool, list[Any]] = {True: [], False: []}  # by whether the provider is on this machine
        self._targets: dict[tuple[str, str], tuple[bool, str]] = {}
        self._credentials: dict[tuple[str, str], list[str]] = {}  # by provider and key
        self._hop = f"Via: 1.1 {installation}"
        self._certificates = _certificates()

    def request(  # noqa: PLR0917 - the parts of a request
        self, provider: Provider, method: str, endpoint: str, query: str, headers: list[str], body: bytes
    ) -> Transfer:
        """Send a request and return its transfer; `headers` as `headers()` returns them."""
        here, url = self._targets.get((provider.name, endpoint)) or self._target(provider, endpoint)
        usual = method == "POST" and len(body) <= _LARGE_BYTES
        idle = self._idle[here]
        curl = idle.pop() if usual and idle else self._handle(here)
        target = f"{url}?{query}" if query else url
        try:
            curl.setopt(pycurl.URL, target)
        except UnicodeEncodeError:
            curl.setopt(pycurl.URL, target.encode("latin-1"))  # as it came
        try:
            curl.setopt(pycurl.HTTPHEADER, headers)
        except UnicodeEncodeError:
            curl.setopt(pycurl.HTTPHEADER, [line.encode("latin-1") for line in headers])
        transfer = Transfer(curl, provider)
        if usual:
            curl.setopt(pycurl.POSTFIELDS, body)
        else:
            _unusual(curl, method, body, transfer)
        transfer.start(self._multi, idle if usual and len(idle) < _MOST_IDLE else None)
        return transfer

    def headers(
        self, provider: Provider, passed: list[tuple[str, str]], tokens: dict[str, str], via: str
    ) -> list[str]:
        """Return a client's headers as lines, with what names us, or with `auth = "client"` the caller, added."""
        lines = [f"{name}: {value}" if value else f"{name};" for name, value in passed]
        present = {name for name, _ in passed}
        lines += [line for name, line in _NOT_ADDED.items() if name not in present]
        if provider.auth == "client":
            lines += [
                f"{name}: {value}"
                for name, value in tokens.items()
                if name != "X-Ultimate-Key" and value and not _ours(value)
            ]
        else:
            lines += self._credentials.get((provider.name, provider.api_key)) or self._credential(provider)
        lines += ("Accept-Encoding: identity", "Expect:", f"Via: {via}, {self._hop[5:]}" if via else self._hop)
        return lines

    def _credential(self, provider: Provider) -> list[str]:
        key = provider.api_key
        lines = []
        if provider.auth == "bearer":
            lines = [f"Authorization: Bearer {key}"]
        elif provider.auth in {"x-api-key", "api-key"}:
            lines = [f"{provider.auth}: {key}"]
        self._credentials[provider.name, provider.api_key] = lines
        return lines

    def _target(self, provider: Provider, endpoint: str) -> tuple[bool, str]:
        if len(self._targets) >= _MOST_KEPT:  # endpoints with an id in them come from clients
            self._targets.clear()
        address = provider.address(endpoint)
        target = self._targets[provider.name, endpoint] = _on_this_machine(address), address
        return target

    def _handle(self, here: bool) -> Any:
        curl = pycurl.Curl()
        for option, value in (
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PATH_AS_IS, 1),
            (_SUPPRESS_CONNECT_HEADERS, 1),
            (pycurl.CONNECTTIMEOUT_MS, self._connect_ms),
            (pycurl.MAXAGE_CONN, 60),
            (pycurl.TCP_KEEPALIVE, 1),
            *self._certificates,
        ):
            curl.setopt(option, value)
        if here:
            curl.setopt(pycurl.NOPROXY, "*")
        return curl

    def close(self) -> None:
        """Let go of all connections."""
        self._multi.close()


def _unusual(curl: Any, method: str, body: bytes, transfer: Transfer) -> None:
    """Prepare a request that is no small POST. A large body is let go of once it has been sent."""
    if method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
    elif method == "GET" and not body:
        curl.setopt(pycurl.HTTPGET, 1)
    elif method == "DELETE" and not body:
        curl.setopt(pycurl.CUSTOMREQUEST, method)
    else:
        curl.setopt(pycurl.POST, 1)
        curl.setopt(pycurl.CUSTOMREQUEST, method)
        curl.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
        transfer.body = memoryview(body)
        curl.setopt(pycurl.READFUNCTION, transfer.read_body)
        curl.setopt(pycurl.SEEKFUNCTION, transfer.seek_body)


def _certificates() -> list[tuple[int, str]]:
    """Return where the system keeps its certificates; wheels of libcurl do not know."""
    paths = ssl.get_default_verify_paths()
    found = []
    if paths.cafile:
        found.append((pycurl.CAINFO, paths.cafile))
    if paths.capath:
        found.append((pycurl.CAPATH, paths.capath))
    return found


def _ours(value: str) -> bool:
    return _OUR_KEY.search(value) is not None


def _on_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
