"""Large files in pieces: begun, continued after anything broke off, and put together when every byte is there.

Each request's bytes become one quarantined blob of their own, encrypted as they arrive and durable before they are
acknowledged. So nothing of a half-written stream has to be kept for the next process to go on with: it goes on with a
new blob, wherever it runs. The pieces of an archive are read in place; those of a single image are joined once.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import Principal
from apps.audit.services import record
from apps.billing.errors import LimitReachedError
from apps.ingest.errors import IngestError, TooLargeError
from apps.ingest.ledger import PROCESS, ReservationError, reserve_storage
from apps.ingest.models import QUARANTINE_KIND, Segment, Transfer, Upload, UploadBatch
from apps.ingest.naming import display_name
from apps.ingest.requests import check_room, claim, release
from apps.jobs.services import enqueue
from apps.storage import services as storage
from apps.storage.errors import BlobDestroyedError
from apps.storage.models import Blob

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

EXPIRES_AFTER: Final = timedelta(hours=48)
# Renewed while bytes arrive: a line that fell silent, or a process that was killed, lets go by itself.
LOCKED_FOR: Final = timedelta(seconds=15)
RENEW_EVERY_SECONDS: Final = 4.0
COPY_BYTES: Final = 1 << 20
PURGED_AT_ONCE: Final = 200


class OffsetConflictError(IngestError):
    """A piece that does not begin where the last one ended."""

    code = "offset-conflict"
    message = _("Another part of this file was expected.")
    status = 409


class TransferLockedError(IngestError):
    """Two requests write one file at the same time."""

    code = "locked"
    message = _("This file is being received over another connection at the moment.")
    status = 423


class ChecksumMismatchError(IngestError):
    """A piece whose bytes are not those that were sent."""

    code = "checksum-mismatch"
    message = _("A part of this file was damaged on its way and is sent again.")
    status = 460  # tus 1.0, checksum


class ExpiredError(IngestError):
    """A transfer that nobody went on with for too long."""

    code = "expired"
    message = _("This upload was broken off too long ago. Please send the file again.")
    status = 410


class EmptyFileError(IngestError):
    """A file without a byte."""

    code = "empty"
    message = _("The file is empty.")


class BrokenOffError(IngestError):
    """The line broke in the middle of a piece; what arrived of it is kept when nothing speaks against it."""

    code = "broken-off"
    message = _("The connection broke off.")
    status = 400


@dataclass(frozen=True)
class Checksum:
    """What the bytes of a piece must come to; `algorithm` is sha1 or sha256 (tus 1.0, checksum)."""

    algorithm: str
    digest: bytes


def begin(
    principal: Principal,
    batch: UploadBatch,
    *,
    length_bytes: int,
    name: str,
    client_key: str | None = None,
    fingerprint: str = "",
) -> Transfer:
    """Return a new transfer for a file of this length; the batch is open and the principal may add to it.

    Raises EmptyFileError, TooLargeError, and ReservationError when the plan has no room for a file of this size.
    """
    if length_bytes <= 0:
        raise EmptyFileError
    if length_bytes > settings.MAX_ARCHIVE_BYTES:
        raise TooLargeError
    try:
        with transaction.atomic():
            reserve_storage(principal.clinic, length_bytes)
            check_room(batch, 1, length_bytes)
    except LimitReachedError as error:
        raise ReservationError(error) from error
    return Transfer.objects.create(
        clinic=principal.clinic,
        batch=batch,
        name=display_name(name),
        client_key=client_key,
        fingerprint=fingerprint,
        length_bytes=length_bytes,
        expires_at=timezone.now() + EXPIRES_AFTER,
    )


def begun_before(batch: UploadBatch, client_key: str | None, length_bytes: int) -> Transfer | None:
    """Return the transfer that this batch already has under the sender's key: the answer to the first may be lost."""
    if client_key is None:
        return None
    rows = Transfer.objects.filter(batch=batch, client_key=client_key, length_bytes=length_bytes)
    return rows.order_by("-offset_bytes").first()


