"""One pass over a request's headers: what names the caller, what describes the call, what goes upstream."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tornado.httputil import HTTPHeaders

    from ultimate_lib.records import CallRecord

MOST_TAGS = 10
_MOST_TEXT = 256
_OWN = "X-Ultimate-"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")

# Never sent on: hop-by-hop (RFC 9110, section 7.6.1), framing that is made anew, and what is the client's own affair.
_KEPT_BACK = frozenset(
    {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
        "Transfer-Encoding", "Upgrade", "Host", "Content-Length", "Accept-Encoding", "Expect", "Cookie", "Forwarded",
        "Via", "Origin", "Referer",
    }
)  # fmt: skip
_CREDENTIALS = frozenset({"Authorization", "X-Api-Key", "Api-Key"})
_FIELDS = {
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


class RequestHeaders:
    """What a request's headers say. `passed` goes upstream, credentials apart."""

    __slots__ = ("fields", "passed", "tags", "tokens", "via")

    def __init__(self, headers: HTTPHeaders) -> None:
        self.passed: list[tuple[str, str]] = []
        self.tokens: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.tags: list[str] = []
        self.via = ""
        for name, value in headers.get_all():
            if name in _CREDENTIALS or name == "X-Ultimate-Key":
                self.tokens[name] = value
            elif name in _FIELDS:
                self._field(name, value)
            elif name.startswith(_OWN):
                if name == "X-Ultimate-Tags":
                    self._tags(value)
            elif name in _KEPT_BACK or name.startswith("X-Forwarded-"):
                if name == "Via":
                    self.via = value
            else:
                self._other(name, value)

    @property
    def key(self) -> str:
        """The caller's own key of ours, or an empty string."""
        tokens = self.tokens
        if not tokens:
            return ""
        own = tokens.get("X-Ultimate-Key")
        if own:
            return own.strip()
        bearer = tokens.get("Authorization", "")
        candidates = (tokens.get("X-Api-Key", ""), bearer[7:] if bearer[:7].lower() == "bearer " else "")
        return next((c.strip() for c in candidates if c.startswith("cp_")), "") or next(filter(None, candidates), "")

    def fill(self, record: CallRecord) -> None:
        """Write what describes the call into its record; the key's own defaults give way."""
        for field, value in self.fields.items():
            setattr(record, field, value)
        if self.tags:
            record.tags = self.tags[:MOST_TAGS]

    def _field(self, name: str, value: str) -> None:
        text = _text(value)
        if text:
            self.fields.setdefault(_FIELDS[name], text)
        if not name.startswith(_OWN):
            self.passed.append((name, value))

    def _tags(self, value: str) -> None:
        for part in value.split(","):
            key, equals, told = part.partition("=")
            if equals and key.strip():
                self.tags.append(_text(f"{key.strip()}={told.strip()}"))

    def _other(self, name: str, value: str) -> None:
        if name == "Traceparent":
            found = _TRACEPARENT.fullmatch(value.strip())
            if found:
                self.fields["trace_id"] = found[1]
        elif name == "X-Litellm-Tags":
            self.tags += [f"tag={_text(tag.strip())}" for tag in value.split(",") if tag.strip()]
            return
        elif name.startswith(_PROPERTY):
            self.tags.append(_text(f"{name.removeprefix(_PROPERTY).lower()}={value.strip()}"))
            return
        self.passed.append((name, value))


def _text(value: str) -> str:
    """Return a header's value as it may stand in a record: short, without control characters."""
    value = value.strip()[:_MOST_TEXT]
    return value if value.isprintable() else "".join(c for c in value if c.isprintable())


# Never passed back: hop-by-hop, framing that is made anew, and what would speak for our own origin.
_NOT_RETURNED = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length", "set-cookie", "alt-svc", "strict-transport-security", "via", "server-timing",
        "content-security-policy", "access-control-allow-origin", "access-control-expose-headers",
    }
)  # fmt: skip


def returned(name: str) -> bool:
    """Say whether a header of the provider's answer goes to the client."""
    name = name.lower()
    return name not in _NOT_RETURNED and not name.startswith("x-ultimate-")
