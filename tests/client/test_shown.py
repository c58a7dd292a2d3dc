"""What a table, CSV, a shell and a terminal are given; nothing in a value acts on any of them."""

from __future__ import annotations

import csv
import io
import json
import subprocess

import pytest

from claude_proxy import Rows
from claude_proxy.cli import env, main, shown
from claude_proxy.cli.completion import bash, fish, zsh
from claude_proxy.cli.numbers import span
from claude_proxy.cli.output import Column, Output, csv_lines, pad, width
from claude_proxy.cli.parser import leaves, parser

NASTY = "a'b\"c $(touch x) `id` \\ ; | & ! * ~ é \u2018q\u2019 \u201b"


def test_tables_keep_their_columns_whatever_is_in_them() -> None:
    out = io.StringIO()
    columns = [Column("name", "name"), Column("cost", "cost", shown.nano, right=True)]
    rows = [
        {"name": "模型", "cost": 12_300_000},
        {"name": "\x1b[31mred\r\n\u202eevil", "cost": None},
        {"name": "é", "cost": 0},
    ]
    Output(out=out).rows(columns, rows)
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert not set("\x1b\r\u202e") & set(out.getvalue())
    assert {width(line) for line in lines} == {width(lines[0])}
    assert lines[2].endswith("      —")


def test_json_keeps_every_digit_and_unknown_is_null() -> None:
    out = io.StringIO()
    rows = [{"cost_nano_usd": 2**60 + 1, "cost_usd": 1e-9, "none": None}]
    Output("json", out=out).rows([], rows)
    assert json.loads(out.getvalue()) == rows


def test_csv_says_no_formula_and_no_exponent() -> None:
    values = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "plain", -5, 1e-9, None, True, ["=a"], "a,b\nc"]
    (line,) = csv.reader(io.StringIO(csv_lines([values]), newline=""))
    assert line == [
        "'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "plain", "-5", "0.000000001", "", "true", '["=a"]', "a,b\nc",
    ]  # fmt: skip


def test_padding_counts_places_and_not_letters() -> None:
    assert (width("模型"), width("e\u0301"), width("abc")) == (4, 1, 3)
    assert pad("模", 4, right=True) == "  模"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4, "0 ms"),
        (850, "850 ms"),
        (2100, "2.1 s"),
        (185_000, "3 m 05 s"),
        (179_999, "3 m 00 s"),
        (999.7, "1.0 s"),
        (59_970, "1 m 00 s"),
    ],
)
def test_durations_are_readable(value: float, text: str) -> None:
    assert shown.milliseconds(value) == text


@pytest.mark.parametrize(
    ("start", "end", "zone", "words"),
    [
        ("2025-12-31T23:00:00Z", "2026-01-05T23:00:00Z", "Europe/Berlin", "2026-01-01 to 2026-01-05 (Europe/Berlin)"),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "UTC", "2026-01-01 (UTC)"),
        ("2026-01-01T08:30:00.500000Z", "2026-01-02T00:00:00Z", "UTC", "2026-01-01 08:30 to 2026-01-02 00:00 (UTC)"),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "Not/There", "2026-01-01 (UTC)"),
    ],
)
def test_a_span_is_named_by_its_days(start: str, end: str, zone: str, words: str) -> None:
    assert span(Rows(start=start, end=end, time_zone=zone)) == words


def test_a_shell_is_given_values_and_no_commands() -> None:
    line = env.export("sh", "VALUE", NASTY)
    done = subprocess.run(["sh", "-c", f'{line}; printf %s "$VALUE"'], capture_output=True, check=True)
    assert done.stdout.decode() == NASTY
    assert env.export("sh", "EMPTY", "") == "export EMPTY=''"
    assert env.export("fish", "V", "a'b\\c$(x)") == "set -gx V 'a\\'b\\\\c$(x)';"
    assert env.export("powershell", "V", "a'b\u2018c$(x)`") == "$env:V = 'a''b\u2018\u2018c$(x)`'"


@pytest.mark.parametrize(
    ("shell", "usual"), [("/usr/bin/fish", "fish"), ("/bin/zsh", "sh"), ("/opt/pwsh", "powershell"), ("", "sh")]
)
def test_the_usual_shell_is_known(shell: str, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", shell)
    assert env.usual_shell() == usual


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("claude-proxy an", {"analytics"}),
        ("claude-proxy keys re", {"revoke"}),
        ("claude-proxy providers ", {"set-key", "delete-key", "list"}),
        ("claude-proxy analytics --gr", {"--grain"}),
        ("claude-proxy analytics --grain ", {"minute", "hour", "day", "week", "month"}),
        ("claude-proxy --output json cal", {"calls"}),
        ("claude-proxy calls -o ", {"table", "json", "csv"}),
        ("claude-proxy completion z", {"zsh"}),
    ],
)
def test_bash_completes(typed: str, wanted: set[str]) -> None:
    words = typed.split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    script = (
        f"{bash()}\nCOMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}\n"
        f'_claude_proxy\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert wanted <= set(done.stdout.split())
    if words[-1]:
        assert all(word.startswith(words[-1]) for word in done.stdout.split())


def test_each_shell_knows_every_command() -> None:
    for script in (bash(), zsh(), fish()):
        for path, _ in leaves(parser()):
            assert path.split()[-1] in script
    assert "-a 'table json csv'" in fish()
    assert subprocess.run(["bash", "-n"], input=bash(), text=True, check=True).returncode == 0


@pytest.mark.parametrize(("path", "parsed"), [pytest.param(*leaf, id=leaf[0]) for leaf in leaves(parser())])
def test_each_help_has_an_example(path: str, parsed: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*path.split(), "--help"])
    told = capsys.readouterr().out
    assert left.value.code == 0
    assert "\nexample: " in told
    assert path.split(maxsplit=1)[0] in told.rpartition("example: ")[2]
