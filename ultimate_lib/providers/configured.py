"""Which providers are in force: presets, overlaid by `[providers.*]` and switched on by keys.

A key comes from the file or variable that the configuration names, else from the preset's variables, else from what
people have entered and the store keeps sealed (`stored`).
"""

from __future__ import annotations

import functools
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib import protocols
from ultimate_lib.errors import Invalid
from ultimate_lib.providers.presets import PRESETS, Preset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ultimate_lib.settings import ProviderEntry, Settings

    Stored = Callable[[str, str], str]

OWN_KEY_PREFIX = "cp_"
STORED = "stored"
_KEYLESS = frozenset({"client", "none"})
_ADDRESS = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in force. `api_key` never shows."""

    name: str
    protocol: str  # a protocol's name, or "any"
    base_url: str
    auth: str
    price_id: str
    stream_usage: str
    billing: str
    origin: str  # where it was configured
    api_key: str = ""
    key_source: str = ""  # "variable NAME", "file PATH" or STORED; empty without a key

    def __repr__(self) -> str:
        return f"Provider({self.name!r}, {self.protocol!r}, {self.base_url!r}, key={masked(self.api_key)!r})"

    @property
    def needs_key(self) -> bool:
        """Whether calls carry a key of ours."""
        return self.auth not in _KEYLESS

    @property
    def lacks_key(self) -> bool:
        """Whether it cannot be called until somebody gives it a key."""
        return self.needs_key and not self.api_key

    def speaks(self, protocol: str) -> bool:
        """Say whether calls of a protocol can pass through to it."""
        return self.protocol in {protocol, "any"}

    def address(self, endpoint: str) -> str:
        """Return the URL of an endpoint such as `/v1/messages`; OpenAI-shaped base URLs hold the version already."""
        if self.protocol.startswith("openai"):
            return self.base_url + endpoint.removeprefix("/v1")
        return self.base_url + endpoint


def masked(key: str) -> str:
    """Return a key so that its owner recognises it and nobody else can use it."""
    if not key:
        return ""
    return f"{key[:3]}…{key[-4:]}" if len(key) >= 16 else "…"  # noqa: PLR2004 - shorter keys would show half of themselves


@functools.cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, a stranger's (entry point `ultimate_proxy.provider`) among them.

    Looked for once a process: to read what is installed takes 20 ms.
    """
    found = {preset.name: preset for preset in PRESETS}
    for point in entry_points(group="ultimate_proxy.provider"):
        found.setdefault(point.name, point.load())
    return found


def configured(settings: Settings, *, demo_url: str = "", stored: Stored | None = None) -> dict[str, Provider]:
    """Return the providers in force, in the order of the presets, then of the file.

    One that the file names is in force without a key too: calls to it are refused with what to do (`lacks_key`).
    `demo_url` is where the scripted provider listens; `stored(name, base_url)` returns the key that was entered for a
    provider at that address, or nothing. Raises `Invalid` that names the place of what is wrong.
    """
    everything = offered(settings, demo_url=demo_url, stored=stored)
    named = {deployment.provider for alias in settings.models.values() for deployment in alias.deployments}
    named.update(settings.providers, ["demo"])
    return {name: provider for name, provider in everything.items() if name in named or provider.api_key}


def offered(settings: Settings, *, demo_url: str = "", stored: Stored | None = None) -> dict[str, Provider]:
    """Return the providers in force and the presets that a key alone would bring into force. Raises `Invalid`."""
    known = presets()
    stored = stored or _nothing
    found: dict[str, Provider] = {}
    for preset in known.values():
        entry = settings.providers.get(preset.name)
        if entry is not None:
            found[preset.name] = _from_entry(preset.name, entry, known, settings, stored)
        elif preset.name == "demo":
            if demo_url:
                found["demo"] = _from_preset(msgspec.structs.replace(preset, base_url=demo_url), ("", ""), "built in")
        elif preset.base_url and preset.auth not in _KEYLESS:
            variable = next((name for name in preset.key_variables if settings.environment.get(name)), None)
            if variable is not None:
                key = _environment_key(settings, variable)
                found[preset.name] = _from_preset(preset, (key, f"variable {variable}"), variable)
            else:
                key = stored(preset.name, preset.base_url.rstrip("/"))
                found[preset.name] = _from_preset(preset, (key, STORED if key else ""), "preset")
    for name, entry in settings.providers.items():
        if name not in found:
            found[name] = _from_entry(name, entry, known, settings, stored)
    return found


def _nothing(_name: str, _base_url: str) -> str:
    return ""


