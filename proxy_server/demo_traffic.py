"""A trickle of made-up calls through the real port, so that live pages live in demo mode: one every few seconds.

They go to the scripted provider, never to another, one at a time, and carry the app `demo-traffic` and the tag
`data=demo`. Whoever does not want them says `--no-demo-traffic`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient, HTTPError

from ultimate_lib.demo.names import TAG

if TYPE_CHECKING:
    from ultimate_lib.settings import Settings

log = logging.getLogger(__name__)

APP = "demo-traffic"
PAUSE_S = 5.0  # on average: some 17,000 calls a day, 2 MB of lake
_LONGEST_PAUSE_S = 60.0
_TIMEOUT_S = 60.0
_MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "gpt-5.4-mini", "gpt-5.4", "gemini-3.5-flash")
_HEADERS = {"Content-Type": "application/json", "X-Ultimate-App": APP, "X-Ultimate-Tags": f"{TAG},traffic=live"}


def request(dice: random.Random) -> tuple[str, dict[str, Any]]:
    """Return the path and the body of one call: short, of any of a few models, half of them streams."""
    model = dice.choice(_MODELS)
    script = {
        "input_tokens": dice.randint(150, 2500), "output_tokens": dice.randint(20, 220),
        "first_delay_ms": dice.randint(200, 900), "delay_ms": dice.randint(5, 60), "chunks": dice.randint(4, 20),
    }  # fmt: skip
    if dice.random() < 0.03:  # noqa: PLR2004 - now and then one fails
        script = {"status": dice.choice((429, 529)), "first_delay_ms": 150}
    body = {
        "model": f"demo/{model}",
        "max_tokens": 1024,
        "stream": dice.random() < 0.5,  # noqa: PLR2004 - a half
        "messages": [{"role": "user", "content": f"script: {json.dumps(script)}"}],
    }
    return ("/v1/messages" if model.startswith("claude") else "/v1/chat/completions"), body


async def make(settings: Settings, drain: asyncio.Event) -> None:
    """Make calls until drained. What fails is said once, and tried again less and less often."""
    dice = random.Random()  # noqa: S311 - for looks
    client = AsyncHTTPClient(force_instance=True)
    failures = 0
    try:
        while not await _drained(drain, min(PAUSE_S * dice.uniform(0.3, 1.7) * 2**failures, _LONGEST_PAUSE_S)):
            try:
                await _call(client, settings, dice)
                failures = 0
            except (OSError, ValueError, KeyError, HTTPError) as error:
                if not failures:
                    log.warning("demo traffic: a call failed (%s); it goes on more slowly.", error)
                failures = min(failures + 1, 8)
    finally:
        client.close()


async def _call(client: AsyncHTTPClient, settings: Settings, dice: random.Random) -> None:
    key = json.loads((settings.data_dir / "local.json").read_text(encoding="utf-8"))["key"]
    path, body = request(dice)
    await client.fetch(
        settings.local_url + path, method="POST", headers={**_HEADERS, "X-Api-Key": key}, body=json.dumps(body),
        request_timeout=_TIMEOUT_S, raise_error=False, validate_cert=False,  # our own port on loopback
    )  # fmt: skip


async def _drained(drain: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(drain.wait(), seconds)
    except TimeoutError:
        return False
    return True
