"""Server-sent events, as https://html.spec.whatwg.org/multipage/server-sent-events.html section 9.2.6 reads them."""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One event."""

    kind: str
    data: str
    id: str  # the last id that was told, by this event or an earlier one


class Reader:
    """Takes bytes as they come and gives events as they are complete; `last_id` and `retry_ms` are kept."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id  # of the last event that came whole
        self._id = last_id
        self.retry_ms: int | None = None
        self._held = b""
        self._kind = ""
        self._data: list[str] = []
        self._first = True

    def again(self) -> Reader:
        """Return a reader for a new connection: what was half told is told again after the last id."""
        new = Reader(self.last_id)
        new.retry_ms = self.retry_ms
        return new

    def feed(self, more: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        held = self._held + more
        end = len(held) - 1 if held.endswith(b"\r") else len(held)  # its \n may be still to come
        *lines, rest = held[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._held = rest + held[end:]
        return [event for event in map(self._line, lines) if event is not None]

    def _line(self, raw: bytes) -> Event | None:
        line = raw.decode("utf-8", "replace")
        if self._first:
            self._first, line = False, line.removeprefix("\ufeff")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> Event | None:
        self.last_id = self._id
        kind, data = self._kind or "message", self._data
        self._kind, self._data = "", []
        return Event(kind, "\n".join(data), self.last_id) if data else None