def _from_preset(preset: Preset, key: tuple[str, str], origin: str) -> Provider:
    return Provider(
        name=preset.name,
        protocol=preset.protocol,
        base_url=preset.base_url.rstrip("/"),
        auth=preset.auth,
        price_id=preset.price_id,
        stream_usage=preset.stream_usage,
        billing=preset.billing,
        origin=origin,
        api_key=key[0],
        key_source=key[1],
    )


def _place(settings: Settings, name: str, key: str) -> str:
    """Return where a provider's value stands; one that was left out, where the provider does."""
    table = f"providers.{name}"
    return settings.origins.get(f"{table}.{key}") or settings.origin(table)


def _from_entry(
    name: str, entry: ProviderEntry, known: Mapping[str, Preset], settings: Settings, stored: Stored
) -> Provider:
    place = functools.partial(_place, settings, name)
    preset = known.get(entry.preset or name)
    if entry.preset and preset is None:
        raise Invalid(
            f"{place('preset')}: providers.{name}.preset = '{entry.preset}': there is no such preset.",
            hint=f"Known: {', '.join(sorted(known))}.",
        )
    if preset is None:
        preset = Preset(name=name, protocol=entry.protocol, base_url=entry.base_url)
    protocol = entry.protocol or preset.protocol
    if protocol not in {*protocols.names(), "any"}:
        raise Invalid(
            f"{place('protocol')}: providers.{name}.protocol = '{protocol}': there is no such protocol.",
            hint=f"Known: {', '.join(protocols.names())}.",
        )
    base_url = entry.base_url or preset.base_url
    if not _ADDRESS.fullmatch(base_url):
        raise Invalid(
            f"{place('base_url')}: providers.{name}.base_url = '{base_url}': not an http(s) address.",
            hint="Write the provider's base address, such as 'https://api.example.com'.",
        )
    if "@" in base_url.split("/")[2]:
        raise Invalid(
            f"{place('base_url')}: providers.{name}.base_url holds a user or a password:"
            " it would show in errors and logs.",
            hint="Give the key by api_key_env or api_key_file.",
        )
    auth = entry.auth or preset.auth
    base_url = base_url.rstrip("/")
    key, source = "", ""
    if auth not in _KEYLESS:
        key, source = _key(name, entry, preset, settings)
        if not key:
            key = stored(name, base_url)
            source = STORED if key else ""
    return Provider(
        name=name,
        protocol=protocol,
        base_url=base_url,
        auth=auth,
        price_id=entry.price_id or preset.price_id,
        stream_usage=entry.stream_usage or preset.stream_usage,
        billing=entry.billing or preset.billing,
        origin=settings.origin(f"providers.{name}"),
        api_key=key,
        key_source=source,
    )


def _key(name: str, entry: ProviderEntry, preset: Preset, settings: Settings) -> tuple[str, str]:
    """Return a key that the configuration or the environment gives and where from; nothing twice without one."""
    if entry.api_key_file:
        path = Path(entry.api_key_file).expanduser()
        try:
            key = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(
                f"{_place(settings, name, 'api_key_file')}: providers.{name}.api_key_file = '{entry.api_key_file}':"
                f" cannot be read ({error}).",
                hint="Give a readable file that holds the key alone.",
            ) from error
        return checked_key(key, f"the file {path}"), f"file {path}"
    variables = (entry.api_key_env,) if entry.api_key_env else preset.key_variables
    for variable in variables:
        if settings.environment.get(variable):
            return _environment_key(settings, variable), f"variable {variable}"
    if entry.api_key_env:
        raise Invalid(
            f"{_place(settings, name, 'api_key_env')}: provider '{name}' has no key"
            f" (looked for {entry.api_key_env}).",
            hint="Set the variable, or leave api_key_env out and enter the key on the first page.",
            code="provider_key_missing",
        )
    return "", ""


def _environment_key(settings: Settings, variable: str) -> str:
    return checked_key(settings.environment[variable].strip(), f"the variable {variable}")


def checked_key(key: str, where: str) -> str:
    """Return a provider's key if it can be one. Raises `Invalid`, which says `where` and never shows it."""
    if key.startswith(OWN_KEY_PREFIX):
        raise Invalid(
            f"A provider's key in {where} begins with '{OWN_KEY_PREFIX}': that is a key of this proxy.",
            hint="Put the provider's own key there; calls would come back to this proxy otherwise.",
            code="provider_key_ours",
        )
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Invalid(
            f"What stands in {where} is no key: it is empty, or holds white space or what else no header takes.",
            hint="Put the key there alone, on one line.",
            code="provider_key_form",
        )
    return key
