"""What came by upload requests: parked by the pipeline, assigned to a patient by a person, or refused and destroyed.

A file in the inbox is a quarantined upload that the pipeline has examined and set aside. It is in no study, no search
and no viewer. Assigning puts the same uploads back into the pipeline with the patient decided; refusing destroys them
with their keys. Either way the row that they belong to says who decided, and stays.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.access.services import Principal
from apps.audit.services import Context, record
from apps.dicom.parse import Header
from apps.ingest.errors import IngestError
from apps.ingest.ledger import PROCESS
from apps.ingest.models import Upload, UploadBatch, UploadRequest, WaitingStudy
from apps.ingest.requests import tell_arrival
from apps.jobs.services import enqueue
from apps.patients.models import Patient
from apps.patients.naming import words
from apps.patients.services import Facts, create_patient
from apps.storage import services as storage
from apps.studies.models import Study

State = WaitingStudy.State

FILES_A_JOB: Final = 50
PREVIEWS: Final = 8


class AlreadySettledError(IngestError):
    """Somebody has decided about this arrival meanwhile."""

    code = "already-settled"
    message = _("Somebody has decided about this meanwhile.")
    status = 409


class OtherPatientError(IngestError):
    """The study is here already, with another patient."""

    code = "other-patient"
    message = _("This study is here already, and it is another patient's. Move the study first, or assign it there.")
    status = 409


class Parked(Protocol):
    """What the pipeline hands over: an examined upload with its header."""

    upload: Upload
    header: Header | None

    @property
    def is_new_instance(self) -> bool: ...
    def conclude(self, state: str, code: str = "", message: str = "") -> object: ...


def park(batch: UploadBatch, findings: Sequence[Parked]) -> None:
    """Set aside what a request's batch has brought and nobody has decided about, in the caller's transaction."""
    groups: defaultdict[str, list[Parked]] = defaultdict(list)
    for finding in findings:
        if finding.header is not None and finding.is_new_instance and waits(finding.upload):
            groups[_identity(finding.header)].append(finding)
    if not groups or batch.request is None:
        return
    for key in sorted(groups):
        _park_study(batch.request, key, groups[key])
    tell_arrival(batch.request)


def waits(upload: Upload) -> bool:
    """Return whether this came by an upload request and nobody has said yet whose it is."""
    return upload.batch.request_id is not None and not is_assigned(upload)


def is_assigned(upload: Upload) -> bool:
    """Return whether a person has said whose this is, so that the pipeline may store it."""
    return upload.arrival is not None and upload.arrival.state == State.ASSIGNED


def patients_of(uploads: Iterable[Upload]) -> dict[str, Patient]:
    """Return the patients that were chosen for assigned uploads, by Study Instance UID."""
    chosen = {}
    for upload in uploads:
        arrival = upload.arrival
        if arrival is not None and arrival.state == State.ASSIGNED and arrival.patient is not None:
            chosen[arrival.study_instance_uid] = arrival.patient
    return chosen


def context_of(upload: Upload) -> Context:
    """Return in whose name an upload is settled: of who assigned it, else of who brought it."""
    arrival = upload.arrival
    if arrival is None or arrival.settled_by is None:
        return upload.batch.context
    user = arrival.settled_by
    return Context("user", user.public_id, user_id=user.pk, user_email=user.email)


def waiting(principal: Principal) -> QuerySet[WaitingStudy]:
    """Return what waits for a decision, the oldest first."""
    rows = WaitingStudy.objects.filter(clinic=principal.clinic, state=State.WAITING)
    return rows.select_related("request__link__created_by").order_by("created_at", "pk")


def settled(principal: Principal) -> QuerySet[WaitingStudy]:
    """Return what was decided about, the newest decision first."""
    rows = WaitingStudy.objects.filter(clinic=principal.clinic).exclude(state=State.WAITING)
    return rows.select_related("request__link", "patient__merged_into", "settled_by").order_by("-settled_at", "-pk")


def study_here(arrival: WaitingStudy) -> Study | None:
    """Return the study with this UID that the clinic has already: then the arrival can only be its patient's."""
    rows = Study.objects.filter(study_instance_uid=arrival.study_instance_uid)
    return rows.select_related("patient__merged_into").first()


