"""Who asks, and from where: addresses that a gateway tells, keys, cookies, and what a browser may send with them."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from proxy_server.control.answers import Caller
from ultimate_lib.access import sessions
from ultimate_lib.access.keys import KeyCache
from ultimate_lib.errors import Denied, Invalid

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders, HTTPServerRequest

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_TOKEN = 200
_LONGEST_AGENT = 300


class Identify:
    """Turns a request into its caller. Safe for several threads."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._keys = KeyCache(store, clock)
        self._trusted = [ipaddress.ip_network(told, strict=False) for told in settings.server.trusted_proxies]

    def caller(self, request: HTTPServerRequest) -> Caller:
        """Return who asks. Raises `Denied` for credentials that are wrong, `Invalid` for a foreign Host."""
        caller = self._place(request)
        token = _bearer(request.headers)
        if token is not None:  # a request that brings a key is judged by it alone
            return replace(caller, principal=self._key(token, caller))
        session = _cookie(request, cookie_name(caller))
        if session is None:
            return caller
        principal = sessions.lookup(
            self._store, self._clock, session, idle_minutes=self._settings.server.session_idle_minutes
        )
        return caller if principal is None else replace(caller, principal=principal, session=session)

    def _place(self, request: HTTPServerRequest) -> Caller:
        headers = request.headers
        peer = request.remote_ip or ""
        forwarded: list[str] = []
        secure, host = False, headers.get("Host", "")
        if is_loopback(peer) or self._is_trusted(peer):
            told = ",".join(headers.get_list("X-Forwarded-For"))
            forwarded = [part.strip() for part in told.split(",") if part.strip()]
            secure = headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
            host = headers.get("X-Forwarded-Host", "").strip() or host
        hops = [*forwarded, peer]
        address = next((hop for hop in reversed(forwarded) if not self._is_trusted(hop)), peer)
        loopback = all(is_loopback(hop) for hop in hops)
        self._check_host(host, loopback=loopback)
        return Caller(
            address=address,
            agent=headers.get("User-Agent", "")[:_LONGEST_AGENT],
            loopback=loopback,
            secure=secure,
            origin=f"{'https' if secure else 'http'}://{host}",
            root=self._settings.server.root_path,
            demo=self._settings.data.demo,
        )

    def _is_trusted(self, hop: str) -> bool:
        try:
            address = ipaddress.ip_address(hop)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)

    def _check_host(self, host: str, *, loopback: bool) -> None:
        """Refuse a foreign name for this computer: a page elsewhere may have let its own name point here."""
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or "" if parts.port != 0 else ""  # a port that is none raises
        except ValueError:
            name = ""
        public = urlsplit(self._settings.server.public_url).hostname
        if not name or any(c in host for c in "/\\@?#\t "):
            raise Invalid("The Host header is missing or wrong.", code="host")
        if not loopback or name in {public, "localhost"} or name.endswith(".localhost"):
            return
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise Invalid(
                f"This computer is not known as '{name}'.",
                hint="Use http://localhost, or set server.public_url to the name that people use.",
                code="host",
            ) from None

    def _key(self, token: str, caller: Caller) -> Principal:
        principal = self._keys.lookup(token) if len(token) <= _LONGEST_TOKEN else None
        if principal is None:
            raise Denied(
                "This key is not known, or has ended.",
                hint="Keys begin with 'cp_'. The one in local.json works on this computer.",
                authenticated=False,
                code="key",
            )
        if principal.loopback_only and not caller.loopback:
            raise Denied(
                "This key works on its own computer alone.",
                hint="Make another key for use from elsewhere.",
                code="key_loopback",
            )
        return principal

    def check_browser(
        self, request: HTTPServerRequest, caller: Caller, form_token: str, *, form: bool = False
    ) -> None:
        """Let a change that a cookie carries, or that a browser asks for without any, pass only from a page of ours.

        A sign-in brings no cookie yet; another site must not sign its visitors in here as somebody else. Programs
        send no Origin, and no forms. Raises `Denied`.
        """
        by_key = caller.principal is not None and caller.session is None
        program = caller.session is None and not form and "Origin" not in request.headers
        if request.method in SAFE_METHODS or by_key or program:
            return
        origin = request.headers.get("Origin", "null")
        ours = {caller.origin.lower()}
        if self._settings.server.public_url:
            public = urlsplit(self._settings.server.public_url)
            ours.add(f"{public.scheme}://{public.netloc}".lower())
        # Under our referrer policy a form's Origin is "null"; the browser then says by itself where the form stood.
        from_us = origin.lower() in ours or (
            origin == "null" and request.headers.get("Sec-Fetch-Site") == "same-origin"
        )
        if not from_us:
            raise Denied("This did not come from a page of this server.", hint="Reload the page.", code="origin")
        if caller.session is None:
            return
        told = request.headers.get("X-CSRF-Token") or form_token
        if not hmac.compare_digest(told.encode(), sessions.csrf_token(caller.session).encode()):
            raise Denied("The page's token is missing or old.", hint="Reload the page and try again.", code="csrf")


def cookie_name(caller: Caller) -> str:
    """Return the session cookie's name: bound to host and TLS, or to the port on plain http://localhost."""
    if caller.secure:
        return "__Host-ultimate"
    try:
        port = urlsplit(caller.origin).port or 80
    except ValueError:
        port = 80
    return f"ultimate-{port}"


def is_loopback(address: str) -> bool:
    """Say whether an address is this computer's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _bearer(headers: HTTPHeaders) -> str | None:
    key = headers.get("X-Api-Key")
    if key is not None:
        return key.strip()
    told = headers.get("Authorization")
    if told is None:
        return None
    scheme, _, token = told.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise Denied(
            "Only 'Authorization: Bearer cp_…' is understood here.", authenticated=False, code="authorization"
        )
    return token.strip()


def _cookie(request: HTTPServerRequest, name: str) -> str | None:
    morsel = request.cookies.get(name)
    if morsel is None or not 0 < len(morsel.value) <= _LONGEST_TOKEN:
        return None
    return morsel.value
