"""Whom a request comes from, and the X-Forwarded headers that say so.

What a client says about itself is believed only if it is one of `server.trusted_proxies`; an empty list is nobody.
But a program on this machine that passes such headers on is a proxy that nobody has declared: whoever stands behind
it is not of this machine, so that loopback's rights (the local key, `/metrics`, sign-in over plain HTTP) end there.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tornado.httputil import HTTPHeaders

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 9110, section 7.6.1: these speak of one connection, not of the message.
HOP_BY_HOP = frozenset(
    {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
        "Transfer-Encoding", "Upgrade",
    }
)  # fmt: skip
UNKNOWN = "0.0.0.0"  # noqa: S104 - an address that is nobody's, never bound to
_CLAIMS = frozenset({"Forwarded", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip"})
_FORWARDED = "X-Forwarded-"
_BEHIND = frozenset({"Forwarded", "X-Forwarded-For", "X-Real-Ip"})


class Trust:
    """The addresses whose claims are believed."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        try:
            self._networks: list[Network] = [ipaddress.ip_network(text, strict=False) for text in trusted_proxies]
        except ValueError as error:
            raise Invalid(
                f"server.trusted_proxies: {error}.", hint="List addresses or networks, such as '10.0.0.0/8'."
            ) from error

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)

    def client(self, peer: str, headers: HTTPHeaders) -> str:
        """Return the caller's address: the last one in X-Forwarded-For that no trusted proxy stands for.

        `UNKNOWN` behind a proxy on this machine that is not declared.
        """
        if not self._networks or peer not in self:
            told = headers._as_list  # noqa: SLF001 - a look-up of absent names costs an exception each
            return UNKNOWN if not _BEHIND.isdisjoint(told) and _is_loopback(peer) else peer
        for claimed in reversed(headers.get("X-Forwarded-For", "").split(",")):
            address = claimed.strip()
            if address and address not in self:
                return address if _is_address(address) else peer
        return peer


def _is_loopback(text: str) -> bool:
    return text.startswith("127.") or text in {"::1", "::ffff:127.0.0.1"}


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def passed_on(
    headers: HTTPHeaders, *, client: str, trusted: bool, protocol: str, root_path: str
) -> list[tuple[str, str]]:
    """Return the headers of a request as control gets them, X-Forwarded ones made by us."""
    dropped = {name.strip().title() for name in headers.get("Connection", "").split(",")}
    kept = [
        (name, value)
        for name, value in headers.get_all()
        if name not in HOP_BY_HOP
        and name not in _CLAIMS
        and name != "Expect"  # Tornado has answered it
        and name not in dropped
        and not name.startswith(_FORWARDED)
    ]
    host = headers.get("Host", "")
    if trusted:
        protocol = headers.get("X-Forwarded-Proto", protocol).split(",")[-1].strip().lower()
        host = headers.get("X-Forwarded-Host", host).split(",")[-1].strip()
    kept += [
        (f"{_FORWARDED}For", client),
        (f"{_FORWARDED}Proto", "https" if protocol == "https" else "http"),
        (f"{_FORWARDED}Host", host),
    ]
    if root_path:
        kept.append((f"{_FORWARDED}Prefix", root_path))
    return kept
