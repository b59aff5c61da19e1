"""Making a DICOM object of a document: it goes the way of everything that arrives, scan and all, into a study.

The document stays as it is and knows what was made of it; asked twice, the same object comes out, and is there once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.access.services import Principal
from apps.audit.services import record
from apps.dicom import encapsulate, limited
from apps.dicom.errors import DicomError
from apps.dicom.uid import make_uid
from apps.ingest.errors import IngestError
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import close_batch, open_batch, store_now
from apps.patients.models import Patient
from apps.storage.services import open_blob
from apps.studies.models import Document, Instance, Study

TITLE_LENGTH: Final = 64


class ConversionError(IngestError):
    """No DICOM object could be made of a document; the sentence says why."""

    code = "not-converted"

    def __init__(self, message: str | Promise) -> None:
        super().__init__(message)
        self.message = message


def may_begin_study(patient: Patient) -> bool:
    """Return whether a new study of this patient would be known as theirs: it names them, or they have a number."""
    return bool(patient.dicom_patient_id or (patient.patient_name and patient.patient_birth_date))


def make_instance(principal: Principal, document: Document, *, study: Study | None, title: str) -> Instance:
    """Make a DICOM object of a document (Encapsulated PDF, VL Photographic) in `study`, None for a new study.

    The study must be of the document's patient. Raises ConversionError and what `store_now` raises.
    """
    patient = document.owner
    if document.instance is not None:
        return document.instance
    if study is not None and study.patient_id != patient.pk:
        raise ConversionError(_("The study is of another patient."))
    if study is None and not may_begin_study(patient):
        raise ConversionError(
            _("Choose a study: without a number or a name and birth date a new one would be nobody's.")
        )
    content = _object(document, _subject(document, patient, study), title[:TITLE_LENGTH])
    batch = open_batch(principal, UploadBatch.Source.WEB)
    [outcome] = store_now(principal, batch, [[content]])
    close_batch(batch)
    if outcome.outcome == Upload.State.RECEIVED:
        raise ConversionError(_("The object waits for the virus scan. Please try again when the scanner is back."))
    instance = Instance.objects.select_related("series__study__patient").filter(
        sop_instance_uid=outcome.sop_instance_uid
    )
    made = instance.first() if outcome.outcome in (Upload.State.STORED, Upload.State.DUPLICATE) else None
    if made is None:
        raise ConversionError(outcome.message or str(_("The object could not be stored.")))
    Document.objects.filter(pk=document.pk).update(instance=made)
    reference = document.audit_reference()
    record(
        "document.converted",
        context=principal.context,
        clinic_id=principal.clinic.pk,
        object_kind=reference.kind,
        object_reference=reference.reference,
        patient_reference=reference.patient_reference,
        study_reference=made.series.study.audit_reference().study_reference,
        details={"media_type": document.media_type},
    )
    return made


def _subject(document: Document, patient: Patient, study: Study | None) -> encapsulate.Subject:
    subject = encapsulate.Subject(
        make_uid(f"{document.public_id} study"),
        dicom_patient_id=patient.dicom_patient_id,
        issuer_of_patient_id=patient.issuer_of_patient_id,
        patient_name=patient.patient_name,
        patient_birth_date=patient.patient_birth_date,
        patient_sex=patient.patient_sex,
        study_date=document.created_at.date(),
        study_time=document.created_at.time().replace(microsecond=0),
    )
    if study is None:
        return subject
    return replace(
        subject,
        study_instance_uid=study.study_instance_uid,
        study_date=study.study_date,
        study_time=study.study_time,
        study_id=study.study_id,
        accession_number=study.accession_number,
        study_description=study.study_description,
        referring_physician_name=study.referring_physician_name,
    )


def _object(document: Document, subject: encapsulate.Subject, title: str) -> bytes:
    made_at, seed = document.created_at.replace(microsecond=0), document.public_id
    try:
        with open_blob(document.blob) as file:
            if document.is_picture:
                return limited.photograph(file, subject, title=title, made_at=made_at, seed=seed)
            return encapsulate.encapsulated_pdf(file.read(), subject, title=title, made_at=made_at, seed=seed)
    except DicomError as error:
        raise ConversionError(_("This picture is damaged.")) from error
