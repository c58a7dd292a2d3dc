"""Counters that never fall: gateways come, leave, are killed; control is killed between two steps."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy_server import snapshot
from proxy_server.control import gateways
from proxy_server.snapshot import Row, Snapshot

NOW = 1_800_000_000_000_000


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def shot(token: str, calls: int, *, pid: int | None = None, at_us: int = NOW, provider: str = "demo") -> Snapshot:
    return Snapshot(
        pid=os.getpid() if pid is None else pid,
        slot=0,
        token=token,
        writer=f"0-{token}",
        at_us=at_us,
        in_flight=2,
        connections=3,
        draining=False,
        journal_written=calls,
        journal_dropped=1,
        journal_sync_failures=0,
        journal_failure=None,
        rows=[Row(provider, "openai-chat", "ok", calls, 10 * calls, calls, 1000 * calls, 5 * calls, 0.5 * calls)],
    )


def calls(seen: gateways.Seen) -> int:
    return sum(row.calls for row in seen.total.rows)


def test_a_gateway_that_leaves_takes_nothing_with_it(tmp_path: Path, dead_pid: int) -> None:
    snapshot.write(tmp_path, shot("a", 5))
    snapshot.write(tmp_path, shot("b", 7))
    assert calls(gateways.observe(tmp_path, NOW)) == 12
    snapshot.write(tmp_path, shot("a", 9))
    assert calls(gateways.observe(tmp_path, NOW)) == 16
    snapshot.remove(tmp_path, 0, "a")  # removed by hand: what it last said stays
    assert calls(gateways.observe(tmp_path, NOW)) == 16
    snapshot.leave(tmp_path, shot("b", 8, pid=dead_pid))  # drained: its last word is counted, then removed
    assert calls(gateways.observe(tmp_path, NOW)) == 17
    assert snapshot.read_all(tmp_path) == []
    snapshot.write(tmp_path, shot("c", 1))
    seen = gateways.observe(tmp_path, NOW)
    assert calls(seen) == 18
    row = seen.total.rows[0]
    assert (row.input_tokens, row.cost_nano_usd, row.duration_ms, row.overhead_ms) == (180, 18_000, 90, 9.0)
    assert (seen.total.journal_written, seen.total.journal_dropped) == (18, 3)


def test_a_killed_gateway_is_counted_once(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    snapshot.write(tmp_path, shot("a", 5, pid=process.pid))
    seen = gateways.observe(tmp_path, NOW)
    assert (calls(seen), len(seen.fresh)) == (5, 1)
    process.kill()
    process.wait()
    for _ in range(3):
        seen = gateways.observe(tmp_path, NOW)
        assert (calls(seen), len(seen.fresh)) == (5, 0)
    assert not list(tmp_path.glob("gateway-*"))


def test_control_killed_between_keeping_and_removing_counts_nothing_twice(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot.write(tmp_path, shot("a", 5, pid=dead_pid))
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "remove", _die)
        with pytest.raises(Killed):
            gateways.observe(tmp_path, NOW)
    assert snapshot.read_all(tmp_path), "it died before the removal"
    assert calls(gateways.observe(tmp_path, NOW)) == 5
    assert snapshot.read_all(tmp_path) == []
    assert calls(gateways.observe(tmp_path, NOW)) == 5
    with monkeypatch.context() as patched:
        patched.setattr(gateways, "_write", _die)
        snapshot.write(tmp_path, shot("b", 2, pid=dead_pid))
        with pytest.raises(Killed):
            gateways.observe(tmp_path, NOW)
    assert calls(gateways.observe(tmp_path, NOW)) == 7


class Killed(BaseException):
    pass


def test_a_full_disk_hides_no_counter_and_doubles_none(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot.write(tmp_path, shot("a", 5))
    assert gateways.observe(tmp_path, NOW).failure is None
    snapshot.write(tmp_path, shot("b", 4, pid=dead_pid))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", _full)
        for _ in range(2):
            seen = gateways.observe(tmp_path, NOW)
            assert (calls(seen), seen.failure) == (9, "No space left on device")
    assert len(snapshot.read_all(tmp_path)) == 2, "what is not written down is not removed"
    seen = gateways.observe(tmp_path, NOW)
    assert (calls(seen), seen.failure) == (9, None)
    assert calls(gateways.observe(tmp_path, NOW)) == 9


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _die(*_: object) -> None:
    raise Killed


def test_the_mutant_that_forgets_what_it_folded_counts_twice(
    tmp_path: Path, dead_pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(list[str]):
        def append(self, _: str) -> None:
            pass

    real = gateways._read
    monkeypatch.setattr(gateways, "_read", lambda folder: _with_folded(real(folder), Forgetful()))
    monkeypatch.setattr(snapshot, "remove", lambda *_: None)  # as if killed before it, each time
    snapshot.write(tmp_path, shot("a", 5, pid=dead_pid))
    gateways.observe(tmp_path, NOW)
    assert calls(gateways.observe(tmp_path, NOW)) > 5


def _with_folded(kept: gateways._Kept, folded: list[str]) -> gateways._Kept:
    kept.folded = folded
    return kept


def test_a_silent_gateway_is_not_fresh_but_counted(tmp_path: Path) -> None:
    snapshot.write(tmp_path, shot("a", 5, at_us=NOW - 6_000_000))
    snapshot.write(tmp_path, shot("b", 5, at_us=NOW - 4_000_000))
    seen = gateways.observe(tmp_path, NOW)
    assert calls(seen) == 10
    assert [told.token for told in seen.fresh] == ["b"]


def test_half_written_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gateway-0-x.json").write_text('{"pid": 1')
    (tmp_path / "counters.json").write_text("no json")
    assert calls(gateways.observe(tmp_path, NOW)) == 0


def test_several_lookers_at_once_lose_and_double_nothing(tmp_path: Path, dead_pid: int) -> None:
    for number in range(40):
        snapshot.write(tmp_path, shot(f"t{number}", 1, pid=dead_pid))
    threads = [threading.Thread(target=gateways.observe, args=(tmp_path, NOW)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls(gateways.observe(tmp_path, NOW)) == 40


def test_last_words_that_nobody_collects_do_not_pile_up(tmp_path: Path, dead_pid: int) -> None:
    snapshot.leave(tmp_path, shot("old", 1, pid=dead_pid))
    os.utime(tmp_path / "gateway-0-old.json", (1, 1))
    snapshot.leave(tmp_path, shot("new", 1, pid=dead_pid))
    assert [told.token for told in snapshot.read_all(tmp_path)] == ["new"]
