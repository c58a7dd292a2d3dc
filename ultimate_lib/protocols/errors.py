"""Errors in each protocol's own words, so that clients raise their own exceptions."""

from __future__ import annotations

import msgspec

_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def anthropic_error(http_status: int, message: str, request_id: str) -> bytes:
    """Return Anthropic's error envelope (docs.anthropic.com, Errors)."""
    kind = _ANTHROPIC.get(http_status, "api_error" if http_status >= 500 else "invalid_request_error")  # noqa: PLR2004 - the first server error
    return msgspec.json.encode(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    )


def openai_error(http_status: int, code: str, message: str) -> bytes:
    """Return OpenAI's error envelope (platform.openai.com, Error codes)."""
    kind = _OPENAI.get(http_status, "server_error" if http_status >= 500 else "invalid_request_error")  # noqa: PLR2004 - the first server error
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
