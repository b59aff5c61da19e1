"""The door of the de-identification room."""

from __future__ import annotations

from apps.access.services import Principal
from apps.clinics.models import Clinic
from apps.deidentification.copying import Released, copy_of_link, end_copy, release, request_copy
from apps.deidentification.errors import CopyNotReadyError, UnreviewedError
from apps.deidentification.models import Copy, Policy, Report, Review
from apps.deidentification.policies import choose, identity_behind, ingest_preset, mapper_of, policy_of, remember
from apps.deidentification.reporting import merged
from apps.deidentification.reviewing import (
    RESUME_JOB,
    Case,
    case_of,
    decide,
    decision_on,
    open_review,
    reviews_seen_by,
    waiting_for,
)
from apps.links.models import Link
from apps.studies.models import Study

__all__ = [
    "RESUME_JOB",
    "Case",
    "Copy",
    "CopyNotReadyError",
    "Policy",
    "Released",
    "Report",
    "Review",
    "UnreviewedError",
    "case_of",
    "choose",
    "copy_for_link",
    "copy_of_link",
    "decide",
    "decision_on",
    "end_copy",
    "identity_behind",
    "ingest_preset",
    "mapper_of",
    "merged",
    "open_review",
    "policy_of",
    "ready_edition",
    "release",
    "remember",
    "report_arrival",
    "request_copy",
    "reviews_seen_by",
    "waiting_for",
]


def report_arrival(clinic: Clinic, study_id: int, made: list[Released]) -> None:
    """Add to the report of a study that was anonymised on its way in, and to the table of pseudonyms if there is."""
    policy = policy_of(clinic)
    report, _ = Report.objects.get_or_create(copy=None, study_id=study_id, defaults={"clinic": clinic})
    report.content = merged(report.content, [one.report for one in made])
    report.residue_count = int(report.content["residue"])
    report.save(update_fields=["content", "residue_count"])
    for one in made:
        remember(policy, one.original, one.header.dicom_patient_id)


def copy_for_link(principal: Principal, studies: list[Study], link: Link) -> str:
    """Begin the copy that an anonymised link shows; return its edition. Raises `UnreviewedError`."""
    return request_copy(principal, studies, Copy.Purpose.LINK, link=link).public_id


def ready_edition(link: Link) -> str:
    """Return the edition that an anonymised link shows; raises `CopyNotReadyError` while it is being made."""
    copy = copy_of_link(link)
    if copy is None or copy.state != Copy.State.READY:
        raise CopyNotReadyError
    return copy.public_id