def previews(arrival: WaitingStudy) -> list[Upload]:
    """Return a few of an arrival's files, spread over all of them, to look at."""
    rows = Upload.objects.filter(arrival=arrival, blob__isnull=False).order_by("pk")
    count = rows.count()
    step = max(1, count // PREVIEWS)
    return list(rows.select_related("blob")[: step * PREVIEWS : step])


def assign(principal: Principal, arrival: WaitingStudy, patient: Patient) -> None:
    """Say whose an arrival is; its files are stored by the pipeline from here on, as this patient's.

    Raises AlreadySettledError, OtherPatientError. The same decision once more changes nothing.
    """
    with transaction.atomic():
        row = _locked(arrival)
        patient = Patient.objects.select_related("merged_into").get(pk=patient.pk).current
        if row.state == State.ASSIGNED and row.patient_id == patient.pk:
            return
        if row.state != State.WAITING:
            raise AlreadySettledError
        here = study_here(row)
        if here is not None and here.patient_id != patient.pk:
            raise OtherPatientError
        _settle(principal, row, State.ASSIGNED, patient)
        ids = list(
            Upload.objects.filter(arrival=row, state=Upload.State.WAITING).order_by("pk").values_list("pk", flat=True)
        )
        Upload.objects.filter(arrival=row, state=Upload.State.WAITING).update(
            state=Upload.State.RECEIVED, code="", message="", finished_at=None
        )
        for start in range(0, len(ids), FILES_A_JOB):
            enqueue(PROCESS, {"upload_ids": ids[start : start + FILES_A_JOB]}, clinic=principal.clinic)
        record(
            "arrival.assigned",
            context=principal.context,
            clinic_id=row.clinic_id,
            object_kind="arrival",
            object_reference=row.public_id,
            patient_reference=patient.public_id,
            details={"file_count": len(ids), "link_reference": row.request.link.public_id},
        )


def assign_new(principal: Principal, arrival: WaitingStudy, facts: Facts) -> None:
    """Say that an arrival is of somebody new, with these facts. Errors as `assign`; nobody is made then."""
    with transaction.atomic():
        assign(principal, arrival, create_patient(principal.clinic, facts))


def reject(principal: Principal, arrival: WaitingStudy) -> None:
    """Refuse an arrival: its bytes are destroyed with their keys, its record stays. Raises AlreadySettledError."""
    with transaction.atomic():
        row = _locked(arrival)
        if row.state == State.REJECTED:
            return
        if row.state != State.WAITING:
            raise AlreadySettledError
        _settle(principal, row, State.REJECTED, None)
        uploads = list(Upload.objects.filter(arrival=row).select_related("blob"))
        blobs = [upload.blob for upload in uploads if upload.blob is not None]
        Upload.objects.filter(arrival=row).update(
            state=Upload.State.REJECTED, code="not-wanted", message="", blob=None, finished_at=timezone.now()
        )
        storage.destroy(blobs)
        # Who they were has no place here any more, either.
        WaitingStudy.objects.filter(pk=row.pk).update(
            patient_name="", dicom_patient_id="", issuer_of_patient_id="", patient_birth_date=None, patient_sex="",
            study_description="",
        )  # fmt: skip
        record(
            "arrival.rejected",
            context=principal.context,
            clinic_id=row.clinic_id,
            object_kind="arrival",
            object_reference=row.public_id,
            details={"file_count": len(uploads), "link_reference": row.request.link.public_id},
        )


def _park_study(request: UploadRequest, key: str, findings: Sequence[Parked]) -> None:
    header = findings[0].header
    assert header is not None  # noqa: S101  # `park` groups by it
    row, _is_new = WaitingStudy.objects.get_or_create(
        clinic_id=request.clinic_id,
        request=request,
        identity_key=key,
        state=State.WAITING,
        defaults=_facts(header),
    )
    row = WaitingStudy.objects.select_for_update(no_key=True).get(pk=row.pk)
    if row.state != State.WAITING:
        # It was decided about between the two statements: what comes now waits anew.
        row = WaitingStudy.objects.create(
            clinic_id=request.clinic_id, request=request, identity_key=key, **_facts(header)
        )
    modalities = {finding.header.modality for finding in findings if finding.header} | set(row.modalities.split("\\"))
    WaitingStudy.objects.filter(pk=row.pk).update(
        file_count=F("file_count") + len(findings),
        size_bytes=F("size_bytes") + sum(finding.upload.size_bytes for finding in findings),
        modalities="\\".join(sorted(modality[:16] for modality in modalities if modality))[:200],
    )
    for finding in findings:
        finding.upload.arrival = row
        finding.conclude(Upload.State.WAITING)


def _facts(header: Header) -> dict[str, object]:
    def text(value: str, length: int) -> str:
        return value.replace("\0", "")[:length]

    return {
        "study_instance_uid": header.study_instance_uid,
        "study_date": header.study_date,
        "study_description": text(header.study_description, 64),
        "dicom_patient_id": text(header.dicom_patient_id, 64),
        "issuer_of_patient_id": text(header.issuer_of_patient_id, 64),
        "patient_name": text(header.patient_name, 324),
        "patient_birth_date": header.patient_birth_date,
        "patient_sex": text(header.patient_sex, 16),
    }


def _identity(header: Header) -> str:
    birth_date = header.patient_birth_date
    parts = [
        header.study_instance_uid,
        header.dicom_patient_id,
        header.issuer_of_patient_id,
        *sorted(words(header.patient_name)),
        birth_date.isoformat() if birth_date else "",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _locked(arrival: WaitingStudy) -> WaitingStudy:
    rows = WaitingStudy.objects.select_for_update(no_key=True, of=("self",)).select_related("request__link")
    return rows.get(pk=arrival.pk)


def _settle(principal: Principal, row: WaitingStudy, state: str, patient: Patient | None) -> None:
    row.state, row.patient = state, patient
    row.settled_at, row.settled_by = timezone.now(), principal.user
    row.save(update_fields=["state", "patient", "settled_at", "settled_by"])
