"""Cursors: a place in one list, taken back by that list alone."""

from __future__ import annotations

import base64

import pytest

from proxy_server.control import cursors
from ultimate_lib.errors import Invalid


def test_pages_join_to_the_whole_list() -> None:
    rows = [(number // 3, f"id_{number}") for number in range(10)]
    shown: list[tuple[int, str]] = []
    cursor: str | None = ""
    for _ in range(4):
        after = cursors.decode(cursor or "", "things", tuple[int, str])
        left = [row for row in rows if after is None or row > after]
        found, cursor = cursors.page(left[:4], 3, lambda row: row, "things")
        shown += found
    assert (shown, cursor) == (rows, None)
    assert cursors.page([], 3, lambda row: row, "things") == ([], None)


@pytest.mark.parametrize("place", [(1, "a"), (-(2**63), "ü/+=?"), (2**63 - 1, ""), ("x" * 300, 0)])
def test_a_place_comes_back(place: tuple[int | str, ...]) -> None:
    cursor = cursors.encode(place, "things")
    assert cursors.decode(cursor, "things") == place
    assert cursor.replace("-", "").replace("_", "").isalnum(), "nothing to escape in an address"


def test_each_changed_letter_is_refused() -> None:
    cursor = cursors.encode((1_700_000_000_000_000, "user_0123"), "users")
    for number in range(len(cursor)):
        for letter in "A1-":
            changed = cursor[:number] + letter + cursor[number + 1 :]
            if changed != cursor:
                with pytest.raises(Invalid):
                    cursors.decode(changed, "users")


def forged(told: bytes, kind: str = "users") -> str:
    return "1" + base64.urlsafe_b64encode(cursors._check(told, kind) + told).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        cursors.encode((1, "a"), "teams"),
        cursors.encode((1, "a"), "users") + "=",
        cursors.encode((1, "a"), "users") + "\n",
        "2" + cursors.encode((1, "a"), "users")[1:],
        "1",
        "x",
        "ü",
        "1" * 10_000,
        forged(b"{}"),
        forged(b'[1, "a"]'),
        forged(b'["a",1]'),
        forged(b"[1]"),
        forged(b'[99999999999999999999,"a"]'),
        forged(b'[1,"a\\u0000"]'),
        forged(b"[" * 400),
        forged(b"\xff"),
    ],
)
def test_what_is_not_of_this_list_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        cursors.decode(cursor, "users", tuple[int, str])
    assert (refused.value.http_status, refused.value.code) == (400, "cursor")
