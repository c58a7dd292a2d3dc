"""`ultimate-proxy replay`: a public trace of real calls, sent through the real port as streaming calls.

    ultimate-proxy replay azure_conv_2023.parquet --speed 60        an hour of arrivals in a minute
    ultimate-proxy replay azure_conv_2023.parquet --speed max --ledger sent.jsonl

The scripted provider `demo` answers with the tokens that the trace says, so that what the proxy recorded can be held
against the trace: every call carries the tag `replay=<run id>` and a trace id that begins with the run id.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, running
from ultimate_lib.errors import Invalid

if TYPE_CHECKING:
    from proxy_server.replay.send import Plan, Totals
    from proxy_server.replay.trace import Trace

_INTERRUPTED = 130


def add(subparsers: Any) -> None:
    """Add the command to the command line's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "replay",
        help="send a recorded trace of real calls through the proxy",
        description="Sends a public trace through the proxy as streaming calls to the scripted provider. Ends with "
        "status 0 only if every call was answered to its end.",
    )
    parser.add_argument("trace", type=Path, help="Parquet: timestamp or timestamp_ms, input_tokens, output_tokens")
    parser.add_argument("--url", help="where to send (default: this computer's proxy, from local.json)")
    parser.add_argument("--key", help="key of the proxy (default: this computer's, from local.json)")
    parser.add_argument("--protocol", choices=("openai-chat", "anthropic-messages"), default="openai-chat")
    parser.add_argument("--model", help="default: demo/gpt-4o-mini, or demo/claude-sonnet-4-5 for anthropic-messages")
    parser.add_argument("--speed", type=_speed, default=60.0, help="times faster than recorded, or max (default 60)")
    parser.add_argument("--limit", type=_count, help="only the first so many calls")
    parser.add_argument("--concurrency", type=_count, default=64, help="most calls in flight (default 64)")
    parser.add_argument("--chunks", type=_count, default=4, help="events of an answer's text (default 4)")
    parser.add_argument("--delay-ms", type=_delay, default=0.0, help="pause between events (default 0)")
    parser.add_argument("--ledger", type=Path, help="append one JSON line for each ended attempt to this file")
    parser.add_argument(
        "--retry", action="store_true", help="send again, for up to a minute, what got no connection or no first byte"
    )
    add_places(parser)
    parser.set_defaults(run=run)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor 'max'")
    return speed


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _delay(text: str) -> float:
    try:
        delay = float(text)
    except ValueError:
        delay = -1.0
    if not 0 <= delay <= 3_600_000:  # noqa: PLR2004 - an hour, the scripted provider's own bound
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds up to an hour")
    return delay


def run(arguments: argparse.Namespace) -> int:
    """Replay as the command line says; return the exit status. Raises `UltimateError` with a sentence."""
    from proxy_server.replay.send import Plan  # noqa: PLC0415 - other commands do not pay for this one's parts
    from proxy_server.replay.shapes import SHAPES  # noqa: PLC0415
    from proxy_server.replay.trace import read_trace  # noqa: PLC0415
    from proxy_server.replay.wire import Origin  # noqa: PLC0415

    url, key = _address(arguments)
    plan = Plan(
        origin=Origin.parse(url), shape=SHAPES[arguments.protocol], key=key, model=arguments.model or "",
        speed=arguments.speed, concurrency=arguments.concurrency, chunks=arguments.chunks,
        delay_ms=arguments.delay_ms, retry=arguments.retry,
    )  # fmt: skip
    trace = read_trace(arguments.trace, arguments.limit)
    try:
        import uvloop  # noqa: PLC0415 - a third of the CPU

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        return runner.run(_replay(trace, plan, arguments.ledger))


def _address(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return URL and key: as told, else from local.json, whose key goes to its own address alone."""
    from ultimate_lib.access.local import local_path  # noqa: PLC0415 - see run

    if arguments.url and arguments.key:
        return arguments.url, arguments.key
    path = local_path(running(arguments))
    try:
        told = json.loads(path.read_bytes())
        local_url, local_key = str(told["url"]), str(told["key"])
    except FileNotFoundError:
        local_url = local_key = ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(
            f"{path} cannot be used ({error}).", hint="Start the proxy anew, or give --url and --key."
        ) from error
    if arguments.url:
        return arguments.url, local_key if arguments.url.rstrip("/") == local_url else ""
    if not local_url:
        raise Invalid(
            f"No proxy of this computer is known: there is no {path}.",
            hint="Start it with `ultimate-proxy up`, or give --url and --key.",
            code="no_local",
        )
    return local_url, arguments.key or local_key


async def _replay(trace: Trace, plan: Plan, ledger_path: Path | None) -> int:
    from proxy_server.replay import progress  # noqa: PLC0415 - see run
    from proxy_server.replay.ledger import Ledger  # noqa: PLC0415
    from proxy_server.replay.send import Sender  # noqa: PLC0415

    async with Ledger(ledger_path) as ledger:
        sender = Sender(trace, plan, ledger)
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            if interrupted:
                asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
            interrupted = True
            sender.stop()

        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt)
        watching = asyncio.create_task(progress.watch(sender.totals, sender.run_id))
        try:
            totals = await sender.run()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
    progress.summary(totals, sender.run_id, expected=_sums(trace))
    if interrupted:
        return _INTERRUPTED
    return 0 if _all_well(totals) else 1


def _sums(trace: Trace) -> tuple[int, int]:
    return sum(trace.input_tokens), sum(trace.output_tokens)


def _all_well(totals: Totals) -> bool:
    return totals.ok == totals.planned
