"""The load client's own account: one JSON line for each attempt that has ended, on disk before the run ends.

A line is written with one `write` the moment its call ends, so that killing this process loses none; a thread makes
them durable each second and at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Self

import msgspec

from ultimate_lib.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_SYNC_S = 1.0


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One attempt. A call is acknowledged when an attempt's outcome is `ok`: its terminal event arrived."""

    call: int  # place in the trace, from 0
    attempt: int  # from 1; only `--retry` makes another
    trace_id: str  # the row's trace_id
    outcome: str  # ok | not connected | no answer | cut | error event | HTTP 429 …
    call_id: str = ""  # what the proxy called it, when it said so
    status: int = 0
    bytes: int = 0  # of the answer's body
    asked_input_tokens: int
    asked_output_tokens: int
    input_tokens: int | None = None  # as the answer told them
    output_tokens: int | None = None


class Ledger:
    """Appends lines to a file; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        self._encoder = msgspec.json.Encoder()
        self._sync: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the file. Raises `Unavailable`."""
        if self._path is not None:
            try:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            except OSError as error:
                raise Unavailable(
                    f"The ledger {self._path} cannot be written ({error.strerror}).",
                    hint="Name another with --ledger.",
                ) from error
            self._sync = asyncio.create_task(self._keep())
        return self

    def write(self, line: Line) -> None:
        """Append one line."""
        if self._fd >= 0:
            os.write(self._fd, self._encoder.encode(line) + b"\n")

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_S)
            await asyncio.to_thread(os.fsync, self._fd)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Make every line durable and close."""
        if self._fd < 0 or self._sync is None:
            return
        self._sync.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sync
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1


def read_ledger(path: Path) -> list[Line]:
    """Return the lines of a ledger; a torn last line, of a client killed while writing, is left out."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
