"""What all calls of one gateway process share, and what it counts."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from proxy_server.gateway.upstream import Upstream
from proxy_server.prices import kept_table
from ultimate_lib.access.keys import KeyCache
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.pricing import PriceBook
from ultimate_lib.providers import Routes, configured
from ultimate_lib.sealed import MasterKey
from ultimate_lib.store import Store

if TYPE_CHECKING:
    from proxy_server.gateway.relay import Relay
    from ultimate_lib.records import CallRecord
    from ultimate_lib.settings import Settings


class Totals(msgspec.Struct):
    """Counts of one (provider, protocol, status) since the process started."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    duration_ms: int = 0
    overhead_ms: float = 0.0


class State:
    """Everything a call needs, opened once."""

    def __init__(self, settings: Settings, slot: int, demo_url: str) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.store = Store(settings.store_url)
        self.keys = KeyCache(self.store, self.clock)
        self.providers = configured(settings, demo_url=demo_url)
        sold = frozenset(provider.price_id for provider in self.providers.values())
        self.book = PriceBook(kept_table(settings.run_dir).only(sold))
        self.routes = Routes(settings, self.providers, self.book)
        self.journal = JournalWriter(settings.journal_dir, str(slot), settings.record, self.clock)
        self.waits_for_sync = settings.record.sync == "commit"
        master = MasterKey.load(settings)
        self.hash_key = master.derive("request-hash")
        self.installation = f"ultimate-{master.derive('installation').hex()[:16]}"
        self.upstream = Upstream(settings.limits, self.installation)
        self.slot = slot
        self.token = secrets.token_hex(4)
        self.relays: set[Relay] = set()
        self.totals: dict[tuple[str, str, str], Totals] = {}
        self.draining = False

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
