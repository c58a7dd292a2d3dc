"""The first start on a laptop: one local administrator, a key in `local.json`, a link that signs in. No password."""

from __future__ import annotations

import getpass
import json
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from ultimate_lib.access import sessions
from ultimate_lib.access.changes import SYSTEM, audited
from ultimate_lib.access.keys import KeyCache, create_key
from ultimate_lib.access.principal import Principal
from ultimate_lib.access.roles import permissions_of
from ultimate_lib.errors import Unavailable
from ultimate_lib.records import new_call_id
from ultimate_lib.store import audit, identities, people

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.clock import Clock
    from ultimate_lib.settings import Settings
    from ultimate_lib.store import Store

LOCAL_ROLES = ("admin", "api_user")


class FirstStart(NamedTuple):
    """What a start found or made for the local administrator."""

    user_id: str
    link_token: str
    local_json: Path | None  # None: turned off by server.local_key


def local_path(settings: Settings) -> Path:
    """Return where `local.json` stands: address and key for programs of this OS user."""
    return settings.data_dir / "local.json"


def first_start(settings: Settings, store: Store, clock: Clock) -> FirstStart:
    """Make sure that there is a local administrator, `local.json` with a working key, and a fresh sign-in link."""
    admin = _administrator(store, clock)
    path = None
    if settings.server.local_key:
        path = local_path(settings)
        token = _kept_key(path, store, clock)
        if token is None:
            token, _ = create_key(
                store, clock, admin, name="this computer", scopes=sorted(admin.permissions), loopback_only=True
            )
        _write(path, {"url": settings.local_url, "key": token})
    return FirstStart(admin.user_id, sessions.make_link(store, clock, admin.user_id), path)


def sign_in_link(settings: Settings, store: Store, clock: Clock) -> str:
    """Return an address that signs the local administrator in, once, within half an hour."""
    token = sessions.make_link(store, clock, _administrator(store, clock).user_id)
    try:
        url = str(json.loads(local_path(settings).read_text(encoding="utf-8"))["url"])  # where it serves just now
    except (OSError, ValueError, KeyError, TypeError):
        url = settings.local_url
    return f"{url}/login?link={token}"


def _administrator(store: Store, clock: Clock) -> Principal:
    name = login_name()
    with store.begin() as connection:
        row = identities.user_by_name(connection, name)
        if row is None:
            user_id = f"user_{new_call_id(clock.now_us())[-12:]}"
            now, roles = clock.now(), dict.fromkeys(LOCAL_ROLES, "all")
            made = {"id": user_id, "name": name, "active": True, "created_at": now}
            identities.add_user(connection, made, LOCAL_ROLES)
            after = {"name": name, "roles": roles}
            audit.append(connection, audited(now, SYSTEM, "user.create", user_id, "", after))
        else:
            user_id = row["id"]
            roles = identities.roles_of(connection, user_id)
            others = people.active_holders(connection, "admin")
            if others and user_id not in others:  # shut out, or no administrator any more: another one's link it is
                user_id = others[0]
                told = people.user(connection, user_id)
                name = told["name"] if told is not None else name
                roles = identities.roles_of(connection, user_id)
    return Principal(user_id=user_id, user_name=name, permissions=permissions_of(roles), view="all")


def login_name() -> str:
    """Return how the operating system calls this user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        return f"uid{os.getuid()}"


def _kept_key(path: Path, store: Store, clock: Clock) -> str | None:
    """Return the key in `local.json` if it still works and nobody else can read it."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        private = path.stat().st_mode & 0o077 == 0
    except (OSError, ValueError):
        return None
    token = told.get("key") if isinstance(told, dict) else None
    if not private or not isinstance(token, str) or KeyCache(store, clock).lookup(token) is None:
        return None
    return token


def _write(path: Path, told: dict[str, str]) -> None:
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(told, file)
        making.replace(path)
    except OSError as error:
        raise Unavailable(
            f"The data folder {path.parent} cannot be written ({error.strerror}).",
            hint="Give a writable data folder with --data.",
            code="data_folder",
        ) from error
