"""Which proxy a command means where a demo has a data folder of its own, and that to look makes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy_server.__main__ import main
from proxy_server.commands.common import add_places, demo_overrides, kept, running
from proxy_server.prepare import prepare
from proxy_server.replay import _address
from proxy_server.runfile import RunFile, make_folders
from ultimate_lib.settings import Settings, load


class House:
    """A data folder, and the demo's below it; either may have run, or run just now."""

    def __init__(self, folder: Path, held: ExitStack) -> None:
        self.own = load(environ={}, overrides={"data.folder": str(folder), "server.port": 4001})
        of_demo = demo_overrides(self.own, history=True, traffic=True)
        self.demo = load(environ={}, overrides={**of_demo, "server.port": 4002})
        self._held = held

    def has_run(self, *settings: Settings) -> None:
        """Leave what a start leaves."""
        for one in settings:
            make_folders(one)
            prepare(one)

    def runs(self, *settings: Settings) -> None:
        """Be the supervisor of it."""
        self.has_run(*settings)
        for one in settings:
            self._held.enter_context(RunFile(one.run_dir))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "data").mkdir()
    with ExitStack() as held:
        yield House(tmp_path / "data", held)


def ask(house: House, capsys: pytest.CaptureFixture[str], *command: str) -> tuple[int, str, str]:
    status = main([*command, "--data", str(house.own.data_dir)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_link_beside_a_demo_that_runs_leads_to_the_demo(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.runs(house.demo)
    status, said, beside = ask(house, capsys, "link")
    assert (status, said.startswith("http://127.0.0.1:4002/login?link=")) == (0, True)
    assert beside == f"This is about the demo, which runs: {house.demo.data_dir}\n"
    assert [path.name for path in house.own.data_dir.iterdir()] == ["demo"], "no store beside it"


def test_one_that_has_run_gives_way_to_a_demo_that_runs(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.has_run(house.own)
    house.runs(house.demo)
    assert ask(house, capsys, "link")[1].startswith("http://127.0.0.1:4002/")
    assert str(house.demo.data_dir) in ask(house, capsys, "status")[1]


def test_where_both_run_it_is_said_which_is_meant(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.runs(house.own, house.demo)
    told = f"This is about {house.own.data_dir}. A demo runs, too: --data {house.demo.data_dir}\n"
    status, said, beside = ask(house, capsys, "link")
    assert (status, said.startswith("http://127.0.0.1:4001/"), beside) == (0, True, told)
    assert main(["link", "--data", str(house.demo.data_dir)]) == 0
    said, beside = capsys.readouterr()
    assert (said.startswith("http://127.0.0.1:4002/"), beside) == (True, "")


def test_where_none_runs_any_more_it_is_the_one_that_has_run(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.has_run(house.demo)
    assert ask(house, capsys, "link")[1].startswith("http://127.0.0.1:4002/")
    house.has_run(house.own)
    status, said, beside = ask(house, capsys, "link")
    assert (status, said.startswith("http://127.0.0.1:4001/")) == (0, True)
    assert "A demo has a store, too" in beside


def test_files_are_ones_own_whatever_demo_runs(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.runs(house.demo)
    _, of_demo, beside = ask(house, capsys, "audit", "verify")
    assert beside == f"This is about the demo, which has a store: {house.demo.data_dir}\n"
    house.has_run(house.own, house.own)
    _, own, beside = ask(house, capsys, "audit", "verify")
    assert beside == f"This is about {house.own.data_dir}. A demo has a store, too: --data {house.demo.data_dir}\n"
    assert ("3 rows" in of_demo, "4 rows" in own) == (True, True), (of_demo, own)


def test_replay_goes_to_the_demo_that_runs(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    house.runs(house.demo)
    parser = argparse.ArgumentParser()
    add_places(parser)
    told = parser.parse_args(["--data", str(house.own.data_dir)])
    told.url = told.key = None
    assert _address(told)[0] == "http://127.0.0.1:4002"
    assert (running(told).data_dir, kept(told).data_dir) == (house.demo.data_dir, house.demo.data_dir)
    assert "the demo, which runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["link", "audit verify", "secrets rotate", "status", "stop", "reload", "check", "doctor --port 0",
     "import claude-code --dry-run"],
)  # fmt: skip
@pytest.mark.parametrize("there", [True, False], ids=["an empty folder", "no folder"])
def test_what_only_looks_makes_nothing(
    house: House, capsys: pytest.CaptureFixture[str], command: str, there: bool
) -> None:
    folder = house.own.data_dir
    if not there:
        folder.rmdir()
    _, said, beside = ask(house, capsys, *command.split())
    assert said + beside
    assert (list(folder.iterdir()) if there else folder.exists()) == ([] if there else False)
    assert not (Path.home() / ".local").exists()


def test_without_a_store_a_link_says_what_to_do(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, beside = ask(house, capsys, "link")
    assert (status, said) == (1, "")
    assert "Start `ultimate-proxy up` once" in beside
