"""The door of the way in: whatever the source, files come through here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.access.services import Principal
from apps.accounts.roles import Capability
from apps.audit.services import record
from apps.billing.errors import LimitReachedError
from apps.deidentification import services as deidentification
from apps.ingest import anonymise, pipeline, quarantine, queries, requests, scan
from apps.ingest.errors import BatchClosedError, TooLargeError
from apps.ingest.ledger import EXPAND, PROCESS, ReservationError, reserve_storage
from apps.ingest.models import QUARANTINE_KIND, Upload, UploadBatch
from apps.ingest.naming import display_name
from apps.ingest.quarantine import Arrival, Taken
from apps.ingest.scan import health as scanner_health
from apps.ingest.sender_guard import sender_page
from apps.jobs.services import enqueue
from apps.patients.models import Patient
from apps.storage import services as storage
from apps.storage.models import Blob
from apps.studies.models import Study

__all__ = [
    "Arrival",
    "StoreOutcome",
    "close_batch",
    "failure_reason",
    "is_on_its_way",
    "known_keys",
    "open_batch",
    "outcome_of",
    "own_batch",
    "receive",
    "scanner_health",
    "sender_page",
    "store_arrivals",
    "store_now",
]

State = Upload.State

# Failure Reason (0008,1197), PS3.18 table I.2-2. A conflict has no code there, and "additional codes may be used":
# 0111H, Duplicate SOP Instance (PS3.7 annex C.5.7), says it best: the UID is taken, by other bytes.
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_SOP_INSTANCE: Final = 0x0111
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122

_FAILURE_REASONS: Final = {
    "too-large": OUT_OF_RESOURCES,
    "limit-reached": OUT_OF_RESOURCES,
    "request-full": OUT_OF_RESOURCES,
    "study-mismatch": DOES_NOT_MATCH,
    "no-study": SOP_CLASS_NOT_SUPPORTED,
    "dicomdir": SOP_CLASS_NOT_SUPPORTED,
    "different-bytes": DUPLICATE_SOP_INSTANCE,
    "unreadable": PROCESSING_FAILURE,
    "not-available": PROCESSING_FAILURE,
}


@dataclass(frozen=True)
class StoreOutcome:
    """What became of one part of a STOW-RS request.

    `outcome`: stored, duplicate, conflict, rejected or ignored; the first two are successes. `failure_reason`: the
    value of Failure Reason (0008,1197) for the others. UIDs are empty when the part could not be read that far.
    """

    sop_class_uid: str
    sop_instance_uid: str
    outcome: str
    code: str
    message: str
    failure_reason: int | None
    study_instance_uid: str
    series_instance_uid: str


def open_batch(
    principal: Principal,
    source: str,
    *,
    study: Study | None = None,
    patient: Patient | None = None,
    is_one_request: bool = False,
) -> UploadBatch:
    """Return a new batch for files of `source` (UploadBatch.Source); `study` or `patient`: where documents go.

    Whatever the source, what a link brings waits in the inbox. `is_one_request`: only the request that opens it adds to
    it, so that its row is written with the first of its files, and closed from the start.

    Raises PermissionError when the principal may not upload here or may not see them.
    """
    owner = study or patient
    if Capability.UPLOAD_CREATE not in principal.capabilities or (owner is not None and not principal.may_see(owner)):
        raise PermissionError
    request = requests.request_of(principal)
    batch = UploadBatch(
        clinic=principal.clinic,
        source=UploadBatch.Source.REQUEST if request is not None else source,
        request=request,
        created_by=principal.user,
        actor_kind=principal.context.actor_kind,
        actor_reference=principal.context.actor_reference,
        deidentify_profile=deidentification.ingest_preset(principal.clinic),
        study=study,
        patient=patient,
    )
    if not is_one_request:
        batch.save(force_insert=True)
    return batch


@contextmanager
def _adding_to(batch: UploadBatch) -> Iterator[None]:
    """Open a transaction; a batch without a row gets it there."""
    is_new = batch.pk is None
    try:
        with transaction.atomic():
            if is_new:
                batch.closed_at = timezone.now()
                batch.save(force_insert=True)
                batch.closed_at = None
            yield
    except BaseException:
        if is_new:
            batch.pk, batch.closed_at = None, None
            batch._state.adding = True  # noqa: SLF001  # Django's documented Model._state
        raise


def close_batch(batch: UploadBatch) -> None:
    """Note that the sender has sent everything; nothing more is taken. Closing twice changes nothing."""
    UploadBatch.objects.filter(pk=batch.pk, closed_at=None).update(closed_at=timezone.now())


def is_on_its_way(sha256: bytes, *, study: Study | None = None, patient: Patient | None = None) -> bool:
    """Whether a file with this SHA-256 was taken for a study or patient and not yet examined. Needs a clinic scope."""
    waiting = Upload.objects.filter(state__in=(State.RECEIVED, State.WAITING), blob__sha256=sha256)
    return waiting.filter(batch__study=study, batch__patient=patient).exists()


def known_keys(batch: UploadBatch, keys: Iterable[str]) -> dict[str, Upload]:
    """Return the uploads that this batch already has under these keys of the sender's own."""
    rows = Upload.objects.filter(batch=batch, client_key__in=list(keys))
    rows = rows.select_related("archive", "study", "instance__series__study")
    return {upload.client_key: upload for upload in rows if upload.client_key}


