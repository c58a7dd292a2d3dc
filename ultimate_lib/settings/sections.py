"""The sections of the configuration, each setting with its default and its meaning; and all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import platformdirs
from msgspec import Meta, Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

APP_NAME = "ultimate-proxy"

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Server(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the proxy listens and how the world names it."""

    bind: str = "127.0.0.1"
    port: Port = 8082
    gateways: Count | Literal["auto"] = 1  # processes; limits and guard are exact in memory with one
    public_url: str = ""  # how users reach this server; links, OIDC and the Host check use it
    root_path: str = ""  # path prefix in front of every route
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-* headers are believed
    insecure_http: bool = False  # allow plain HTTP on an address other than loopback
    tls_cert: str = ""
    tls_key: str = ""
    local_key: bool = True  # write local.json with a key for this OS user (loopback only)
    session_idle_minutes: Annotated[int, Meta(ge=0, le=1440)] = 0  # a session ends when unused so long; 0: off
    drain_s: Positive = 120.0  # how long a draining process waits for open calls


class Data(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where data live."""

    folder: str = ""  # empty: the platform's data folder
    lake_url: str = ""  # empty: `lake` in the data folder
    store_url: str = ""  # empty: `store.sqlite` in the data folder
    demo: bool = False  # the numbers are made up: every page says so; `up --demo` sets it with a folder of its own
    demo_history: bool = False  # with `demo`: the worker writes eleven weeks of made-up calls, and goes on
    demo_traffic: bool = False  # with `demo`: a made-up call every few seconds through the real port


class Record(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How calls are recorded."""

    sync: Literal["interval", "commit"] = "interval"
    sync_interval_s: Positive = 0.25  # upper bound of what a power cut may lose with sync = "interval"
    on_disk_full: Literal["drop", "block"] = "drop"
    commit_interval_s: Positive = 5.0  # journal to lake
    segment_bytes: Count = 32 * 1024 * 1024
    segment_age_s: Positive = 5.0
    keep_days: Annotated[int, Meta(ge=0, le=36_500)] = 0  # days that calls stay in the lake; 0: for ever


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Framing limits and time-outs of a call."""

    body_bytes: Count = 32 * 1024 * 1024
    header_bytes: Count = 32 * 1024
    connect_s: Positive = 10.0
    first_byte_s: Positive = 600.0
    idle_s: Positive = 300.0  # between chunks of a stream
    total_s: Positive = 3600.0
    hold_wait_s: Annotated[float, Meta(ge=0, le=600)] = 10.0  # how long a call waits for what others hold of a budget
    waiting_bytes: Count = 256 * 1024 * 1024  # bodies of all the calls that so wait


class Billing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The calendar by which days, weeks and budgets are cut."""

    time_zone: str = "UTC"
    week_start: Literal["monday", "sunday", "saturday"] = "monday"
    fiscal_year_start: Annotated[int, Meta(ge=1, le=12)] = 1  # month
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "USD"
    unpriced: Literal["refuse", "allow"] = "refuse"  # calls without a known price under a hard USD budget


class Guard(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a call is unlike those before it: by what it is told, from when on, and what is never let through."""

    enabled: bool = True  # False: nothing is scored, marked, warned of or blocked
    action: Literal["observe", "warn", "block"] = "observe"  # for keys that name none
    after_days: Annotated[int, Meta(ge=0, le=365)] = 14  # days of calls before a key and model can be blocked
    after_calls: Annotated[int, Meta(ge=50, le=1_000_000)] = 500  # calls, as well
    anomalies: Annotated[int, Meta(ge=1, le=100)] = 3  # anomalous calls that begin a cool-down
    window_minutes: Annotated[float, Meta(gt=0, le=1440)] = 60.0  # within which they have ended
    cooldown_minutes: Annotated[float, Meta(gt=0, le=10080)] = 30.0
    floor_usd: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.05  # what costs no more blocks nothing
    block_spend_rate: bool = False  # True: a key's `block` also refuses while it spends faster than is usual
    max_input_tokens: Annotated[int, Meta(ge=0)] = 0  # of a call, as estimated; 0: no cap
    max_call_usd: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0  # worst case of a call; 0: no cap
    max_usd_per_minute: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0  # of a key; 0: no cap
    max_usd_per_hour: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    max_usd_per_day: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0


class Tiers(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Models that opus, sonnet and haiku names map to, as `provider/model`; empty: names are left alone."""

    big: str = ""
    middle: str = ""
    small: str = ""


class Log(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Logging on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"  # auto: text for people on a terminal, else JSON lines


class ProviderEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[providers.NAME]`. Empty fields come from the preset (`preset`, else the preset of the same name)."""

    preset: str = ""
    protocol: str = ""  # anthropic-messages | openai-chat | openai-responses
    base_url: str = ""
    api_key_env: str = ""  # name of the environment variable that holds the key
    api_key_file: str = ""  # path of a file that holds the key
    auth: Literal["", "bearer", "x-api-key", "api-key", "client", "none"] = ""
    price_id: str = ""  # provider id in the price list
    stream_usage: Literal["", "inject", "native", "none"] = ""
    billing: Literal["", "metered", "subscription", "local"] = ""


class Deployment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One place that serves a model alias."""

    provider: str
    model: str
    weight: Annotated[float, Meta(gt=0)] = 1.0
    priority: Annotated[int, Meta(ge=0)] = 0  # lower is tried first


class ModelEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One `[models."alias"]`."""

    deployments: Annotated[tuple[Deployment, ...], Meta(min_length=1)]


class Environment(Mapping[str, str]):
    """A read-only copy of the environment that never shows its values."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Environment({len(self._values)} variables)"


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that configuration says. Frozen; a reload makes a new one."""

    server: Server = Server()
    data: Data = Data()
    record: Record = Record()
    limits: Limits = Limits()
    billing: Billing = Billing()
    guard: Guard = Guard()
    tiers: Tiers = Tiers()
    log: Log = Log()
    providers: dict[str, ProviderEntry] = {}
    models: dict[str, ModelEntry] = {}
    config_path: Path | None = None
    environment: Environment = Environment({})
    origins: dict[str, str] = {}

    @property
    def data_dir(self) -> Path:
        """The data folder (not created here)."""
        if self.data.folder:
            return Path(self.data.folder).expanduser().absolute()
        return Path(platformdirs.user_data_dir(APP_NAME, appauthor=False))

    @property
    def lake_url(self) -> str:
        """Folder or object-store URL of the lake."""
        return self.data.lake_url or str(self.data_dir / "lake")

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the store."""
        return self.data.store_url or f"sqlite:///{self.data_dir / 'store.sqlite'}"

    @property
    def journal_dir(self) -> Path:
        """Folder of the journal, always local."""
        return self.data_dir / "journal"

    @property
    def run_dir(self) -> Path:
        """Folder of process state: sockets, snapshots, pid."""
        return self.data_dir / "run"

    @property
    def local_url(self) -> str:
        """How a program on this machine reaches the proxy."""
        scheme = "https" if self.server.tls_cert else "http"
        host = self.server.bind
        if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound to
            host = "127.0.0.1"
        if ":" in host:
            host = f"[{host}]"
        return f"{scheme}://{host}:{self.server.port}{self.server.root_path}"

    def origin(self, path: str) -> str:
        """Say where a value came from: `file:line`, the variable's name, or `default`."""
        return self.origins.get(path, "default")


SECTIONS: dict[str, type[Struct]] = {
    "server": Server,
    "data": Data,
    "record": Record,
    "limits": Limits,
    "billing": Billing,
    "guard": Guard,
    "tiers": Tiers,
    "log": Log,
}
TABLES: dict[str, type[Struct]] = {"providers": ProviderEntry, "models": ModelEntry}
