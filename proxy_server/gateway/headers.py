"""One pass over a request's headers: what names the caller, what describes the call, what goes upstream."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from ultimate_lib.access.chain import merged_tags

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.records import CallRecord

MOST_TAGS = 10
_MOST_TEXT = 256
_MOST_NAMES = 2000
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

# What is done with a header. Numbers, because every header of every call is looked up.
_PASSED, _DROPPED, _CREDENTIAL, _COLUMN, _OWN_COLUMN, _SPECIAL = range(6)

# Never sent on: hop-by-hop (RFC 9110, section 7.6.1), framing that is made anew, what would name the client's machine
# or speak for its browser, and keys of other products' proxies.
_NEVER = (
    "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
    "Transfer-Encoding", "Upgrade", "Http2-Settings", "Host", "Content-Length", "Accept-Encoding", "Expect", "Cookie",
    "Forwarded", "X-Real-Ip", "Origin", "Referer",
)  # fmt: skip
_NEVER_PREFIXES: Final = ("X-Ultimate-", "X-Forwarded-", "Sec-Fetch-", "Helicone-", "X-Litellm-")
_CREDENTIALS = ("Authorization", "X-Api-Key", "Api-Key", "X-Ultimate-Key")
_COLUMNS = {
    "X-Ultimate-App": "app",
    "X-Ultimate-Project": "project",
    "X-Ultimate-Session": "session_id",
    "X-Ultimate-End-User": "end_user",
    "X-Ultimate-Notebook": "notebook",
    "X-Ultimate-Cell": "cell_id",
    "X-Ultimate-Kernel": "kernel_id",
    "X-Claude-Code-Session-Id": "session_id",
    "X-Claude-Code-Agent-Id": "agent_id",
    "X-Claude-Code-Parent-Agent-Id": "parent_agent_id",
    "Helicone-Session-Id": "session_id",
}
_PROPERTY = "Helicone-Property-"
_KINDS = {
    **dict.fromkeys(_NEVER, _DROPPED),
    **dict.fromkeys(_CREDENTIALS, _CREDENTIAL),
    **{name: _COLUMN if name.startswith("X-Claude-") else _OWN_COLUMN for name in _COLUMNS},
    **dict.fromkeys(
        ("X-Ultimate-Tags", "X-Ultimate-Guard", "X-Litellm-Tags", "Traceparent", "Via", "Connection"), _SPECIAL
    ),
}
_kinds: dict[str, int] = dict(_KINDS)
"""What is done with each name seen so far; bounded, for clients choose names."""


def _kind(name: str) -> int:
    if len(_kinds) >= _MOST_NAMES:
        _kinds.clear()
        _kinds.update(_KINDS)
    kind = _DROPPED if name.startswith(_NEVER_PREFIXES) else _PASSED
    if name.startswith(_PROPERTY):
        kind = _SPECIAL
    _kinds[name] = kind
    return kind


class RequestHeaders:
    """What a request's headers say. `passed` goes upstream, credentials apart."""

    __slots__ = ("columns", "guard", "named", "passed", "tags", "tokens", "via")

    def __init__(self, headers: HTTPHeaders) -> None:
        self.passed: list[tuple[str, str]] = []
        self.tokens: dict[str, str] = {}
        self.columns: dict[str, str] = {}
        self.tags: list[str] = []
        self.via = ""
        self.guard = ""  # what is asked of the guard; never sent on
        self.named: frozenset[str] = frozenset()  # what the Connection header says is for this hop alone
        passed, kinds = self.passed, _kinds
        for pair in headers.get_all():
            name = pair[0]
            kind = kinds.get(name)
            if kind is None:
                kind = _kind(name)
            if kind == _PASSED:
                passed.append(pair)
            elif kind == _CREDENTIAL:
                self.tokens[name] = pair[1]
            elif kind != _DROPPED:
                self._described(kind, pair)
        if self.named:
            self.passed = [pair for pair in passed if pair[0].lower() not in self.named]

    @property
    def key(self) -> str:
        """The caller's own key of ours, or an empty string."""
        tokens = self.tokens
        own = tokens.get("X-Ultimate-Key")
        if own:
            return own.strip()
        bearer = tokens.get("Authorization", "")
        if bearer[:7].lower() == "bearer ":
            bearer = bearer[7:].strip()
            if bearer.startswith("cp_"):
                return bearer
        key = tokens.get("X-Api-Key") or tokens.get("Api-Key") or ""
        return key.strip() if key.startswith("cp_") else ""

    def fill(self, record: CallRecord, principal: Principal) -> None:
        """Write what describes the call into its record; the key's own defaults give way unless it locks them."""
        locked = principal.locked
        for column, value in self.columns.items():
            if column not in locked:
                setattr(record, column, value)
        if principal.tags:
            own, told = principal.tags, self.tags
            first, then = (own, told) if "tags" in locked else (told, own)
            record.tags = list(merged_tags(first, then))[:MOST_TAGS]
        elif self.tags:
            record.tags = self.tags[:MOST_TAGS]

    def _described(self, kind: int, pair: tuple[str, str]) -> None:
        """Take a header that describes the call; ours and other proxies' end here, the rest goes on as well."""
        name, value = pair
        if kind == _SPECIAL:
            self._special(pair)
            return
        text = _text(value)
        if text:
            self.columns.setdefault(_COLUMNS[name], text)
        if kind == _COLUMN:
            self.passed.append(pair)

    def _special(self, pair: tuple[str, str]) -> None:
        name, value = pair
        if name == "Traceparent":
            found = _TRACEPARENT.fullmatch(value.strip())
            if found:
                self.columns["trace_id"] = found[1]
            self.passed.append(pair)
        elif name == "Connection":
            self.named |= {part.strip().lower() for part in value.split(",")} - {"keep-alive", "close", ""}
        elif name == "X-Ultimate-Guard":
            self.guard = value
        elif name == "Via":
            self.via = f"{self.via}, {value}" if self.via else value
        elif name.startswith(_PROPERTY):
            self._tag(name.removeprefix(_PROPERTY).lower(), value)
        else:
            for part in value.split(","):
                key, equals, told = ("tag", "=", part) if name == "X-Litellm-Tags" else part.partition("=")
                if equals:
                    self._tag(key, told)

    def _tag(self, key: str, value: str) -> None:
        key, value = key.strip(), value.strip()
        tag = _text(f"{key}={value}")
        if key and value and tag not in self.tags:
            self.tags.append(tag)


