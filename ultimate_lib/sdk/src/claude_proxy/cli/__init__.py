"""`claude-proxy COMMAND`: the proxy's numbers, calls, keys and settings over HTTP.

Exit status: 0 well; 1 an error, said on standard error; 2 wrong usage, as the command line or the proxy judges it;
3 not allowed; 4 `cost` is above its limit.
"""

from __future__ import annotations

import contextlib
import os
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

from claude_proxy.cli.output import Output
from claude_proxy.cli.parser import parser
from claude_proxy.cli.session import Session
from claude_proxy.errors import BadRequest, NotAllowed, ProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, ERROR, USAGE, DENIED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. The outermost frame: says what went wrong in a sentence."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a stream of a test or a notebook
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # what a terminal cannot show becomes '?'
    try:
        return _run(arguments)
    except BrokenPipeError:  # `| head` has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does the flush at the end complain
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    parsed = parser().parse_args(arguments)
    session = None
    try:
        session = Session(parsed)
        status = int(parsed.run(session))
    except ProxyError as error:
        _say(error)
        return _status(error)
    finally:
        if session is not None:
            session.close()
    sys.stdout.flush()
    return status


def _say(error: ProxyError) -> None:
    say = Output().say
    say(f"claude-proxy: {error}")
    if error.request_id and (error.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        say(f"The proxy's log has more under request {error.request_id} (code: {error.code}).")


def _status(error: ProxyError) -> int:
    if isinstance(error, NotAllowed):
        return DENIED
    return USAGE if isinstance(error, BadRequest) else ERROR
