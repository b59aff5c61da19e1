"""What arrives at a clinic that stores nothing identified: de-identified by a worker before it is stored.

The identified original lies in quarantine only, and is destroyed with its key when what was made of it is stored, or
when a person says that it cannot be used. What a person has to look at waits there until somebody has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from apps.deidentification import services as deidentification
from apps.deidentification.services import Review
from apps.dicom.deidentify import NeedsReviewError
from apps.dicom.errors import DicomError
from apps.ingest import inbox
from apps.ingest.ledger import PROCESS
from apps.ingest.models import QUARANTINE_KIND, Upload, UploadBatch
from apps.jobs.services import enqueue
from apps.storage import services as storage

if TYPE_CHECKING:
    from apps.ingest.pipeline import Finding

TO_DO: Final = "to-anonymise"
UNREVIEWED: Final = "needs-review"
LEFT_OUT: Final = "left-out"
HELD_CODES: Final = (TO_DO, UNREVIEWED)


def is_wanted(batch: UploadBatch) -> bool:
    """Return whether instances of this batch are stored anonymised."""
    return bool(batch.deidentify_profile)


def hold(findings: Iterable[Finding]) -> None:
    """Leave to a worker what is to be anonymised: no web process looks at pixels."""
    for finding in _wanted(findings):
        finding.conclude(Upload.State.RECEIVED, TO_DO)


def anonymise(findings: Iterable[Finding]) -> None:
    """Put an anonymised instance in the place of each original; what cannot be vouched for waits or is refused."""
    for finding in _wanted(findings):
        batch = finding.upload.batch
        if finding.blob is None:
            continue
        decision = deidentification.decision_on(finding.blob)
        if decision is not None and decision.state == Review.State.REFUSED:
            finding.conclude(Upload.State.REJECTED, LEFT_OUT)
            continue
        with storage.open_blob(finding.blob) as stored:
            data = stored.read()
        mapper = deidentification.mapper_of(deidentification.policy_of(batch.clinic))
        try:
            made = deidentification.release(
                data, batch.deidentify_profile, mapper, decision.boxes if decision is not None else None
            )
        except NeedsReviewError as error:
            if decision is not None:
                finding.conclude(Upload.State.REJECTED, LEFT_OUT)
            else:
                finding.case = deidentification.case_of(data, error)
                finding.conclude(Upload.State.RECEIVED, UNREVIEWED)
            continue
        except DicomError as error:
            finding.conclude(Upload.State.REJECTED, error.code, error.message)
            continue
        finding.original, finding.release, finding.header = finding.blob, made, made.header
        finding.blob = storage.write_blob(batch.clinic, QUARANTINE_KIND, [made.data], quarantined=True)
        finding.upload.blob = finding.blob
        finding.upload.sop_instance_uid = made.header.sop_instance_uid


def _wanted(findings: Iterable[Finding]) -> list[Finding]:
    # What waits in the inbox does so as it came: it is anonymised when somebody takes it.
    return [
        finding
        for finding in findings
        if finding.is_new_instance and is_wanted(finding.upload.batch) and not inbox.waits(finding.upload)
    ]


def write_down(batch: UploadBatch, findings: Sequence[Finding]) -> None:
    """Queue what waits for a worker, put before people what waits for them, and keep the proof of what was stored."""
    if not is_wanted(batch):
        return
    to_do = [f.upload.pk for f in findings if f.upload.state == Upload.State.RECEIVED and f.upload.code == TO_DO]
    if to_do:
        enqueue(PROCESS, {"upload_ids": to_do}, clinic=batch.clinic)
    by_study: dict[int, list[deidentification.Released]] = {}
    for finding in findings:
        if finding.case is not None and finding.blob is not None:
            deidentification.open_review(batch.clinic, finding.blob, finding.case, upload_id=finding.upload.pk)
        if finding.release is not None and finding.upload.state == Upload.State.STORED and finding.upload.study_id:
            by_study.setdefault(finding.upload.study_id, []).append(finding.release)
    for study_id, made in by_study.items():
        deidentification.report_arrival(batch.clinic, study_id, made)
