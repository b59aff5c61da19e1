"""Anonymised copies: each an edition of its own, made instance by instance, removed when what it was for has ended."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.access.services import Principal
from apps.audit.services import Context, record
from apps.billing.errors import LimitReachedError
from apps.billing.services import Limit, reserve
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.deidentification.errors import UnreviewedError
from apps.deidentification.models import Copy, CopyItem, Policy, Report, Review
from apps.deidentification.policies import mapper_of, policy_of, remember
from apps.deidentification.reporting import merged
from apps.deidentification.reviewing import COPY_JOB, Case, case_of, decision_on, open_review, waiting_for
from apps.dicom import limited
from apps.dicom.burned_in.boxes import Box
from apps.dicom.deidentify import Mapper
from apps.dicom.errors import DicomError
from apps.dicom.limited import deidentifying
from apps.dicom.parse import Header
from apps.jobs.services import enqueue
from apps.links.models import Link
from apps.patients.models import IdentityFlag, Patient
from apps.storage.models import Blob
from apps.storage.services import adopt, destroy, open_blob, used_bytes, write_blob
from apps.studies.models import Instance, Series, Study
from apps.studies.services import index_instances

KIND: Final = "instance"
DOWNLOAD_LIFETIME: Final = timedelta(hours=24)
# One run of the job: so that many copies share the workers, and little is done twice when one dies.
RUN_INSTANCES: Final = 40
RUN_SECONDS: Final = 60.0
# How long a copy waits that the clinic's plan has no room for any more.
FULL_DELAY: Final = timedelta(minutes=10)


@dataclass(frozen=True)
class Released:
    """A de-identified file, and the original's header."""

    data: bytes
    header: Header
    report: dict[str, Any]
    original: Header


def release(data: bytes, profile_name: str, mapper: Mapper, approved: Sequence[Sequence[int]] | None) -> Released:
    """De-identify one file. `approved`: the boxes a person decided on, None where nobody did.

    Raises `NeedsReviewError` and other `DicomError`.
    """
    boxes = None if approved is None else [Box(*box) for box in approved]
    written, report = deidentifying.deidentify(io.BytesIO(data), profile_name, mapper.key, boxes)
    header = limited.parse_header(io.BytesIO(written))
    original = limited.parse_header(io.BytesIO(data))
    return Released(written, header, report, original)


def request_copy(
    principal: Principal, studies: Iterable[Study], purpose: Copy.Purpose, *, link: Link | None = None
) -> Copy:
    """Begin an anonymised copy of these studies, in the caller's transaction; a job makes it.

    Raises `UnreviewedError` when it is known already that a person has to look first, billing's `LimitReachedError`
    when the clinic's plan has no room for a second set of these images.
    """
    chosen = list(studies)
    if waiting_for(chosen).exists():
        raise UnreviewedError
    policy = policy_of(principal.clinic)
    is_link = purpose == Copy.Purpose.LINK
    with transaction.atomic():
        size = sum(study.size_bytes for study in chosen)
        reserve(principal.clinic, Limit.STORAGE_BYTES, size, used=lambda: used_bytes(principal.clinic))
        copy = Copy.objects.create(
            clinic=principal.clinic,
            purpose=purpose,
            preset=policy.link_preset if is_link else policy.download_preset,
            link=link,
            ends_at=None if is_link else timezone.now() + DOWNLOAD_LIFETIME,
            created_by=principal.user,
        )
        copy.studies.set(chosen)
        _record("copy.requested", copy, principal.context)
        enqueue(COPY_JOB, {"copy": copy.pk}, clinic=principal.clinic)
    return copy


def _record(verb: str, copy: Copy, context: Context, **details: Any) -> None:
    reference = copy.audit_reference()
    record(
        verb,
        context=context,
        clinic_id=copy.clinic_id,
        object_kind=reference.kind,
        object_reference=reference.reference,
        patient_reference=reference.patient_reference,
        study_reference=reference.study_reference,
        details={"kind": copy.purpose, "level": copy.preset} | details,
    )


