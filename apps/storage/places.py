"""Where ciphertext is kept: what every place can do, and which place a name in settings.STORAGES stands for."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Self, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, storages
from django.utils.module_loading import import_string

from apps.storage.crypto import Buffer

if TYPE_CHECKING:
    from django.core.files.storage import Storage

Item = TypeVar("Item")

PRIMARY = "blobs"
"""The name in settings.STORAGES of the place new blobs are written to."""

SHARDS: Sequence[str] = [f"{number:02x}" for number in range(256)]
NAME = re.compile(r"[0-9a-f]{2}/[A-Za-z0-9_-]{22}", re.ASCII)


def object_name(public_id: str) -> str:
    """Return the name under which a place keeps a blob: a shard of 256, and the blob's public id."""
    name = f"{hashlib.sha256(public_id.encode()).hexdigest()[:2]}/{public_id}"
    if not NAME.fullmatch(name):
        raise ValueError("A blob's public id is 22 URL-safe characters.")
    return name


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of at most ``size`` items, holding no more than one."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


@dataclass(frozen=True)
class StoredObject:
    """One object as a listing shows it."""

    name: str
    modified_at: datetime


class PlaceWriter(ABC):
    """One object on its way into a place. Nothing is seen under its name before ``commit()`` returns."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Add bytes at the end."""

    @abstractmethod
    def commit(self) -> None:
        """Make the object durable under its name; raises BlobExistsError if something is there already."""

    @abstractmethod
    def abort(self) -> None:
        """Remove every trace. Never raises."""


class PlaceReader(ABC):
    """One object opened for reading. Threads may share it."""

    @abstractmethod
    def read(self, offset: int, length: int) -> Buffer:
        """Return that range; raises CorruptBlobError if the object no longer has the size it was opened with."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the place holds open."""


class Place(ABC):
    """Keeps objects named ``<shard>/<public id>``. Writes are atomic and durable, and never replace anything."""

    lists_cheaply = False
    """Whether going through all objects every few minutes costs little."""
    window_bytes: int
    """How much to ask for at a time when an object is read from end to end."""

    @abstractmethod
    def begin(self, name: str) -> PlaceWriter:
        """Start a new object of any size, with flat memory."""

    @abstractmethod
    def write_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        """Write small objects, sharing the waiting for durability; after an error none of them counts as written."""

    @abstractmethod
    def open(self, name: str, size_bytes: int, *, is_urgent: bool = False) -> PlaceReader:
        """Open an object that was written with this size; raises BlobMissingError or CorruptBlobError.

        `is_urgent`: somebody waits and another place can be asked, so that one that is slow is soon given up
        (PlaceUnavailableError).

        A place may notice either only at the first read.
        """

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; one that is not there is no error. Raises PlaceUnavailableError if any may remain."""

    def purge(self, names: Iterable[str]) -> None:
        """Remove objects with every older version that the place may keep.

        Raises PlaceUnavailableError if any may stay: what is locked stays until its lock ends.
        """
        self.delete(names)

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, None if there is none."""

    def exists(self, name: str) -> bool:
        """Whether something is stored under this name."""
        return self.size(name) is not None

    @abstractmethod
    def list_objects(self) -> Iterator[StoredObject]:
        """Yield the finished objects, a page or a shard at a time."""

    @abstractmethod
    def remove_unfinished(self, before: datetime) -> int:
        """Remove what writers left behind that last wrote before then; return how many."""

    def lock(self, name: str, until: datetime) -> None:
        """Refuse to delete or replace an object before then, whoever asks; it may be prolonged, never shortened.

        Raises NotImplementedError where the place has no such thing, BlobMissingError or PlaceUnavailableError.
        """
        raise NotImplementedError

    def bring_back(self, name: str, size_bytes: int) -> bool:
        """Make an older version of this size the present one again, if the place keeps versions; whether it did."""
        return False

    def bring_all_back(self, since: datetime) -> int:
        """Undo every deletion and replacement of objects written since then, if the place keeps versions; how many."""
        return 0

    @abstractmethod
    def below(self, folder: str) -> Self:
        """Return a place of its own in a folder of this one, whose objects are not listed here."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return the room left, None where nobody can tell."""


def place_named(alias: str) -> Place:
    """Return the place behind a name in settings.STORAGES: a local disk, or a bucket of an S3 service."""
    storage: Storage = storages[alias]
    # Imported by name: an installation on a local disk never loads boto3.
    if hasattr(storage, "bucket_name"):
        path = "apps.storage.s3_place.S3Place"
    elif isinstance(storage, FileSystemStorage):
        path = "apps.storage.disk_place.DiskPlace"
    else:
        raise ImproperlyConfigured(f'STORAGES["{alias}"] must be a FileSystemStorage or an S3Storage.')
    place: Place = import_string(path).from_storage(storage)
    return place
