"""Server-sent events as bytes (WHATWG HTML, section 9.2.6): where events end, and their data."""

from __future__ import annotations

import re

MOST_HELD_BYTES = 1024 * 1024

_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Holder:
    """Passes whole events and holds the unfinished one. Bytes out are bytes in, in order.

    An event larger than `MOST_HELD_BYTES` is passed on in pieces: memory stays bounded, whoever sends it.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return everything up to the end of the last whole event."""
        held = self._held
        data = held + chunk if held else chunk
        seen = max(len(held) - 3, 0)  # a blank line may straddle the seam
        if b"\r" in data:
            end = 0
            for match in _BLANK_LINE.finditer(data, seen):
                end = match.end()
        else:
            end = data.rfind(b"\n\n", seen) + 2
            if end == 1:
                end = 0
        if end == len(data) or (end == 0 and len(data) > MOST_HELD_BYTES):
            self._held = b""
            return data
        self._held = data[end:]
        return data[:end]

    def finish(self) -> bytes:
        """Return what is held, at the end of the stream."""
        held, self._held = self._held, b""
        return held


def split(events: bytes) -> list[bytes]:
    """Cut bytes that consist of whole events (and perhaps an unfinished last one) into events, blank lines kept."""
    found = []
    start = 0
    for match in _BLANK_LINE.finditer(events):
        if match.end() > start:
            found.append(events[start : match.end()])
            start = match.end()
    if start < len(events):
        found.append(events[start:])
    return found


def data_of(event: bytes) -> bytes:
    """Return an event's data: its `data` lines joined by newlines."""
    lines = [
        line[6:] if line[5:6] == b" " else line[5:] for line in _LINE_END.split(event) if line.startswith(b"data:")
    ]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def format_event(data: bytes, name: bytes = b"") -> bytes:
    """Return one event."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