@dataclass
class _Run:
    """What one run of the job made, to be written down in one transaction."""

    released: list[tuple[Instance, Released, Blob]] = field(default_factory=list)
    waiting: list[tuple[Instance, Case]] = field(default_factory=list)
    left_out: list[Instance] = field(default_factory=list)
    is_last: bool = False


def work_on(copy: Copy, *, seconds: Callable[[], float]) -> Callable[[], None] | None:
    """Make a part of a copy outside any transaction; return what writes it down. `seconds`: since the job began."""
    if copy.state not in (Copy.State.PREPARING, Copy.State.WAITING):
        return None
    policy = policy_of(copy.clinic)
    mapper = mapper_of(policy)
    run = _Run()
    todo = list(_open_instances(copy)[: RUN_INSTANCES + 1])
    begun = seconds()
    done = 0
    for instance in todo[:RUN_INSTANCES]:
        _make(copy, instance, mapper, run)
        done += 1
        if seconds() - begun > RUN_SECONDS:
            break
    run.is_last = done == len(todo)
    return lambda: _write_down(copy, policy, run)


def _open_instances(copy: Copy) -> QuerySet[Instance]:
    """Return the instances that are not in the copy yet; one that waits is open again when somebody decided."""
    decided = Review.objects.exclude(state=Review.State.WAITING).values("instance_id")
    settled = CopyItem.objects.filter(copy=copy).exclude(
        Q(state=CopyItem.State.WAITING) & Q(instance__in=decided.filter(instance__isnull=False))
    )
    rows = Instance.objects.filter(series__study__in=copy.studies.all(), blob__state=Blob.State.STORED)
    rows = rows.exclude(pk__in=settled.values("instance_id")).select_related("blob", "series__study__patient")
    return rows.defer("pixel_index").order_by("series__study_id", "series_id", "instance_number", "pk")


def _make(copy: Copy, instance: Instance, mapper: Mapper, run: _Run) -> None:
    decision = decision_on(instance.blob)
    if decision is not None and decision.state == Review.State.REFUSED:
        run.left_out.append(instance)
        return
    with open_blob(instance.blob) as file:
        data = file.read()
    try:
        made = release(data, copy.preset, mapper, decision.boxes if decision else None)
    except DicomError as error:
        if decision is not None:
            # Looked at, and still nothing that can be given away.
            run.left_out.append(instance)
        else:
            run.waiting.append((instance, case_of(data, error)))
        return
    run.released.append((instance, made, write_blob(copy.clinic, KIND, [made.data], quarantined=True)))


def _write_down(copy: Copy, policy: Policy, run: _Run) -> None:
    """Put what was made into the copy's edition, in the caller's transaction."""
    row = Copy.objects.select_for_update(of=("self",)).get(pk=copy.pk)
    if row.state not in (Copy.State.PREPARING, Copy.State.WAITING):
        destroy([blob for _, _, blob in run.released])
        return
    try:
        _reserve(row.clinic, run)
    except LimitReachedError:
        # Others took the room since it was asked for: what was made goes, and is made again when there may be some.
        destroy([blob for _, _, blob in run.released])
        enqueue(COPY_JOB, {"copy": row.pk}, clinic=row.clinic, run_after=timezone.now() + FULL_DELAY)
        return
    _index(row, run)
    for instance, case in run.waiting:
        open_review(row.clinic, instance.blob, case, instance=instance)
    states = [
        *((instance, CopyItem.State.DONE) for instance, _, _ in run.released),
        *((instance, CopyItem.State.WAITING) for instance, _ in run.waiting),
        *((instance, CopyItem.State.LEFT_OUT) for instance in run.left_out),
    ]
    for instance, state in states:
        CopyItem.objects.update_or_create(
            copy=row, instance=instance, defaults={"state": state, "clinic_id": row.clinic_id}
        )
    _report(row, run)
    for _, made, _ in run.released:
        remember(policy, made.original, made.header.dicom_patient_id)
    row.instance_count += len(run.released)
    if not run.is_last:
        enqueue(COPY_JOB, {"copy": row.pk}, clinic=row.clinic)
    elif row.items.filter(state=CopyItem.State.WAITING).exists():
        row.state = Copy.State.WAITING
    else:
        row.state, row.ready_at = Copy.State.READY, timezone.now()
        _record("copy.prepared", row, Context.system("deidentification"), instance_count=row.instance_count)
    row.save(update_fields=["state", "ready_at", "instance_count"])


