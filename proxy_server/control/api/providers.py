"""Providers: which there are, whose key is there and where it comes from; entering and removing a key.

A key goes in and never comes out: no answer, log line or snapshot holds one. The gateways look for other keys each
second; entering one returns when all of them go by it.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from proxy_server import prices, snapshot
from ultimate_lib.access import provider_keys
from ultimate_lib.errors import Invalid, NotFound
from ultimate_lib.providers import STORED, checked_key, offered

if TYPE_CHECKING:
    from proxy_server.control.answers import Caller, Nothing
    from ultimate_lib.access.provider_keys import StoredKeys
    from ultimate_lib.providers import Provider
    from ultimate_lib.workbench import Workbench

_MOST_WAIT_S = 5.0
_LOOK_S = 0.05
_FRESH_US = 5_000_000
_LONGEST = 4096

Name = Annotated[str, Meta(description="The provider's name: a preset's, or one of the configuration.")]


class ProviderTold(Struct, kw_only=True):
    """A provider, without its key."""

    name: str
    protocol: str
    base_url: str
    auth: str  # bearer | x-api-key | api-key | client (callers bring theirs) | none
    needs_key: bool
    has_key: bool
    key_source: str | None  # "variable NAME", "file PATH" or "stored"
    can_store: bool  # whether a key may be entered: none comes from the configuration
    in_force: bool  # whether calls can go there now
    models: list[str]  # aliases of the configuration, then the models that the price list knows
    problem: str | None  # why its stored key cannot be used


class KeyOf(Struct, kw_only=True):
    """Whose key."""

    name: Name


class NewProviderKey(Struct, kw_only=True):
    """A provider's key, which is never told again."""

    name: Name
    key: Annotated[str, Meta(description="The provider's own key, as its console shows it.")]


class KeyChanged(Struct, kw_only=True):
    """What became of a provider's key."""

    name: str
    has_key: bool
    in_force: bool  # all gateways of this computer go by it; False: they will within seconds
    base_url: str  # the only address that the key goes to; empty: the provider is not configured any more


def listed(bench: Workbench, _caller: Caller, _: Nothing) -> list[ProviderTold]:
    """Return the providers that are in force, and the presets that a key would bring into force."""
    stored = _stored(bench)
    table = prices.whole_table(bench.settings.run_dir)
    aliases = bench.settings.models
    found = []
    for provider in offered(bench.settings, stored=stored.key).values():
        own = [name for name, one in aliases.items() if any(d.provider == provider.name for d in one.deployments)]
        seller = table.providers.get(provider.price_id)
        found.append(
            ProviderTold(
                name=provider.name,
                protocol=provider.protocol,
                base_url=provider.base_url,
                auth=provider.auth,
                needs_key=provider.needs_key,
                has_key=bool(provider.api_key),
                key_source=provider.key_source or None,
                can_store=_can_store(provider),
                in_force=not provider.lacks_key,
                models=[*own, *(model.id for model in seller.models)] if seller is not None else own,
                problem=stored.problems.get(provider.name),
            )
        )
    return found


def put_key(bench: Workbench, caller: Caller, told: NewProviderKey) -> KeyChanged:
    """Seal a provider's key and return when the gateways go by it. Raises `NotFound`, `Invalid`."""
    provider = _provider(bench, told.name)
    if not provider.needs_key:
        raise Invalid(f"'{provider.name}' takes no key of ours (auth = {provider.auth}).", code="provider_keyless")
    if not _can_store(provider):
        raise Invalid(
            f"The key of '{provider.name}' comes from the {provider.key_source}, which wins over this.",
            hint="Change it there and reload, or take it away there first.",
            code="provider_key_configured",
        )
    key = told.key.strip()
    if len(key) > _LONGEST:
        raise Invalid(f"A key has at most {_LONGEST} characters.", code="provider_key_form")
    checked_key(key, "the request")
    provider_keys.put(bench.store, bench.clock, bench.master, caller.known, provider, key, caller.address)
    return _changed(bench, provider.name, provider.base_url, has_key=True)


def remove_key(bench: Workbench, caller: Caller, told: KeyOf) -> KeyChanged:
    """Remove a provider's stored key and return when no gateway goes by it. Raises `NotFound`."""
    provider = offered_now(bench).get(told.name)  # None: it is not configured any more, but its key may be there
    provider_keys.remove(bench.store, bench.clock, caller.known, told.name, address=caller.address)
    if provider is None:
        return _changed(bench, told.name, "", has_key=False)
    return _changed(bench, provider.name, provider.base_url, has_key=not _can_store(provider))


def offered_now(bench: Workbench, *, demo_url: str = "") -> dict[str, Provider]:
    """Return all providers by name, with the keys that are stored now; the scripted one where its address is told."""
    return offered(bench.settings, demo_url=demo_url, stored=_stored(bench).key)


def _stored(bench: Workbench) -> StoredKeys:
    return provider_keys.read(bench.store, bench.master)


def _can_store(provider: Provider) -> bool:
    return provider.needs_key and provider.key_source in {"", STORED}


def _provider(bench: Workbench, name: str) -> Provider:
    found = offered_now(bench)
    if name not in found:
        raise NotFound(
            f"There is no provider '{name[:60]}'.",
            hint=f"Known: {', '.join(found)}. Others, and those without an address, need [providers.NAME] first.",
            code="provider_unknown",
        )
    return found[name]


def _changed(bench: Workbench, name: str, base_url: str, *, has_key: bool) -> KeyChanged:
    in_force = _settled(bench, _stored(bench).mark)
    return KeyChanged(name=name, has_key=has_key, in_force=in_force, base_url=base_url)


def _settled(bench: Workbench, mark: str) -> bool:
    """Wait until all gateways of this computer go by the keys of that mark; False when they take too long."""
    until = bench.clock.monotonic() + _MOST_WAIT_S
    while bench.clock.monotonic() < until:
        told = snapshot.read_all(bench.settings.run_dir, since_us=bench.clock.now_us() - _FRESH_US)
        living = [shot for shot in told if _lives(shot.pid)]
        if all(shot.stored_keys == mark for shot in living):
            return bool(living)
        time.sleep(_LOOK_S)
    return False


def _lives(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
