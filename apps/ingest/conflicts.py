"""Two versions of one instance: both are kept until a person has looked at them, and nothing is overwritten silently.

The second version waits with the upload that brought it, its bytes stored and counted. A person keeps what is there,
puts the other in its place (the one before stays with the upload, and can be had back), or keeps both: the second one
is then stored under a UID of its own that says in the file which one it had (PS3.3 C.12.1.1.9.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import Principal
from apps.audit.services import record
from apps.dicom import limited
from apps.dicom.differences import Difference, differences
from apps.dicom.errors import DicomError
from apps.dicom.parse import Header
from apps.dicom.uid import make_uid
from apps.ingest.errors import IngestError
from apps.ingest.ledger import PROCESS, reserve_storage
from apps.ingest.models import QUARANTINE_KIND, Upload, VersionDecision
from apps.jobs.services import enqueue
from apps.storage import services as storage
from apps.storage.models import Blob
from apps.studies.models import Instance
from apps.studies.services import lock_instance, replace_version

Choice = VersionDecision.Choice

REISSUE: Final = "ingest.reissue"
OPEN: Final = "different-bytes"
_CHUNK: Final = 1 << 20


class ConflictSettledError(IngestError):
    """Somebody has decided about these two meanwhile."""

    code = "already-settled"
    message = _("Somebody has decided about this meanwhile.")
    status = 409


class CannotReplaceError(IngestError):
    """The second version says that it is of another study or series."""

    code = "other-series"
    message = _("The other version says that it belongs to another study or series. It cannot take this one's place.")
    status = 409


class LaterDecisionError(IngestError):
    """A later decision stands on this one."""

    code = "later-decision"
    message = _("This image was replaced once more since. Take that back first.")
    status = 409


class CannotReissueError(IngestError):
    """The second version cannot be written under another UID."""

    code = "cannot-reissue"
    message = _("This file cannot be written under another identifier. It stays as it is.")
    status = 422


@dataclass(frozen=True)
class Comparison:
    """What differs between the stored version and the other one; `has_same_pixels` None when one has none."""

    attributes: list[Difference]
    has_same_pixels: bool | None
    may_replace: bool


def open_conflicts(principal: Principal) -> QuerySet[Upload]:
    """Return the uploads that brought a second version and wait for a decision, the oldest first."""
    return _conflicts(principal).filter(code=OPEN).order_by("created_at", "pk")


def settled_conflicts(principal: Principal) -> QuerySet[VersionDecision]:
    """Return the decisions, the newest first."""
    rows = VersionDecision.objects.filter(clinic=principal.clinic).select_related(
        "upload__instance__series__study__patient", "decided_by", "undone_by"
    )
    return rows.order_by("-decided_at", "-pk")


def find_conflict(principal: Principal, public_id: str) -> Upload | None:
    """Return one of them, waiting or decided about, while the instance is there."""
    return _conflicts(principal).filter(public_id=public_id).first()


def decision_of(conflict: Upload) -> VersionDecision | None:
    """Return what was decided about a conflict and not taken back."""
    return conflict.decisions.filter(undone_at=None).select_related("decided_by", "before", "after").first()


def compare(conflict: Upload) -> Comparison:
    """Return what differs; both files are read in a child process. Raises DicomError and StorageError."""
    instance, blob = _both(conflict)
    with storage.open_blob(instance.blob) as ours, storage.open_blob(blob) as theirs:
        first, second = limited.parse_header(ours), limited.parse_header(theirs)
        attributes = differences(limited.metadata(ours, "."), limited.metadata(theirs, "."))
        return Comparison(attributes, _has_same_pixels(first, second, ours, theirs), _is_same_place(instance, second))


def keep_existing(principal: Principal, conflict: Upload) -> None:
    """Keep what is stored; the other version is destroyed with its key. Raises ConflictSettledError."""
    with transaction.atomic():
        upload = _locked(conflict)
        blob, upload.blob = upload.blob, None
        upload.code = "kept-existing"
        upload.save(update_fields=["blob", "code"])
        _decide(principal, upload, Choice.KEPT)
        storage.destroy([blob] if blob is not None else [])


def replace(principal: Principal, conflict: Upload) -> None:
    """Put the other version in the stored one's place; that one stays with the upload, for `undo_replace`.

    Raises ConflictSettledError, CannotReplaceError, DicomError, StorageError.
    """
    _instance, blob = _both(conflict)
    with storage.open_blob(blob) as file:
        header = limited.parse_header(file)
    with transaction.atomic():
        instance = lock_instance(_instance)
        upload = _locked(conflict)
        if upload.blob_id != blob.pk:
            raise ConflictSettledError
        if not _is_same_place(instance, header):
            raise CannotReplaceError
        before = instance.blob
        upload.blob, upload.code = before, "replaced"
        replace_version(instance, header, blob)
        upload.save(update_fields=["blob", "code"])
        _decide(principal, upload, Choice.REPLACED, before=before, after=blob)


def undo_replace(principal: Principal, conflict: Upload) -> None:
    """Put the version from before back into its place; the other one waits for a decision again.

    A second time changes nothing. Raises LaterDecisionError, DicomError, StorageError.
    """
    decision = decision_of(conflict)
    if decision is None or decision.choice != Choice.REPLACED or decision.before is None:
        return
    with storage.open_blob(decision.before) as file:
        header = limited.parse_header(file)
    with transaction.atomic():
        instance = lock_instance(_instance_of(conflict))
        upload = Upload.objects.select_for_update().get(pk=conflict.pk)
        done = VersionDecision.objects.filter(pk=decision.pk, undone_at=None)
        if not done.update(undone_at=timezone.now(), undone_by=principal.user):
            return
        if instance.blob_id != decision.after_id or upload.blob_id != decision.before_id:
            raise LaterDecisionError
        upload.blob, upload.code = instance.blob, OPEN
        replace_version(instance, header, decision.before)
        upload.save(update_fields=["blob", "code"])
        _record(principal, upload, "conflict.undone", decision)


def keep_both(principal: Principal, conflict: Upload) -> None:
    """Have the other version stored under a UID of its own; a worker writes it. Raises ConflictSettledError."""
    with transaction.atomic():
        upload = _locked(conflict)
        upload.code = "kept-both"
        upload.save(update_fields=["code"])
        decision = _decide(principal, upload, Choice.BOTH)
        enqueue(REISSUE, {"decision_id": decision.pk}, clinic=principal.clinic)


def reissue(decision: VersionDecision) -> Callable[[], None]:
    """Write the second version under its new UID into quarantine; return what hands it to the pipeline.

    Raises StorageError and OSError: tried again. A file that cannot be written anew waits for another decision.
    """
    upload = decision.upload
    if upload.blob is None or decision.reissued_id is not None or decision.undone_at is not None:
        return lambda: None
    try:
        with storage.open_blob(upload.blob) as file:
            head, offset = limited.reissue(file, make_uid(), at=timezone.now())
            rest = storage.iterate_blob(upload.blob, offset) if offset < upload.blob.size_bytes else iter(())
            blob = storage.write_blob(upload.clinic, QUARANTINE_KIND, _joined(head, rest), quarantined=True)
    except DicomError:
        return partial(_give_up, decision)
    return partial(_hand_over, decision, blob)


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _hand_over(decision: VersionDecision, blob: Blob) -> None:
    upload = Upload.objects.select_for_update(of=("self",)).select_related("blob").get(pk=decision.upload_id)
    row = VersionDecision.objects.select_for_update().get(pk=decision.pk)
    if row.reissued_id is not None or upload.blob is None:
        storage.destroy([blob])
        return
    reserve_storage(upload.clinic, blob.size_bytes, freed_bytes=upload.blob.size_bytes)
    made = Upload.objects.create(
        clinic=upload.clinic,
        batch=upload.batch,
        arrival=upload.arrival,
        name=upload.name,
        blob=blob,
        size_bytes=blob.size_bytes,
    )
    row.reissued = made
    row.save(update_fields=["reissued"])
    before, upload.blob = upload.blob, None
    upload.save(update_fields=["blob"])
    storage.destroy([before])
    enqueue(PROCESS, {"upload_ids": [made.pk]}, clinic=upload.clinic)


def _give_up(decision: VersionDecision) -> None:
    """Let the second version wait again: it could not be written under another UID."""
    VersionDecision.objects.filter(pk=decision.pk, undone_at=None).update(undone_at=timezone.now())
    Upload.objects.filter(pk=decision.upload_id).update(code=OPEN, message=str(CannotReissueError.message))


def _conflicts(principal: Principal) -> QuerySet[Upload]:
    rows = Upload.objects.filter(clinic=principal.clinic, state=Upload.State.CONFLICT, instance__isnull=False)
    return rows.select_related(
        "blob", "batch__request", "batch__created_by", "instance__blob", "instance__series__study__patient"
    )


def _locked(conflict: Upload) -> Upload:
    upload = Upload.objects.select_for_update(of=("self",)).select_related("blob").get(pk=conflict.pk)
    if upload.state != Upload.State.CONFLICT or upload.code != OPEN or upload.blob is None:
        raise ConflictSettledError
    return upload


def _instance_of(conflict: Upload) -> Instance:
    if conflict.instance is None:
        raise ConflictSettledError
    return conflict.instance


def _both(conflict: Upload) -> tuple[Instance, Blob]:
    if conflict.blob is None:
        raise ConflictSettledError
    return _instance_of(conflict), conflict.blob


def _is_same_place(instance: Instance, header: Header) -> bool:
    series = instance.series
    return (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid) == (
        series.study.study_instance_uid,
        series.series_instance_uid,
        instance.sop_instance_uid,
    )


def _has_same_pixels(first: Header, second: Header, ours: BinaryIO, theirs: BinaryIO) -> bool | None:
    one, other = first.pixels, second.pixels
    if one is None or other is None:
        return None
    if (one.length, first.transfer_syntax_uid) != (other.length, second.transfer_syntax_uid):
        return False
    ours.seek(one.offset)
    theirs.seek(other.offset)
    left = one.length
    while left > 0:
        size = min(left, _CHUNK)
        if ours.read(size) != theirs.read(size):
            return False
        left -= size
    return True


def _decide(
    principal: Principal, upload: Upload, choice: Choice, *, before: Blob | None = None, after: Blob | None = None
) -> VersionDecision:
    decision = VersionDecision.objects.create(
        clinic_id=upload.clinic_id,
        upload=upload,
        choice=choice,
        before=before,
        after=after,
        decided_by=principal.user,
    )
    _record(principal, upload, "conflict.settled", decision)
    return decision


def _record(principal: Principal, upload: Upload, verb: str, decision: VersionDecision) -> None:
    reference = _instance_of(upload).audit_reference()
    record(
        verb,
        context=principal.context,
        clinic_id=upload.clinic_id,
        object_kind="conflict",
        object_reference=upload.public_id,
        patient_reference=reference.patient_reference,
        study_reference=reference.study_reference,
        details={"outcome": decision.choice, "upload_reference": upload.batch.public_id},
    )