def _reserve(clinic: Clinic, run: _Run) -> None:
    size = sum(blob.size_bytes for _, _, blob in run.released)
    # They count already, as all that lies in quarantine.
    reserve(clinic, Limit.STORAGE_BYTES, size, used=lambda: used_bytes(clinic) - size)


def _index(copy: Copy, run: _Run) -> None:
    if not run.released:
        return
    with clinic_scope(copy.clinic, edition=copy.public_id):
        adopt([blob for _, _, blob in run.released])
        rows = index_instances(copy.clinic, [(made.header, blob) for _, made, blob in run.released])
        unused = [blob for (_, _, blob), row in zip(run.released, rows, strict=True) if row.blob_id != blob.pk]
        for instance, made, _ in run.released:
            study = instance.series.study
            copied = Study.objects.filter(study_instance_uid=made.header.study_instance_uid, source_reference="")
            for one in copied.select_related("patient"):
                Patient.objects.filter(pk=one.patient_id).update(source_reference=study.patient.trail_reference)
                Study.objects.filter(pk=one.pk).update(source_reference=study.trail_reference)
    destroy(unused)


def _report(copy: Copy, run: _Run) -> None:
    by_study: dict[int, list[dict[str, Any]]] = {}
    for instance, made, _ in run.released:
        by_study.setdefault(instance.series.study_id, []).append(made.report)
    for study_id, reports in by_study.items():
        row, _ = Report.objects.get_or_create(copy=copy, study_id=study_id, defaults={"clinic_id": copy.clinic_id})
        row.content = merged(row.content, reports)
        row.residue_count = int(row.content["residue"])
        row.save(update_fields=["content", "residue_count"])


def copy_of_link(link: Link) -> Copy | None:
    """Return the copy that a link shows, if it was made for one."""
    return Copy.objects.filter(link=link).first()


def end_copy(copy: Copy) -> None:
    """Delete a copy's images for good; its report stays."""
    with transaction.atomic():
        row = Copy.objects.select_for_update(of=("self",)).get(pk=copy.pk)
        if row.state == Copy.State.ENDED:
            return
        with clinic_scope(row.clinic, edition=row.public_id):
            _empty_edition()
        row.items.all().delete()
        row.state = Copy.State.ENDED
        row.save(update_fields=["state"])
        _record("copy.ended", row, Context.system("deidentification"))


def _empty_edition() -> None:
    blobs = set(Instance.objects.values_list("blob_id", flat=True))
    for name in ("metadata_blob_id", "thumbnail_blob_id"):
        blobs |= set(Series.objects.exclude(**{name: None}).values_list(name, flat=True))
    # The index first: rows protect the blobs they name.
    Instance.objects.all().delete()
    Series.objects.all().delete()
    Study.objects.all().delete()
    patients = list(Patient.objects.values_list("pk", flat=True))
    IdentityFlag.objects.filter(Q(patient__in=patients) | Q(other__in=patients)).delete()
    Patient.objects.all().delete()
    destroy(Blob.objects.filter(pk__in=blobs))


def ended_copies(clinic: Clinic) -> QuerySet[Copy]:
    """Return the copies whose link or time has ended."""
    now = timezone.now()
    gone = Q(ends_at__lte=now) | Q(link__revoked_at__isnull=False) | Q(link__expires_at__lte=now)
    return Copy.objects.filter(gone, clinic=clinic).exclude(state=Copy.State.ENDED).select_related("clinic")
