"""Secrets at rest: AES-256-GCM under a key derived per purpose from one master key.

A sealed value is bound to its purpose and name: in another row or for another purpose it does not open.
The id of the master key stands in the ciphertext, so that several can be told apart while they are rotated.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

from ultimate_lib.errors import Corrupt, Invalid, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from ultimate_lib.settings import Settings

KEY_BYTES = 32
_ID_BYTES = 4
_NONCE_BYTES = 12
_VARIABLE = "ULTIMATE_MASTER_KEY"


class MasterKey:
    """The one secret that the others are sealed under: from ULTIMATE_MASTER_KEY (base64), else `master.key`.

    While it is rotated there are several: the first seals, each opens what was sealed under it. The file is read
    again when it has changed, so that a process that runs meanwhile goes along.
    """

    def __init__(self, material: bytes, *older: bytes, path: Path | None = None) -> None:
        self._path = path
        self._seen = _mark(path)
        self._take([material, *older])

    def _take(self, materials: list[bytes]) -> None:
        for material in materials:
            if len(material) != KEY_BYTES:
                raise Invalid(
                    f"The master key has {len(material)} bytes, not {KEY_BYTES}.",
                    hint=f"Give {KEY_BYTES} bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints.",
                    code="master_key",
                )
        self._material = materials[0]
        self._known = {_id_of(material): material for material in reversed(materials)}
        self.id = _id_of(materials[0])

    @staticmethod
    def is_given(settings: Settings) -> bool:
        """Say whether the environment gives it, so that no file is read or made."""
        return bool(settings.environment.get(_VARIABLE))

    @classmethod
    def load(cls, settings: Settings) -> MasterKey:
        """Return the key in force; the first start makes `master.key` (0600) in the data folder."""
        given = settings.environment.get(_VARIABLE)
        if given:
            return cls(*_decoded(given, _VARIABLE))
        path = key_file(settings)
        try:
            return cls(*_decoded(path.read_text(encoding="ascii"), str(path)), path=path)
        except (FileNotFoundError, NotADirectoryError):
            return cls(*_made(path), path=path)
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"{path} cannot be read ({error}).", hint="Make it readable for this user.") from error

    @property
    def is_file(self) -> bool:
        """Whether it stands in a file of ours."""
        return self._path is not None

    @property
    def rotating(self) -> bool:
        """Whether there is an older key beside the one that seals."""
        return len(self._known) > 1

    def renew(self) -> None:
        """Go by the file as it is now. A file that is lost or broken changes nothing: what is known holds."""
        if self._path is None:
            return
        seen = _mark(self._path)
        if seen is None or seen == self._seen:
            return
        with contextlib.suppress(OSError, UnicodeDecodeError, Invalid):
            self._take(_decoded(self._path.read_text(encoding="ascii"), str(self._path)))
            self._seen = seen

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
        return _derived(self._material, purpose)

    def seal(self, purpose: str, name: str, secret: str) -> bytes:
        """Return the sealed form of a secret: key id, nonce, ciphertext."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        self.renew()
        material = self._material  # another thread may take a newer one meanwhile
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(_derived(material, purpose)).encrypt(nonce, secret.encode(), _bound(purpose, name))
        return _id_of(material) + nonce + sealed

    def open(self, purpose: str, name: str, sealed: bytes) -> str:
        """Return the secret. Raises `Corrupt` for another master key, purpose or name, or changed bytes."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        key_id = sealed[:_ID_BYTES]
        if key_id not in self._known:
            self.renew()
        material = self._known.get(key_id)
        if material is None:
            raise Corrupt(
                f"The secret '{name}' was sealed under another master key.",
                hint="Give that master key, or enter the secret again.",
                code="master_key",
            )
        nonce = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        try:
            opened = AESGCM(_derived(material, purpose)).decrypt(
                nonce, sealed[_ID_BYTES + _NONCE_BYTES :], _bound(purpose, name)
            )
        except (InvalidTag, ValueError) as error:
            raise Corrupt(f"The secret '{name}' does not open.", hint="Enter it again.", code="sealed") from error
        return opened.decode()

    def is_current(self, sealed: bytes) -> bool:
        """Say whether something was sealed under the key that seals now."""
        return sealed[:_ID_BYTES] == self.id

    def add_newer(self) -> None:
        """Write another key before the one in the file: it seals from now on, the old one still opens."""
        self._write([secrets.token_bytes(KEY_BYTES), *self._known.values()])

    def drop_older(self) -> None:
        """Leave in the file only the key that seals."""
        self._write([self._material])

    def _write(self, materials: list[bytes]) -> None:
        assert self._path is not None  # noqa: S101 - whoever rotates has looked
        try:
            making = _written(self._path, materials)
            making.replace(self._path)
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be written ({error.strerror}).", hint="Nothing was changed. Free space."
            ) from error
        self.renew()


def key_file(settings: Settings) -> Path:
    """Return where the master key stands when the environment gives none."""
    return settings.data_dir / "master.key"


def _mark(path: Path | None) -> tuple[int, int, int] | None:
    """Return what is another when the file is."""
    if path is None:
        return None
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_size


def _id_of(material: bytes) -> bytes:
    return hashlib.sha256(b"ultimate-proxy master key id" + material).digest()[:_ID_BYTES]


def _derived(material: bytes, purpose: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - heavy, and most processes ask once
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(material)


def _bound(purpose: str, name: str) -> bytes:
    return f"{len(purpose)}:{purpose}:{name}".encode()


def _decoded(text: str, where: str) -> list[bytes]:
    try:
        found = [base64.b64decode(part, validate=True) for part in text.split()]
    except ValueError as error:
        raise Invalid(f"The master key in {where} is not base64.", hint="Restore the right key.") from error
    if not found:
        raise Invalid(f"There is no master key in {where}.", hint="Restore the right key.", code="master_key")
    return found


def _written(path: Path, materials: list[bytes]) -> Path:
    """Write keys beside a file, all of it and private, and return where they stand."""
    making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(b"".join(base64.b64encode(material) + b"\n" for material in materials))
        file.flush()
        os.fsync(file.fileno())
    return making


def _made(path: Path) -> list[bytes]:
    """Write a new key without ever leaving half of one, and return the one that won if two processes try."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = _written(path, [secrets.token_bytes(KEY_BYTES)])
        with contextlib.suppress(FileExistsError):
            os.link(making, path)
        making.unlink()
        return _decoded(path.read_text(encoding="ascii"), str(path))
    except OSError as error:
        raise Unavailable(
            f"The data folder {path.parent} cannot be written ({error.strerror}).",
            hint="Give a writable data folder with --data.",
            code="data_folder",
        ) from error
