"""What workers do for the way in, and the sweeps that leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from django.db import transaction
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest import anonymise, conflicts, pipeline, scan, transfers
from apps.ingest.errors import ScanLimitError, ScannerAwayError, TooLargeError
from apps.ingest.expand import expand
from apps.ingest.ledger import EXPAND, PROCESS
from apps.ingest.models import Segment, Upload, VersionDecision
from apps.ingest.recognise import recognise_file
from apps.jobs.models import Job
from apps.jobs.services import enqueue, enqueue_many, periodic, register
from apps.storage import services as storage
from apps.storage.models import Blob

State = Upload.State

# An upload this old without a job has lost it; a blob this old without an upload lost its request.
STRANDED_AFTER = timedelta(minutes=20)
ORPHANED_AFTER = timedelta(minutes=6)
SWEEP_FILES = 50


def open_uploads(ids: list[int]) -> list[Upload]:
    """Return those of the uploads that are still to be settled, with what the pipeline needs."""
    rows = Upload.objects.select_related(
        "clinic", "batch__study", "batch__created_by", "batch__request__link__clinic", "blob",
        "arrival__patient__merged_into", "arrival__settled_by",
    )  # fmt: skip
    return list(rows.filter(pk__in=ids, state=State.RECEIVED).order_by("pk"))


@register(PROCESS)
def process_uploads(job: Job) -> Callable[[], None] | None:
    """Examine up to some fifty uploads; archives among them get a job of their own each."""
    uploads = open_uploads(job.payload["upload_ids"])
    if not uploads:
        return None
    if job.attempts > 1 and len(uploads) > 1:
        # One of them may have taken its worker along, or cannot be read: it shall not take the others with it again.
        return partial(_queue_singly, uploads)
    apart = {upload.pk: finding for upload in uploads if (finding := _joined(upload)) is not None}
    whole = pipeline.examine((upload, None) for upload in uploads if upload.pk not in apart)
    findings = [*apart.values(), *whole]
    pipeline.admit(findings, anonymises=True)
    return partial(_settle, findings)


def _queue_singly(uploads: list[Upload]) -> None:
    enqueue_many(PROCESS, [{"upload_ids": [upload.pk]} for upload in uploads], clinic=uploads[0].clinic)


def _joined(upload: Upload) -> pipeline.Finding | None:
    """Put the pieces of a large file together; a finding for what is opened in pieces, or refused."""
    if not transfers.is_in_pieces(upload):
        return None
    with transfers.open_upload(upload) as file:
        kind = recognise_file(file)
    if kind.is_archive:
        return pipeline.Finding(upload, None, is_archive=True)
    try:
        transfers.join(upload)
    except TooLargeError as error:
        return pipeline.Finding(upload, None).conclude(State.REJECTED, error.code)
    return None


def _settle(findings: list[pipeline.Finding]) -> None:
    pipeline.settle_open(findings)
    for finding in findings:
        if finding.is_archive:
            enqueue(EXPAND, {"upload_id": finding.upload.pk}, clinic=finding.upload.clinic)


@register(EXPAND, is_long=True)
def expand_archive(job: Job) -> Callable[[], None] | None:
    """Take the members of one uploaded archive."""
    uploads = open_uploads([job.payload["upload_id"]])
    return expand(uploads[0]) if uploads else None


@register(conflicts.REISSUE)
def reissue_version(job: Job) -> Callable[[], None]:
    """Write the second version of an instance under a UID of its own."""
    rows = VersionDecision.objects.select_related("upload__blob", "upload__clinic")
    return conflicts.reissue(rows.get(pk=job.payload["decision_id"]))


@periodic("ingest.resume", every_seconds=600)
def resume_stranded() -> int:
    """Queue uploads again whose job is gone (given up after many attempts, lost with a restored database)."""
    resumed = 0
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            waiting = (*scan.HELD_CODES, anonymise.UNREVIEWED)
            open_files = Upload.objects.filter(state=State.RECEIVED).exclude(code__in=waiting)
            old = open_files.filter(created_at__lt=timezone.now() - STRANDED_AFTER)
            ids = list(old.order_by("pk").values_list("pk", flat=True)[: SWEEP_FILES * 40])
            queued = _queued(clinic) if ids else set()
            stranded = [upload_id for upload_id in ids if upload_id not in queued]
            with transaction.atomic():
                for start in range(0, len(stranded), SWEEP_FILES):
                    enqueue(PROCESS, {"upload_ids": stranded[start : start + SWEEP_FILES]}, clinic=clinic)
            resumed += len(stranded)
    return resumed


@periodic("ingest.scan_held", every_seconds=60)
def scan_held() -> int:
    """Take up the files that wait for the virus scanner, as soon as it scans again (or is no longer wanted)."""
    return _take_up(ScannerAwayError.code) if scan.state().code in ("", "off") else 0


@periodic("ingest.scan_large", every_seconds=1800)
def scan_large() -> int:
    """Take up the files that were larger than the virus scanner takes: its limit may have been raised."""
    return _take_up(ScanLimitError.code) if scan.state().code in ("", "off") else 0


def _take_up(code: str) -> int:
    count = 0
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            held = Upload.objects.filter(state=State.RECEIVED, code=code).order_by("pk")
            ids = list(held.values_list("pk", flat=True)[: SWEEP_FILES * 40])
            queued = _queued(clinic) if ids else set()
            waiting = [upload_id for upload_id in ids if upload_id not in queued]
            with transaction.atomic():
                for start in range(0, len(waiting), SWEEP_FILES):
                    enqueue(PROCESS, {"upload_ids": waiting[start : start + SWEEP_FILES]}, clinic=clinic)
            count += len(waiting)
    return count


def _queued(clinic: Clinic) -> set[int]:
    jobs = Job.objects.filter(
        kind__in=[PROCESS, EXPAND], clinic=clinic, state__in=[Job.State.QUEUED, Job.State.RUNNING]
    )
    queued: set[int] = set()
    for payload in jobs.values_list("payload", flat=True):
        queued.update(payload.get("upload_ids", []), [payload["upload_id"]] if "upload_id" in payload else [])
    return queued


@periodic("ingest.purge", every_seconds=600)
def purge_transfers() -> int:
    """Throw away what arrived of large files that nobody went on with for two days."""
    purged = 0
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            purged += transfers.purge_expired()
    return purged


@periodic("ingest.sweep", every_seconds=120)
def sweep_quarantine() -> int:
    """Destroy quarantined bytes that belong to no upload: what a request or a job left that was cut off or killed."""
    destroyed = 0
    for clinic in Clinic.objects.all():
        with clinic_scope(clinic):
            old = Blob.objects.filter(state=Blob.State.QUARANTINED, created_at__lt=timezone.now() - ORPHANED_AFTER)
            named = Upload.objects.filter(blob__isnull=False).values("blob_id")
            orphans = list(old.exclude(pk__in=named).exclude(pk__in=Segment.objects.values("blob_id"))[:500])
            if orphans:
                with transaction.atomic():
                    storage.destroy(orphans)
            destroyed += len(orphans)
    return destroyed
