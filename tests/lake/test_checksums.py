"""A byte that flips on the disk never becomes a number on a screen: the file is left out and counted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.lake.conftest import END, START, expected, ids, open_lake, record
from ultimate_lib.errors import Corrupt
from ultimate_lib.lake import Lake, manifest, optimize, schema
from ultimate_lib.lake.delta import append
from ultimate_lib.lake.reader import missing


def two_files(lake: Lake) -> list[Path]:
    """Make two files of ten rows; return their paths in that order."""
    append(lake, schema.frame_from_records([record(number) for number in range(10)]))
    append(lake, schema.frame_from_records([record(number) for number in range(10, 20)]))
    files = sorted(lake.calls.snapshot().files, key=lambda file: file.first_us)
    return [Path(lake.calls.url(file)) for file in files]


def flip(path: Path, position: int, bit: int = 1) -> None:
    """Change one bit as a failing disk would: the same size, and the same time unless a test says otherwise."""
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


def test_a_flipped_byte_takes_its_file_out_and_is_counted(lake: Lake) -> None:
    first, _ = two_files(lake)
    assert ids(lake) == expected(20)
    assert missing(lake, START, END) == (0, 0)
    flip(first, first.stat().st_size // 2)
    assert ids(lake) == expected(10, first=10)
    assert missing(lake, START, END) == (1, 10)
    flip(first, first.stat().st_size // 2)
    assert ids(lake) == expected(20), "a restored file is taken again"


@pytest.mark.parametrize("damage", ["removed", "emptied", "truncated", "zeroed", "another"])
def test_a_file_that_is_gone_or_broken_is_left_out_and_counted(lake: Lake, damage: str) -> None:
    first, second = two_files(lake)
    whole = first.read_bytes()
    if damage == "removed":
        first.unlink()
    else:
        changed = {
            "emptied": b"", "truncated": whole[:-9], "zeroed": bytes(len(whole)), "another": second.read_bytes(),
        }  # fmt: skip
        first.write_bytes(changed[damage])
    assert ids(lake) == expected(10, first=10)
    assert missing(lake, START, END) == (1, 10)


def test_each_of_many_flips_is_found(lake: Lake) -> None:
    first, _ = two_files(lake)
    dice = random.Random(6)
    whole = first.read_bytes()
    for _ in range(200):
        position, bit = dice.randrange(len(whole)), 1 << dice.randrange(8)
        flip(first, position, bit)
        assert open_lake(lake.settings.data_dir).manifest.good([f"calls/{first.parent.name}/{first.name}"]) == [False]
        first.write_bytes(whole)


UNCHECKED = """
import sys
from pathlib import Path
from tests.lake.conftest import END, START, open_lake
from ultimate_lib.lake.reader import scan_calls
lake = open_lake(Path(sys.argv[1]))
lake.manifest.good = lambda paths: [True] * len(paths)
print(scan_calls(lake, START, END, ["max_tokens"]).collect()["max_tokens"].sort().to_list())
"""


def test_without_checksums_a_flip_would_be_shown_as_a_number(lake: Lake, tmp_path: Path) -> None:
    """The mutant: it proves that the check is what keeps wrong numbers out.

    In a process of its own: a decoder that is given flipped bytes may also abort.
    """
    dice = random.Random(7)
    tokens = sorted(dice.getrandbits(60) for _ in range(200))
    append(lake, schema.frame_from_records([record(n, max_tokens=told) for n, told in enumerate(tokens)]))
    path = Path(lake.calls.url(lake.calls.snapshot().files[0]))
    whole = path.read_bytes()
    flip(path, whole.index(tokens[50].to_bytes(8, "little")) + 2, 4)
    ran = subprocess.run([sys.executable, "-c", UNCHECKED, str(tmp_path)], capture_output=True, check=True, text=True)
    shown = json.loads(ran.stdout)
    assert len(shown) == 200
    assert shown != tokens
    assert ids(lake) == []
    assert missing(lake, START, END) == (1, 200)


def test_a_file_is_hashed_once_until_it_changes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = two_files(lake)
    hashed: list[str] = []
    real = manifest._hash
    monkeypatch.setattr(manifest, "_hash", lambda path: (hashed.append(path.suffix), real(path))[1])
    for _ in range(3):
        ids(lake)
    assert hashed.count(".parquet") == 2
    os.utime(first)
    ids(lake)
    assert hashed.count(".parquet") == 3


def test_a_merge_never_gives_a_flipped_file_a_fresh_checksum(lake: Lake) -> None:
    first, _ = two_files(lake)
    append(lake, schema.frame_from_records([record(20)]))
    flip(first, 100)
    assert optimize._merge(lake, lake.calls, list(lake.calls.snapshot().files)) == 2
    assert ids(lake) == expected(11, first=10)
    assert missing(lake, START, END) == (1, 10)


def test_the_scrub_finds_what_a_reader_has_already_checked(lake: Lake) -> None:
    first, _ = two_files(lake)
    assert ids(lake) == expected(20)
    stat = first.stat()
    flip(first, 100)
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = manifest.scrub(lake)
    assert (found.files, found.rows_missing) == (2, 10)
    assert found.bad == (f"calls/{first.parent.name}/{first.name}",)
    assert found.bytes == sum(file.size for file in lake.calls.snapshot().files)
    assert ids(lake) == expected(10, first=10)


@pytest.mark.parametrize("name", ["00000000000000000001.json", "00000000000000000002.json"])
def test_a_changed_log_is_refused_not_believed(lake: Lake, tmp_path: Path, name: str) -> None:
    two_files(lake)
    lake.manifest.heal("calls")
    log = tmp_path / "lake/calls/_delta_log" / name
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'\\"numRecords\\": 10', b'\\"numRecords\\": 11'))
    assert log.read_bytes() != whole
    with pytest.raises(Corrupt, match=name):
        ids(open_lake(tmp_path))
    log.write_bytes(whole)
    assert ids(open_lake(tmp_path)) == expected(20)
    log.write_bytes(whole[:40])
    with pytest.raises(Corrupt, match=r"_delta_log|cannot be opened"):
        ids(open_lake(tmp_path))


def test_a_changed_checkpoint_is_refused(lake: Lake, tmp_path: Path) -> None:
    two_files(lake)
    lake.calls.checkpoint()
    lake.manifest.heal("calls")
    (checkpoint,) = (tmp_path / "lake/calls/_delta_log").glob("*.checkpoint.parquet")
    assert ids(open_lake(tmp_path)) == expected(20)
    flip(checkpoint, checkpoint.stat().st_size // 3)
    with pytest.raises(Corrupt):
        ids(open_lake(tmp_path))


def test_a_kill_between_commit_and_checksum_is_healed_by_the_next_pass(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(lake.manifest, "record", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            append(lake, schema.frame_from_records([record(0)]))
    beside = tmp_path / "lake/manifest/calls/_delta_log"
    assert not beside.exists()
    assert ids(open_lake(tmp_path)) == expected(1), "rows are checked by their own file's name all the same"
    assert optimize.maintain(open_lake(tmp_path)).healed == 2
    assert sorted(path.name[:20] for path in beside.iterdir()) == ["0" * 20, "0" * 19 + "1"]
    assert optimize.maintain(open_lake(tmp_path)).healed == 0


def test_many_threads_share_one_lake(lake: Lake) -> None:
    two_files(lake)
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(lake))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(20)] * 8