def receive(
    principal: Principal,
    batch: UploadBatch,
    name: str,
    chunks: Iterable[bytes],
    *,
    declared_bytes: int | None = None,
    client_key: str | None = None,
) -> Upload:
    """Take one file: encrypted from its first byte, durable with its row and its job when this returns.

    Raises TooLargeError (declared or actual size), BatchClosedError, ReservationError (limit-reached), PermissionError,
    and StorageError when the storage is away; nothing is left behind then.
    """
    check_declared(declared_bytes)
    check_open(principal, batch)
    [[item]] = quarantine.take(principal.clinic, [Arrival(name, chunks, client_key=client_key)])
    if item.error is not None:
        raise item.error
    return _receive(principal, batch, [item])[0]


def check_declared(declared_bytes: int | None) -> None:
    """Raise TooLargeError for a file that says of itself that it is too large; what it really is, is counted."""
    if declared_bytes is not None and declared_bytes > settings.MAX_FILE_BYTES:
        raise TooLargeError


def check_open(principal: Principal, batch: UploadBatch) -> None:
    """Raise PermissionError, BatchClosedError or PlaceFullError unless the principal may add files to the batch now."""
    if Capability.UPLOAD_CREATE not in principal.capabilities or batch.clinic_id != principal.clinic.pk:
        raise PermissionError
    if batch.closed_at is not None:
        raise BatchClosedError
    storage.check_room()


def _receive(principal: Principal, batch: UploadBatch, taken: Sequence[Taken]) -> list[Upload]:
    size_bytes = sum(item.size_bytes for item in taken)
    try:
        with _adding_to(batch):
            reserve_storage(principal.clinic, size_bytes)
            requests.claim(batch, len(taken), size_bytes)
            uploads = Upload.objects.bulk_create([_row(batch, item) for item in taken])
            record(
                "upload.received",
                context=principal.context,
                clinic_id=batch.clinic_id,
                object_kind="upload",
                object_reference=batch.public_id,
                details={"file_count": len(uploads), "size_bytes": size_bytes, "source": batch.source},
            )
            enqueue(PROCESS, {"upload_ids": [upload.pk for upload in uploads]}, clinic=principal.clinic)
    except LimitReachedError as error:
        quarantine.destroy(taken)
        raise ReservationError(error) from error
    except BaseException:
        quarantine.destroy(taken)
        raise
    return uploads


