"""From an upload in quarantine to an instance of a study, on one screen.

    examine:  recognise -> parse in limited children -> validate -> de-identify -> scan    long, outside any transaction
    settle:   park -> compare -> index -> attach -> adopt or destroy -> record  one short transaction

`settle` is idempotent on (clinic, SOP Instance UID): however often a file is sent, and however often a worker dies on
the way, there is one instance. The same bytes again are a duplicate; other bytes under the same UID are a conflict,
kept for a person to decide; nothing is ever overwritten (CONTROLS UPL-12).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from django.utils import timezone

from apps.audit.services import Context, Entry, Outcome, record_many
from apps.deidentification.services import Case, Released
from apps.dicom.errors import DicomError, IgnoredError
from apps.dicom.limited import parse_headers
from apps.dicom.parse import Header
from apps.dicom.validate import validate
from apps.ingest import alarms, anonymise, inbox, scan
from apps.ingest.errors import InfectedError, ScanError
from apps.ingest.models import QUARANTINE_KIND, Upload, UploadBatch
from apps.ingest.outcomes import reason
from apps.ingest.recognise import Kind, is_system_file, recognise_file
from apps.storage import services as storage
from apps.storage.errors import BlobDestroyedError
from apps.storage.models import Blob
from apps.studies import services as studies
from apps.studies.errors import DocumentRefusedError
from apps.studies.models import Document, Study

State = Upload.State

# Where people send files from, who have them in archives and on discs.
_OPENS_ARCHIVES: Final = frozenset({UploadBatch.Source.WEB, UploadBatch.Source.REQUEST})

# States that keep their bytes: for good, and until somebody has decided.
_KEPT: Final = frozenset({State.STORED, State.CONFLICT})
_SET_ASIDE: Final = frozenset({State.WAITING})

# What the trail calls the outcomes that leave nothing in the index.
_VERBS: Final = {
    State.WAITING: "arrival.received",
    State.DUPLICATE: "upload.recognised",
    State.CONFLICT: "upload.withheld",
    State.REJECTED: "upload.rejected",
    State.IGNORED: "upload.ignored",
}


@dataclass(slots=True)
class Finding:
    """What one file turned out to be: an instance (`header`), a document (`document_type`), an archive.

    A refused one has its outcome on the upload already.
    """

    upload: Upload
    blob: Blob | None
    header: Header | None = None
    document_type: str = ""
    is_archive: bool = False
    signature: str = ""
    # What a photograph came in, when only its picture is kept; what an anonymised instance was made from.
    original: Blob | None = None
    # What de-identification made of it, or what a person has to look at.
    release: Released | None = None
    case: Case | None = None

    @property
    def is_welcome(self) -> bool:
        """Whether nothing speaks against it so far, and it need not wait."""
        return self.upload.state == State.RECEIVED and not self.is_held

    @property
    def is_held(self) -> bool:
        """Whether it waits: for the virus scan, to be anonymised, for a person."""
        codes = (*scan.HELD_CODES, *anonymise.HELD_CODES)
        return self.upload.state == State.RECEIVED and self.upload.code in codes

    @property
    def blob_id(self) -> int | None:
        """The id of its blob, None without one."""
        return self.blob.pk if self.blob else None

    @property
    def is_new_instance(self) -> bool:
        """Whether it may become an instance."""
        return self.header is not None and self.is_welcome

    def conclude(self, state: str, code: str = "", message: str = "") -> Finding:
        """Note the outcome on the upload."""
        upload = self.upload
        upload.state, upload.code = state, code
        upload.message = message or (reason(code) if code else "")
        return self


def process(uploads: Sequence[Upload]) -> Callable[[], None]:
    """Examine uploads of one clinic and return what settles them, to be run in one short transaction.

    Raises StorageError or OSError when the bytes cannot be read at the moment: nothing is decided then.
    """
    findings = examine((upload, None) for upload in uploads)
    admit(findings, anonymises=True)
    return partial(settle_open, findings)


def examine(uploads: Iterable[tuple[Upload, BinaryIO | None]], *, study_instance_uid: str = "") -> list[Finding]:
    """Find out what uploads are, reading headers only; each with its file when the bytes are still at hand in memory.

    Refused uploads carry their state, code and sentence. `study_instance_uid`: the only study that is welcome.
    """
    findings: list[Finding] = []
    instances: list[tuple[Finding, BinaryIO, Kind]] = []
    with ExitStack() as opened:
        for upload, file in uploads:
            finding = Finding(upload, upload.blob)
            findings.append(finding)
            stored = file or _open(finding, opened)
            kind = _examine(finding, stored) if stored else None
            if stored and kind:
                instances.append((finding, stored, kind))
        headers = parse_headers([file for _, file, _ in instances])
    for (finding, _, kind), header in zip(instances, headers, strict=True):
        _examine_instance(finding, header, kind, study_instance_uid)
    return findings


def _open(finding: Finding, opened: ExitStack) -> BinaryIO | None:
    if finding.upload.state != State.RECEIVED:
        return None
    try:
        if finding.blob is not None:
            return opened.enter_context(storage.open_blob(finding.blob))
    except BlobDestroyedError:
        # Gone for good: trying again would find the same.
        pass
    finding.conclude(State.REJECTED, "unreadable")
    return None


def _examine(finding: Finding, file: BinaryIO) -> Kind | None:
    """Settle what is no instance; return what kind of file is to be parsed as one."""
    upload = finding.upload
    # It may have waited for the virus scan; whether it still has to is asked again.
    upload.code = upload.message = ""
    kind = recognise_file(file)
    if kind is Kind.EMPTY:
        finding.conclude(State.REJECTED, "empty")
    elif kind.is_archive:
        finding.is_archive = upload.archive_id is None and upload.batch.source in _OPENS_ARCHIVES
        if not finding.is_archive:
            finding.conclude(State.REJECTED, "nested-archive")
    elif kind.is_document and anonymise.is_wanted(upload.batch):
        finding.conclude(State.REJECTED, "document-identified")
    elif kind.is_document:
        _examine_document(finding, file)
    else:
        return kind
    return None


def _examine_document(finding: Finding, file: BinaryIO) -> Finding:
    batch = finding.upload.batch
    if batch.study_id is None and batch.patient_id is None:
        code = "document-without-study" if batch.request_id is None else "document-by-request"
        return finding.conclude(State.REJECTED, code)
    try:
        finding.document_type = studies.check_document(file)
    except DocumentRefusedError as error:
        return finding.conclude(State.REJECTED, error.code, str(error))
    return finding


def _examine_instance(finding: Finding, header: Header | DicomError, kind: Kind, study_instance_uid: str) -> Finding:
    try:
        if isinstance(header, DicomError):
            raise header
        validate(header)
    except IgnoredError as error:
        return finding.conclude(State.IGNORED, error.code, error.message)
    except DicomError as error:
        if kind is Kind.OTHER and is_system_file(finding.upload.name):
            return finding.conclude(State.IGNORED, "system-file")
        return finding.conclude(State.REJECTED, error.code, error.message)
    finding.upload.sop_instance_uid = header.sop_instance_uid
    finding.header = header
    if study_instance_uid and header.study_instance_uid != study_instance_uid:
        return finding.conclude(State.REJECTED, "study-mismatch")
    return finding


def admit(findings: Sequence[Finding], *, anonymises: bool = False) -> None:
    """Do what has to be done between knowing what the files are and keeping them: scan, leave out notes, anonymise.

    `anonymises`: this is a worker, which may take its time; elsewhere what is to be anonymised waits for one.
    """
    look_for_viruses(findings)
    keep_pictures_alone(findings)
    if anonymises:
        anonymise.anonymise(findings)
    else:
        anonymise.hold(findings)


def look_for_viruses(findings: Sequence[Finding]) -> None:
    """Have the virus scanner, if there is one, look at every file; what it does not call clean is refused or waits.

    Archives are left out: their members come as files of their own. A file refused for another reason is scanned too,
    so that its sender learns what it was, but does not wait for that.
    """
    if not scan.is_on():
        return
    scanning = scan.Scan()
    for finding in findings:
        if finding.blob is None or finding.is_archive or finding.upload.state == State.IGNORED:
            continue
        was_welcome = finding.is_welcome
        try:
            with storage.open_blob(finding.blob) as stored:
                scanning.check(stored, is_dicom=finding.header is not None)
        except InfectedError as error:
            finding.signature = error.signature
            finding.conclude(State.REJECTED, error.code)
        except ScanError as error:
            if was_welcome:
                finding.conclude(State.RECEIVED, error.code)
        except BlobDestroyedError:
            finding.conclude(State.REJECTED, "unreadable")


def keep_pictures_alone(findings: Sequence[Finding]) -> None:
    """Put a photograph that carries notes (where it was taken, on whose phone) aside for one of the picture alone."""
    for finding in findings:
        if not finding.document_type or not finding.is_welcome or finding.blob is None:
            continue
        try:
            with storage.open_blob(finding.blob) as stored:
                alone = studies.picture_alone(stored, finding.document_type)
        except DocumentRefusedError as error:
            finding.conclude(State.REJECTED, error.code, str(error))
            continue
        if alone is not None:
            finding.original = finding.blob
            finding.blob = storage.write_blob(finding.upload.clinic, QUARANTINE_KIND, [alone], quarantined=True)


def settle(findings: Sequence[Finding], context: Context | None = None) -> None:
    """Write down what became of uploads of one batch; the caller has a transaction open and the clinic's scope.

    Uploads without a row get one. `context`: who is acting, else whoever opened the batch.
    """
    if findings:
        _settle_all([(findings, context)])


def _settle_all(groups: Sequence[tuple[Sequence[Finding], Context | None]]) -> None:
    """Settle uploads of several batches, the instances of all indexed together: studies are locked in one order."""
    for findings, _ in groups:
        batch = findings[0].upload.batch
        if batch.request_id is not None:
            inbox.park(batch, findings)
    _compare_and_index([finding for findings, _ in groups for finding in findings])
    for findings, context in groups:
        _conclude(findings[0].upload.batch, findings, context)


def _conclude(batch: UploadBatch, findings: Sequence[Finding], context: Context | None) -> None:
    for finding in findings:
        if finding.document_type and finding.is_welcome and finding.blob and (batch.study or batch.patient):
            Document.objects.create(
                clinic_id=batch.clinic_id,
                study=batch.study,
                patient=None if batch.study else batch.patient,
                blob=finding.blob,
                title=studies.title_of(finding.upload.name),
                media_type=finding.document_type,
                created_by=batch.created_by,
            )
            finding.upload.study = batch.study
            finding.upload.blob = finding.blob
            finding.conclude(State.STORED)
    _keep_or_destroy(findings)
    signatures = sorted({finding.signature for finding in findings if finding.signature})
    is_alarm = bool(signatures) and alarms.is_first(batch)
    _write([finding.upload for finding in findings])
    anonymise.write_down(batch, findings)
    _record(batch, findings, context or batch.context)
    if is_alarm:
        alarms.tell_owners(batch, signatures)


def settle_open(findings: Sequence[Finding]) -> None:
    """Settle what no other run has settled meanwhile: a lease can end while its worker lives.

    The uploads may be of several batches of one clinic. Archives stay open: opening them is work of its own.
    """
    ids = [finding.upload.pk for finding in findings]
    rows = Upload.objects.select_for_update().filter(pk__in=ids, state=State.RECEIVED).order_by("pk")
    still_open = set(rows.values_list("pk", flat=True))
    by_batch: dict[tuple[int, int | None], list[Finding]] = {}
    for finding in findings:
        upload = finding.upload
        if upload.pk in still_open and not finding.is_archive:
            by_batch.setdefault((upload.batch_id, upload.arrival_id), []).append(finding)
    _settle_all([(of_batch, inbox.context_of(of_batch[0].upload)) for of_batch in by_batch.values()])


def _compare_and_index(findings: Sequence[Finding]) -> None:
    new = [finding for finding in findings if finding.is_new_instance]
    for finding in new:
        if finding.blob is None:
            finding.conclude(State.REJECTED, "unreadable")
    new = [finding for finding in new if finding.blob is not None]
    pairs = [(finding.header, finding.blob) for finding in new if finding.header and finding.blob]
    if not pairs:
        return
    chosen = inbox.patients_of(finding.upload for finding in new)
    rows = studies.index_instances(new[0].upload.batch.clinic, pairs, patients=chosen)
    others = {row.blob_id for finding, row in zip(new, rows, strict=True) if row.blob_id != finding.blob_id}
    digests = dict(Blob.objects.filter(pk__in=others).values_list("pk", "sha256")) if others else {}
    for finding, row in zip(new, rows, strict=True):
        finding.upload.instance = row
        finding.upload.study = row.series.study
        if row.blob_id == finding.blob_id:
            finding.conclude(State.STORED)
        elif bytes(finding.blob.sha256 if finding.blob else b"") == bytes(digests[row.blob_id]):
            finding.conclude(State.DUPLICATE, "same-bytes")
        else:
            finding.conclude(State.CONFLICT, "different-bytes")


def _keep_or_destroy(findings: Sequence[Finding]) -> None:
    kept = [finding for finding in findings if finding.blob and finding.upload.state in _KEPT]
    # What was written ahead became a row in this very transaction, as stored.
    storage.adopt([f.blob for f in kept if f.blob and f.blob.state == Blob.State.QUARANTINED])
    gone = [
        finding
        for finding in findings
        if finding.blob and not finding.is_held and finding.upload.state not in _KEPT | _SET_ASIDE
    ]
    storage.destroy([finding.blob for finding in gone if finding.blob])
    storage.destroy([finding.original for finding in findings if finding.original])
    for finding in gone:
        finding.upload.blob = None


def _write(uploads: Sequence[Upload]) -> None:
    now = timezone.now()
    for upload in uploads:
        upload.finished_at = now if upload.state != State.RECEIVED else None
    known = [upload for upload in uploads if upload.pk is not None]
    Upload.objects.insert([upload for upload in uploads if upload.pk is None])
    # As an upsert: a tenth of what the CASE of bulk_update costs. The rows are locked, and are there.
    Upload.objects.bulk_create(
        known,
        batch_size=100,
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=[
            "state",
            "code",
            "message",
            "blob",
            "instance",
            "study",
            "arrival",
            "sop_instance_uid",
            "finished_at",
        ],
    )


def _record(batch: UploadBatch, findings: Sequence[Finding], context: Context) -> None:
    """One record for each study that grew, one for each other outcome and its reason; never one for each file."""
    entries = []
    by_study: dict[Study, list[Upload]] = {}
    others: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        upload = finding.upload
        if upload.state == State.STORED and upload.study is not None:
            by_study.setdefault(upload.study, []).append(upload)
        elif upload.state in _VERBS:
            others[upload.state, upload.code] += 1
    for study, uploads in by_study.items():
        reference = study.audit_reference()
        entries.append(
            Entry(
                verb="instance.stored",
                context=context,
                clinic_id=batch.clinic_id,
                object_kind=reference.kind,
                object_reference=reference.reference,
                patient_reference=reference.patient_reference,
                study_reference=reference.study_reference,
                details={
                    "instance_count": len(uploads),
                    "size_bytes": sum(upload.size_bytes for upload in uploads),
                    "source": batch.source,
                    "upload_reference": batch.public_id,
                },
            )
        )
    of_patient = [finding.upload for finding in findings if finding.document_type and finding.upload.study_id is None]
    stored = [upload for upload in of_patient if upload.state == State.STORED]
    if stored and batch.patient is not None:
        entries.append(
            Entry(
                verb="document.stored",
                context=context,
                clinic_id=batch.clinic_id,
                object_kind="patient",
                object_reference=batch.patient.public_id,
                patient_reference=batch.patient.trail_reference,
                details={"file_count": len(stored), "source": batch.source, "upload_reference": batch.public_id},
            )
        )
    for (state, code), count in others.items():
        entries.append(
            Entry(
                verb="upload.infected" if code == InfectedError.code else _VERBS[State(state)],
                context=context,
                clinic_id=batch.clinic_id,
                object_kind="upload",
                object_reference=batch.public_id,
                outcome=Outcome.FAILURE if state in (State.REJECTED, State.CONFLICT) else Outcome.SUCCESS,
                details={"file_count": count, "source": batch.source} | ({"code": code} if code else {}),
            )
        )
    record_many(entries)
