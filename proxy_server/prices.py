"""The price table as a small file in the run folder, so that a gateway need not load the whole price list."""

from __future__ import annotations

import contextlib
import functools
import secrets
from typing import TYPE_CHECKING

import msgspec

from ultimate_lib import pricing
from ultimate_lib.pricing import pricelist

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.pricing import PriceTable


@functools.lru_cache(maxsize=2)
def whole_table(run_dir: Path) -> PriceTable:
    """Return the price table of the installed list, read once a process."""
    return kept_table(run_dir)


def kept_table(run_dir: Path) -> PriceTable:
    """Return the price table of the installed list, from the kept file when that is of the same edition."""
    path = run_dir / "prices.msgpack"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        table = pricing.decode(path.read_bytes())
        if table.edition == pricelist.edition():
            return table
    table = pricelist.load()
    with contextlib.suppress(OSError):  # a folder that cannot be written only costs the next start its time
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = path.with_name(f".prices.{secrets.token_hex(4)}")
        making.write_bytes(pricing.encode(table))
        making.replace(path)
    return table
