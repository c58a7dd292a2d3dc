"""Files of the lake in a folder or an object store, by paths relative to its root: the same few verbs for both."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pyarrow import fs

from ultimate_lib.errors import Unavailable
from ultimate_lib.journal.lines import sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultimate_lib.settings import Settings

_STORES = ("s3://", "s3a://")
_ATTEMPTS = 3


class Storage(Protocol):
    """Where the lake's files are."""

    options: dict[str, str]

    def url(self, path: str) -> str:
        """Return the address of a file as readers such as polars and deltalake take it."""
        ...

    def local(self, path: str) -> Path | None:
        """Return the file's path on this machine, if it is there."""
        ...

    def read(self, path: str) -> bytes:
        """Return a file's bytes. Raises FileNotFoundError."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file so that it is there in full or not at all, and on the disk itself."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of the files right in a folder, sorted; none when it does not exist."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file if it is there."""
        ...


def open_storage(settings: Settings) -> Storage:
    """Return the storage at `settings.lake_url`; nothing is touched yet."""
    url = settings.lake_url
    if url.startswith(_STORES):
        return ObjectStorage(url.rstrip("/"), object_store_options(settings.environment))
    return FolderStorage(Path(url.removeprefix("file://")).expanduser().absolute())


def object_store_options(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the AWS_* variables as storage options; commits rely on conditional PUT, never on renames."""
    options = {name: value for name, value in environment.items() if name.startswith("AWS_")}
    options.pop("AWS_S3_ALLOW_UNSAFE_RENAME", None)
    endpoint = options.get("AWS_ENDPOINT_URL_S3") or options.get("AWS_ENDPOINT_URL")
    if endpoint:
        options["AWS_ENDPOINT_URL"] = endpoint
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
    options["conditional_put"] = "etag"
    return options


class FolderStorage:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.options: dict[str, str] = {}

    def url(self, path: str) -> str:
        """Return the file's path as text."""
        return str(self.root / path)

    def local(self, path: str) -> Path | None:
        """Return the file's path."""
        return self.root / path

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        return (self.root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write beside the place, sync, then rename into it."""
        target = self.root / path
        making = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with making.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            making.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                making.unlink(missing_ok=True)
            raise unwritable(str(self.root), error) from error

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder."""
        try:
            with os.scandir(self.root / folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def delete(self, path: str) -> None:
        """Remove a file."""
        (self.root / path).unlink(missing_ok=True)


class ObjectStorage:
    """A prefix in an S3-compatible store.

    Reached through Arrow's client: the Delta library's own file system holds Python's lock while it waits.
    """

    def __init__(self, root: str, options: dict[str, str]) -> None:
        self.root = root
        self.options = options
        self._files: fs.FileSystem | None = None

    def url(self, path: str) -> str:
        """Return the object's address."""
        return f"{self.root}/{path}"

    def local(self, path: str) -> Path | None:  # noqa: ARG002 - an object is never on this machine
        """Return None."""
        return None

    def read(self, path: str) -> bytes:
        """Return an object's bytes."""
        with self._open().open_input_file(self._key(path)) as file:
            return bytes(file.read())

    def write(self, path: str, data: bytes) -> None:
        """Put an object; a store shows it whole or not at all."""
        try:
            with self._open().open_output_stream(self._key(path)) as file:
                file.write(data)
        except OSError as error:
            raise unwritable(self.root, error) from error

    def names(self, folder: str) -> list[str]:
        """Return the names of the objects right under a prefix."""
        found = self._open().get_file_info(fs.FileSelector(self._key(folder), allow_not_found=True))
        return sorted(info.base_name for info in found if info.type == fs.FileType.File)

    def delete(self, path: str) -> None:
        """Remove an object."""
        with contextlib.suppress(FileNotFoundError):
            self._open().delete_file(self._key(path))

    def _key(self, path: str) -> str:
        return f"{self.root.partition('://')[2]}/{path}"

    def _open(self) -> fs.FileSystem:
        if self._files is None:
            scheme, _, host = self.options.get("AWS_ENDPOINT_URL", "").partition("://")
            self._files = fs.S3FileSystem(
                access_key=self.options.get("AWS_ACCESS_KEY_ID"),
                secret_key=self.options.get("AWS_SECRET_ACCESS_KEY"),
                session_token=self.options.get("AWS_SESSION_TOKEN"),
                region=self.options.get("AWS_REGION") or self.options.get("AWS_DEFAULT_REGION"),
                scheme=scheme or None,
                endpoint_override=host or None,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
            )
        return self._files


def unwritable(where: str, error: Exception) -> Unavailable:
    """Return the sentence for a lake that takes no data."""
    told = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return Unavailable(
        f"The lake at {where} cannot be written ({told}).",
        hint="Make it writable or give another data.lake_url; calls stay in the journal until then.",
        code="lake_unwritable",
    )
