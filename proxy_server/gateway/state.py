"""What all calls of one gateway process share, and what it counts."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from proxy_server.gateway.admit import Admission
from proxy_server.gateway.aside import BUSY, Aside, Callers
from proxy_server.gateway.guard import Guard
from proxy_server.gateway.upstream import Upstream
from proxy_server.prices import kept_table
from ultimate_lib.access import provider_keys
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.provider_keys import StoredKeys
from ultimate_lib.clock import SystemClock
from ultimate_lib.errors import UltimateError, Unavailable
from ultimate_lib.journal import JournalWriter
from ultimate_lib.pricing import PriceBook
from ultimate_lib.providers import Routes, check_tiers, configured
from ultimate_lib.sealed import MasterKey
from ultimate_lib.settings import Tiers
from ultimate_lib.store import Store

if TYPE_CHECKING:
    from proxy_server.gateway.relay import Relay
    from ultimate_lib.providers import Provider
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)


class Totals(msgspec.Struct):
    """Counts of one (provider, protocol, status) since the process started."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    duration_ms: int = 0
    overhead_ms: float = 0.0


class Routing(NamedTuple):
    """What depends on the providers' keys."""

    stored: StoredKeys
    providers: dict[str, Provider]
    book: PriceBook
    routes: Routes


class State:
    """Everything a call needs, opened once."""

    def __init__(self, settings: Settings, slot: int, demo_url: str) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.store = Store(settings.store_url)
        self.keys = KeyCache(self.store, self.clock)
        self.aside = Aside()
        self.callers = Callers(self.keys, self.aside)
        self._looking = False
        self._demo_url = demo_url
        self._master = master = MasterKey.load(settings)
        self._failure = ""  # of the last look at the stored keys
        self.adopt(self._first_routing())
        self.journal = JournalWriter(settings.journal_dir, str(slot), settings.record, self.clock)
        self.waits_for_sync = settings.record.sync == "commit"
        self.hash_key = master.derive("request-hash")
        self.installation = f"ultimate-{master.derive('installation').hex()[:16]}"
        self.upstream = Upstream(settings.limits, self.installation)
        self.slot = slot
        self.token = secrets.token_hex(4)
        self.relays: set[Relay] = set()
        self.totals: dict[tuple[str, str, str], Totals] = {}
        self.draining = False
        self.admission = Admission(self)
        self.guard = Guard(self)

    def _first_routing(self) -> Routing:
        try:
            stored = provider_keys.read(self.store, self._master)
        except Unavailable as error:  # calls with keys of the configuration go on; each second looks again
            log.warning("The stored keys of providers cannot be read yet: %s", error)
            return self._routing(StoredKeys({}, self._master))
        if self.settings.tiers != Tiers():
            book = PriceBook(kept_table(self.settings.run_dir))
            check_tiers(self.settings, book, demo_url=self._demo_url, stored=stored.key)
        return self._routing(stored)

    def _routing(self, stored: StoredKeys) -> Routing:
        """Return providers, prices and routes with the keys that are stored now. Raises `Invalid`."""
        providers = configured(self.settings, demo_url=self._demo_url, stored=stored.key)
        sold = frozenset(provider.price_id for provider in providers.values())
        book = PriceBook(kept_table(self.settings.run_dir).only(sold))
        return Routing(stored, providers, book, Routes(self.settings, providers, book))

    def adopt(self, routing: Routing) -> None:
        """Let calls from now on go by other keys; those on their way keep the ones they have."""
        self.stored, self.providers, self.book, self.routes = routing

    def look(self) -> None:
        """Look, beside the loop, at what the store says now of keys and providers, unless that is under way."""
        if not self._looking:
            self._looking = True
            self.aside.run(self._look, self._looked)

    def _look(self) -> Routing | None:
        self.keys.look()
        return self.renewed()

    def _looked(self, found: Routing | UltimateError | None) -> None:
        self._looking = False
        if isinstance(found, Routing):
            self.adopt(found)
            log.info("Providers go by the keys that are stored now.")
        elif isinstance(found, Unavailable) and found.code != BUSY:
            self.keys.away = True

    def renewed(self) -> Routing | None:
        """Return another routing when the stored keys have changed. Reads the store: not for the loop."""
        try:
            stored = provider_keys.read(self.store, self._master)
            renewed = self._routing(stored) if stored.mark != self.stored.mark else None
        except UltimateError as error:
            if str(error) != self._failure:  # told once, not each second
                log.warning("Providers keep the keys that they have: %s", error)
            self._failure = str(error)
            return None
        self._failure = ""
        return renewed

    def count(self, record: CallRecord) -> None:
        """Add an ended call to the totals."""
        key = (record.provider or "", record.protocol_in or "", record.status or "")
        totals = self.totals.get(key)
        if totals is None:
            totals = self.totals[key] = Totals()
        totals.calls += 1
        totals.input_tokens += record.input_tokens or 0
        totals.output_tokens += record.output_tokens or 0
        totals.cost_nano_usd += record.cost_nano_usd or 0
        totals.duration_ms += record.duration_ms or 0
        totals.overhead_ms += record.overhead_ms or 0.0

    async def close(self) -> None:
        """Seal the journal and let go of everything."""
        self.upstream.close()
        self.journal.close()
        self.store.close()
