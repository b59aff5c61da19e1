"""The door of the de-identification room."""

from __future__ import annotations

from apps.access.services import Principal
from apps.deidentification.copying import Released, copy_of_link, end_copy, release, request_copy
from apps.deidentification.errors import CopyNotReadyError, UnreviewedError
from apps.deidentification.models import Copy, Policy, Report, Review
from apps.deidentification.policies import choose, identity_behind, ingest_preset, mapper_of, policy_of, remember
from apps.deidentification.reporting import merged
from apps.deidentification.reviewing import (
    RESUME_JOB,
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
    "request_copy",
    "reviews_seen_by",
    "waiting_for",
]


def copy_for_link(principal: Principal, studies: list[Study], link: Link) -> str:
    """Begin the copy that an anonymised link shows; return its edition. Raises `UnreviewedError`."""
    return request_copy(principal, studies, Copy.Purpose.LINK, link=link).public_id


def ready_edition(link: Link) -> str:
    """Return the edition that an anonymised link shows; raises `CopyNotReadyError` while it is being made."""
    copy = copy_of_link(link)
    if copy is None or copy.state != Copy.State.READY:
        raise CopyNotReadyError
    return copy.public_id
