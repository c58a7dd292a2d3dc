"""Columns that say which call it is, whose it is and what was asked: ids, people, notebooks, shapes."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from ultimate_lib.demo import cast
from ultimate_lib.demo.names import SOURCE, TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ultimate_lib.demo.draws import Draw

_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_ALPHABET = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", dtype=np.uint8)
_DASHES = [8, 13, 18, 23]
_WITH_TOOLS, _WITH_SYSTEM, _WITH_IMAGES = 0.15, 0.85, 0.02  # shares of calls
_CELLS = 9  # of a notebook that call a model
_MOST_PEOPLE = 4000  # customers of the support bot


def pick(values: Sequence[str | None], at: np.ndarray) -> pl.Series:
    """Return the text of each index."""
    return pl.Series(values, dtype=pl.String).gather(at)


def ids(draw: Draw) -> dict[str, pl.Series]:
    """Return call ids (UUIDv7 of the calls' own times), the provider's message ids and keyed hashes."""
    rows, dice = draw.rows, draw.dice
    text = np.empty((rows, 36), dtype=np.uint8)
    digits = dice.integers(0, 16, (rows, 32))
    digits[:, :12] = (draw.started // 1000)[:, None] >> np.arange(44, -1, -4) & 15
    digits[:, 12], digits[:, 16] = 7, 8 | digits[:, 16] & 3
    text[:, [place for place in range(36) if place not in _DASHES]] = _HEX[digits]
    text[:, _DASHES] = ord("-")
    message = np.empty((rows, 24), dtype=np.uint8)
    message[:] = _ALPHABET[dice.integers(0, 62, (rows, 24))]
    anthropic = np.array([model.protocol == "anthropic-messages" for model in draw.models])[draw.model]
    prefixes = dice.integers(-(2**62), 2**62, 40)
    requests = dice.integers(-(2**62), 2**62, rows)
    if draw.workload.same_request:
        requests[:] = requests[0]
    return {
        "call_id": pl.Series(text.view("S36").ravel().astype("U36")),
        "started_at": pl.Series(draw.started).cast(pl.Datetime("us", "UTC")),
        "upstream_id": pick(["chatcmpl-demo", "msg_demo"], anthropic.astype(int))
        + pl.Series(message.view("S24").ravel().astype("U24")),
        "request_hash": pl.Series(requests),
        "prefix_hash": pl.Series(prefixes[dice.integers(0, len(prefixes), rows)]),
    }


def who(draw: Draw) -> dict[str, pl.Series]:
    """Return whose calls they are, and of which session, notebook, cell and kernel."""
    workload, rows = draw.workload, draw.rows
    people = workload.people

    def all_alike(value: str | None) -> pl.Series:
        return pl.repeat(value, rows, dtype=pl.String, eager=True)

    found = {
        "source": all_alike(SOURCE),
        "key_id": pick([person.key for person in people], draw.person),
        "user_id": pick([person.user_id for person in people], draw.person),
        "team": pick([person.team for person in people], draw.person),
        "cost_center": pick([cast.COST_CENTERS[person.team] for person in people], draw.person),
        "project": all_alike(workload.project),
        "app": all_alike(workload.app),
        "tags": pl.Series([[TAG, *workload.tags]]).gather(np.zeros(rows, dtype=np.int64)),
    }
    if workload.notebooks:
        found |= _cells(draw)
    elif workload.session_calls:
        sessions = [f"demo-{workload.app}-{draw.name}-{number}" for number in range(draw.session.max() + 1)]
        found["session_id"] = pick(sessions, draw.session)
    if workload.app == "support-bot":
        customers = [f"customer-{number}" for number in range(_MOST_PEOPLE)]
        of_session = draw.dice.integers(0, _MOST_PEOPLE, draw.session.max() + 1)
        found["end_user"] = pick(customers, of_session[draw.session])
    return found


def _cells(draw: Draw) -> dict[str, pl.Series]:
    """Return notebook, cell and kernel: a session is a kernel with one notebook; its cells run one after another."""
    notebooks = draw.workload.notebooks
    among = draw.session.max() + 1
    of_session = (draw.dice.random(among) ** 1.7 * len(notebooks)).astype(np.int64)
    notebook = of_session[draw.session]
    cell = np.minimum(draw.place // 2, _CELLS - 1)
    cells = [_short(f"{name}#{number}", 8) for name in notebooks for number in range(_CELLS)]
    kernels = [_short(f"{draw.name}-{number}", 32) for number in range(among)]
    return {
        "notebook": pick(notebooks, notebook),
        "cell_id": pick(cells, notebook * _CELLS + cell),
        "kernel_id": pick([f"{k[:8]}-{k[8:12]}-4{k[13:16]}-a{k[17:20]}-{k[20:]}" for k in kernels], draw.session),
    }


def _short(text: str, digits: int) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()[:digits]


def shapes(draw: Draw) -> dict[str, pl.Series]:
    """Return what was asked, of whom, and the shape of the request."""
    workload, rows, dice, models = draw.workload, draw.rows, draw.dice, draw.models
    embeds = workload.operation == "embeddings"
    protocol = pick([model.protocol for model in models], draw.model)
    paths = ["/v1/messages" if model.protocol == "anthropic-messages" else "/v1/chat/completions" for model in models]
    tools = np.full(rows, workload.app == "claude-code") | (dice.random(rows) < _WITH_TOOLS)
    tools &= not embeds
    limits = np.array([1024, 2048, 4096, 8192])[dice.integers(0, 4, rows)]
    return {
        "billing": pl.repeat(workload.billing, rows, eager=True),
        "operation": pl.repeat(workload.operation, rows, eager=True),
        "protocol_in": protocol,
        "protocol_out": protocol,
        "stream": pl.Series(dice.random(rows) < workload.stream),
        "endpoint": pick(["/v1/embeddings"] * len(models) if embeds else paths, draw.model),
        "model_requested": pick([model.name for model in models], draw.model),
        "model_routed": pick([model.name for model in models], draw.model),
        "model_served": pick([model.served or model.name for model in models], draw.model),
        "provider": pick([model.provider for model in models], draw.model),
        "deployment": pick([model.provider for model in models], draw.model),
        "price_of": pick([model.price_id for model in models], draw.model),
        "attempts": pl.repeat(1, rows, eager=True),
        "message_count": pl.Series(np.where(embeds, 0, 1 + 2 * draw.place)),
        "tool_count": pl.Series(np.where(tools, dice.integers(3, 19, rows), 0)),
        "has_system": pl.Series((dice.random(rows) < _WITH_SYSTEM) & (not embeds)),
        "has_tools": pl.Series(tools),
        "has_images": pl.Series((dice.random(rows) < _WITH_IMAGES) & (not embeds)),
        "has_documents": pl.repeat(value=False, n=rows, eager=True),
        "max_tokens": pl.repeat(None, rows, dtype=pl.Int64, eager=True) if embeds else pl.Series(limits),
    }
