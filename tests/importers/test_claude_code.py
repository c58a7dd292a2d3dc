"""Claude Code's session logs of several versions, whole and broken: what becomes a row, what is told of the rest."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.importers.logs import BOOK, FIXTURES, RESUMED, SESSION, answer, open_lake, rows, write_log
from ultimate_lib.clock import SteppedClock
from ultimate_lib.errors import NotFound
from ultimate_lib.lake import Lake, importing
from ultimate_lib.lake.importers import IMPORTERS, _files, claude_code
from ultimate_lib.lake.importing import Imported
from ultimate_lib.settings import load


def take(tmp_path: Path, *places: Path) -> tuple[Imported, list[dict[str, object]]]:
    lake = open_lake(tmp_path / "data")
    result = importing.run(lake, "claude_code", places, book=BOOK)
    return result, rows(lake).to_dicts()


def reasons(result: Imported, *, expected: bool = False) -> dict[str, int]:
    return {reason: told.count for reason, told in result.skipped.items() if told.expected == expected}


def test_a_session_becomes_its_calls_right_to_token_and_nano_dollar(tmp_path: Path) -> None:
    result, found = take(tmp_path, SESSION)
    assert (result.taken, result.present, result.files) == (4, 0, 1)
    assert reasons(result) == {}
    # By hand, in USD a million tokens: Sonnet 4.5 is 3 in, 0.30 read, 3.75 and 6 written, 15 out; Haiku 4.5 1 and 5.
    assert [(r["input_tokens"], r["cache_read_tokens"], r["output_tokens"]) for r in found] == [
        (18_412, 0, 187),
        (18_715, 18_400, 412),
        (20_730, 18_710, 903),
        (310, 0, 14),
    ]
    assert [(r["cache_write_5m_tokens"], r["cache_write_1h_tokens"]) for r in found] == [
        (18_400, 0),
        (310, 0),
        (0, 2000),
        (0, 0),
    ]
    assert [r["cost_nano_usd"] for r in found] == [
        12 * 3_000 + 18_400 * 3_750 + 187 * 15_000,
        5 * 3_000 + 310 * 3_750 + 18_400 * 300 + 412 * 15_000,
        20 * 3_000 + 2_000 * 6_000 + 18_710 * 300 + 903 * 15_000 + 2 * 10_000_000,
        310 * 1_000 + 14 * 5_000,
    ]
    assert all(r["list_cost_nano_usd"] == r["cost_nano_usd"] for r in found)
    first = found[0]
    assert first["started_at"] == datetime(2025, 10, 14, 9, 0, 4, 300_000, tzinfo=UTC), "its first line"
    assert (first["source"], first["billing"], first["status"], first["app"]) == (
        "import", "subscription", "ok", "claude-code",
    )  # fmt: skip
    assert (first["upstream_id"], first["finish_reason"]) == ("msg_01Aq9w8e7r6t5y4u3i2o1p0a", "tool_use")
    assert (first["model_served"], first["provider"]) == ("claude-sonnet-4-5-20250929", "anthropic")
    assert (first["project"], first["session_id"]) == ("search", "5b0e6c1e-7d0f-4d6a-9a51-0f3f5a9b1c01")
    assert (first["service_tier"], first["cache_hit"], first["agent_id"]) == ("standard", False, None)
    assert found[2]["server_tool_requests"] == 2


def test_everything_that_is_no_call_is_counted_by_reason(tmp_path: Path) -> None:
    result, _ = take(tmp_path, SESSION)
    lines = sum(path.read_bytes().count(b"\n") for path in SESSION.iterdir())
    told = reasons(result, expected=True)
    assert told == {
        "a further line of a call": 3,
        "an error or notice that Claude Code wrote itself": 1,
        "not an answer: file-history-snapshot": 1,
        "not an answer: user": 3,
        "not an answer: system": 1,
        "not an answer: summary": 1,
    }
    assert result.taken + sum(told.values()) == lines


def test_fourteen_lines_copied_into_a_second_file_make_no_new_row(tmp_path: Path) -> None:
    copied = [path.read_bytes().count(b"\n") for folder in (SESSION, RESUMED) for path in folder.iterdir()]
    assert copied == [14, 14]
    alone, before = take(tmp_path / "one", SESSION)
    both, after = take(tmp_path / "two", SESSION, RESUMED)
    assert alone.taken == both.taken == 4
    assert [(r["call_id"], r["cost_nano_usd"]) for r in after] == [(r["call_id"], r["cost_nano_usd"]) for r in before]


def test_a_copy_that_broke_off_early_does_not_turn_usage_back(tmp_path: Path) -> None:
    whole = [answer(1, output=2, stop_reason=None), answer(1, output=90, stop_reason=None), answer(1, output=240)]
    for order in ("ab", "ba"):
        folder = tmp_path / order
        write_log(folder / f"{order[0]}.jsonl", whole)
        write_log(folder / f"{order[1]}.jsonl", whole[:2])
        for age, name in enumerate("ab"):
            os.utime(folder / f"{name}.jsonl", (1_700_000_000 + age,) * 2)
        _, found = take(tmp_path / f"lake-{order}", folder)
        assert [r["output_tokens"] for r in found] == [240]


def test_the_last_line_counts_even_if_it_tells_less(tmp_path: Path) -> None:
    later = answer(1, output=30) | {"timestamp": "2025-11-03T09:00:09.000Z"}
    _, found = take(tmp_path, write_log(tmp_path / "a.jsonl", [answer(1, output=50), later]))
    assert [r["output_tokens"] for r in found] == [30]


def test_the_same_message_of_two_requests_is_two_calls_and_without_a_request_none_of_its_own(tmp_path: Path) -> None:
    other = answer(1) | {"requestId": "req_other"}
    bare = answer(1, requestId=None, output=9) | {"timestamp": "2025-11-03T09:00:01.500Z"}
    _, two = take(tmp_path / "1", write_log(tmp_path / "two.jsonl", [answer(1), other]))
    _, one = take(tmp_path / "2", write_log(tmp_path / "one.jsonl", [bare, answer(1)]))
    _, none = take(tmp_path / "3", write_log(tmp_path / "none.jsonl", [bare, bare]))
    assert [len(two), len(one), len(none)] == [2, 1, 1]
    assert one[0]["output_tokens"] == 9, "the later of the two lines"


def test_a_sub_agent_counts_once_whether_in_its_file_or_in_a_progress_line(tmp_path: Path) -> None:
    folder = FIXTURES / "subagent"
    result, found = take(tmp_path / "both", folder)
    assert (len(found), result.files) == (1, 2)
    row = found[0]
    assert (row["agent_id"], row["tags"], row["project"]) == ("a7c31f9", ["sidechain=true"], "search")
    assert (row["input_tokens"], row["cache_hit"]) == (540, True)
    alone, found = take(tmp_path / "alone", next(folder.glob("*.jsonl")))
    assert [(r["agent_id"], r["output_tokens"]) for r in found] == [("a7c31f9", 77)]
    assert reasons(alone, expected=True) == {"not an answer: progress": 1}


def test_an_old_log_without_request_ids_cache_split_or_known_model(tmp_path: Path) -> None:
    result, found = take(tmp_path, FIXTURES / "old")
    sonnet, kimi = found
    assert sonnet["cost_nano_usd"] == 54_399_000, "3 in, 12,304 written, 550 out at Sonnet 3.7's prices: $0.054399"
    assert (sonnet["cache_write_5m_tokens"], sonnet["cache_write_1h_tokens"]) == (12_304, None)
    assert (kimi["output_tokens"], kimi["cost_nano_usd"], kimi["cost_source"]) == (80, None, "none")
    assert kimi["provider"] is None
    assert result.models["kimi-k2.5"].unpriced == 1


def test_broken_lines_are_counted_with_their_place_and_nothing_else_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    good = [json.dumps(answer(number)).encode() for number in range(1, 6)]
    path.write_bytes(
        b"\n".join(
            [
                good[0], b'{"type":"assistant","message":{', good[1], b'{"type":"assi\xff\xfe"}', good[2], b"[1,2]",
                b"", b"\x00\x00\x00\x00", good[3], b'{"type":' * 5000, good[4], json.dumps(answer(6)).encode()[:80],
            ]
        )
    )  # fmt: skip
    result, found = take(tmp_path, path)
    assert len(found) == 5
    assert reasons(result) == {
        "broken JSON": 3,
        "broken UTF-8": 1,
        "not a JSON object": 1,
        "an unfinished last line": 1,
    }
    assert result.skipped["broken UTF-8"].samples == [f"{path}:4"]
    assert result.skipped["an unfinished last line"].samples == [f"{path}:12"]


def test_a_whole_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    path = tmp_path / "open.jsonl"
    path.write_text(json.dumps(answer(1)), encoding="utf-8")
    assert len(take(tmp_path, path)[1]) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (answer(1, id=None), "an answer without message id, which could not be counted once"),
        (answer(1, usage=None), "an answer without token counts"),
        (answer(1, usage={"input_tokens": -3, "output_tokens": 1}), "an answer without token counts"),
        (answer(1, usage={"input_tokens": "12", "output_tokens": 1}), "an answer without token counts"),
        (answer(1, usage={"input_tokens": 10**11, "output_tokens": 1}), "an answer with impossible token counts"),
        (answer(1, model=None), "an answer without model"),
        (answer(1, timestamp=None), "an answer without a usable timestamp"),
        (answer(1, timestamp="yesterday"), "an answer without a usable timestamp"),
        (answer(1, timestamp="2025-11-03T09:00:00"), "an answer without a usable timestamp"),
        (answer(1, timestamp="0001-01-01T00:00:00Z"), "an answer without a usable timestamp"),
        (answer(1, message="what"), "an answer without message id, which could not be counted once"),
    ],
)
def test_an_answer_that_cannot_be_counted_says_why(tmp_path: Path, line: dict[str, object], reason: str) -> None:
    path = write_log(tmp_path / "a.jsonl", [line, answer(2)])
    result, found = take(tmp_path, path)
    assert len(found) == 1
    assert result.skipped[reason].samples == [f"{path}:1"]


def test_missing_fields_that_are_not_needed_leave_nulls(tmp_path: Path) -> None:
    line = answer(1, sessionId=None, cwd=None, isSidechain=None, requestId=None, stop_reason=None)
    _, found = take(tmp_path, write_log(tmp_path / "a.jsonl", [line]))
    row = found[0]
    assert [row[name] for name in ("session_id", "project", "finish_reason", "tags", "agent_id")] == [None] * 5


def test_a_line_beyond_bounds_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "MOST_LINE_BYTES", 4096)
    path = write_log(tmp_path / "a.jsonl", [answer(1), answer(2) | {"x": "y" * 9000}, answer(3)])
    result, found = take(tmp_path, path)
    assert len(found) == 2
    assert [told.samples for told in result.skipped.values()] == [[f"{path}:2"]]


def test_links_loops_and_what_is_no_file_are_told_and_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "projects"
    write_log(root / "p" / "a.jsonl", [answer(1)])
    (root / "p" / "round").symlink_to(root)
    (root / "p" / "self").symlink_to(root / "p" / "self")
    (root / "p" / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    (root / "p" / "again.jsonl").symlink_to(root / "p" / "a.jsonl")
    os.mkfifo(root / "p" / "pipe.jsonl")
    (root / "p" / "notes.txt").write_text("not a log", encoding="utf-8")
    result, found = take(tmp_path, root)
    assert (len(found), result.files) == (1, 1)
    told = reasons(result)
    assert told["a file or folder reached a second time, by a link"] == 2
    assert told["not a regular file"] == 1
    assert sum(count for reason, count in told.items() if reason.startswith("cannot be read")) >= 1


def test_a_file_that_cannot_be_read_loses_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_log(tmp_path / f"{number}.jsonl", [answer(number)]) for number in (1, 2, 3)]
    real = Path.open

    def refuse(self: Path, *arguments: object, **named: object) -> object:
        if self == paths[1]:
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    result, found = take(tmp_path, *paths)
    assert len(found) == 2
    assert result.skipped["cannot be read (Permission denied)"].samples == [str(paths[1])]


def test_a_call_that_may_still_be_going_on_waits_for_the_next_import(tmp_path: Path) -> None:
    clock = SteppedClock(datetime(2025, 11, 3, 9, 0, 30, tzinfo=UTC))
    lake = Lake(load(environ={}, overrides={"data.folder": str(tmp_path / "data")}), clock)
    path = write_log(tmp_path / "a.jsonl", [answer(1), answer(2, stop_reason=None, output=1)])
    assert importing.run(lake, "claude_code", [path], book=BOOK).taken == 0
    clock.advance(90)
    result = importing.run(lake, "claude_code", [path], book=BOOK)
    assert result.taken == 1, "the one with a stop reason has settled"
    assert reasons(result) == {"too fresh, it may still be going on: import again later": 1}
    write_log(path, [answer(1), answer(2, stop_reason=None, output=1), answer(2, output=55)])
    clock.advance(90)
    assert importing.run(lake, "claude_code", [path], book=BOOK).taken == 1
    assert rows(lake)["output_tokens"].to_list() == [7, 55]


def test_it_looks_where_claude_code_keeps_its_logs(tmp_path: Path) -> None:
    importer = IMPORTERS.get("claude_code")
    assert importer is claude_code.importer
    home = importer.places({"HOME": "/home/ada"})
    assert home == [Path("/home/ada/.claude/projects"), Path("/home/ada/.config/claude/projects")]
    assert importer.places({"CLAUDE_CONFIG_DIR": "/x, /y"}) == [Path("/x/projects"), Path("/y/projects")]
    settings = load(environ={"CLAUDE_CONFIG_DIR": str(tmp_path)}, overrides={"data.folder": str(tmp_path / "data")})
    lake = Lake(settings, SteppedClock(datetime.now(UTC) + timedelta(days=1)))
    with pytest.raises(NotFound, match=f"Looked in {tmp_path}/projects"):
        importing.run(lake, "claude_code", book=BOOK)
    write_log(tmp_path / "projects" / "-w-shop" / "s.jsonl", [answer(1)])
    assert importing.run(lake, "claude_code", book=BOOK).taken == 1
