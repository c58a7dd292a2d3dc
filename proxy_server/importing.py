"""`ultimate-proxy import`: calls of the past from what other programs have kept.

ultimate-proxy import claude-code                       the logs of this computer's Claude Code
ultimate-proxy import claude-code ~/backup/projects --billing metered --dry-run
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_server.commands.common import add_places, overrides
from ultimate_lib.errors import NotFound

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress

    from ultimate_lib.lake.importing import Imported, Skipped

_NANO = 1_000_000_000
_MEGA = 1_000_000
_WORTH_TELLING = 20 * _MEGA
_WIDE = 160  # columns, where there is no terminal to ask


def add(subparsers: Any) -> None:
    """Add the command to the command line's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "import",
        help="take calls of the past into the lake",
        description="Takes calls of the past into the lake. Importing twice adds nothing, nor does a call that the "
        "proxy has recorded itself. Without a source it lists the sources.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="what to import from, such as claude-code")
    parser.add_argument(
        "places", nargs="*", type=Path, metavar="PATH", help="files or folders (default: where they usually are)"
    )
    parser.add_argument(
        "--billing",
        choices=("subscription", "metered", "local"),
        help="how these calls were paid for (default: the source's own; claude-code: subscription)",
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be taken, write nothing")
    add_places(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import as the command line says; return the exit status. Raises `UltimateError` with a sentence."""
    from rich.console import Console  # noqa: PLC0415 - other commands do not pay for this one's parts

    from proxy_server.prices import kept_table  # noqa: PLC0415
    from ultimate_lib import settings  # noqa: PLC0415
    from ultimate_lib.clock import SystemClock  # noqa: PLC0415
    from ultimate_lib.lake import Lake, importing  # noqa: PLC0415
    from ultimate_lib.lake.importers import IMPORTERS  # noqa: PLC0415
    from ultimate_lib.pricing import PriceBook, pricelist  # noqa: PLC0415

    if arguments.source is None:
        return _list()
    name = arguments.source.replace("-", "_")
    if name not in IMPORTERS.names():
        known = ", ".join(_written(name) for name in IMPORTERS)
        raise NotFound(f"There is no source '{arguments.source}'.", hint=f"Known: {known}.")
    importer = IMPORTERS.get(name)
    effective = settings.load(arguments.config, overrides=overrides(arguments))
    lake = Lake.open(effective, SystemClock())
    book = PriceBook(pricelist.load() if arguments.dry_run else kept_table(effective.run_dir))  # which keeps it there
    watching = _Watch(Console(stderr=True))
    with watching:
        result = importing.run(
            lake, name, arguments.places, book=book, billing=arguments.billing,
            dry_run=arguments.dry_run, progress=watching.tell,
        )  # fmt: skip
    billing = arguments.billing or importer.billing
    _show(result, lake.url, dry_run=arguments.dry_run, subscription=billing == "subscription")
    return 0


def _list() -> int:
    from rich.console import Console  # noqa: PLC0415 - see run

    from ultimate_lib.lake.importers import IMPORTERS  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for name in IMPORTERS:
        console.print(f"ultimate-proxy import {_written(name)}: {IMPORTERS.get(name).sentence}")
    return 0


def _written(name: str) -> str:
    """Return an importer's name as the command line writes it."""
    return name.replace("_", "-")


class _Watch:
    """A bar over the bytes read, on a terminal; a line each tenth elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._update: Callable[[int, int], None] = self._line
        self._tenth = 0

    def __enter__(self) -> None:
        if not self._console.is_terminal:
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

        columns = (TextColumn("import"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = bar = Progress(*columns, console=self._console)
        task = bar.add_task("import", total=None)
        bar.start()
        self._update = lambda done, total: bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, done: int, total: int) -> None:
        """Take how many bytes have been read, and how many there are."""
        self._update(done, total)

    def _line(self, done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > self._tenth and total > _WORTH_TELLING:
            self._tenth = tenth
            self._console.print(f"import: {done / _MEGA:,.0f} of {total / _MEGA:,.0f} MB", highlight=False)


def _show(result: Imported, lake_url: str, *, dry_run: bool, subscription: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - see run

    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDE
    verb = "would be taken" if dry_run else "taken"
    console.print(f"{result.files:,} files, {result.bytes / _MEGA:,.1f} MB read; the lake is {lake_url}")
    console.print(f"{result.taken:,} calls {verb}, {result.present:,} in the lake already")
    if result.first_us is not None and result.last_us is not None:
        console.print(f"from {_day(result.first_us)} to {_day(result.last_us)} (UTC)")
    if result.models:
        console.print(_models(result, subscription=subscription))
    skipped = sorted(result.skipped.items(), key=lambda item: (item[1].expected, -item[1].count))
    if skipped:
        console.print("skipped:")
    for reason, told in skipped:
        console.print(f"  {told.count:>9,}  {reason}{_places(told)}")
    if result.missing_files:
        console.print(
            f"{result.missing_files} files of the lake fail their checksum: calls in them count as not there. "
            "`ultimate-proxy doctor` names them."
        )


def _models(result: Imported, *, subscription: bool) -> Any:
    from rich.table import Table  # noqa: PLC0415 - see run

    cost = "API-equivalent USD" if subscription else "USD"
    table = Table(box=None, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("calls", "input", "cache read", "cache write", "output", cost):
        table.add_column(name, justify="right", no_wrap=True)
    for model, sums in sorted(result.models.items(), key=lambda item: (-item[1].cost_nano_usd, item[0])):
        counts = (sums.calls, sums.input_tokens, sums.cache_read_tokens, sums.cache_write_tokens, sums.output_tokens)
        unpriced = f" ({sums.unpriced:,} unpriced)" if sums.unpriced else ""
        table.add_row(model, *(f"{count:,}" for count in counts), f"{sums.cost_nano_usd / _NANO:,.4f}{unpriced}")
    return table


def _places(told: Skipped) -> str:
    if not told.samples:
        return ""
    more = ", …" if told.count > len(told.samples) else ""
    return f" ({', '.join(told.samples)}{more})"


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / _MEGA, UTC).date().isoformat()
