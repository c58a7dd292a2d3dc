"""The files in which gateways keep what keys have spent: each tells its own, all add up, none outlives its day."""

from __future__ import annotations

import os
from pathlib import Path

from ultimate_lib.guard.kept import KeptSums

NOW_US = 1_790_000_000_000_000


def test_each_reads_what_the_others_have_kept_and_only_what_is_new(tmp_path: Path) -> None:
    one, two = KeptSums(tmp_path), KeptSums(tmp_path)
    one.write({"k": [(0, 1, 5)]})
    assert one.others(NOW_US) is None
    assert two.others(NOW_US) == [{"k": [(0, 1, 5)]}]
    assert two.others(NOW_US) is None
    one.write({"k": [(0, 1, 7)]})
    assert two.others(NOW_US) == [{"k": [(0, 1, 7)]}]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_what_is_too_old_is_deleted_and_what_cannot_be_read_does_not_count(tmp_path: Path) -> None:
    old, torn = KeptSums(tmp_path), KeptSums(tmp_path)
    old.write({"k": [(0, 1, 5)]})
    (path,) = tmp_path.iterdir()
    os.utime(path, (NOW_US / 1e6 - 26 * 3600 - 1,) * 2)
    torn.write({"k": [(0, 1, 5)]})
    (other,) = (one for one in tmp_path.iterdir() if one != path)
    other.write_bytes(b'{"k": [[0, 1')
    os.utime(other, (NOW_US / 1e6,) * 2)
    assert KeptSums(tmp_path).others(NOW_US) == [{}]
    assert not path.exists()
