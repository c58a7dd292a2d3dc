"""`ultimate-proxy import claude-code` as people run it: what it prints, what it leaves, how it ends."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.importers.logs import FIXTURES, RESUMED, SESSION, answer, open_lake, rows, write_log
from ultimate_lib.lake import delta, schema
from ultimate_lib.records import CallRecord, new_call_id

ROOT = Path(__file__).resolve().parent.parent.parent


def command(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    given = [str(argument) for argument in arguments]
    return subprocess.run(
        [sys.executable, "-m", "proxy_server", "import", *given], cwd=ROOT, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, timeout=60, check=False,
    )  # fmt: skip


def take(tmp_path: Path, *places: Path) -> subprocess.CompletedProcess[str]:
    return command(tmp_path, "claude-code", *places, "--data", tmp_path / "data")


def test_imported_twice_and_copied_lines_and_the_proxys_row(tmp_path: Path) -> None:
    at_us = 1_760_432_401_000_000
    row = CallRecord(
        call_id=new_call_id(at_us), started_at=at_us, upstream_id="msg_01Aq9w8e7r6t5y4u3i2o1p0a", source="proxy"
    )
    delta.append(open_lake(tmp_path / "data"), schema.frame_from_records([row]))
    first = take(tmp_path, SESSION)
    assert first.returncode == 0, first.stderr
    assert "3 calls taken, 1 in the lake already" in first.stdout
    assert "from 2025-10-14 to 2025-10-14 (UTC)" in first.stdout
    again = take(tmp_path, SESSION)
    assert "0 calls taken, 4 in the lake already" in again.stdout
    copied = take(tmp_path, SESSION, RESUMED)
    assert "0 calls taken, 4 in the lake already" in copied.stdout
    assert "10  a further line of a call" in copied.stdout, "3 in the session, 7 answers copied"
    assert rows(open_lake(tmp_path / "data")).height == 4


def test_the_table_tells_tokens_and_cost_by_model_and_why_lines_were_skipped(tmp_path: Path) -> None:
    log = tmp_path / "torn.jsonl"
    log.write_bytes(write_log(log, [answer(1)]).read_bytes() + b'{"type":"assis')
    told = take(tmp_path, FIXTURES / "old", log).stdout
    assert "API-equivalent USD" in told
    lines = {line.split()[0]: line.split()[1:] for line in told.splitlines() if line.strip()}
    assert lines["claude-3-7-sonnet-20250219"] == ["1", "12,307", "0", "12,304", "550", "0.0544"]
    assert lines["kimi-k2.5"] == ["1", "100", "0", "0", "80", "0.0000", "(1", "unpriced)"]
    assert f"1  an unfinished last line ({log}:2)" in told


def test_a_dry_run_leaves_no_row(tmp_path: Path) -> None:
    told = command(tmp_path, "claude-code", SESSION, "--dry-run", "--billing", "metered", "--data", tmp_path / "data")
    assert "4 calls would be taken" in told.stdout
    assert "API-equivalent" not in told.stdout
    assert rows(open_lake(tmp_path / "data")).height == 0


def test_an_empty_home_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    told = command(tmp_path, "claude-code", "--data", tmp_path / "data")
    assert told.returncode == 1
    assert f"{tmp_path}/.claude/projects" in told.stderr
    assert "Name the files, or the folder that holds them." in told.stderr
    assert "Traceback" not in told.stderr


def test_wrong_words_are_answered_with_the_right_ones(tmp_path: Path) -> None:
    unknown = command(tmp_path, "claude-cod")
    assert (unknown.returncode, "claude-code" in unknown.stderr) == (1, True)
    listed = command(tmp_path)
    assert (listed.returncode, listed.stdout) == (0, "ultimate-proxy import claude-code: Claude Code session logs\n")
    absent = take(tmp_path, tmp_path / "nowhere")
    assert (absent.returncode, "nowhere" in absent.stderr) == (1, True)


def test_a_lake_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lake").write_text("in the way", encoding="utf-8")
    told = take(tmp_path, SESSION)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "lake" in told.stderr


def test_a_terminal_gets_a_bar_over_the_bytes(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a.jsonl", [answer(number) for number in range(50)])
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy_server", "import", "claude-code", str(log), "--data", str(tmp_path / "data")],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=slave,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux says so when the other end is gone
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert process.wait(60) == 0
    assert b"import" in shown
    assert "━".encode() in shown
