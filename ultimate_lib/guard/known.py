"""What each key and model usually costs, as the worker has last learnt it: one file, replaced in one step.

Its first line says how many follow and their CRC-32, so that what is torn or of another program is seen; each of the
others is one key and model, read by itself, so that a gateway's loop goes on meanwhile.
"""

from __future__ import annotations

import os
import secrets
import zlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from ultimate_lib.baseline import Baseline
from ultimate_lib.errors import Corrupt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WEEK_H = 168
FORMAT: Literal["ultimate-baselines-1"] = "ultimate-baselines-1"
MOST = 20_000
"""How many pairs of key and model are kept, those called last; a gateway holds about a kilobyte of each."""


class Known(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What is usual for a key and model. Null: too few calls to say."""

    key_id: str
    model: str
    calls: int  # with a cost, of the last 30 days: those that were learnt from
    first_us: int  # start of the first that is known of
    last_us: int  # start of the last
    enough_us: int | None  # when as many were made as blocking asks for; null: not yet
    ripe_us: int | None  # from when on it can be blocked; null: not yet known
    cost: Baseline | None  # dollars a call
    usual_usd: float | None  # from which on a call's cost is anomalous
    tokens: Baseline | None  # input tokens a call
    usual_tokens: float | None
    accepted_us: int | None = None  # when anomalous calls were accepted that this is learnt from; null: none were
    since_us: int | None = None  # learnt from calls since then alone; null: from all


class Rate(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The most that a key usually spends in a minute, an hour and a day; null: too little is known.

    Of minutes and hours it is meant for an hour of the week with the share 1, the first being Monday, 0 h UTC.
    """

    key_id: str
    usual_usd: tuple[float | None, float | None, float | None]
    shares: list[float]  # of the 168 hours
    ripe_us: int | None = None  # from when on it can be blocked


class About(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: Literal["ultimate-baselines-1"] = FORMAT
    made_us: int
    version: int = 0  # of the lake's table of calls
    lake_rows: int = 0  # that the table had
    after_days: int  # what the worker went by
    after_calls: int
    accepted: int = 0  # CRC-32 of the acceptances that were known
    rows: int = 0
    rates: int = 0  # further lines
    crc: int = 0  # of all that follows


class Baselines(NamedTuple):
    """The whole file."""

    about: About
    known: dict[tuple[str, str], Known]  # by key's id and model
    rates: dict[str, Rate]  # by key's id


_about = msgspec.json.Decoder(About)
_known = msgspec.json.Decoder(Known)
_rate = msgspec.json.Decoder(Rate)


def path(run_dir: Path) -> Path:
    """Return where the file is."""
    return run_dir / "baselines.jsonl"


def write(run_dir: Path, about: About, known: Iterable[Known], rates: Iterable[Rate] = ()) -> None:
    """Put a file in the place of the last one; for this user's eyes alone. Raises OSError."""
    lines = [msgspec.json.encode(one) + b"\n" for one in known]
    more = [msgspec.json.encode(one) + b"\n" for one in rates]
    body = b"".join((*lines, *more))
    head = msgspec.structs.replace(about, rows=len(lines), rates=len(more), crc=zlib.crc32(body))
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    making = run_dir / f".baselines.{secrets.token_hex(4)}"
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(head) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
        making.replace(path(run_dir))
    except BaseException:
        making.unlink(missing_ok=True)
        raise


def read(run_dir: Path) -> Baselines | None:
    """Return what the worker has last learnt; None: nothing yet. Raises `Corrupt`, OSError."""
    try:
        data = path(run_dir).read_bytes()
    except FileNotFoundError:
        return None
    head, _, body = data.partition(b"\n")
    try:
        about = _about.decode(head)
        lines = body.split(b"\n")[:-1]
        if len(lines) != about.rows + about.rates or zlib.crc32(body) != about.crc:
            raise ValueError("it is not whole")  # noqa: TRY301 - told as all else that is wrong with it
        rows = [_known.decode(line) for line in lines[: about.rows]]
        rates = [_rate.decode(line) for line in lines[about.rows :]]
    except (msgspec.DecodeError, ValueError, OverflowError) as error:  # a ValidationError is a DecodeError
        raise Corrupt(
            f"baselines.jsonl of the run folder cannot be read ({error}).",
            hint="The worker makes another within a minute or two; `ultimate-proxy doctor` tells whether it runs.",
            code="baselines",
        ) from error
    return Baselines(about, {(one.key_id, one.model): one for one in rows}, {one.key_id: one for one in rates})
