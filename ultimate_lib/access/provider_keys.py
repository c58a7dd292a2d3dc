"""Keys of providers that people have entered: sealed in the store, opened only for the address they were entered for.

A secret is named `provider:NAME@BASE_URL` and sealed under that very name. A provider whose address changes therefore
has no stored key any more: a key never goes to another address than its owner saw when entering it.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from ultimate_lib.access.changes import SYSTEM, audited
from ultimate_lib.errors import Corrupt, NotFound
from ultimate_lib.store import audit, sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ultimate_lib.access.principal import Principal
    from ultimate_lib.clock import Clock
    from ultimate_lib.providers import Provider
    from ultimate_lib.sealed import MasterKey
    from ultimate_lib.store import Store

log = logging.getLogger(__name__)

_PREFIX = "provider:"
PURPOSE = "provider-key"


class StoredKeys:
    """The stored keys as they were read at one moment, still sealed. `key` opens one."""

    def __init__(self, rows: Mapping[str, bytes], master: MasterKey) -> None:
        self._rows = dict(rows)
        self._master = master
        self.problems: dict[str, str] = {}
        """Provider → why its stored key cannot be used."""

    @property
    def mark(self) -> str:
        """A short text that is the same for the same keys under the same master key, and tells nothing of them."""
        told = hashlib.sha256(self._master.id)
        for name, ciphertext in sorted(self._rows.items()):
            told.update(b"%d:%b%d:%b" % (len(name), name.encode(), len(ciphertext), ciphertext))
        return told.hexdigest()[:16]

    def key(self, provider: str, base_url: str) -> str:
        """Return the key that was stored for a provider at this address; empty when there is none that opens."""
        name = _named(provider, base_url)
        ciphertext = self._rows.get(name)
        if ciphertext is None:
            return ""
        try:
            return self._master.open(PURPOSE, name, ciphertext)
        except Corrupt as error:
            self.problems[provider] = f"The stored key of '{provider}' does not open: {error}"
            log.warning("The stored key of '%s' does not open: %s", provider, error)
            return ""


def read(store: Store, master: MasterKey) -> StoredKeys:
    """Return the stored keys. Raises `Unavailable` or `Corrupt` when the store does not work."""
    with store.begin() as connection:
        return StoredKeys(sealed.beginning(connection, _PREFIX), master)


def put(  # noqa: PLR0917 - who stores what for whom
    store: Store, clock: Clock, master: MasterKey, actor: Principal, provider: Provider, key: str, address: str = ""
) -> None:
    """Seal and keep a provider's key in place of any other of that provider."""
    name, now = _named(provider.name, provider.base_url), clock.now()
    ciphertext = master.seal(PURPOSE, name, key)
    with store.begin() as connection:
        sealed.remove(connection, _of(sealed.beginning(connection, _PREFIX), provider.name))
        sealed.put(connection, name, ciphertext, now)
        after = {"base_url": provider.base_url}
        audit.append(connection, audited(now, actor.user_name, "provider_key.set", provider.name, address, after))


def remove(store: Store, clock: Clock, actor: Principal, provider: str, *, address: str = "") -> None:
    """Remove a provider's stored key, whatever address it was for. Raises `NotFound` when there is none."""
    now = clock.now()
    with store.begin() as connection:
        if not sealed.remove(connection, _of(sealed.beginning(connection, _PREFIX), provider)):
            raise NotFound(f"No key of '{provider}' is stored.", code="provider_key_unknown")
        audit.append(connection, audited(now, actor.user_name, "provider_key.remove", provider, address, None))


def remove_moved(store: Store, clock: Clock, providers: Iterable[Provider]) -> list[str]:
    """Remove the keys that were stored for another address than their provider has now; return whose they were."""
    now, gone = clock.now(), []
    with store.begin() as connection:
        rows = sealed.beginning(connection, _PREFIX)
        for provider in providers:
            moved = [name for name in _of(rows, provider.name) if name != _named(provider.name, provider.base_url)]
            if moved and sealed.remove(connection, moved):
                gone.append(provider.name)
                after = {"because": f"the address is now {provider.base_url}"}
                audit.append(connection, audited(now, SYSTEM, "provider_key.remove", provider.name, "", after))
    return gone


def _named(provider: str, base_url: str) -> str:
    return f"{_PREFIX}{provider}@{base_url}"


def _of(names: Iterable[str], provider: str) -> list[str]:
    return [name for name in names if name.removeprefix(_PREFIX).partition("@")[0] == provider]
