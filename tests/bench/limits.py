"""What limits add to a call: a key's rate, a user's budget and a hard budget of all, against none.

    python -m tests.bench.limits [--quick]

`limits_added_us`: a call's admission and settlement in this process, timed as the gateway does them, the worst case
priced from the real list, the lowest of several windows. `limits_added_over_sockets_us`: the CPU time of a gateway's
process, called over sockets, which goes by these limits and by none in turns; it is switched by a signal, for two
processes differ by more than what is measured, and so does one after it has read its journal for a new budget. It is
the median of the turns' differences, which a machine that is quick for a second moves least.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median, stdev

from tests.bench.figures import Figure, emit
from tests.bench.gateway import BODY, CONNECTIONS, config_text, null_upstream, on_core, window, wrk_script
from tests.gateway.gateways import Gateway, start_gateway
from tests.gateway.limited import make_budget, make_rate, noticed, open_store
from ultimate_lib.access.key_cache import KeyCache
from ultimate_lib.clock import SystemClock
from ultimate_lib.journal import JournalWriter
from ultimate_lib.limits.calls import Budget, RateLimit
from ultimate_lib.limits.counters import Hold
from ultimate_lib.limits.memory import MemoryCounters
from ultimate_lib.limits.worst import Sold, worst_case
from ultimate_lib.pricing import PriceBook, pricelist
from ultimate_lib.protocols import openai_chat
from ultimate_lib.records import CallRecord
from ultimate_lib.settings import Record, load

LIMIT_US = 15.0
NONE, LIMITS = signal.SIGUSR1, signal.SIGUSR2
_SWITCHING_S = 0.03


def limited() -> MemoryCounters:
    counters = MemoryCounters(load(environ={}), SystemClock())
    about = {"name": "", "unit": "nano_usd", "amount": 10**17, "period": "month", "enabled": True}
    counters.set(
        [
            Budget(id="b1", subject="user", subject_id="u", hard=False, **about),  # type: ignore[arg-type] # as told
            Budget(id="b2", subject="global", subject_id="", hard=True, **about),  # type: ignore[arg-type] # as told
        ],
        [RateLimit(id="r", subject="key", subject_id="k", requests_per_minute=10**9, tokens_per_minute=10**12)],
    )
    counters.add({}, {})
    return counters


def one_call(counters: MemoryCounters | None, book: PriceBook, writer: JournalWriter) -> Callable[[], None]:
    """Return what does the journal's part of a call, and with counters the limits' part."""
    body = BODY.encode()
    facts = openai_chat.read_request(body)
    clock = SystemClock()
    sold = Sold(book, "openai")

    def call() -> None:
        record = CallRecord(
            call_id="018f0000-0000-7000-8000-000000000000", started_at=clock.now_us(), source="proxy", key_id="k",
            user_id="u", billing="metered", operation="chat", input_tokens=40,
        )  # fmt: skip
        hold = None
        if counters is not None:
            ask = worst_case(body, facts, record, "POST", sold, "gpt-4o-mini", True, True)
            answer = counters.admit(ask)
            assert isinstance(answer, Hold)
            hold = answer
        writer.intent(record, hold.amounts if hold is not None else None)
        record.output_tokens, record.cost_nano_usd, record.cost_source = 10, 12_000, "table"
        record.usage_source = "provider"
        charge = counters.settle(hold, record, True) if counters is not None else None
        writer.call(record, charge)

    return call


def cpu_us(work: Callable[[], None], calls: int, windows: int) -> float:
    best = float("inf")
    for _ in range(windows):
        began = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - began) / calls * 1e6)
    return best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    calls, windows = (4000, 6) if quick else (10_000, 15)
    book = PriceBook(pricelist.load().only(frozenset({"openai"})))
    with tempfile.TemporaryDirectory() as folder:
        writer = JournalWriter(Path(folder), "0", Record(), SystemClock())
        none = cpu_us(one_call(None, book, writer), calls, windows)
        some = cpu_us(one_call(limited(), book, writer), calls, windows)
        none = min(none, cpu_us(one_call(None, book, writer), calls, windows))
        writer.close()
    how = f"{calls} calls a window, lowest of {windows}; {datetime.now(UTC):%Y-%m-%d}"
    peers = {"without limits": none, "with limits": some}
    emit([Figure("limits_added_us", some - none, "us", LIMIT_US, peers, how), *over_sockets(quick=quick)])


def over_sockets(*, quick: bool) -> list[Figure]:
    """Return what limits add to the CPU time of a gateway's process, a call."""
    if shutil.which("wrk") is None:
        print("limits_added_over_sockets_us: skipped, wrk is not here (apt-get install wrk)")
        return []
    turns, seconds = (20 if quick else 80), 0.5
    on_core(1)
    without: list[float] = []
    under: list[float] = []
    with (
        tempfile.TemporaryDirectory() as name,
        null_upstream() as upstream,
        start_gateway(Path(name), config_text(upstream), {"BENCH_KEY": "sk-bench", "SWITCHED": ""}) as gateway,
    ):
        on_core(0, gateway.pid)
        script = wrk_script(Path(name), gateway.key)

        def cpu_us(switch: signal.Signals) -> float:
            os.kill(gateway.pid, switch)
            time.sleep(_SWITCHING_S)
            return window(gateway.port, [gateway.pid], seconds, script).cpu_us

        limits(gateway)
        for switch in (NONE, LIMITS):
            cpu_us(switch)  # warms up
        for _ in range(turns):
            before, *some, after = [cpu_us(switch) for switch in (NONE, LIMITS, LIMITS, NONE)]
            under.append(fmean(some))
            without.append((before + after) / 2)
    added = [some - none for some, none in zip(under, without, strict=True)]
    error = stdev(added) / len(added) ** 0.5
    how = (
        f"wrk, {CONNECTIONS} connections, median of {turns} turns, mean {fmean(added):.1f} with a standard error of "
        f"{error:.1f}; {datetime.now(UTC):%Y-%m-%d}"
    )
    peers = {"without limits": median(without), "with limits": median(under)}
    return [Figure("limits_added_over_sockets_us", median(added), "us", LIMIT_US, peers, how)]


def limits(gateway: Gateway) -> None:
    """Let a gateway go by limits: of its key, of the key's user, of all."""
    folder = gateway.folder
    with open_store(folder) as store:
        caller = KeyCache(store, SystemClock()).lookup(gateway.key)
    assert caller is not None
    make_rate(folder, subject="key", subject_id=caller.key_id, requests_per_minute=10**7, tokens_per_minute=10**10)
    make_budget(folder, 10**15, subject="user", subject_id=caller.user_id, hard=False)
    noticed(gateway, make_budget(folder, 10**15))


if __name__ == "__main__":
    main()
