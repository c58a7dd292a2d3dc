"""The errors this project raises on purpose.

    UltimateError
    ├── Invalid            400  the input is wrong; nothing was changed
    │   └── Taken          409  there is one already, of a name or for a thing that takes one
    ├── Denied             403  known caller, not allowed (401 when the caller is not known)
    ├── NotFound           404  no such thing
    ├── NotEnoughData      422  the question is fine, the data cannot answer it yet
    ├── Limited            429  a rate, a budget or a concurrency limit stands in the way
    ├── Corrupt            500  stored bytes fail their checksum or cannot be read
    ├── Unavailable        503  a part we depend on (store, disk, child process) is not there now
    ├── UpstreamFailed     502  a provider did not answer as it should
    └── DeliveryFailed     502  a notification or a report could not be delivered

Each carries a stable `code`, an HTTP status and one sentence that says what to do. Only the outermost
frames (a request handler, a job, a command) catch `UltimateError`, and each of them logs it.
"""

from __future__ import annotations


class UltimateError(Exception):
    """The root of the tree: a stable code, an HTTP status, what happened, and what to do about it."""

    code: str = "error"
    http_status: int = 500
    retry_after_s: float | None = None  # when waiting helps

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class Invalid(UltimateError):
    """The input is wrong; nothing was changed."""

    code = "invalid"
    http_status = 400


class Taken(Invalid):
    """There is one already, of a name or for a thing that takes one."""

    code = "taken"
    http_status = 409


class Denied(UltimateError):
    """The caller may not do this; with `authenticated=False` the caller is not known at all (401)."""

    code = "denied"
    http_status = 403

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        authenticated: bool = True,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        if not authenticated:
            self.http_status = 401
            self.code = code or "unauthenticated"


class NotFound(UltimateError):
    """There is no such thing, or none that this caller may see."""

    code = "not_found"
    http_status = 404


class NotEnoughData(UltimateError):
    """The question is fine, but the data cannot answer it yet."""

    code = "not_enough_data"
    http_status = 422


class Limited(UltimateError):
    """A rate, a budget or a concurrency limit stands in the way; `retry_after_s` when waiting helps."""

    code = "limited"
    http_status = 429

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after_s = retry_after_s


class Corrupt(UltimateError):
    """Stored bytes fail their checksum or cannot be read; they are never shown as data."""

    code = "corrupt"
    http_status = 500


class Unavailable(UltimateError):
    """A part this depends on (store, disk, child process) is not there now; trying later may help."""

    code = "unavailable"
    http_status = 503


class UpstreamFailed(UltimateError):
    """A provider did not answer as it should; `retryable` says whether another try may help."""

    code = "upstream_failed"
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        hint: str = "",
        code: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retryable = retryable
        if http_status is not None:
            self.http_status = http_status


class DeliveryFailed(UltimateError):
    """A notification or a report could not be delivered; `retryable` says whether another try may help."""

    code = "delivery_failed"
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        hint: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retryable = retryable
