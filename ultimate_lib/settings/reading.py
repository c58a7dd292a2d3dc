"""Reading the configuration file and the environment into `Settings`; what is wrong is named by place and remedy."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin
from zoneinfo import ZoneInfo

import msgspec
import platformdirs

from ultimate_lib.errors import Invalid
from ultimate_lib.settings import paths
from ultimate_lib.settings.sections import APP_NAME, SECTIONS, TABLES, Environment, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec import Struct

CONFIG_NAME = "ultimate.toml"
_BARE_VARIABLES = {"BIG_MODEL": "tiers.big", "MIDDLE_MODEL": "tiers.middle", "SMALL_MODEL": "tiers.small"}
_LAKES = {"file", "s3", "s3a"}
_STORES = {"sqlite", "postgresql"}
_NOT_SETTINGS = {"ULTIMATE_CONFIG", "ULTIMATE_MASTER_KEY"}  # read by find_config and by sealed


def find_config(environ: Mapping[str, str], folder: Path) -> Path | None:
    """Return the configuration file in force: ULTIMATE_CONFIG, `folder`, then the user's configuration folder."""
    named = environ.get("ULTIMATE_CONFIG")
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            msg = f"ULTIMATE_CONFIG names {path}, which is not a file."
            raise Invalid(msg, hint="Create it, or unset ULTIMATE_CONFIG.", code="config_missing")
        return path
    for candidate in (
        folder / CONFIG_NAME,
        Path(platformdirs.user_config_dir(APP_NAME, appauthor=False)) / CONFIG_NAME,
    ):
        if candidate.is_file():
            return candidate.absolute()
    return None


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    text: str | None = None,
) -> Settings:
    """Read the configuration file (`path`, else the one `find_config` finds) and the environment.

    `overrides` maps dotted names to values given on a command line; they win over both. `text` is what stands for the
    file's content, such as the last that was good; then no file is read. Relative paths begin at the file's folder;
    those of the environment and the command line at the working folder. Raises `Invalid`.
    """
    environ = os.environ if environ is None else environ
    if text is None:
        path = path.expanduser().absolute() if path is not None else find_config(environ, Path.cwd())
        text = read(path) if path is not None else ""
    where = _Where(path, text)
    tree = where.parse()
    for table, key, dotted in paths.given(tree):
        table[key] = where.whole(dotted, table[key], path.absolute().parent if path is not None else None)
    origins = {name: f"{path}:{line}" for name, line in where.lines.items()}
    told = [
        *_from_environment(environ),
        *((name, value, "command line") for name, value in (overrides or {}).items()),
    ]
    for dotted, value, source in told:
        origins[dotted] = where.sources[dotted] = source
        _put(tree, dotted, where.whole(dotted, value, None) if dotted in paths.PATHS else value)
    values = _convert(tree, where)
    settings = Settings(config_path=path, environment=Environment(environ), origins=origins, **values)
    _check(settings, where)
    return settings