def _row(batch: UploadBatch, item: Taken) -> Upload:
    return Upload(
        clinic_id=batch.clinic_id,
        batch=batch,
        name=display_name(item.arrival.name),
        client_key=item.arrival.client_key,
        blob=item.blob,
        size_bytes=item.size_bytes,
    )


def store_now(
    principal: Principal,
    batch: UploadBatch,
    parts: Iterable[Iterable[bytes] | Arrival],
    *,
    study_instance_uid: str = "",
) -> list[StoreOutcome]:
    """Take and settle the parts of a STOW-RS request within the request; one outcome a part, in their order.

    `parts`: the bytes of each part, read once, one after the other, or arrivals with a name and the sender's own key: a
    part whose key this batch has already met is not taken again. When this returns, everything stored is durable and
    found by QIDO-RS. `study_instance_uid`: the study of the request's path; parts of others are refused. A plan without
    room refuses with A700. Raises PermissionError, BatchClosedError, AuditUnavailableError, and StorageError when the
    storage is away; nothing of the group at hand is kept then.
    """
    arrivals = (part if isinstance(part, Arrival) else Arrival("", part) for part in parts)
    settled = store_arrivals(principal, batch, arrivals, study_instance_uid=study_instance_uid)
    return [_outcome(finding) for finding in settled]


def store_arrivals(
    principal: Principal, batch: UploadBatch, arrivals: Iterable[Arrival], *, study_instance_uid: str = ""
) -> Iterator[pipeline.Finding]:
    """Take, examine and settle arrivals group by group in this process; yield a finding for each, in their order.

    Each group is committed with its records before its findings are yielded. Errors as `store_now`.
    """
    check_open(principal, batch)
    for taken in quarantine.gather(principal.clinic, arrivals):
        yield from _store_group(principal, batch, taken, study_instance_uid)


def _store_group(
    principal: Principal, batch: UploadBatch, taken: Sequence[Taken], study_instance_uid: str
) -> list[pipeline.Finding]:
    """Settle what is new of a group; what the batch has met before under the sender's key is told once more."""
    keys = [item.arrival.client_key for item in taken if item.arrival.client_key]
    known = known_keys(batch, keys) if keys and batch.pk else {}
    again = [item for item in taken if item.arrival.client_key in known]
    quarantine.destroy(again)
    fresh = [item for item in taken if item.arrival.client_key not in known]
    new = iter(_settle_group(principal, batch, fresh, study_instance_uid) if fresh else [])
    return [
        pipeline.Finding(known[item.arrival.client_key], None)
        if item.arrival.client_key and item.arrival.client_key in known
        else next(new)
        for item in taken
    ]


def _settle_group(
    principal: Principal, batch: UploadBatch, taken: Sequence[Taken], study_instance_uid: str
) -> list[pipeline.Finding]:
    ahead: list[Blob] = []
    try:
        findings = _examine(batch, taken, study_instance_uid)
        ahead = _write(batch, list(zip(taken, findings, strict=True)))
        archives = [finding for finding in findings if finding.is_archive]
        settled = [finding for finding in findings if not finding.is_archive]
        pipeline.admit(findings)
        try:
            with _adding_to(batch):
                reserve_storage(
                    principal.clinic,
                    sum(f.upload.size_bytes for f in findings if f.is_new_instance or f.is_held or f.is_archive),
                )
                requests.claim(batch, len(findings), sum(f.upload.size_bytes for f in findings))
                with storage.keeping(ahead):
                    pipeline.settle(settled, principal.context)
                for finding in archives:
                    finding.upload.save()
                    enqueue(EXPAND, {"upload_id": finding.upload.pk}, clinic=principal.clinic)
        except (LimitReachedError, requests.RequestFullError) as error:
            refusal = ReservationError(error) if isinstance(error, LimitReachedError) else error
            for finding in findings:
                if finding.is_new_instance or finding.is_held or finding.is_archive:
                    finding.conclude(State.REJECTED, refusal.code, str(refusal))
                if finding.blob in ahead:
                    finding.blob = finding.upload.blob = None
                # Its number may have gone with the transaction.
                finding.upload.batch = batch
            storage.abandon(ahead)
            with _adding_to(batch):
                pipeline.settle(findings, principal.context)
    except BaseException:
        quarantine.destroy(taken)
        storage.abandon(ahead)
        raise
    return findings


