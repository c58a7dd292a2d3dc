"""The command line against a real proxy with its scripted provider: figures, keys, spending, other clients' calls."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from claude_proxy import ClaudeProxyClient, money
from tests.client.commands import Done, claude_proxy, command
from tests.harness import ROOT, Running, environment, start_proxy, wait_until

CLAUDE_INPUT, CLAUDE_OUTPUT = 3_000, 15_000  # nano-dollars a token
COST = 4 * CLAUDE_INPUT + 12 * CLAUDE_OUTPUT  # of one call below: 4 tokens in, 12 out


def call(proxy: Running, model: str = "demo/claude-sonnet-4-5", **headers: str) -> int:
    body = {"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
    connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
    sent = {"x-api-key": proxy.key, "content-type": "application/json"}
    connection.request("POST", "/v1/messages", json.dumps(body), {**sent, **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy that has answered five calls of run 7 (one of unknown price) and refused one."""
    folder = tmp_path_factory.mktemp("proxy")
    with start_proxy(folder, config="[data]\ndemo = true\n") as running:
        tags = {"X-Ultimate-Tags": "run=7", "X-Ultimate-Session": "s1", "X-Ultimate-Project": "=cmd|' /C calc'!A0"}
        for _ in range(4):
            assert call(running, **tags) == 200
        assert call(running, "demo/unheard-of", **tags) == 200
        assert call(running, "nowhere") == 404
        wait_until(lambda: running.get("/api/analytics/aggregate")["rows"][0]["requests"] == 6, 15, running)
        yield running


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy for tests that call: what they add, those who count the calls of the other must not find."""
    with start_proxy(tmp_path_factory.mktemp("busy")) as running:
        yield running


@pytest.fixture
def run(proxy: Running, tmp_path: Path) -> Any:
    def do(*arguments: str, **more: Any) -> Done:
        return claude_proxy(tmp_path, *arguments, url=proxy.url, key=proxy.key, **more)

    return do


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_command_of_the_first_page_works_word_for_word(run: Any) -> None:
    done = run("analytics", "--start", "2026-01-01", "--end", "2026-01-05")
    assert done.status == 0
    assert "2026-01-01 to 2026-01-05 (UTC)" in done.out
    assert "No calls." in done.out


def test_unknown_is_a_dash_null_and_empty_and_never_zero(run: Any) -> None:
    table = run("analytics", "--by", "model")
    assert table.status == 0
    (line,) = [line for line in table.out.splitlines() if line.startswith("unheard-of")]
    assert "—" in line
    assert "$" not in line
    assert "1 call of unknown cost" in table.out
    told = json.loads(run("analytics", "--by", "model", "-o", "json").out)
    (row,) = [row for row in told["rows"] if row["model"] == "unheard-of"]
    assert row["cost_usd"] is None
    (line,) = [
        row for row in rows_of(run("analytics", "--by", "model", "-o", "csv").out) if row["model"] == "nowhere"
    ]
    assert line["cost_usd"] == ""


def test_sums_agree_to_the_nano_dollar_in_every_form(run: Any, proxy: Running) -> None:
    told = json.loads(run("analytics", "--output", "json").out)
    assert told["rows"][0] == proxy.get("/api/analytics/aggregate")["rows"][0]
    assert money.nano_usd(told["rows"][0]["cost_usd"]) == 4 * COST
    calls = json.loads(run("--output", "json", "calls", "--limit", "0").out)
    assert [type(row["cost_nano_usd"]) for row in calls if row["status"] == "ok"].count(int) == 4
    assert sum(row["cost_nano_usd"] or 0 for row in calls) == 4 * COST
    lines = rows_of(run("calls", "-o", "csv").out)
    assert sum(int(line["cost_nano_usd"] or 0) for line in lines) == 4 * COST
    spent = rows_of(run("analytics", "-o", "csv", "--metrics", "cost_usd").out)[0]["cost_usd"]
    assert money.nano_usd(spent) == 4 * COST
    with ClaudeProxyClient(proxy.url, proxy.key) as client:
        assert client.calls().to_polars()["cost_nano_usd"].sum() == 4 * COST


def test_a_text_that_a_spreadsheet_would_run_is_disarmed(run: Any) -> None:
    projects = {line["project"] for line in rows_of(run("calls", "-o", "csv").out)}
    assert projects == {"'=cmd|' /C calc'!A0", ""}


def test_figures_stand_at_the_right(run: Any) -> None:
    lines = run("analytics", "--by", "model").out.splitlines()
    head = next(line for line in lines if line.startswith("model"))
    ends = [head.index(name) + len(name) for name in ("requests", "errors", "total tokens")]
    for line in lines[lines.index(head) + 1 :][:3]:
        assert [line[end - 1] not in {" ", ""} for end in ends] == [True, True, True], line


def test_steps_of_time(run: Any) -> None:
    today = datetime.now(UTC).date().isoformat()
    told = rows_of(run("analytics", "--grain", "day", "-o", "csv", "--metrics", "requests").out)
    assert {line["step_at"][:10]: line["requests"] for line in told}[today] == "6"
    table = run("analytics", "--grain", "day", "--metrics", "requests").out
    assert "steps without calls are left out" in table
    assert [line.split()[-1] for line in table.splitlines() if line.startswith(today)] == ["6"]


def test_what_the_proxy_does_not_know_is_wrong_usage(run: Any) -> None:
    done = run("analytics", "--metrics", "costs")
    assert done.status == 2
    assert "There is no metric 'costs'" in done.err
    assert done.out == ""
    assert run("analytics", "--top").status == 2
    assert run("analytic").status == 2
    assert run("calls", "--limit", "-1").status == 2


def test_cost_passes_below_and_stops_above_the_limit(run: Any, proxy: Running) -> None:
    below = run("cost", "--tag", "run=7", "--max-usd", "0.000768")
    assert (below.status, "$0.00077" in below.out) == (0, True)
    assert "1 call of unknown cost" in below.out
    assert ("demo data" in below.out) == ("/api/version" in proxy.get("/api/openapi.json")["paths"])
    above = run("cost", "--tag", "run=7", "--max-usd", "0.000767999")
    assert (above.status, "Above the limit" in above.err) == (4, True)
    assert run("cost", "--tag", "run=7", "--max-usd", "2", "--strict").status == 4
    told = json.loads(run("cost", "--tag", "run=7", "--max-usd", "2", "-o", "json").out)
    assert (told["cost_nano_usd"], told["unpriced_requests"], told["over"]) == (4 * COST, 1, False)
    nothing = run("cost", "--tag", "run=8", "--max-usd", "2")
    assert (nothing.status, "No calls were found" in nothing.err) == (0, True)
    assert run("cost", "--max-usd", "two").status == 2
    assert run("cost", "--max-usd", "nan").status == 2


def test_one_line_for_a_status_bar(run: Any) -> None:
    line = run("statusline").out
    assert line.startswith("LLM $0.00077 today · 6 calls · 1 of unknown cost")
    assert line.count("\n") == 1
    line = run("statusline", stdin='{"session_id": "s1", "model": {}}').out
    assert line.startswith("LLM $0.00077 this session · $0.00077 today")
    line = run("statusline", stdin='{"session_id": "other"}').out
    assert line.startswith("LLM $0.00 this session · ")


def test_a_status_bar_is_told_when_no_proxy_answers(tmp_path: Path) -> None:
    done = claude_proxy(tmp_path, "statusline", url="http://127.0.0.1:1")
    assert (done.status, done.out, done.err) == (0, "LLM — (no proxy answers)\n", "")


def test_a_status_bar_that_says_nothing_on_an_open_pipe_is_not_waited_for(proxy: Running, tmp_path: Path) -> None:
    env = environment(tmp_path, {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key})
    with subprocess.Popen(command("statusline"), cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=-1) as process:
        assert process.wait(20) == 0


def test_keys_are_made_shown_once_and_ended(run: Any, proxy: Running, tmp_path: Path) -> None:
    made = run("keys", "create", "reader", "--scopes", "analytics:view", "--expires-in-days", "3")
    key = made.out.strip()
    assert (made.status, len(key), key[:3]) == (0, 46, "cp_")
    assert key not in made.err
    listed = run("keys", "list", "-o", "json")
    assert key not in listed.out
    (about,) = [row for row in json.loads(listed.out) if row["name"] == "reader"]
    (tmp_path / "key").write_text(f"{key}\n")
    alone = {"url": proxy.url, "key": ""}
    assert claude_proxy(tmp_path, "--key-file", str(tmp_path / "key"), "analytics", **alone).status == 0
    denied = claude_proxy(tmp_path, "status", "--key-file", "-", stdin=key, **alone)
    assert (denied.status, "audit:view" in denied.err) == (3, True)
    assert run("keys", "revoke", about["id"]).status == 0
    used = ("analytics", "--key-file", str(tmp_path / "key"))
    wait_until(lambda: claude_proxy(tmp_path, *used, **alone).status == 3, 15, proxy)


def test_who_one_is_and_how_the_proxy_does(run: Any, proxy: Running) -> None:
    who = run("whoami")
    assert (who.status, proxy.url in who.out, "CLAUDE_PROXY_URL" in who.out) == (0, True, True)
    assert run("status").status == run("health").status == run("version").status == 0
    assert "all parts work" in run("health").out
    assert json.loads(run("version", "-o", "json").out)["client"] == "0.1.0"
    assert run("metrics").out.startswith("# HELP")
    assert json.loads(run("api", "GET", "/api/analytics/breakdown", "by=model", "limit=1").out)["rows"]
    assert run("roles").out.count("\n") == 7  # a heading, five roles, a preset


def test_without_a_key_one_is_denied_and_told_how_to_give_one(proxy: Running, tmp_path: Path) -> None:
    done = claude_proxy(tmp_path, "analytics", url=proxy.url, env={"CLAUDE_PROXY_API_KEY": "cp_" + "x" * 43})
    assert done.status == 3
    assert "cp_" + "x" * 43 not in done.err


def test_the_proxy_of_this_computer_is_found_without_a_word(proxy: Running, tmp_path: Path) -> None:
    done = claude_proxy(tmp_path, "whoami", "-o", "json", env={"ULTIMATE_DATA_FOLDER": str(proxy.data_dir)})
    told = json.loads(done.out)
    assert (told["url"], told["source"]) == (proxy.url, str(proxy.data_dir / "local.json"))


def test_head_has_seen_enough(proxy: Running, tmp_path: Path) -> None:
    env = environment(tmp_path, {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key})
    line = f"{sys.executable} -m claude_proxy openapi | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def shell(name: str, script: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [name, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )


CLIENTS = """
import anthropic, openai
message = anthropic.Anthropic(max_retries=0).messages.create(
    model="demo/claude-sonnet-4-5", max_tokens=20, messages=[{"role": "user", "content": "hi"}])