def _text(value: str) -> str:
    """Return a header's value as it may stand in a record: short, without control characters.

    Header bytes arrive as Latin-1; clients write UTF-8.
    """
    value = value.strip()
    if not value.isascii():
        with contextlib.suppress(UnicodeError):
            value = value.encode("latin-1").decode("utf-8")
    value = value[:_MOST_TEXT]
    return value if value.isprintable() else "".join(c for c in value if c.isprintable())


# Never passed back: hop-by-hop, framing that is made anew, and what would speak for our own origin.
_NOT_RETURNED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"content-length", b"set-cookie", b"alt-svc", b"strict-transport-security",
        b"via", b"server-timing", b"content-security-policy", b"access-control-allow-origin",
        b"access-control-allow-credentials", b"access-control-expose-headers", b"clear-site-data", b"refresh",
        b"location",
    }
)  # fmt: skip
_OWN_ANSWER = b"x-ultimate-"
_returned: dict[bytes, bool] = {}
"""Whether an answer's header of that spelling goes to the client; bounded, for providers choose names."""


def returned(lines: list[bytes]) -> bytes:
    """Return the header lines of a provider's answer that go to the client, each with its line end."""
    kept = []
    for line in lines:
        name, colon, _ = line.partition(b":")
        passes = _returned.get(name)
        if passes is None:
            passes = _learn(name)
        if passes and colon and line.endswith(b"\r\n") and b"\r" not in line[:-2]:
            kept.append(line)
    return b"".join(kept)


def _learn(name: bytes) -> bool:
    if len(_returned) >= _MOST_NAMES:
        _returned.clear()
    lower = name.lower()
    passes = _NAME.fullmatch(name) is not None and lower not in _NOT_RETURNED and not lower.startswith(_OWN_ANSWER)
    _returned[name] = passes
    return passes
