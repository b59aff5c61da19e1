"""Opens an uploaded ZIP or disc: each file in it becomes an upload; nothing is unpacked on a disk in the clear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from django.db import transaction
from django.utils import timezone

from apps.audit.services import record
from apps.billing.errors import LimitReachedError
from apps.ingest import quarantine, transfers
from apps.ingest.archives import Archive, Member
from apps.ingest.containers import open_archive
from apps.ingest.discs import Disc
from apps.ingest.errors import ArchiveError, IngestError
from apps.ingest.ledger import PROCESS, ReservationError, reserve_storage
from apps.ingest.models import Transfer, Upload
from apps.ingest.outcomes import reason
from apps.ingest.quarantine import Arrival, Taken
from apps.ingest.requests import RequestFullError, claim
from apps.jobs.services import enqueue
from apps.storage import services as storage
from apps.storage.errors import BlobDestroyedError

State = Upload.State


def expand(upload: Upload) -> Callable[[], None]:
    """Take every member of an uploaded archive into quarantine and return what concludes the archive itself.

    Each group of members is committed with the job that examines it. A second attempt skips what the first one took.
    """
    done = set(Upload.objects.filter(archive=upload).values_list("position", flat=True))
    try:
        with transfers.open_upload(upload) as file:
            archive = open_archive(file)
            members = [member for member in archive.members if member.position not in done]
            if not archive.members:
                return partial(_conclude, upload, State.REJECTED, "archive-empty")
            for group in quarantine.take(upload.clinic, (_arrival(archive, member) for member in members)):
                _take_group(upload, group)
    except ArchiveError as error:
        return partial(_conclude, upload, State.REJECTED, error.code, str(error.message))
    except BlobDestroyedError:
        return partial(_conclude, upload, State.REJECTED, "unreadable")
    return partial(_conclude, upload, State.EXPANDED)


def _arrival(archive: Archive | Disc, member: Member) -> Arrival:
    return Arrival(member.name, archive.read(member), position=member.position)


def _take_group(archive: Upload, taken: Sequence[Taken]) -> None:
    try:
        with transaction.atomic():
            reserve_storage(archive.clinic, sum(item.size_bytes for item in taken), freed_bytes=archive.size_bytes)
            # The bytes were counted with the archive; its members are files of their own.
            claim(archive.batch, len(taken), 0)
            _write_members(archive, taken)
    except (LimitReachedError, RequestFullError) as error:
        quarantine.destroy(taken)
        refusal = ReservationError(error) if isinstance(error, LimitReachedError) else error
        for item in taken:
            item.blob, item.error = None, refusal
        with transaction.atomic():
            _write_members(archive, taken)
    except BaseException:
        quarantine.destroy(taken)
        raise


def _write_members(archive: Upload, taken: Sequence[Taken]) -> None:
    uploads = [_member_row(archive, item) for item in taken]
    Upload.objects.bulk_create(uploads)
    waiting = [upload.pk for upload in uploads if upload.state == State.RECEIVED]
    if waiting:
        enqueue(PROCESS, {"upload_ids": waiting}, clinic=archive.clinic)


def _member_row(archive: Upload, item: Taken) -> Upload:
    upload = Upload(
        clinic=archive.clinic,
        batch=archive.batch,
        archive=archive,
        position=item.arrival.position,
        name=item.arrival.name,
        blob=item.blob,
        size_bytes=item.size_bytes,
    )
    error: IngestError | None = item.error
    if error is not None:
        upload.state, upload.code, upload.message = State.REJECTED, error.code, str(error.message)[:300]
        upload.finished_at = timezone.now()
    return upload


def _conclude(upload: Upload, state: str, code: str = "", message: str = "") -> None:
    """Note what became of the archive and destroy it; its members stand for themselves."""
    if not Upload.objects.filter(pk=upload.pk, state=State.RECEIVED).update(
        state=state, code=code, message=message or (reason(code) if code else ""), blob=None, finished_at=timezone.now()
    ):
        return
    if upload.blob is not None:
        storage.destroy([upload.blob])
    for transfer in Transfer.objects.filter(upload=upload):
        transfers.destroy_segments(transfer)
    record(
        "upload.opened" if state == State.EXPANDED else "upload.rejected",
        context=upload.batch.context,
        clinic_id=upload.clinic_id,
        object_kind="upload",
        object_reference=upload.batch.public_id,
        outcome="success" if state == State.EXPANDED else "failure",
        details={"kind": "archive"} | ({"code": code} if code else {}),
    )
