"""What it costs to know who calls.

python -m tests.bench.access [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.bench.figures import Figure, emit
from ultimate_lib.access import local
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.access.keys import create_key
from ultimate_lib.clock import SystemClock
from ultimate_lib.settings import load
from ultimate_lib.store import Store

KEYS = 100


def key_lookup_us(seconds: float) -> Figure:
    """Measure the lookup of keys that are known, as a gateway does it for each call."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory() as folder:
        settings = load(environ={}, overrides={"data.folder": str(Path(folder) / "data")})
        store = Store(settings.store_url)
        store.migrate()
        first = local.first_start(settings, store, clock)
        assert first.local_json is not None
        cache = KeyCache(store, clock)
        with store.begin():
            pass
        maker = local._administrator(store, clock)
        tokens = [create_key(store, clock, maker, name=f"key {number}")[0] for number in range(KEYS)]
        best, until = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < until:
            for token in tokens:
                cache.read(token)
            began = time.perf_counter()
            for _ in range(20):
                for token in tokens:
                    cache.kept(token)
                    cache.ages(token)
            best = min(best, (time.perf_counter() - began) / (20 * KEYS))
        store.close()
    return Figure("key_lookup_us", best * 1e6, "us", 2.0, how=f"{KEYS} keys kept, best of {seconds:g} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    seconds = 2.0 if parser.parse_args().quick else 10.0
    emit([key_lookup_us(seconds)])


if __name__ == "__main__":
    main()