def read(path: Path) -> str:
    """Return the text of a configuration file. Raises `Invalid` when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark in front
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error})."
        raise Invalid(msg, hint="Give a readable UTF-8 file.", code="config_unreadable") from error


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, value in sorted(environ.items()):
        if name in _BARE_VARIABLES:
            yield _BARE_VARIABLES[name], value, name
            continue
        if not name.startswith("ULTIMATE_") or name in _NOT_SETTINGS:
            continue
        section, _, key = name.removeprefix("ULTIMATE_").lower().partition("_")
        kind = SECTIONS.get(section)
        if kind is None or key not in kind.__struct_fields__:
            known = [f"ULTIMATE_{s.upper()}_{k.upper()}" for s, t in SECTIONS.items() for k in t.__struct_fields__]
            close = difflib.get_close_matches(name, known, n=1)
            msg = f"The environment variable {name} is not a setting."
            hint = f"Did you mean {close[0]}?" if close else "Unset it; `ultimate-proxy check` lists the settings."
            raise Invalid(msg, hint=hint, code="config_unknown")
        yield f"{section}.{key}", value, name


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    section, key = dotted.split(".", 1)
    table = tree.setdefault(section, {})
    if isinstance(table, dict):
        table[key] = value


class _Where:
    """The configuration text, and on which line each dotted name stands in it."""

    _HEADER = re.compile(r"^\s*\[{1,2}\s*(?P<name>[^\]]+?)\s*\]{1,2}\s*(#.*)?$")
    _KEY = re.compile(r"""^\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")
    _PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*\.?""")

    def __init__(self, path: Path | None, text: str) -> None:
        self.path = path
        self.text = text
        self.lines: dict[str, int] = {}
        self.sources: dict[str, str] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), start=1):
            header = self._HEADER.match(line)
            if header:
                table = self._dotted(header["name"])
                self.lines.setdefault(table, number)
                continue
            key = self._KEY.match(line)
            if key:
                name = self._dotted(key["key"])
                self.lines.setdefault(f"{table}.{name}" if table else name, number)

    def _dotted(self, text: str) -> str:
        return ".".join(next(part for part in match if part) for match in self._PART.findall(text) if any(match))

    def parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found[1]) if found else max(1, len(self.text.splitlines()))
            rows = self.text.splitlines()
            value = rows[line - 1].strip() if 0 < line <= len(rows) else ""
            msg = f"{self.path}:{line}: not valid TOML: {value!r} ({error})."
            raise Invalid(msg, hint="Correct this line.", code="config_syntax") from error

    def whole(self, dotted: str, value: str, base: Path | None) -> str:
        """Return a path setting that begins at `base` where it is a relative one. Raises `Invalid`."""
        try:
            return paths.whole(dotted, value, base)
        except RuntimeError as error:
            raise self.wrong(
                dotted, "there is no such user here.", "Write '~/' for your own home, or the whole path.", value=value
            ) from error

    def wrong(self, dotted: str, problem: str, hint: str, *, value: object = None) -> Invalid:
        """Return the error for the value at `dotted`, with the nearest place that is known."""
        place = self.sources.get(dotted, "")
        name = dotted
        while not place and name:
            if name in self.lines:
                place = f"{self.path}:{self.lines[name]}"
            name = name.rpartition(".")[0]
        shown = "" if value is None else f" = {value!r}"
        return Invalid(
            f"{place or self.path or 'settings'}: {dotted}{shown}: {problem}", hint=hint, code="config_value"
        )


def _convert(tree: dict[str, Any], where: _Where) -> dict[str, Any]:
    values: dict[str, Any] = {}
    known = [*SECTIONS, *TABLES]
    for section, table in tree.items():
        if section not in known:
            close = difflib.get_close_matches(section, known, n=1)
            hint = f"Did you mean [{close[0]}]?" if close else f"Known sections: {', '.join(known)}."
            raise where.wrong(section, "there is no such section.", hint)
        if not isinstance(table, dict):
            raise where.wrong(section, "must be a table.", f"Write [{section}].", value=table)
        if section in SECTIONS:
            values[section] = _one(table, SECTIONS[section], section, where)
        else:
            values[section] = {}
            for name, entry in table.items():
                if not isinstance(entry, dict):
                    raise where.wrong(
                        f"{section}.{name}", "must be a table.", f"Write [{section}.{name}].", value=entry
                    )
                values[section][name] = _one(entry, TABLES[section], f"{section}.{name}", where)
    return values


def _one(table: dict[str, Any], kind: type[Struct], dotted: str, where: _Where) -> Struct:
    for key in table:
        if key not in kind.__struct_fields__:
            close = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(kind.__struct_fields__)}."
            raise where.wrong(f"{dotted}.{key}", "there is no such setting.", hint)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    ready = {}
    for key, value in table.items():
        from_text = f"{dotted}.{key}" in where.sources and isinstance(value, str)
        raw: Any = value
        if from_text and isinstance(fields[key].default, tuple):
            raw = [part.strip() for part in value.split(",") if part.strip()]
        try:
            ready[key] = msgspec.convert(raw, type=fields[key].type, strict=not from_text)
        except msgspec.ValidationError as error:
            problem, _, inside = str(error).replace("`", "'").partition(" - at ")
            part = inside.strip("'$")
            if part:
                problem += f" at {part}"
            known = _choices(fields[key].type)
            hint = f"Known: {', '.join(map(repr, known))}. " if known else ""
            hint += (
                f"The default is {fields[key].default!r}."
                if fields[key].default is not msgspec.NODEFAULT
                else "See the configuration page of the documentation."
            )
            raise where.wrong(f"{dotted}.{key}", f"{problem}.", hint, value=value) from error
    try:
        return kind(**ready)
    except TypeError as error:
        raise where.wrong(dotted, f"{error}.", "Add the missing value.") from error


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return the words that a setting takes, such as 'interval' and 'commit'; none for what is no choice of words."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(word for part in get_args(kind) for word in _choices(part))


def _check_addresses(settings: Settings, where: _Where) -> None:
    """Refuse addresses that would else be found wrong only when they are first used, or taken for folders."""
    for told in settings.server.trusted_proxies:
        try:
            ip_network(told, strict=False)
        except ValueError as error:
            raise where.wrong(
                "server.trusted_proxies",
                f"{error}.",
                "List addresses or networks, such as '10.0.0.0/8'.",
                value=list(settings.server.trusted_proxies),
            ) from error
    scheme, has_scheme, _ = settings.data.lake_url.partition("://")
    if has_scheme and scheme not in _LAKES:
        raise where.wrong(
            "data.lake_url",
            "no lake can be there.",
            "Write a folder, or an object store as 's3://bucket/path'.",
            value=settings.data.lake_url,
        )
    scheme, has_scheme, _ = settings.data.store_url.partition("://")
    if settings.data.store_url and not (has_scheme and scheme.partition("+")[0] in _STORES):
        raise where.wrong(  # the whole may hold a password
            "data.store_url",
            "is no address of a database that is known here.",
            "Write 'sqlite:////folder/store.sqlite' or 'postgresql+psycopg://user:password@host/database'.",
            value=f"{scheme}://…" if has_scheme else "…",
        )


def _check(settings: Settings, where: _Where) -> None:
    """Refuse combinations that cannot work, before anything starts."""
    server = settings.server
    try:
        ZoneInfo(settings.billing.time_zone)
    except (KeyError, ValueError, OSError) as error:
        raise where.wrong(
            "billing.time_zone",
            "there is no such time zone.",
            "Use an IANA name such as 'Europe/Berlin'.",
            value=settings.billing.time_zone,
        ) from error
    if bool(server.tls_cert) != bool(server.tls_key):
        raise where.wrong("server.tls_cert", "tls_cert and tls_key go together.", "Give both, or neither.")
    loopback = server.bind in {"127.0.0.1", "::1", "localhost"} or server.bind.startswith("127.")
    if not loopback and not server.tls_cert and not server.insecure_http:
        raise where.wrong(
            "server.bind",
            "plain HTTP on an address other than loopback would show keys to the network.",
            "Set tls_cert and tls_key, or pass --insecure-http behind a proxy that ends TLS.",
            value=server.bind,
        )
    if server.root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", server.root_path):
        raise where.wrong(
            "server.root_path",
            "must begin with '/' and not end with it.",
            "Write '/llm', say.",
            value=server.root_path,
        )
    if server.public_url and not re.fullmatch(r"https?://[^/\s]+(/[^\s?#]*)?", server.public_url):
        raise where.wrong(
            "server.public_url",
            "is not an http(s) address.",
            "Write 'https://llm.example.org'.",
            value=server.public_url,
        )
    _check_addresses(settings, where)
    for alias, entry in settings.models.items():
        for deployment in entry.deployments:
            if not deployment.model:
                raise where.wrong(
                    f"models.{alias}.deployments", "a deployment names no model.", "Give provider and model."
                )