def _examine(batch: UploadBatch, taken: Sequence[Taken], study_instance_uid: str) -> list[pipeline.Finding]:
    rows = [(_row(batch, item), item) for item in taken]
    sound = pipeline.examine(
        ((row, item.file) for row, item in rows if item.error is None), study_instance_uid=study_instance_uid
    )
    examined = iter(sound)
    return [
        next(examined)
        if item.error is None
        else pipeline.Finding(row, None).conclude(State.REJECTED, item.error.code, str(item.error))
        for row, item in rows
    ]


def _write(batch: UploadBatch, group: Sequence[tuple[Taken, pipeline.Finding]]) -> list[Blob]:
    """Make durable what is still in memory and worth it; return the blobs whose rows are yet to be written.

    Instances of a known sender are written once, as what they will be. What somebody or something has yet to look at
    (the virus scanner, the inbox, an archive to be opened) goes into quarantine. What is refused is not written at all.
    """
    clinic = batch.clinic
    waiting = [(item, finding) for item, finding in group if item.data and finding.upload.state != State.IGNORED]
    is_seen_first = scan.is_on() or batch.request_id is not None or anonymise.is_wanted(batch)
    direct = [] if is_seen_first else [(item, finding) for item, finding in waiting if finding.is_new_instance]
    others = [
        (item, finding)
        for item, finding in waiting
        if is_seen_first or (finding.is_welcome and not finding.is_new_instance)
    ]
    quarantine.write_together(clinic, [item for item, _ in others])
    for item, finding in others:
        finding.blob = finding.upload.blob = item.blob
    blobs = storage.write_ahead(clinic, QUARANTINE_KIND, [item.data for item, _ in direct]) if direct else []
    for (_, finding), blob in zip(direct, blobs, strict=True):
        finding.blob = finding.upload.blob = blob
    return blobs


def failure_reason(state: str, code: str) -> int | None:
    """Return the Failure Reason (0008,1197) of an outcome, None for a success (stored, or there already)."""
    if state in (State.STORED, State.DUPLICATE, State.WAITING) or code == anonymise.TO_DO:
        return None
    return _FAILURE_REASONS.get(code, CANNOT_UNDERSTAND)


def _outcome(finding: pipeline.Finding) -> StoreOutcome:
    upload, header = finding.upload, finding.header
    if header is None and upload.pk is not None and upload.instance is not None:
        return outcome_of(upload)
    return StoreOutcome(
        sop_class_uid=header.sop_class_uid if header else "",
        sop_instance_uid=upload.sop_instance_uid,
        outcome=upload.state,
        code=upload.code,
        message=upload.message,
        failure_reason=failure_reason(upload.state, upload.code),
        study_instance_uid=header.study_instance_uid if header else "",
        series_instance_uid=header.series_instance_uid if header else "",
    )


def outcome_of(upload: Upload) -> StoreOutcome:
    """Return the outcome of an upload that is settled; its instance, series and study loaded with it."""
    instance = upload.instance
    return StoreOutcome(
        sop_class_uid=instance.sop_class_uid if instance else "",
        sop_instance_uid=upload.sop_instance_uid,
        outcome=upload.state,
        code=upload.code,
        message=upload.message,
        failure_reason=failure_reason(upload.state, upload.code),
        study_instance_uid=instance.series.study.study_instance_uid if instance else "",
        series_instance_uid=instance.series.series_instance_uid if instance else "",
    )


def own_batch(principal: Principal, public_id: str) -> UploadBatch | None:
    """Return the open or closed batch of this name that the principal opened, None when there is none."""
    return queries.own_batches(principal).filter(public_id=public_id).first()
