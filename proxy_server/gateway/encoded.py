"""Answers that a provider has compressed although it was asked not to: bytes pass as they are, a copy is read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ultimate_lib.protocols import StreamWatch

_MOST_DECODED_BYTES = 16 * 1024 * 1024
_ANY_HEADER = zlib.MAX_WBITS | 32
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


class EncodedWatch:
    """Passes compressed bytes unchanged and lets a watch read a decoded copy, up to a limit."""

    def __init__(self, watch: StreamWatch, encoding: str) -> None:
        self._watch = watch
        self._left = _MOST_DECODED_BYTES
        self._decoder = zlib.decompressobj(_ANY_HEADER) if encoding.lower() in _KNOWN else None

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk unchanged."""
        if self._decoder is not None and self._left > 0:
            try:
                plain = self._decoder.decompress(chunk, self._left)
            except zlib.error:
                self._decoder = None
            else:
                self._left -= len(plain)
                self._watch.feed(plain)
        return chunk

    def finish(self) -> bytes:
        """Let the watch read its last event; nothing is held back here."""
        self._watch.finish()
        return b""


def decoded(body: bytes, encoding: str) -> bytes:
    """Return a whole body decoded, up to a limit; as it is when its encoding is not known or broken."""
    if encoding.lower() not in _KNOWN:
        return body
    try:
        return zlib.decompressobj(_ANY_HEADER).decompress(body, _MOST_DECODED_BYTES)
    except zlib.error:
        return body
