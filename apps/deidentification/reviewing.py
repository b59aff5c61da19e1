"""What only a person can release: put in a queue, shown frame by frame, decided."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.access.services import Principal
from apps.audit.services import record
from apps.clinics.models import Clinic
from apps.deidentification.errors import DecisionRefusedError
from apps.deidentification.models import Copy, CopyItem, Review
from apps.dicom import limited
from apps.dicom.burned_in.boxes import Box
from apps.dicom.deidentify import NeedsReviewError
from apps.dicom.errors import DicomError
from apps.dicom.limited import deidentifying
from apps.dicom.parse import Header
from apps.jobs.services import enqueue
from apps.storage.models import Blob
from apps.storage.services import open_blob
from apps.studies.models import Instance, Study
from apps.studies.services import visible

COPY_JOB: Final = "deidentification.copy"
# Who brings files in takes up again what waited in quarantine; the room above registers what does this.
RESUME_JOB: Final = "ingest.process"
MAX_BOXES: Final = 500
FRAME_SIZE: Final = (1600, 1600)


@dataclass(frozen=True)
class Case:
    """What is put before a person."""

    reasons: tuple[str, ...]
    proposed: tuple[Box, ...]
    header: Header | None


def case_of(data: bytes, error: DicomError) -> Case:
    """Gather what a person needs to decide about an instance that was not released: reasons and proposed boxes."""
    reasons = [str(error.reason) if isinstance(error, NeedsReviewError) else str(error.code)]
    try:
        header = limited.parse_header(io.BytesIO(data))
        proposal = deidentifying.propose(io.BytesIO(data))
    except DicomError:
        return Case(tuple(reasons), (), None)
    reasons += [doubt.value for doubt in proposal.doubts if doubt.value not in reasons]
    return Case(tuple(reasons), proposal.boxes, header)


def open_review(
    clinic: Clinic, blob: Blob, case: Case, *, instance: Instance | None = None, upload_id: int | None = None
) -> Review:
    """Put an instance in the queue; one that is there already stays as it is."""
    header = case.header
    has_frames = header is not None and header.has_pixels and not _is_video(header)
    review, _ = Review.objects.get_or_create(
        blob=blob,
        defaults={
            "clinic": clinic,
            "instance": instance,
            "upload_id": upload_id,
            "reasons": list(case.reasons),
            "proposed": [list(box) for box in case.proposed],
            "boxes": [list(box) for box in case.proposed],
            "rows": (header.rows or 0) if header else 0,
            "columns": (header.columns or 0) if header else 0,
            "number_of_frames": header.number_of_frames if header and has_frames else 0,
            "modality": header.modality[:16] if header else "",
        },
    )
    return review


def _is_video(header: Header) -> bool:
    return header.pixels is None or header.pixels.layout.value in ("stream", "unmapped")


def reviews_seen_by(principal: Principal) -> QuerySet[Review]:
    """Return the reviews of studies that the principal may see; what waits before storage is for the whole clinic."""
    rows = Review.objects.select_related("instance__series__study__patient", "blob", "decided_by")
    if principal.is_limited:
        return rows.filter(instance__isnull=False).filter(visible(principal, "instance__series__study__"))
    return rows


def waiting_for(studies: Sequence[Study]) -> QuerySet[Review]:
    """Return the open reviews of these studies."""
    return Review.objects.filter(instance__series__study__in=list(studies), state=Review.State.WAITING)


def frame_picture(review: Review, number: int) -> bytes:
    """Return a frame (from 1) as JPEG at its own size, at most 1600 pixels a side; raises `DicomError`.

    Pixels stay as they lie in the file: boxes are in its coordinates.
    """
    with open_blob(review.blob) as file:
        return limited.rendered(file, number, size=frame_size(review))


def frame_size(review: Review) -> tuple[int, int]:
    """Return the width and height at which frames are shown."""
    scale = min(1.0, FRAME_SIZE[0] / max(1, review.columns), FRAME_SIZE[1] / max(1, review.rows))
    return max(1, round(review.columns * scale)), max(1, round(review.rows * scale))


def decide(principal: Principal, review: Review, *, is_approved: bool, boxes: Sequence[Sequence[int]] = ()) -> None:
    """Write down what a person decided: clean these boxes in every frame and release, or leave it out of all copies.

    Copies that waited for it go on; so does an upload. Raises `DecisionRefusedError`.
    """
    chosen = [Box(*map(int, box)).within(review.columns, review.rows) for box in boxes]
    if is_approved and (not review.can_be_cleaned or len(chosen) > MAX_BOXES):
        raise DecisionRefusedError
    with transaction.atomic():
        row = Review.objects.select_for_update(of=("self",)).get(pk=review.pk)
        row.state = Review.State.APPROVED if is_approved else Review.State.REFUSED
        row.boxes = [list(box) for box in chosen if box.area] if is_approved else []
        row.decided_at, row.decided_by = timezone.now(), principal.user
        row.save(update_fields=["state", "boxes", "decided_at", "decided_by"])
        reference = review.audit_reference()
        record(
            "review.approved" if is_approved else "review.refused",
            context=principal.context,
            clinic_id=principal.clinic.pk,
            object_kind=reference.kind,
            object_reference=reference.reference,
            patient_reference=reference.patient_reference,
            study_reference=reference.study_reference,
            details={"region_count": len(row.boxes)},
        )
        _go_on(row, principal.clinic)


def _go_on(review: Review, clinic: Clinic) -> None:
    if review.upload_id is not None and review.instance is None:
        enqueue(RESUME_JOB, {"upload_ids": [review.upload_id]}, clinic=clinic)
    if review.instance is None:
        return
    # A decision that is changed later does not reach into copies that are done: they are made anew with the next link.
    items = CopyItem.objects.filter(instance=review.instance, state=CopyItem.State.WAITING)
    waiting = Copy.objects.filter(Q(pk__in=items.values("copy_id")), state=Copy.State.WAITING)
    for copy in waiting.order_by("pk"):
        enqueue(COPY_JOB, {"copy": copy.pk}, clinic=clinic)


def decision_on(blob: Blob) -> Review | None:
    """Return what a person decided about these bytes, or None."""
    return Review.objects.filter(blob=blob).exclude(state=Review.State.WAITING).first()
