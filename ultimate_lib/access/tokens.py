"""What a key looks like, and what is kept of it: `cp_` and 43 characters, of which the store has the SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets

SHAPE = re.compile(r"cp_[A-Za-z0-9_-]{43}")
PREFIX_SHOWN = 10


def new_token() -> str:
    """Return a key of 256 random bits."""
    return "cp_" + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
