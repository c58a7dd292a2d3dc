"""The scripted provider leaves nothing behind: a thread that goes on would serve, or slow, the tests after it."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.fakes.scripted import Scripted
from tests.harness import wait_until


def test_one_that_is_closed_accepts_nobody() -> None:
    made = Scripted()
    made.close()
    assert not made._accepting.is_alive()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.port), timeout=5)


def test_who_leaves_in_the_middle_of_a_body_is_not_waited_for() -> None:
    made = Scripted()
    known = set(threading.enumerate())

    def serving() -> bool:
        return any("(_serve)" in one.name for one in set(threading.enumerate()) - known)

    with socket.create_connection(("127.0.0.1", made.port), timeout=5) as client:
        client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf")
        wait_until(serving, 5)
    wait_until(lambda: not serving(), 5)
    assert made.requests == []
    made.close()
