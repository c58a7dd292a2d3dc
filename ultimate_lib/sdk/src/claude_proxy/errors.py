"""What can go wrong, as the client sees it.

ProxyError
├── BadRequest      what was asked is wrong; the message says what
├── NotAllowed      no key, a wrong one, or one without the permission
├── NotFound        there is no such thing
└── Unreachable     no proxy answers at the address
"""

from __future__ import annotations


class ProxyError(Exception):
    """The proxy refused or failed. `hint` says what to do, `request_id` finds the matter in the server's log."""

    def __init__(
        self, message: str, *, hint: str = "", code: str = "error", status: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.status = status  # HTTP status; None when there was no answer
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class BadRequest(ProxyError):
    """What was asked is wrong."""


class NotAllowed(ProxyError):
    """No key, a wrong one, or one without the permission."""


class NotFound(ProxyError):
    """There is no such thing."""


class Unreachable(ProxyError):
    """No proxy answers at the address."""
