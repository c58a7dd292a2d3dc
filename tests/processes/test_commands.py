"""The command line: help, check and doctor say what is so and what to do; no key is ever printed."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from proxy_server.__main__ import COMMANDS
from proxy_server.commands.doctor import LOOKS
from proxy_server.runfile import make_folders
from tests.harness import ROOT, Running, environment, start_proxy
from ultimate_lib.settings import load

SECRET = "sk-not-a-real-key-0123456789abcdef"
CONFIG = """[server]
gateways = 2
[tiers]
big = "openai/gpt-4o"
[providers.local]
protocol = "openai-chat"
base_url = "http://127.0.0.1:9"
auth = "none"
[models.fast]
deployments = [
  { provider = "openai", model = "gpt-4o-mini", weight = 3 },
  { provider = "local", model = "tiny", priority = 1 },
]
"""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A proxy that commands look at."""
    with start_proxy(tmp_path_factory.mktemp("commands")) as running:
        yield running


def command(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "proxy_server", *arguments], cwd=ROOT, env=environment(folder, env),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    status, said = command(tmp_path, "--help")
    assert status == 0
    for name in COMMANDS:
        assert f"\n    {name} " in said
        assert command(tmp_path, name, "--help")[0] == 0
    assert command(tmp_path, "nonsense")[0] == 2


def test_check_prints_the_effective_routes_and_no_key(tmp_path: Path) -> None:
    (tmp_path / "ultimate.toml").write_text(CONFIG)
    where = ["--config", str(tmp_path / "ultimate.toml"), "--data", str(tmp_path / "data")]
    status, said = command(tmp_path, "check", *where, env={"OPENAI_API_KEY": SECRET})
    assert status == 0
    assert SECRET not in said
    assert "sk-…cdef" in said
    for text in (
        str(tmp_path / "ultimate.toml"), str(tmp_path / "data"), "openai/gpt-4o-mini (weight 3)", "local/tiny",
        "claude…opus…", "OPENAI_API_KEY", "http://127.0.0.1:9", "server.gateways", "ultimate.toml:2", "command line",
    ):  # fmt: skip
        assert text in said, text
    assert not (tmp_path / "data").exists(), "looking changes nothing"


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ("[server]\nport = 99999\n", ":2"),
        ("[models.a]\ndeployments = [{ provider = 'nobody', model = 'm' }]\n", ":2"),
        ("[providers.x]\nbase_url = 'http://x'\nprotocol = 'smoke-signals'\n", ":3"),
        ("[providers.x]\nprotocol = 'openai-chat'\nbase_url = '127.0.0.1/v1'\n", ":3"),
        ("[server]\ntls_cert = '/none.pem'\ntls_key = '/none.key'\n", ":2: server.tls_cert = '/none.pem'"),
        ("[server]\nport = \n", ":2"),
        ("[server]\ntrusted_proxies = ['everyone']\n", ":2: server.trusted_proxies"),
        ("[tiers]\nbig = 'opnai/gpt-4o'\n[providers.vllm]\n[providers.ollama]\n", ":2: tiers.big = 'opnai/gpt-4o'"),
    ],
)
def test_check_refuses_what_a_start_would_refuse(tmp_path: Path, config: str, place: str) -> None:
    (tmp_path / "ultimate.toml").write_text(config)
    status, said = command(tmp_path, "check", "--config", str(tmp_path / "ultimate.toml"))
    assert (status, place in said) == (1, True), said


def test_check_looks_at_a_master_key_of_the_environment(tmp_path: Path) -> None:
    status, said = command(tmp_path, "check", env={"ULTIMATE_MASTER_KEY": "abc"})
    assert (status, "ULTIMATE_MASTER_KEY is not base64" in said) == (1, True), said


def test_doctor_looks_at_everything(tmp_path: Path, proxy: Running) -> None:
    where = ["--data", str(tmp_path / "data"), "--port", "0"]
    status, said = command(tmp_path, "doctor", *where, env={"OPENAI_API_KEY": SECRET})
    assert status == 0, said
    assert SECRET not in said
    for about in LOOKS:
        assert f" {about} " in said
    port = proxy.url.rpartition(":")[2]
    status, said = command(tmp_path, "doctor", "--data", str(proxy.data_dir), "--port", port)
    elsewhere = command(tmp_path, "doctor", "--data", str(proxy.data_dir), "--port", "1")
    assert status == 0, said
    assert f"process {proxy.process.pid} runs" in said
    assert f":{port} accepts connections" in said
    assert (elsewhere[0], "Give --port if it was started with another one" in elsewhere[1]) == (1, True), elsewhere
    assert "up to date" in said


def test_doctor_fails_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = command(tmp_path, "doctor", "--data", str(tmp_path / "data"), "--port", port)
    assert status == 1
    assert "fail port" in said
    assert "--port" in said
    (tmp_path / "file").write_text("no folder")
    status, said = command(tmp_path, "doctor", "--data", str(tmp_path / "file"), "--port", "0")
    assert (status, "fail data folder" in said, "ok   clock" in said) == (1, True, True)
    lake = {"ULTIMATE_DATA_LAKE_URL": str(tmp_path / "file" / "lake")}
    status, said = command(tmp_path, "doctor", "--data", str(tmp_path / "data"), "--port", "0", env=lake)
    assert (status, "fail lake" in said, "give another data.lake_url" in said) == (1, True, True), said
    (tmp_path / "ultimate.toml").write_text("[server]\nport = 'x'\n")
    status, said = command(tmp_path, "doctor", "--config", str(tmp_path / "ultimate.toml"))
    assert (status, "fail configuration" in said) == (1, True)


def test_doctor_names_what_the_journal_has_put_aside(tmp_path: Path) -> None:
    aside = tmp_path / "data" / "journal" / "slot-0" / "0-abc"
    aside.mkdir(parents=True)
    (aside / "0000000001.quarantine").write_bytes(b"x" * 123)
    status, said = command(tmp_path, "doctor", "--data", str(tmp_path / "data"), "--port", "0")
    assert status == 0
    assert "warn journal        123 bytes in 1 files failed their checksum" in said


def test_what_is_made_in_a_folder_that_others_look_into_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    make_folders(load(environ={}, overrides={"data.folder": str(folder)}))
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"run": 0o700, "journal": 0o700, "lake": 0o700}


def test_link_signs_in_once(tmp_path: Path, proxy: Running) -> None:
    status, said = command(tmp_path, "link", "--data", str(proxy.data_dir))
    assert (status, said.startswith(f"{proxy.url}/login?link=")) == (0, True)
    with urlopen(said.strip()) as page:
        assert page.url == f"{proxy.url}/"
    with pytest.raises(HTTPError, match="403") as used:
        urlopen(said.strip())
    used.value.close()


def test_link_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    status, said = command(tmp_path, "link", "--data", str(tmp_path / "data"))
    assert status == 1
    assert "ultimate-proxy up" in said or "data folder" in said