reply = openai.OpenAI(max_retries=0).chat.completions.create(
    model="demo/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
print(message.usage.output_tokens, reply.usage.completion_tokens)
"""


def test_other_clients_call_through_the_proxy_after_eval(busy: Running, tmp_path: Path) -> None:
    """The real packages, with keys of elsewhere in the environment that must not win."""
    env = environment(tmp_path, {"CLAUDE_PROXY_URL": busy.url, "CLAUDE_PROXY_API_KEY": busy.key})
    env |= {"ANTHROPIC_API_KEY": "sk-ant-elsewhere", "OPENAI_API_KEY": "sk-elsewhere"}
    (tmp_path / "clients.py").write_text(CLIENTS)
    script = f'eval "$({sys.executable} -m claude_proxy env --shell sh)" && {sys.executable} {tmp_path}/clients.py'
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["12", "12"], done.stderr


def test_without_a_key_there_is_nothing_to_export(tmp_path: Path) -> None:
    done = claude_proxy(tmp_path, "env", url="http://127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert "config set api_key" in done.err


def on_terminal(proxy: Running, folder: Path, *arguments: str, **env: str) -> str:
    """Run a command with a terminal as its output, and return what it wrote there."""
    ours, theirs = pty.openpty()
    place = {"CLAUDE_PROXY_URL": proxy.url, "CLAUDE_PROXY_API_KEY": proxy.key, "TERM": "xterm", **env}
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, env=environment(folder, place), stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=subprocess.DEVNULL,
    ):  # fmt: skip
        os.close(theirs)
        text = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            text += more
    os.close(ours)
    return text.decode()


def test_colours_are_for_terminals_that_want_them(proxy: Running, run: Any, tmp_path: Path) -> None:
    assert "\x1b[" in on_terminal(proxy, tmp_path, "calls")
    assert "\x1b[" not in on_terminal(proxy, tmp_path, "calls", NO_COLOR="1")
    assert "\x1b[" not in on_terminal(proxy, tmp_path, "calls", TERM="dumb")
    assert "\x1b[" not in run("calls").out


def test_following_ends_with_ctrl_c_and_without_a_word(busy: Running, tmp_path: Path) -> None:
    env = environment(tmp_path, {"CLAUDE_PROXY_URL": busy.url, "CLAUDE_PROXY_API_KEY": busy.key})
    arguments = command("tail", "-o", "json", "--filter", "project:tail")
    with subprocess.Popen(arguments, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = process.stdout

        def heard() -> bool:  # as soon as it listens
            assert call(busy) == 200
            assert call(busy, **{"X-Ultimate-Project": "tail"}) == 200
            return bool(select.select([told], [], [], 0.5)[0])

        wait_until(heard, 30, busy)
        process.send_signal(signal.SIGINT)
        lines = told.read().splitlines()
        assert (process.wait(10), process.stderr.read()) == (0, b"")
        assert {(row["project"], row["cost_nano_usd"]) for row in map(json.loads, lines)} == {("tail", COST)}


def test_one_call_says_why_it_has_its_price(run: Any) -> None:
    rows = json.loads(run("calls", "-o", "json", "--tag", "run=7", "--filter", "model:claude-sonnet-4-5").out)
    done = run("calls", rows[0]["call_id"])
    assert done.status == 0
    assert "Why this price" in done.out
    assert "Total: $0.000192" in done.out
    told = json.loads(run("calls", rows[0]["call_id"], "-o", "json").out)
    assert sum(line["cost_nano_usd"] for line in told["price"]["lines"]) == COST == told["price"]["total_nano_usd"]
    assert run("calls", "01900000-0000-7000-8000-000000000000").status == 1


def test_a_provider_gets_its_key_from_standard_input(run: Any) -> None:
    assert run("providers", "set-key", "anthropic", "sk-ant-secret").status == 2, "never as an argument"
    given = run("providers", "set-key", "anthropic", stdin="sk-ant-secret-0123456789\n")
    assert (given.status, "sk-ant" in given.out + given.err) == (0, False)
    listed = run("providers")
    (line,) = [line for line in listed.out.splitlines() if line.startswith("anthropic")]
    assert "stored" in line
    assert "sk-ant" not in listed.out
    assert run("providers", "delete-key", "anthropic").status == 0
    assert run("providers", "set-key", "nobody", stdin="sk-ant-secret-0123456789\n").status == 1
