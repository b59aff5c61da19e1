"""Bytes on their way into encrypted quarantine: small files together, large ones as a stream.

Nothing plain touches a disk, and at most a few megabytes are in memory at once.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from django.conf import settings

from apps.clinics.models import Clinic
from apps.ingest.errors import IngestError, TooLargeError
from apps.ingest.models import QUARANTINE_KIND, Upload
from apps.storage import services as storage
from apps.storage.models import Blob

# Up to here a file is held in memory and written together with its neighbours; one fsync serves many.
SMALL_BYTES: Final = 8 << 20
GROUP_BYTES: Final = 24 << 20
GROUP_FILES: Final = 50


@dataclass(slots=True)
class Arrival:
    """One file to be taken: what its sender calls it, and its bytes, once. Reading may raise IngestError."""

    name: str
    chunks: Iterable[bytes]
    position: int | None = None
    client_key: str | None = None


@dataclass(slots=True)
class Taken:
    """A file in quarantine. `file` holds the bytes of a small one, so that they need not be decrypted to be parsed."""

    arrival: Arrival
    blob: Blob | None = None
    data: bytes = b""
    error: IngestError | None = None

    @property
    def file(self) -> BinaryIO | None:
        """The bytes, if they are still at hand."""
        return io.BytesIO(self.data) if self.data or self.blob is None else None

    @property
    def size_bytes(self) -> int:
        """Size of the file, 0 when it could not be taken."""
        return self.blob.size_bytes if self.blob else len(self.data)


def take(clinic: Clinic, arrivals: Iterable[Arrival]) -> Iterator[list[Taken]]:
    """Write arrivals into quarantined blobs and yield them in groups, in their order, as soon as a group is durable.

    Errors as `gather`, and StorageError when the storage does not take a group; nothing of that group is left then.
    """
    for group in gather(clinic, arrivals):
        yield write_together(clinic, group)


def gather(clinic: Clinic, arrivals: Iterable[Arrival]) -> Iterator[list[Taken]]:
    """Yield arrivals in groups, in their order: large ones in quarantine, small ones in memory.

    Each arrival is read to its end before the next one is asked for, so that they may be parts of one stream. A file
    that cannot be read or is too large has `error` instead of bytes. Whoever takes a group answers for its blobs.
    When the line breaks, what came whole under a key of its sender's is yielded before the error is raised: the sender
    asks for its keys and sends the rest.
    """
    group: list[Taken] = []
    try:
        for arrival in arrivals:
            item = Taken(arrival)
            group.append(item)
            try:
                _read(clinic, item)
            except IngestError as error:
                item.error = error
            # A large file goes on at once: the sweep takes a blob that waits long for its row for a dead request's.
            is_full = len(group) >= GROUP_FILES or sum(len(waiting.data) for waiting in group) > GROUP_BYTES
            if is_full or item.blob is not None:
                done, group = group, []
                yield done
        if group:
            done, group = group, []
            yield done
    except Exception:
        whole = [item for item in group if item.arrival.client_key and (item.data or item.blob)]
        destroy([item for item in group if item not in whole])
        if whole:
            yield whole
        raise
    except BaseException:
        destroy(group)
        raise


def destroy(taken: Sequence[Taken]) -> None:
    """Throw away what nobody will take over.

    Asks the rows first: when the database went away during a commit, the commit may have been made all the same, and
    what it took over is not thrown away.
    """
    ids = [item.blob.pk for item in taken if item.blob is not None]
    if ids:
        rows = Blob.objects.filter(pk__in=ids, state=Blob.State.QUARANTINED)
        storage.destroy(rows.exclude(pk__in=Upload.objects.filter(blob__in=ids).values("blob_id")))


def _read(clinic: Clinic, item: Taken) -> None:
    parts: list[bytes] = []
    count = 0
    chunks = iter(item.arrival.chunks)
    for chunk in chunks:
        parts.append(chunk)
        count += len(chunk)
        if count > SMALL_BYTES:
            break
    else:
        item.data = b"".join(parts)
        return
    with storage.BlobWriter(clinic, QUARANTINE_KIND, quarantined=True) as writer:
        for part in parts:
            writer.write(part)
        parts.clear()
        for chunk in chunks:
            count += len(chunk)
            if count > settings.MAX_FILE_BYTES:
                raise TooLargeError
            writer.write(chunk)
        item.blob = writer.commit()


def write_together(clinic: Clinic, group: list[Taken]) -> list[Taken]:
    """Write those of a group that are still in memory into blobs with one wait for the disk; return the group.

    Raises StorageError; nothing of the group is left then.
    """
    small = [item for item in group if item.blob is None and item.error is None]
    try:
        blobs = storage.write_blobs(clinic, QUARANTINE_KIND, [item.data for item in small], quarantined=True)
    except BaseException:
        destroy(group)
        raise
    for item, blob in zip(small, blobs, strict=True):
        item.blob = blob
    return group
