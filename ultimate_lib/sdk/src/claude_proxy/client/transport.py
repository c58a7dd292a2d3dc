"""Requests and answers: addresses, credentials, time-outs, further tries, and errors in words."""

from __future__ import annotations

import json
import time
import uuid
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from claude_proxy import places
from claude_proxy.about import API, __version__
from claude_proxy.answers import Answer, mask
from claude_proxy.client.written import pairs
from claude_proxy.errors import BadRequest, NotAllowed, NotFound, ProxyError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import requests

_TRIES = 3
_PAUSE_S = 0.2  # before the second try; three times that before the third
_LONGEST_PAUSE_S = 5.0  # a proxy that wants a longer one is not asked again
_CONNECT_S = 5.0
_MOMENTARY = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_MOST_TEXT = 200
_VERSION_PATH = "/api/version"


class Transport:
    """Sends requests to one proxy. `url` is its address, `key` the key in use (empty: none)."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None, timeout: float = 30.0) -> None:
        place = places.find(base_url, api_key)
        self.url = _checked_url(place.url, place.source)
        self.source = place.source  # where the address was found, in words
        self.key = _checked_key(place.key)
        self.timeout = timeout
        self._told: dict[str, Any] | None = None  # what the proxy said at /api/version

    def __repr__(self) -> str:
        key = "set" if self.key else "none"
        return f"{type(self).__name__}(url={self.url!r}, source={self.source!r}, key={key})"

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; another request opens new ones."""
        session = self.__dict__.pop("_session", None)
        if session is not None:
            session.close()

    def set_api_key(self, api_key: str) -> None:
        """Use this key from now on."""
        self.key = _checked_key(api_key)

    @property
    def demo(self) -> bool:
        """Whether the proxy says that its numbers are made up; asks it when it has not been asked yet."""
        self.check_api()
        return bool((self._told or {}).get("demo"))

    # -- what any route can be asked with ---------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """GET a path and return its JSON; objects are `Answer`s. Lists become repeated parameters, None is left out.

        Raises `ProxyError`, as all that follows.
        """
        return self._json(self._send("GET", path, params=params))

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, version: int | None = None) -> Any:
        """POST a JSON object, once, and return the JSON that comes back.

        Here and below, with a `version` nothing is changed unless what is changed still has it (error `changed`).
        """
        return self._json(self._send("POST", path, body=body or {}, headers=_if_match(version)))

    def create(self, path: str, body: Mapping[str, Any] | None = None, *, version: int | None = None) -> Any:
        """POST what makes something, and return the JSON that comes back; tried again when that may help.

        An Idempotency-Key says that the tries are one: the proxy makes one thing and tells each try the same.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4()), **_if_match(version)}
        return self._json(self._send("POST", path, body=body or {}, headers=headers))

    def put(self, path: str, body: Mapping[str, Any] | None = None, *, version: int | None = None) -> Any:
        """PUT a JSON object, once, and return the JSON that comes back."""
        return self._json(self._send("PUT", path, body=body or {}, headers=_if_match(version)))

    def patch(self, path: str, body: Mapping[str, Any], *, version: int | None = None) -> Any:
        """PATCH a path with a JSON object, once, and return the JSON that comes back."""
        return self._json(self._send("PATCH", path, body=body, headers=_if_match(version)))

    def delete(self, path: str, **params: Any) -> Any:
        """DELETE a path, once, and return the JSON that comes back."""
        return self._json(self._send("DELETE", path, params=params))

    def remove(self, path: str, *, version: int | None = None) -> Any:
        """DELETE an object, once, and return the JSON that comes back."""
        return self._json(self._send("DELETE", path, headers=_if_match(version)))

    # -- one request ------------------------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        expected: Iterable[int] = (),
    ) -> requests.Response:
        """Return a good answer, or one whose status is expected.

        What may be asked twice, a GET or a request with an Idempotency-Key, is tried again when that may help.
        """
        if path.startswith("/api/") and path != _VERSION_PATH:
            self.check_api()
        made_once = "Idempotency-Key" in (headers or {})
        tries = _TRIES if method == "GET" or made_once else 1
        for number in range(1, tries + 1):
            pause = _pause_s(number)
            try:
                response = self.once(method, path, params=params, body=body, headers=headers)
            except Unreachable as error:
                if number == tries or error.code != "connection_lost":
                    raise
            else:
                if response.ok or response.status_code in expected:
                    return response
                wanted = _wait_s(response)
                under_way = made_once and response.status_code == HTTPStatus.CONFLICT and wanted is not None
                momentary = under_way or response.status_code in _MOMENTARY
                hopeless = not momentary or (wanted or 0) > _LONGEST_PAUSE_S
                if number == tries or hopeless:
                    raise self.error(response)
                pause = max(pause, wanted or 0)
            time.sleep(pause)
        raise AssertionError("unreachable: the last try returns or raises")

    def once(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request. Raises `Unreachable` without an answer, `ProxyError` when it leads elsewhere."""
        from requests import exceptions  # noqa: PLC0415 - loads with the first request

        longest = self.timeout if timeout is None else timeout
        try:
            response = self._session.request(
                method,
                self.url + path,
                params=pairs(params or {}),
                data=json.dumps(body).encode() if body is not None else None,
                headers={**({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})},
                timeout=(min(_CONNECT_S, longest), longest),
                allow_redirects=False,  # the key goes to the address it was found for and nowhere else
                stream=stream,
                auth=self._sign,
            )
        except exceptions.RequestException as error:
            raise self._unreachable(error) from error
        if response.is_redirect:
            to = response.headers.get("Location", "")[:_MOST_TEXT]
            raise ProxyError(
                f"{self.url} leads on to {to}.", hint="Give that address instead.", code="redirected",
                status=response.status_code,
            )  # fmt: skip
        return response

    @cached_property
    def _session(self) -> requests.Session:
        from http.cookiejar import DefaultCookiePolicy  # noqa: PLC0415 - loads with the first request

        import requests  # noqa: PLC0415 - as above

        session = requests.Session()
        session.headers.update({"Accept": "application/json", "User-Agent": f"claude-proxy/{__version__}"})
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # a key says who asks, never a cookie
        if places.is_here(self.url):
            session.trust_env = False  # what is on this computer is not asked for through a proxy elsewhere
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the key. As `auth`, so that no ~/.netrc puts something else in its place."""
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request

    def _json(self, response: requests.Response) -> Any:
        if response.status_code == HTTPStatus.NO_CONTENT:
            return None
        try:
            return json.loads(response.content, object_hook=Answer)
        except ValueError as error:
            raise ProxyError(
                f"{self.url} answers, but not as an Ultimate Proxy does ({_kind(response)} where JSON belongs).",
                hint=f"Is something else listening there{self._found()}?",
                code="not_ours",
                status=response.status_code,
            ) from error

    # -- errors -----------------------------------------------------------------------------------------------------

    def check_api(self) -> None:
        """Ask the proxy once which interface it speaks. Raises `ProxyError` when it is another than ours."""
        if self._told is not None:
            return
        response = self._send("GET", _VERSION_PATH, expected=range(400, 600))
        told = self._json(response) if response.ok else {}  # a proxy that does not tell is judged by what it answers
        told = told if isinstance(told, dict) else {}
        spoken = told.get("api", API)
        if spoken != API:
            newer = isinstance(spoken, int) and spoken > API
            raise ProxyError(
                f"The proxy at {self.url} (version {told.get('version')}) speaks interface {spoken}, "
                f"this client (version {__version__}) interface {API}.",
                hint="Update the client: pip install -U claude-proxy-sdk" if newer else "Update the proxy.",
                code="api_version",
            )
        self._told = told

    def error(self, response: requests.Response) -> ProxyError:
        """Return what a refusal says: the proxy's own words, code and request id when it is the proxy's."""
        status = response.status_code
        try:
            told = json.loads(response.content)["error"]
            message, hint = str(told["message"]), str(told.get("hint") or "")
            code, request_id = str(told.get("code") or "error"), str(told.get("request_id") or "")
        except (ValueError, KeyError, TypeError, AttributeError):
            message = f"{self.url} answered {status} ({_kind(response)}), but not as an Ultimate Proxy does."
            hint, code, request_id = f"Is something else listening there{self._found()}?", "not_ours", ""
        wait = _wait_s(response)
        if wait is not None and status in _MOMENTARY:
            hint = f"{hint} Try again in {wait:g} s.".strip()
        if status == HTTPStatus.UNAUTHORIZED and not self.key:
            hint = "Give a key: CLAUDE_PROXY_API_KEY, or `claude-proxy config set api_key`."
        request_id = request_id or response.headers.get("X-Request-Id", "")
        return _class(status)(mask(message), hint=mask(hint), code=code, status=status, request_id=request_id)

    def _found(self) -> str:
        """Return where the address was found, for a message; nothing when whoever asks gave it."""
        return "" if self.source == "given" else f" (address from: {self.source})"

    def _unreachable(self, error: Exception) -> ProxyError:
        from requests import exceptions  # noqa: PLC0415 - loads with the first request

        if isinstance(error, exceptions.ConnectTimeout) or _is_refused(error):
            return Unreachable(
                f"No proxy answers at {self.url}{self._found()}.",
                hint="Start one with `ultimate-proxy up`, or say where it is: CLAUDE_PROXY_URL, or "
                "`claude-proxy config set base_url`.",
                code="unreachable",
            )
        if isinstance(error, exceptions.Timeout):
            return Unreachable(
                f"The proxy at {self.url} did not answer within {self.timeout:g} s.",
                hint="Ask for a shorter span, or allow more time.",
                code="timeout",
            )
        if isinstance(error, exceptions.SSLError):
            return Unreachable(
                f"{self.url} cannot be trusted: {mask(str(error))[:_MOST_TEXT]}.",
                hint="Check the address and its certificate; REQUESTS_CA_BUNDLE names an authority of one's own.",
                code="tls",
            )
        if isinstance(error, (exceptions.ConnectionError, exceptions.ChunkedEncodingError)):
            return Unreachable(
                f"The proxy at {self.url} broke off its answer.", hint="Try again; its log may say why.",
                code="connection_lost",
            )  # fmt: skip
        return ProxyError(f"{self.url} cannot be asked: {mask(str(error))[:_MOST_TEXT]}.", code="request")


def _if_match(version: int | None) -> dict[str, str]:
    return {"If-Match": f'"v{version}"'} if version is not None else {}


def _checked_url(url: str, source: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username is not None or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ProxyError(
            f"The address of the proxy is no http:// or https:// address without credentials (it is from: {source}).",
            hint="Write one such as http://127.0.0.1:8082.",
            code="address",
        )
    return url


def _checked_key(key: str) -> str:
    key = key.strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise ProxyError(
            "The key has characters that no key has.", hint="Copy it anew: cp_ and 43 characters.", code="key"
        )
    return key


def _class(status: int) -> type[ProxyError]:
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return NotAllowed
    if status == HTTPStatus.NOT_FOUND:
        return NotFound
    asked_wrongly = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return BadRequest if asked_wrongly and status not in _MOMENTARY else ProxyError


def _kind(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip() or "no content type"


def _wait_s(response: requests.Response) -> float | None:
    """Return how long an answer asks to wait; None when it does not say, or says a date."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.replace(".", "", 1).isdecimal() else None


def _pause_s(number: int) -> float:
    """Return the pause after a try that failed; a fifth up or down, so that clients do not come back all at once."""
    import random  # noqa: PLC0415 - loads when something fails

    return float(_PAUSE_S * 3 ** (number - 1)) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def _is_refused(error: BaseException) -> bool:
    """Say whether no connection came about at all; then nothing was sent either."""
    from urllib3 import exceptions  # noqa: PLC0415 - part of requests

    cause: Any = error
    for _ in range(8):
        if isinstance(cause, (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)):
            return True
        first = cause.args[0] if getattr(cause, "args", ()) else None
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, BaseException) else first
        if not isinstance(cause, BaseException):
            return False
    return False
