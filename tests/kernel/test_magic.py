"""The words of %ultimate: frames, charts, help, completion."""

from __future__ import annotations

from pathlib import Path

from tests.harness import Running
from tests.kernel.kernels import CLAUDE_INPUT, CLAUDE_OUTPUT, GPT_INPUT, GPT_OUTPUT, OPENAI, Kernel

DEAR = 100 * CLAUDE_INPUT + 10 * CLAUDE_OUTPUT
CHEAP = 200 * GPT_INPUT + 20 * GPT_OUTPUT


def calls(kernel: Kernel) -> None:
    kernel.run("# the dear one\ntell(claude, input_tokens=100, output_tokens=10); None", "dear")
    kernel.run("for _ in range(2): ask(gpt, input_tokens=100, output_tokens=10)", "cheap")


def test_cost_is_a_frame_and_a_chart(loaded: Kernel) -> None:
    calls(loaded)
    check_polars(loaded)
    check_pandas_and_plain_tables(loaded)


def check_polars(kernel: Kernel) -> None:
    output = kernel.run(
        "costs = %ultimate cost\n"
        "names = ['cell_id', 'in', 'first_line', 'requests', 'errors', 'input_tokens', 'cost_usd']\n"
        "rows = [(*row[:6], round(row[6], 12)) for row in costs.select(names).rows()]\n"
        "result([type(costs).__module__.split('.')[0], rows])",
        "x",
    )
    library, rows = output.value
    assert library == "polars"
    assert rows == [
        ["dear", 4, "# the dear one", 1, 0, 100, DEAR / 1e9],
        ["cheap", 5, "for _ in range(2): ask(gpt, input_tokens=100, output_tokens=", 2, 0, 200, CHEAP / 1e9],
    ]
    (chart,) = output.shown
    assert chart["text/plain"].splitlines()[0] == "this kernel, last 30 days: $0.000492 · 3 calls · demo data"
    assert chart["text/plain"].splitlines()[1].endswith(" $0.00045")
    assert '<svg role="img"' in chart["text/html"]
    assert "currentColor" in chart["text/html"], "readable in the light and in the dark"
    shown = kernel.run("%ultimate cost")
    assert [sorted(data) for data in shown.shown] == [["text/html", "text/plain"]] * 2


def check_pandas_and_plain_tables(kernel: Kernel) -> None:
    hide = "import sys, importlib.util\nreal = importlib.util.find_spec\n"
    hide += "importlib.util.find_spec = lambda name, *a: None if name in hidden else real(name, *a)\n"
    pandas = kernel.run(
        hide + "hidden = {'polars'}\ncosts = %ultimate cost\n"
        "result([type(costs).__module__.split('.')[0], list(costs['requests'])])"
    )
    assert pandas.value == ["pandas", [1, 2]]
    plain = kernel.run("hidden = {'polars', 'pandas'}\n%ultimate cost")
    text, html = plain.shown[1]["text/plain"], plain.shown[1]["text/html"]
    assert text.splitlines()[0].split()[:3] == ["cell_id", "in", "first_line"]
    assert "dear" in text
    assert html.startswith("<table>")
    assert "<td>dear</td>" in html


def test_calls_of_the_same_cell_are_there_at_once(shared: Kernel) -> None:
    output = shared.run(
        "ask(gpt, input_tokens=7, output_tokens=1)\nfound = %ultimate calls\n"
        "own = found.filter(found['cell_id'] == 'at once')\n"
        "result(own.select('cell_id', 'status', 'input_tokens', 'cost_nano_usd').rows())",
        "at once",
    )
    assert output.value == [["at once", "ok", 7, 7 * GPT_INPUT + GPT_OUTPUT]]


def test_an_empty_lake_and_no_calls(kernel: Kernel) -> None:
    kernel.run("%load_ext ultimate_lib")
    for word in ("cost", "calls"):
        output = kernel.run(f"%ultimate {word}")
        assert output.stdout == "No calls of this kernel in the last 30 days.\n"
        assert not output.shown


def test_a_forecast_needs_days_and_says_so(loaded: Kernel) -> None:
    calls(loaded)
    output = loaded.run("%ultimate forecast")
    assert output.stdout.startswith("No forecast yet. ")
    assert "a forecast needs" in output.stdout
    assert not output.stderr


def test_wrong_words_and_help(shared: Kernel) -> None:
    told = shared.run("%ultimate csot").stdout
    assert told.startswith("There is no `%ultimate csot`. Did you mean `%ultimate cost`?\n")
    assert "%ultimate line off" in told
    assert shared.run("%ultimate help").stdout.count("%ultimate ") == 9
    assert shared.run("%ultimate  LINE   off").stdout == "The line under cells is off.\n"
    assert not shared.run("ask(gpt); None").stdout
    shared.run("%ultimate line on")
    assert shared.run("ask(gpt); None").line.startswith("1 call")


def test_completion(shared: Kernel) -> None:
    for line, expected in (
        ("%ultimate ", {"cost", "calls", "forecast", "off", "on", "line", "help"}),
        ("%ultimate c", {"cost", "calls"}),
        ("%ultimate line ", {"on", "off"}), ("%ultimate line o", {"on", "off"}),
    ):  # fmt: skip
        reply = shared.client.complete(line, reply=True, timeout=20)
        assert set(reply["content"]["matches"]) == expected, line


def test_a_terminal(tmp_path: Path, proxy: Running) -> None:
    """In IPython without a kernel everything is text."""
    import subprocess
    import sys

    from tests.kernel.kernels import kernel_environment

    code = OPENAI + "gpt = openai.OpenAI()"
    script = "\n".join(
        [
            "%load_ext ultimate_lib",
            *code.strip().splitlines(),
            "",
            "_ = ask(gpt, input_tokens=5, output_tokens=5)",
            "%ultimate cost",
            "%ultimate off",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--colors=NoColor", "--simple-prompt", "-i"],
        input=script + "\n",
        env=kernel_environment(tmp_path, proxy), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "Calls from this notebook go through " in done.stdout, done.stdout + done.stderr
    assert "1 call · 10 tokens · " in done.stdout
    assert "this kernel, last 30 days: " in done.stdout
    assert "Clients and environment are as they were." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_cell_that_runs_again_tells_of_that_run_alone(loaded: Kernel) -> None:
    loaded.run("%ultimate line off")
    loaded.run("ask(gpt); ask(gpt); None", "again")
    loaded.run("%ultimate line on")
    assert loaded.run("ask(gpt); None", "again").line.startswith("1 call")
    loaded.run("%unload_ext ultimate_lib\n%load_ext ultimate_lib")
    assert loaded.run("ask(gpt); None", "again").line.startswith("1 call")
