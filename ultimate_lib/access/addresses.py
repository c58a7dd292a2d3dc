"""Addresses as counters know them: who has one IPv6 address has 2^64 of them, and counts as one."""

from __future__ import annotations

import ipaddress

_CUSTOMER_BITS = 64
_SITE_BITS = 48
_LONGEST = 60  # of what is no address


def network(address: str) -> str:
    """Return what an address counts as: itself; for IPv6 its /64, for IPv4 written as IPv6 the IPv4."""
    return _counted(address, _CUSTOMER_BITS)


def site(address: str) -> str:
    """Return the most that one customer of a provider is likely to have: the address; for IPv6 its /48."""
    return _counted(address, _SITE_BITS)


def _counted(address: str, bits: int) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:_LONGEST]
    if parsed.version == 4:  # noqa: PLR2004 - IPv4
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), bits), strict=False))
