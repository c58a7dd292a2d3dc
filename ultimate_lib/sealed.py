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
    """The one secret that the others are sealed under: from ULTIMATE_MASTER_KEY (base64), else `master.key`."""

    def __init__(self, material: bytes) -> None:
        if len(material) != KEY_BYTES:
            raise Invalid(
                f"The master key has {len(material)} bytes, not {KEY_BYTES}.",
                hint=f"Give {KEY_BYTES} bytes in base64, as `openssl rand -base64 {KEY_BYTES}` prints.",
                code="master_key",
            )
        self._material = material
        self.id = hashlib.sha256(b"ultimate-proxy master key id" + material).digest()[:_ID_BYTES]

    @classmethod
    def load(cls, settings: Settings) -> MasterKey:
        """Return the key in force; the first start makes `master.key` (0600) in the data folder."""
        given = settings.environment.get(_VARIABLE)
        if given:
            return cls(_decoded(given, _VARIABLE))
        path = settings.data_dir / "master.key"
        try:
            return cls(_decoded(path.read_text(encoding="ascii"), str(path)))
        except (FileNotFoundError, NotADirectoryError):
            return cls(_made(path))
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"{path} cannot be read ({error}).", hint="Make it readable for this user.") from error

    def derive(self, purpose: str) -> bytes:
        """Return 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - heavy, and most processes ask once
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode()).derive(self._material)

    def seal(self, purpose: str, name: str, secret: str) -> bytes:
        """Return the sealed form of a secret: key id, nonce, ciphertext."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self.derive(purpose)).encrypt(nonce, secret.encode(), _bound(purpose, name))
        return self.id + nonce + sealed

    def open(self, purpose: str, name: str, sealed: bytes) -> str:
        """Return the secret. Raises `Corrupt` for another master key, purpose or name, or changed bytes."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        if sealed[:_ID_BYTES] != self.id:
            raise Corrupt(
                f"The secret '{name}' was sealed under another master key.",
                hint="Give that master key, or enter the secret again.",
                code="master_key",
            )
        nonce = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES]
        try:
            opened = AESGCM(self.derive(purpose)).decrypt(
                nonce, sealed[_ID_BYTES + _NONCE_BYTES :], _bound(purpose, name)
            )
        except (InvalidTag, ValueError) as error:
            raise Corrupt(f"The secret '{name}' does not open.", hint="Enter it again.", code="sealed") from error
        return opened.decode()


def _bound(purpose: str, name: str) -> bytes:
    return f"{len(purpose)}:{purpose}:{name}".encode()


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise Invalid(f"The master key in {where} is not base64.", hint="Restore the right key.") from error


def _made(path: Path) -> bytes:
    """Write a new key without ever leaving half of one, and return the one that won if two processes try."""
    material = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        making = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(base64.b64encode(material) + b"\n")
            file.flush()
            os.fsync(file.fileno())
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