def append(
    principal: Principal,
    transfer: Transfer,
    offset_bytes: int,
    chunks: Iterable[bytes],
    *,
    checksum: Checksum | None = None,
) -> Transfer:
    """Take one piece that begins at `offset_bytes`; return the transfer as it is then, every byte of it durable.

    The last piece makes the file an upload and queues it. Raises TransferLockedError, OffsetConflictError,
    TooLargeError (more than was announced), ChecksumMismatchError, ReservationError, StorageError: nothing of the piece
    is kept then. BrokenOffError: the line broke; what had arrived is kept unless a checksum was to vouch for all of it.
    """
    if transfer.is_expired:
        raise ExpiredError
    with _locked(transfer) as lock:
        transfer.refresh_from_db(fields=["offset_bytes", "upload"])
        if transfer.offset_bytes != offset_bytes:
            raise OffsetConflictError
        is_broken = False
        with storage.BlobWriter(transfer.clinic, QUARANTINE_KIND, quarantined=True) as writer:
            other = hashlib.sha1(usedforsecurity=False) if checksum and checksum.algorithm == "sha1" else None
            try:
                for chunk in chunks:
                    if offset_bytes + writer.size_bytes + len(chunk) > transfer.length_bytes:
                        raise TooLargeError
                    writer.write(chunk)
                    if other is not None:
                        other.update(chunk)
                    lock.renew()
            except BrokenOffError:
                if checksum is not None or not writer.size_bytes:
                    raise
                is_broken = True
            if checksum and checksum.digest != (other.digest() if other is not None else writer.sha256):
                raise ChecksumMismatchError
            blob = writer.commit() if writer.size_bytes else None
        if blob is not None:
            _keep(principal, transfer, blob, lock)
    if is_broken:
        raise BrokenOffError
    return transfer


def _keep(principal: Principal, transfer: Transfer, blob: Blob, lock: _Lock) -> None:
    try:
        with transaction.atomic():
            reserve_storage(transfer.clinic, blob.size_bytes)
            claim(transfer.batch, 0, blob.size_bytes)
            offset_bytes = transfer.offset_bytes
            kept = lock.row.filter(offset_bytes=offset_bytes).update(
                offset_bytes=F("offset_bytes") + blob.size_bytes, expires_at=timezone.now() + EXPIRES_AFTER
            )
            if not kept:
                raise TransferLockedError
            Segment.objects.create(clinic=transfer.clinic, transfer=transfer, offset_bytes=offset_bytes, blob=blob)
            transfer.offset_bytes = offset_bytes + blob.size_bytes
            if transfer.is_complete:
                _complete(principal, transfer)
    except LimitReachedError as error:
        storage.destroy([blob])
        raise ReservationError(error) from error
    except IngestError:
        storage.destroy([blob])
        raise


def _complete(principal: Principal, transfer: Transfer) -> None:
    """Make the file an upload and queue it, in the caller's transaction."""
    batch = transfer.batch
    claim(batch, 1, 0)
    pieces = list(transfer.segments.select_related("blob"))
    upload = Upload.objects.create(
        clinic=transfer.clinic,
        batch=batch,
        name=transfer.name,
        client_key=transfer.client_key,
        size_bytes=transfer.length_bytes,
        # What came in one piece is a blob already.
        blob=pieces[0].blob if len(pieces) == 1 else None,
    )
    if len(pieces) == 1:
        transfer.segments.all().delete()
    transfer.upload = upload
    transfer.save(update_fields=["upload"])
    record(
        "upload.received",
        context=principal.context,
        clinic_id=batch.clinic_id,
        object_kind="upload",
        object_reference=batch.public_id,
        details={"file_count": 1, "size_bytes": transfer.length_bytes, "source": batch.source},
    )
    enqueue(PROCESS, {"upload_ids": [upload.pk]}, clinic=transfer.clinic)


def cancel(principal: Principal, transfer: Transfer) -> None:
    """Throw away what arrived of a file that is not complete (tus 1.0, termination)."""
    with _locked(transfer):
        _discard(transfer)
    record(
        "upload.withdrawn",
        context=principal.context,
        clinic_id=transfer.clinic_id,
        object_kind="upload",
        object_reference=transfer.batch.public_id,
        details={"file_count": 1, "size_bytes": transfer.offset_bytes},
    )


def purge_expired() -> int:
    """Throw away what nobody went on with; return how many. The clinic's scope is open."""
    old = Transfer.objects.filter(upload=None, expires_at__lt=timezone.now()).order_by("pk")[:PURGED_AT_ONCE]
    purged = 0
    for transfer in old:
        try:
            with _locked(transfer):
                _discard(transfer)
            purged += 1
        except TransferLockedError:
            continue
    return purged


def _discard(transfer: Transfer) -> None:
    with transaction.atomic():
        row = Transfer.objects.select_for_update().get(pk=transfer.pk)
        if row.upload_id is not None:
            return
        destroy_segments(row)
        release(transfer.batch, row.offset_bytes)
        row.delete()


