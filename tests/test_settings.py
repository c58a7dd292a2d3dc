"""Configuration is read once; what is wrong names the file, the line, the value and the remedy."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ultimate_lib import settings
from ultimate_lib.errors import Invalid


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


def write(folder: Path, text: str) -> Path:
    path = folder / settings.CONFIG_NAME
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_configuration_the_defaults_hold() -> None:
    read = settings.load(environ={})
    assert read.server.port == 8082
    assert read.server.bind == "127.0.0.1"
    assert read.config_path is None
    assert read.origin("server.port") == "default"


def test_environment_wins_over_file_and_command_line_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nport = 1001\nroot_path = '/a'\n\n[billing]\ntime_zone = 'Asia/Kolkata'\n")
    read = settings.load(environ={"ULTIMATE_SERVER_PORT": "1002", "ULTIMATE_SERVER_TRUSTED_PROXIES": "10.0.0.1, ::1"})
    assert (read.server.port, read.server.root_path, read.billing.time_zone) == (1002, "/a", "Asia/Kolkata")
    assert read.server.trusted_proxies == ("10.0.0.1", "::1")
    assert read.origin("server.port") == "ULTIMATE_SERVER_PORT"
    assert read.origin("server.root_path") == f"{path}:3"
    assert read.origin("billing.time_zone") == f"{path}:6"
    read = settings.load(environ={"ULTIMATE_SERVER_PORT": "1002"}, overrides={"server.port": 1003})
    assert (read.server.port, read.origin("server.port")) == (1003, "command line")


def test_the_file_is_found_in_the_order_promised(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".config" / settings.APP_NAME
    home.mkdir(parents=True)
    third = write(home, "")
    assert settings.load(environ={}).config_path == third
    second = write(tmp_path, "")
    assert settings.load(environ={}).config_path == second
    first = tmp_path / "named.toml"
    first.write_text("")
    assert settings.load(environ={"ULTIMATE_CONFIG": str(first)}).config_path == first


WRONG = [
    ('[server]\n\nport = "80a"\n', 3, "server.port = '80a'", "8082"),
    ("[server]\nport = 70000\n", 2, "70000", "65535"),
    ("[servr]\n", 1, "no such section", "[server]"),
    ('[providers.openai]\n\n\nbas_url = "x"\n', 4, "no such setting", "base_url"),
    ("[server\n", 1, "not valid TOML", ""),
    ('[billing]\ntime_zone = "Mars/Base"\n', 2, "Mars/Base", "IANA"),
    ('[server]\nbind = "0.0.0.0"\n', 2, "plain HTTP", "--insecure-http"),
    ('[server]\ntls_cert = "a.pem"\n', 2, "go together", "both"),
    ('[server]\nroot_path = "llm/"\n', 2, "root_path", "/llm"),
    ('[server]\npublic_url = "llm.example.org"\n', 2, "public_url", "https://"),
    ('[models."claude fast"]\n', 1, "deployments", ""),
    ('[record]\nsync = "sometimes"\n', 2, "sometimes", "interval"),
    ("server = 3\n", 1, "must be a table", "[server]"),
    ('[billing]\nweek_start = "tuesday"\n', 2, "'tuesday'", "'monday', 'sunday', 'saturday'"),
    ('[server]\ngateways = "many"\n', 2, "'many'", "'auto'"),
    ('[server]\n\ntrusted_proxies = ["10.0.0.300"]\n', 3, "10.0.0.300", "10.0.0.0/8"),
    ('[data]\nlake_url = "gs://bucket/lake"\n', 2, "gs://bucket/lake", "s3://bucket/path"),
    ('[data]\nstore_url = "mysql://me:secret@host/db"\n', 2, "mysql://…", "postgresql+psycopg://"),
    ('[models.a]\ndeployments = [{ provider = "demo", model = "m", weight = -1 }]\n', 2, "> 0.0 at [0].weight", ""),
]


@pytest.mark.parametrize(("text", "line", "named", "remedy"), WRONG, ids=[case[2] for case in WRONG])
def test_a_wrong_file_names_line_value_and_remedy(
    tmp_path: Path, text: str, line: int, named: str, remedy: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(Invalid) as caught:
        settings.load(environ={})
    assert str(caught.value).startswith(f"{path}:{line}:")
    assert named in str(caught.value)
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ULTIMATE_SERVER_PROT": "3"}, "ULTIMATE_SERVER_PORT"),
        ({"ULTIMATE_SERVER_PORT": "abc"}, "ULTIMATE_SERVER_PORT"),
        ({"ULTIMATE_CONFIG": "/does/not/exist.toml"}, "/does/not/exist.toml"),
    ],
)
def test_a_wrong_variable_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        settings.load(environ=environ)


def test_secrets_of_the_environment_never_show() -> None:
    read = settings.load(environ={"ANTHROPIC_API_KEY": "sk-very-secret"})
    assert read.environment["ANTHROPIC_API_KEY"] == "sk-very-secret"
    assert "sk-very-secret" not in repr(read)


PATHS = """[data]
folder = "data"
lake_url = "{lake}"
store_url = "{store}"
[server]
tls_cert = "tls/chain.pem"
tls_key = "/keys/key.pem"
[providers.openai]
api_key_file = "../openai.key"
"""


@pytest.mark.parametrize("lake", ["lake", "file://lake"])
def test_relative_paths_begin_at_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake: str) -> None:
    folder, elsewhere = tmp_path / "config", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    path = write(folder, PATHS.format(lake=lake, store="sqlite:///store.sqlite"))
    for working in (folder, elsewhere):
        monkeypatch.chdir(working)
        for read in (settings.load(path, environ={}), settings.load(path, {}, text=path.read_text())):
            assert (read.data_dir, read.lake_url) == (folder / "data", str(folder / "lake"))
            assert read.store_url == f"sqlite:///{folder}/store.sqlite"
            assert read.server.tls_cert == str(folder / "tls" / "chain.pem")
            assert read.server.tls_key == "/keys/key.pem"
            assert read.providers["openai"].api_key_file == str(folder / ".." / "openai.key")
    told = {"ULTIMATE_DATA_LAKE_URL": "other", "ULTIMATE_SERVER_TLS_CERT": "~/chain.pem"}
    read = settings.load(path, environ=told, overrides={"data.folder": "given"})
    assert (read.lake_url, read.data_dir) == (str(elsewhere / "other"), elsewhere / "given")
    assert read.server.tls_cert == str(tmp_path / "home" / "chain.pem")


def test_a_working_folder_that_is_gone_stops_nobody_who_does_not_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, PATHS.format(lake="lake", store="sqlite:///store.sqlite"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    given = {"overrides": {"data.folder": str(tmp_path / "given")}, "environ": {"ULTIMATE_DATA_LAKE_URL": "s3://b/l"}}
    for read in (settings.load(path, **given), settings.load(path, text=path.read_text(), **given)):
        assert (read.data_dir, read.lake_url) == (tmp_path / "given", "s3://b/l")
        assert read.store_url == f"sqlite:///{tmp_path}/store.sqlite"


@pytest.mark.parametrize(
    ("lake", "store"),
    [
        ("s3://bucket/lake", "sqlite:////srv/store.sqlite"),
        ("/srv/lake", "postgresql+psycopg://me:secret@host/db"),
        ("", "sqlite://"),
    ],
)
def test_addresses_and_whole_paths_stay(tmp_path: Path, lake: str, store: str) -> None:
    read = settings.load(write(tmp_path, PATHS.format(lake=lake, store=store)), environ={})
    assert (read.data.lake_url, read.data.store_url) == (lake, store)


def test_the_home_of_nobody_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, '[data]\nfolder = "~no-such-user/data"\n')
    with pytest.raises(Invalid, match="no such user") as caught:
        settings.load(environ={})
    assert str(caught.value).startswith(f"{path}:2: data.folder")


def test_a_password_in_a_wrong_address_does_not_show(tmp_path: Path) -> None:
    write(tmp_path, '[data]\nstore_url = "mysql://me:secret@host/db"\n')
    with pytest.raises(Invalid) as caught:
        settings.load(environ={})
    assert "secret" not in str(caught.value)


def test_the_mark_that_editors_of_windows_write_is_no_error(tmp_path: Path) -> None:
    (tmp_path / settings.CONFIG_NAME).write_bytes(b"\xef\xbb\xbf[server]\nport = 1001\n")
    assert settings.load(environ={}).server.port == 1001


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        settings.load(environ={}).server.port = 1  # type: ignore[misc]


def test_every_setting_can_come_from_the_environment() -> None:
    for section, kind in settings.SECTIONS.items():
        for field in msgspec.structs.fields(kind):
            value = field.default
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            if (section, field.name) in {("server", "insecure_http"), ("server", "local_key")}:
                text = text.lower()
            read = settings.load(environ={f"ULTIMATE_{section.upper()}_{field.name.upper()}": text})
            assert getattr(getattr(read, section), field.name) == value


def test_local_url_names_an_address_that_can_be_dialled() -> None:
    read = settings.load(environ={}, overrides={"server.bind": "::1", "server.root_path": "/llm"})
    assert read.local_url == "http://[::1]:8082/llm"
    read = settings.load(environ={}, overrides={"server.bind": "0.0.0.0", "server.insecure_http": True})
    assert read.local_url == "http://127.0.0.1:8082"


def test_every_setting_is_documented_with_its_default() -> None:
    text = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    kinds = {**settings.SECTIONS, "providers.NAME": settings.ProviderEntry}
    for section, kind in kinds.items():
        page = text.partition(f"\n## [{section}]\n")[2].partition("\n## ")[0]
        for field in msgspec.structs.fields(kind):
            (line,) = [row for row in page.splitlines() if f"`{field.name}`" in row.split(" | ")[0]]
            if field.default not in {"", ()}:
                shown = str(field.default).removesuffix(".0")
                shown = shown.lower() if isinstance(field.default, bool) else shown
                assert f"`{shown}`" in line, (section, field.name)
