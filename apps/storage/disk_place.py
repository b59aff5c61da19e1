"""A local disk: temporary name, fsync, rename, fsync of the folder; readable by the service's user alone."""

import errno
import os
import secrets
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Self

from django.core.files.storage import FileSystemStorage

from apps.storage.crypto import Buffer
from apps.storage.errors import (
    BlobExistsError,
    BlobMissingError,
    CorruptBlobError,
    PlaceFullError,
    PlaceUnavailableError,
)
from apps.storage.places import NAME, SHARDS, Place, PlaceReader, PlaceWriter, StoredObject

FOLDER_MODE = 0o700
FILE_MODE = 0o600
UNFINISHED_SUFFIX = ".part"
GROUP_SIZE = 64
"""Small objects written together: as many files are open at once."""
FSYNC_THREADS = 8


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the system says into what the house says. Messages carry no path."""
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissingError from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PlaceFullError from error
        raise PlaceUnavailableError(f"The disk answers: {error.strerror}.") from error


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _wait_for_folders(folders: Collection[Path]) -> None:
    if len(folders) > 1:
        list(_waiters().map(_fsync_folder, folders))
    else:
        for folder in folders:
            _fsync_folder(folder)


@cache
def _waiters() -> ThreadPoolExecutor:
    """Return threads that wait for the disk, one pool for the process; another process makes its own."""
    return ThreadPoolExecutor(FSYNC_THREADS, thread_name_prefix="fsync")


os.register_at_fork(after_in_child=_waiters.cache_clear)


class DiskPlace(Place):
    """Objects as files below one folder."""

    lists_cheaply = True
    window_bytes = 1024 * 1024

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def from_storage(cls, storage: FileSystemStorage) -> Self:
        """Return the place that a FileSystemStorage configures."""
        return cls(Path(storage.location))

    def begin(self, name: str) -> PlaceWriter:
        with _explained():
            return _DiskWriter(self, name)

    def write_many(self, objects: Iterable[tuple[str, Buffer]]) -> None:
        waiting = iter(objects)
        with _explained():
            while self._write_group(islice(waiting, GROUP_SIZE)) == GROUP_SIZE:
                pass

    def _write_group(self, group: Iterable[tuple[str, Buffer]]) -> int:
        """Write all, waiting for the disk beside it: while one is made durable the next is encrypted and written."""
        files: list[_DiskWriter] = []
        waiting: list[Future[None]] = []
        try:
            for name, data in group:
                if files:
                    waiting.append(_waiters().submit(files[-1].make_durable))
                files.append(_DiskWriter(self, name))
                files[-1].write(data)
            if files:
                files[-1].make_durable()
            for each in waiting:
                each.result()
            for file in files:
                file.rename()
            _wait_for_folders({file.path.parent for file in files})
        except BaseException:
            # Nobody closes a file that a thread still waits for.
            wait(waiting)
            for file in files:
                file.abort()
            raise
        return len(files)

    def open(self, name: str, size_bytes: int, *, is_urgent: bool = False) -> PlaceReader:
        with _explained():
            return _DiskReader(self.path_of(name), size_bytes)

    def delete(self, names: Iterable[str]) -> None:
        with _explained():
            for name in names:
                # Not made durable: should a power cut bring it back, the sweep finds it, and its key is gone.
                self.path_of(name).unlink(missing_ok=True)

    def size(self, name: str) -> int | None:
        with _explained():
            try:
                return self.path_of(name).stat().st_size
            except FileNotFoundError:
                return None

    def list_objects(self) -> Iterator[StoredObject]:
        for shard in SHARDS:
            for entry in self._entries(shard):
                name = f"{shard}/{entry.name}"
                if NAME.fullmatch(name):
                    with suppress(FileNotFoundError):
                        yield StoredObject(name, datetime.fromtimestamp(entry.stat().st_mtime, UTC))

    def remove_unfinished(self, before: datetime) -> int:
        removed = 0
        with _explained():
            for shard in SHARDS:
                for entry in self._entries(shard):
                    with suppress(FileNotFoundError):
                        if entry.name.endswith(UNFINISHED_SUFFIX) and entry.stat().st_mtime < before.timestamp():
                            os.unlink(entry.path)
                            removed += 1
        return removed

    def below(self, folder: str) -> Self:
        return type(self)(self.root / folder)

    def free_bytes(self) -> int:
        with _explained():
            self.make_folder(self.root)
            room = os.statvfs(self.root)
            return room.f_bavail * room.f_frsize

    def path_of(self, name: str) -> Path:
        """Return the file of an object."""
        if not NAME.fullmatch(name):
            raise ValueError("Not the name of a stored object.")
        return self.root / name

    def make_folder(self, path: Path) -> None:
        """Make a folder durable, with those above it."""
        if path.is_dir():
            return
        self.make_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
        _fsync_folder(path.parent)

    def _entries(self, shard: str) -> Iterator[os.DirEntry[str]]:
        with _explained(), suppress(FileNotFoundError), os.scandir(self.root / shard) as entries:
            yield from entries


class _DiskWriter(PlaceWriter):
    def __init__(self, place: DiskPlace, name: str) -> None:
        self.path = place.path_of(name)
        self._unfinished = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}{UNFINISHED_SUFFIX}")
        self._is_renamed = False
        place.make_folder(self.path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._unfinished, flags, FILE_MODE)

    def write(self, data: Buffer) -> None:
        with _explained():
            _write_all(self._descriptor, data)

    def commit(self) -> None:
        with _explained():
            self.make_durable()
            self.rename()
            _fsync_folder(self.path.parent)

    def make_durable(self) -> None:
        """Wait until the disk has the bytes, under the temporary name."""
        os.fsync(self._descriptor)
        self._close()

    def rename(self) -> None:
        """Give the file its name, which the folder's fsync makes durable."""
        # Names are 128 random bits of our own making: nobody can take this one between the two calls.
        if self.path.exists():
            raise BlobExistsError
        self._unfinished.rename(self.path)
        self._is_renamed = True

    def abort(self) -> None:
        with suppress(OSError):
            self._close()
            (self.path if self._is_renamed else self._unfinished).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class _DiskReader(PlaceReader):
    def __init__(self, path: Path, size_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.fstat(self._descriptor).st_size != size_bytes:
            self.close()
            raise CorruptBlobError("The stored bytes do not have the size they were written with.")

    def read(self, offset: int, length: int) -> Buffer:
        with _explained():
            data = os.pread(self._descriptor, length, offset)
            if len(data) == length:
                return data
            # A read may be cut short by a signal or at 2 GiB; what is really missing ends the loop.
            pieces = [data]
            done = len(data)
            while done < length and pieces[-1]:
                pieces.append(os.pread(self._descriptor, length - done, offset + done))
                done += len(pieces[-1])
            return b"".join(pieces)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
