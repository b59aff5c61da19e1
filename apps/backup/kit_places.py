"""Where a kit is kept: a folder or a folder of a bucket. A file is there whole under its name, or not at all."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.utils import timezone

from apps.backup.errors import KitBucketError, KitDamagedError, KitFolderError
from apps.backup.kit_manifest import MANIFEST
from apps.storage.errors import BlobMissingError, CorruptBlobError, PlaceUnavailableError, StorageError
from apps.storage.services import PlaceWriter

if TYPE_CHECKING:
    # The service's door makes one; what it is called is needed for types alone.
    from apps.storage.bucket import Bucket

CHUNK_BYTES: Final = 1 << 20
MOST_TAILS: Final = 100
"""So many lines wait in a bucket as objects of their own; then the manifest is written anew with them in it."""


class KitPlace(ABC):
    """Files by their path, with slashes. Everything raises KitFolderError (KitBucketError) if the place fails."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether nothing at all is there."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if there is none."""

    @abstractmethod
    def read(self, path: str) -> Iterator[bytes]:
        """Yield a file from its beginning; raises KitDamagedError naming it if it is not there."""

    @abstractmethod
    def begin(self, path: str) -> PlaceWriter:
        """Start a file of any size; `commit()` makes it durable and replaces one of the same name."""

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Yield the lines of the manifest, the oldest first."""

    @abstractmethod
    def note(self, line: str) -> None:
        """Add a line to the manifest."""

    @abstractmethod
    def close(self) -> None:
        """Leave the manifest as one durable file."""

    def prepare(self) -> None:  # noqa: B027  # not every place needs it
        """Make the place ready to be written to."""

    def write(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a whole file; nothing of it remains if that fails, and what `chunks` raises is raised."""
        writer = self.begin(path)
        try:
            for chunk in chunks:
                writer.write(chunk)
            writer.commit()
        except BaseException:
            writer.abort()
            raise


class FolderPlace(KitPlace):
    """A folder that its user alone may read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        with _folder_explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def is_empty(self) -> bool:
        with _folder_explained():
            return not self.folder.is_dir() or not any(self.folder.iterdir())

    def size(self, path: str) -> int | None:
        with _folder_explained():
            there = self.folder / path
            return there.stat().st_size if there.is_file() else None

    def read(self, path: str) -> Iterator[bytes]:
        if not (self.folder / path).is_file():
            raise KitDamagedError(path)
        with _folder_explained(), (self.folder / path).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def begin(self, path: str) -> PlaceWriter:
        with _folder_explained():
            return _FileWriter(self.folder / path)

    def lines(self) -> Iterator[str]:
        path = self.folder / MANIFEST
        if path.exists():
            with _folder_explained(), path.open() as manifest:
                yield from manifest

    def note(self, line: str) -> None:
        with _folder_explained(), (self.folder / MANIFEST).open("a+b") as manifest:
            if manifest.tell():
                # What a crash cut short must not swallow this line, too.
                manifest.seek(-1, os.SEEK_END)
                manifest.write(b"" if manifest.read(1) == b"\n" else b"\n")
            manifest.write(line.encode() + b"\n")

    def close(self) -> None:
        with _folder_explained(), (self.folder / MANIFEST).open("ab") as manifest:
            os.fsync(manifest.fileno())


class _FileWriter(PlaceWriter):
    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = path.with_name(f".{path.name}.part")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = self.aside.open("wb")
        os.fchmod(self.file.fileno(), 0o600)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with _folder_explained():
            self.file.write(data)

    def commit(self) -> None:
        with _folder_explained():
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.aside.rename(self.path)

    def abort(self) -> None:
        with suppress(OSError):
            self.file.close()
        with suppress(OSError):
            self.aside.unlink(missing_ok=True)


class BucketPlace(KitPlace):
    """A folder of a bucket. Nothing can be added to an object: a line waits in one of its own until there are many."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._lines: list[str] | None = None
        self._tails: list[str] = []

    def prepare(self) -> None:
        # Parts of a file that was broken off cost room, and nobody sees them. Not every key may look for them.
        with suppress(PlaceUnavailableError):
            self.bucket.remove_unfinished(timezone.now())

    def is_empty(self) -> bool:
        with _bucket_explained():
            return next(self.bucket.names(), None) is None

    def size(self, path: str) -> int | None:
        with _bucket_explained():
            return self.bucket.size(path)

    def read(self, path: str) -> Iterator[bytes]:
        with _bucket_explained():
            try:
                yield from self.bucket.read(path)
            except (BlobMissingError, CorruptBlobError):
                raise KitDamagedError(path) from None

    def begin(self, path: str) -> PlaceWriter:
        return _ObjectWriter(self.bucket.begin(path))

    def lines(self) -> Iterator[str]:
        yield from self._known()

    def note(self, line: str) -> None:
        lines = self._known()
        # A number greater than all that are there: tails are read in their order.
        number = int(self._tails[-1].rpartition(".")[2]) + 1 if self._tails else 1
        name = f"{MANIFEST}.{number:08d}"
        self.write(name, [line.encode() + b"\n"])
        lines.append(line)
        self._tails.append(name)
        if len(self._tails) >= MOST_TAILS:
            self.close()

    def close(self) -> None:
        if self._tails:
            self.write(MANIFEST, (line.encode() + b"\n" for line in self._known()))
            with _bucket_explained():
                self.bucket.delete(self._tails)
            self._tails = []

    def _known(self) -> list[str]:
        if self._lines is None:
            with _bucket_explained():
                names = list(self.bucket.names(MANIFEST))
            self._tails = [name for name in names if name != MANIFEST]
            self._lines = [
                line for name in names for line in b"".join(self.read(name)).decode(errors="replace").splitlines()
            ]
        return self._lines


class _ObjectWriter(PlaceWriter):
    def __init__(self, writer: PlaceWriter) -> None:
        self.writer = writer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with _bucket_explained():
            self.writer.write(data)

    def commit(self) -> None:
        with _bucket_explained():
            self.writer.commit()

    def abort(self) -> None:
        self.writer.abort()


@contextmanager
def _folder_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KitFolderError(error.strerror or "") from error


@contextmanager
def _bucket_explained() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        raise KitBucketError(str(error)) from error
