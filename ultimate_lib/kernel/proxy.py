"""The proxy as a kernel sees it: where it is, whether it will do, and the rows it holds.

Plain standard library: importing an HTTP client would cost a kernel more than everything else here.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from claude_proxy import places
from claude_proxy.errors import BadRequest, NotAllowed, NotFound, ProxyError, Unreachable

if TYPE_CHECKING:
    from claude_proxy.places import Place

API = 1
"""The version of the interface that this library speaks."""
CHECK_S = 1.0
_ACCEPT_S = 0.3
_MOST_BYTES = 64 << 20
_UNKNOWN, _FORBIDDEN, _MISSING, _FAILED = 401, 403, 404, 500


class Checked(NamedTuple):
    """A proxy that answers and takes the key."""

    place: Place
    version: str
    demo: bool
    user: str


def check(seconds: float = CHECK_S) -> Checked:
    """Find the proxy and make sure, by two requests of at most `seconds` each, that calls can go through it.

    Raises `ProxyError` whose message and hint tell the user what is the matter and what to do.
    """
    place = places.find()
    told = _version(place, seconds)
    version = str(told.get("version", "unknown"))
    if told.get("api") != API:
        raise ProxyError(
            f"The proxy at {place.url} (version {version}) speaks interface {told.get('api')}, this library {API}.",
            hint="Install the same version of ultimate-proxy here and there.", code="version",
        )  # fmt: skip
    if not place.key:
        raise NotAllowed(
            f"There is no key for the proxy at {place.url}.",
            hint="Set CLAUDE_PROXY_API_KEY, or run `claude-proxy config set api_key cp_…`.", code="no_key",
        )  # fmt: skip
    try:
        who = _get(place, "/api/auth/verify", seconds)
    except NotAllowed as error:
        raise NotAllowed(
            f"The proxy at {place.url} refuses the key that was found ({place.key[:7]}…).",
            hint="Make a new key on its page, then set CLAUDE_PROXY_API_KEY or run "
            "`claude-proxy config set api_key cp_…`.", code="key",
        ) from error  # fmt: skip
    if "proxy:call" not in who.get("permissions", ()):
        raise NotAllowed(
            f"The key that was found may not make calls through the proxy at {place.url}.",
            hint="Use a key with the scope proxy:call.", code="scope",
        )  # fmt: skip
    return Checked(place, version, told.get("demo") is True, str(who.get("user_name", "")))


def accepts(url: str, seconds: float = _ACCEPT_S) -> bool:
    """Say whether something accepts connections at the address."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", _port(url)), timeout=seconds):
            return True
    except OSError:
        return False


def get(place: Place, path: str, seconds: float, **params: Any) -> Any:
    """GET a path and return what its JSON says; parameters may be lists. Raises `ProxyError`."""
    query = urlencode({name: value for name, value in params.items() if value is not None}, doseq=True)
    return _get(place, f"{path}?{query}" if query else path, seconds)


def _version(place: Place, seconds: float) -> dict[str, Any]:
    try:
        told = _get(place._replace(key=""), "/api/version", seconds)  # a wrong key is told apart below
    except Unreachable as error:
        if error.code == "slow":
            raise
        start = "`ultimate-proxy up`, or `ultimate-proxy up --demo` to try it without any key"
        raise Unreachable(
            f"No proxy answers at {place.url} ({_source(place)}).", hint=f"Start it: {start}.", code="down"
        ) from error
    except ProxyError as error:
        raise _other(place) from error
    if not isinstance(told, dict) or "api" not in told:
        raise _other(place)
    return told


def _source(place: Place) -> str:
    return "the usual address" if place.source == places.NOWHERE else f"address from {place.source}"


def _other(place: Place) -> ProxyError:
    return ProxyError(
        f"What answers at {place.url} ({_source(place)}) is no Ultimate Proxy, or an older one.",
        hint="Set CLAUDE_PROXY_URL to the proxy's address, or update the proxy.", code="version",
    )  # fmt: skip


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _get(place: Place, target: str, seconds: float) -> Any:
    parts = urlsplit(place.url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, _port(place.url), timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, _port(place.url), timeout=seconds)
    headers = {"Accept": "application/json", "Connection": "close"}
    if place.key:
        headers["Authorization"] = f"Bearer {place.key}"
    try:
        connection.request("GET", parts.path.rstrip("/") + target, headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
    except TimeoutError as error:
        raise Unreachable(
            f"The proxy at {place.url} did not answer within {seconds:.1f} s.",
            hint="Look at its log, or try again.", code="slow",
        ) from error  # fmt: skip
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"The proxy at {place.url} does not answer ({error}).", hint="Start it.") from error
    finally:
        connection.close()
    return _read(answer.status, body)


def _read(status: int, body: bytes) -> Any:
    try:
        told = json.loads(body)
    except ValueError as error:
        raise ProxyError(f"The answer (HTTP {status}) is not JSON.", status=status, code="answer") from error
    if status < 400:  # noqa: PLR2004 - HTTP's own border
        return told
    problem = told.get("error") if isinstance(told, dict) else None
    problem = problem if isinstance(problem, dict) else {}
    kinds: dict[int, type[ProxyError]] = {_UNKNOWN: NotAllowed, _FORBIDDEN: NotAllowed, _MISSING: NotFound}
    kind = kinds.get(status, ProxyError if status >= _FAILED else BadRequest)
    raise kind(
        str(problem.get("message") or f"The proxy answered HTTP {status}."),
        hint=str(problem.get("hint") or ""), code=str(problem.get("code") or "error"), status=status,
        request_id=str(problem.get("request_id") or ""),
    )  # fmt: skip
