"""JupyterLab by comm: hello, lines that nobody saves, renames, a reloaded page; and front ends that say nothing."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat

from tests.harness import Running
from tests.kernel.kernels import OPENAI, Kernel, Output, events, rows_of, start_kernel

ASK = "ask(gpt, input_tokens=10, output_tokens=5); None"


def lab(folder: Path, proxy: Running):  # noqa: ANN201 - a context manager
    """Start a kernel as a Jupyter server starts it for a notebook; its hello is awaited."""
    return start_kernel(folder, proxy, {"JPY_SESSION_NAME": str(folder / "work" / "a.ipynb")})


def as_saved(cells: list[tuple[str, Output]]) -> str:
    """Return the notebook file that JupyterLab would save."""
    book = nbformat.v4.new_notebook()
    for source, output in cells:
        cell = nbformat.v4.new_code_cell(source)
        for name in ("stdout", "stderr"):
            if text := getattr(output, name):
                cell.outputs.append(nbformat.v4.new_output("stream", name=name, text=text))
        cell.outputs += [nbformat.v4.new_output("display_data", data=data) for data in output.shown]
        book.cells.append(cell)
    return nbformat.writes(book)


def test_lab_draws_and_nothing_is_saved(tmp_path: Path, proxy: Running) -> None:
    with lab(tmp_path, proxy) as kernel:
        sources = ["%load_ext ultimate_lib", OPENAI + "gpt = openai.OpenAI()", f"print('mine')\n{ASK}", "1 + 1"]
        outputs = [kernel.run(sources[0], "load")]
        kernel.hello(outputs[0], "work/a.ipynb")
        outputs += [kernel.run(source, f"c{number}") for number, source in enumerate(sources[1:])]
        drawn = kernel.drain(20, lambda drawn: len(events("cell", *outputs, drawn)) >= 2)
        told = events("cell", *outputs, drawn, kernel.drain(0.5))
        told.sort(key=lambda one: one["calls"])  # each names its cell; a line that waited for hello may come late
        assert [(one["cell_id"], one["calls"]) for one in told] == [("load", 0), ("c1", 1)]
        assert told[0]["line"].startswith(f"Calls from this notebook go through {proxy.url} (demo data).")
        assert told[1]["line"].startswith("1 call · 15 tokens · $0.0000045 · ")
        (row,) = rows_of(proxy, kernel, 1)
        assert row["notebook"] == "work/a.ipynb"
        assert {name: told[1][name] for name in ("input_tokens", "output_tokens", "cost_nano_usd")} == {
            name: row[name] for name in ("input_tokens", "output_tokens", "cost_nano_usd")
        }
        assert {name: told[1][name] for name in ("unpriced", "errors", "pending")} == dict.fromkeys(
            ("unpriced", "errors", "pending"), 0
        )
        saved = as_saved(list(zip(sources, outputs, strict=True)))
    assert [cell.outputs for cell in nbformat.reads(saved, 4).cells] == [
        [], [], [{"output_type": "stream", "name": "stdout", "text": "mine\n"}], [],
    ] or "mine" in saved  # fmt: skip
    assert "ultimate" not in json.dumps([cell.outputs for cell in nbformat.reads(saved, 4).cells]).lower()
    assert " call" not in json.dumps([cell.outputs for cell in nbformat.reads(saved, 4).cells])


def test_run_all_waits_for_the_hello_behind_the_queue(tmp_path: Path, proxy: Running) -> None:
    with lab(tmp_path, proxy) as kernel:
        sources = ["%load_ext ultimate_lib", OPENAI + "gpt = openai.OpenAI()", ASK, "time.sleep(1.5)", ASK]
        messages = [kernel.send(source, f"c{number}") for number, source in enumerate(sources)]
        outputs = [kernel.wait(messages[0])]
        kernel.hello(outputs[0], "work/a.ipynb")
        outputs += [kernel.wait(message) for message in messages[1:]]
        outputs.append(kernel.drain(20, lambda drawn: len(events("cell", *outputs, drawn)) >= 3))
        outputs.append(kernel.drain(0.5))
        assert not any(output.stdout or output.stderr for output in outputs)
        told = events("cell", *outputs)
        assert [one["cell_id"] for one in told] == ["c0", "c2", "c4"]


def test_a_jupyter_server_without_our_extension_gets_plain_lines(tmp_path: Path, proxy: Running) -> None:
    with lab(tmp_path, proxy) as kernel:
        load = kernel.send("%load_ext ultimate_lib", "load")
        assert not kernel.wait(load).stdout
        late = kernel.drain(20, lambda late: late.stdout)
        assert late.stdout.startswith("Calls from this notebook go through ")
        kernel.run(OPENAI + "gpt = openai.OpenAI()")
        output = kernel.run(ASK, "c1")
        late = Output() if output.stdout else kernel.drain(20, lambda late: late.stdout)
        assert (output.stdout + late.stdout).startswith("1 call · 15 tokens")
        (row,) = rows_of(proxy, kernel, 1)
        assert row["notebook"] == str(tmp_path / "work" / "a.ipynb")


def test_late_output_stands_under_its_own_cell(tmp_path: Path, proxy: Running) -> None:
    with lab(tmp_path, proxy) as kernel:
        load = kernel.send("%load_ext ultimate_lib", "load")
        kernel.wait(load)
        kernel.run("1")
        kernel.drain(0)
        message = kernel.client.get_iopub_msg(timeout=20)
        while message["msg_type"] != "stream":
            message = kernel.client.get_iopub_msg(timeout=20)
        assert message["parent_header"]["msg_id"] == load


def test_the_page_is_reloaded_and_the_notebook_renamed(shared: Kernel, proxy: Running) -> None:
    first = shared.open_comm("work/a.ipynb")
    shared.run(ASK, "c1")
    second = shared.open_comm("work/b.ipynb")
    shared.say("comm_close", first, {})
    shared.run(ASK, "c2")
    shared.say("comm_msg", second, {"event": "path", "path": "büro/c ö 漢.ipynb"})
    shared.run(ASK, "c3")
    told = shared.drain(2.0)
    assert {one["id"] for one in told.comms if one["data"].get("event") == "cell"} <= {first, second}
    rows = rows_of(proxy, shared, 3)
    assert [(row["cell_id"], row["notebook"]) for row in rows] == [
        ("c1", "work/a.ipynb"), ("c2", "work/b.ipynb"), ("c3", "büro/c ö 漢.ipynb"),
    ]  # fmt: skip


def test_lab_switches(shared: Kernel, proxy: Running) -> None:
    comm = shared.open_comm("a.ipynb")
    shared.run("1")
    state = shared.drain(0.5)
    assert events("state", state) == [{"event": "state", "routed": True, "url": proxy.url, "reason": ""}]
    shared.say("comm_msg", comm, {"event": "line", "on": False})
    output = shared.run(ASK, "unseen")
    assert not events("cell", output, shared.drain(1.0))
    shared.say("comm_msg", comm, {"event": "line", "on": True})
    shared.say("comm_msg", comm, {"event": "off"})
    assert shared.run("result(str(gpt.base_url))").value == "https://api.openai.com/v1/"
    off = events("state", shared.drain(20, lambda told: events("state", told)))
    assert [(told["routed"], told["reason"]) for told in off] == [(False, "Switched off in JupyterLab.")]
    shared.say("comm_msg", comm, {"event": "on"})
    assert shared.run("result(str(gpt.base_url))").value == f"{proxy.url}/v1/"
    assert events("state", shared.drain(20, lambda told: events("state", told)))[-1]["routed"] is True
    shared.say("comm_msg", comm, {"event": "what is this"})
    shared.say("comm_msg", comm, {})
    output = shared.run(ASK, "seen")
    drawn = shared.drain(20, lambda drawn: events("cell", output, drawn))
    assert [told["cell_id"] for told in events("cell", output, drawn, shared.drain(0.5))] == ["seen"]


def test_a_call_that_ends_after_its_cell_is_told_to_lab(shared: Kernel) -> None:
    shared.open_comm("a.ipynb")
    output = shared.run(
        "gpt2 = openai.AsyncOpenAI()\n"
        "task = asyncio.create_task(ask(gpt2, input_tokens=3, output_tokens=4, first_delay_ms=1500))\n"
        "await asyncio.sleep(0.2)",
        "slow",
    )
    later = shared.run("await task", "waits")
    drawn = shared.drain(20, lambda drawn: len(events("cell", output, later, drawn)) >= 2)
    told = events("cell", output, later, drawn, shared.drain(0.5))
    assert [(one["cell_id"], one["pending"], one["calls"]) for one in told] == [("slow", 1, 0), ("slow", 0, 1)]
    assert told[0]["line"] == "1 call · 1 still running"
    assert told[1]["line"].startswith("1 call · 7 tokens")


def test_a_lab_of_another_version_is_not_spoken_to(shared: Kernel) -> None:
    shared.say("comm_open", "other", {"version": 2, "path": "x.ipynb"}, "ultimate_proxy")
    output = shared.run(ASK, "alone")
    assert output.line.startswith("1 call")


def test_a_session_name_that_is_no_path_is_not_taken_for_one(tmp_path: Path, proxy: Running) -> None:
    with start_kernel(tmp_path, proxy) as kernel:
        for name in ("0f9d3a52-id", "work", ""):
            kernel.run(f"import os; os.environ['JPY_SESSION_NAME'] = {name!r}\n%load_ext ultimate_lib")
            assert "Notebook: not known here" in kernel.run("%ultimate").stdout
            kernel.run("__vsc_ipynb_file__ = '/home/ann/vs code.ipynb'")
            assert "Notebook: /home/ann/vs code.ipynb" in kernel.run("%ultimate").stdout
            kernel.run("del __vsc_ipynb_file__\n%unload_ext ultimate_lib")


def test_the_path_is_told_as_the_server_tells_it(tmp_path: Path, proxy: Running) -> None:
    import os

    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / f"jpserver-{os.getpid()}.json").write_text(json.dumps({"root_dir": str(tmp_path)}))
    with lab(tmp_path, proxy) as kernel:
        kernel.run("%load_ext ultimate_lib")
        assert "Notebook: work/a.ipynb\n" in kernel.run("%ultimate").stdout