def destroy_segments(transfer: Transfer) -> None:
    """Destroy the pieces of a transfer, in the caller's transaction."""
    blobs = [segment.blob for segment in transfer.segments.select_related("blob")]
    transfer.segments.all().delete()
    storage.destroy(blobs)


# --- reading what arrived ---------------------------------------------------------------------------------------------


class _Pieces(io.RawIOBase):
    """The plaintext of a transfer as one seekable raw file, of which one piece is open at a time."""

    def __init__(self, segments: list[Segment]) -> None:
        super().__init__()
        self._segments = segments
        self._starts = [segment.offset_bytes for segment in segments]
        last = segments[-1]
        self._size = last.offset_bytes + last.blob.size_bytes
        self._position = 0
        self._number = -1
        self._open: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("There is nothing before the beginning.")
        self._position = base + offset
        return self._position

    def readinto(self, target: WriteableBuffer, /) -> int:
        if self._position >= self._size:
            return 0
        number = bisect_right(self._starts, self._position) - 1
        if number != self._number:
            self._close_piece()
            self._open = storage.open_blob(self._segments[number].blob)
            self._number = number
        assert self._open is not None  # noqa: S101
        self._open.seek(self._position - self._starts[number])
        view = memoryview(target).cast("B")
        data = self._open.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._close_piece()
        super().close()

    def _close_piece(self) -> None:
        opened, self._open, self._number = self._open, None, -1
        if opened is not None:
            opened.close()


def open_upload(upload: Upload) -> BinaryIO:
    """Open the bytes of an upload that is not settled, in one piece or many: seekable, decrypted where it is read.

    Raises as `storage.open_blob`; the clinic's scope stays open while it is read. BlobDestroyedError without bytes.
    """
    if upload.blob is not None:
        return storage.open_blob(upload.blob)
    segments = _segments_of(upload)
    if not segments:
        raise BlobDestroyedError
    return io.BufferedReader(_Pieces(segments), COPY_BYTES)


def _segments_of(upload: Upload) -> list[Segment]:
    rows = Segment.objects.filter(transfer__upload=upload).select_related("blob").order_by("offset_bytes")
    return list(rows)


def is_in_pieces(upload: Upload) -> bool:
    """Return whether the bytes of an upload lie in several blobs."""
    return upload.blob_id is None and Segment.objects.filter(transfer__upload=upload).exists()


def join(upload: Upload) -> None:
    """Write the pieces of an upload into one blob, which the upload has then; safe to repeat.

    Raises TooLargeError for what is no archive and larger than a single file may be; its pieces are destroyed then.
    """
    if upload.size_bytes > settings.MAX_FILE_BYTES:
        with transaction.atomic():
            destroy_segments(upload.transfer)
        raise TooLargeError
    with open_upload(upload) as file, storage.BlobWriter(upload.clinic, QUARANTINE_KIND, quarantined=True) as writer:
        while chunk := file.read(COPY_BYTES):
            writer.write(chunk)
        blob = writer.commit()
    with transaction.atomic():
        Upload.objects.filter(pk=upload.pk).update(blob=blob)
        destroy_segments(upload.transfer)
    upload.blob = blob


# --- one writer at a time ---------------------------------------------------------------------------------------------


class _Lock:
    """The right to write one transfer, held by a row and not by a process: any machine sees it."""

    def __init__(self, transfer: Transfer) -> None:
        self.token = secrets.token_hex(16)
        self._pk = transfer.pk
        self._renewed = time.monotonic()

    @property
    def row(self) -> Any:
        """The transfer's row while the lock is ours, no row afterwards."""
        return Transfer.objects.filter(pk=self._pk, lock_token=self.token)

    def take(self) -> bool:
        now = timezone.now()
        free = Transfer.objects.filter(Q(locked_until=None) | Q(locked_until__lt=now), pk=self._pk)
        return bool(free.update(lock_token=self.token, locked_until=now + LOCKED_FOR))

    def renew(self) -> None:
        """Hold on while bytes arrive; raises TransferLockedError when somebody else took over."""
        if time.monotonic() - self._renewed > RENEW_EVERY_SECONDS:
            if not self.row.update(locked_until=timezone.now() + LOCKED_FOR):
                raise TransferLockedError
            self._renewed = time.monotonic()

    def release(self) -> None:
        self.row.update(lock_token="", locked_until=None)


@contextmanager
def _locked(transfer: Transfer) -> Iterator[_Lock]:
    lock = _Lock(transfer)
    if not lock.take():
        raise TransferLockedError
    try:
        yield lock
    finally:
        lock.release()
