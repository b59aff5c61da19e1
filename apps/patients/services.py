"""Who a header speaks of."""

from __future__ import annotations

import hashlib
import json

from apps.clinics.models import Clinic
from apps.dicom.parse import Header
from apps.patients.models import Patient
from apps.patients.naming import fold_name, words

__all__ = ["get_or_create_from"]


def get_or_create_from(clinic: Clinic, header: Header) -> Patient:
    """Return the patient that the header names, made when new; facts that were missing so far are filled in.

    Patients are told apart by issuer and PatientID within a clinic. A PatientID met with another name or another birth
    date never joins that patient: it gets a row of its own, and all rows of that PatientID are flagged as in doubt.
    Without PatientID, only the same name with the same birth date is the same person; else the study stands alone.
    """
    if header.dicom_patient_id:
        return _by_patient_id(clinic, header)
    birth_date = header.patient_birth_date
    name = sorted(words(header.patient_name))
    if name and birth_date:
        return _get_or_create(clinic, header, _digest("name", *name, birth_date.isoformat()))
    return _get_or_create(clinic, header, _digest("study", header.study_instance_uid))


def _by_patient_id(clinic: Clinic, header: Header) -> Patient:
    patient_id, issuer = _clean(header.dicom_patient_id, 64), _clean(header.issuer_of_patient_id, 64)
    namesakes = list(
        Patient.objects.filter(clinic=clinic, dicom_patient_id=patient_id, issuer_of_patient_id=issuer).order_by("pk")
    )
    for patient in namesakes:
        if _agrees(patient, header):
            return _complete(patient, header)
    birth_date = header.patient_birth_date
    key = _digest(
        "id",
        header.issuer_of_patient_id,
        header.dicom_patient_id,
        *sorted(words(header.patient_name)),
        birth_date.isoformat() if birth_date else "",
    )
    patient = _get_or_create(clinic, header, key, is_identity_in_doubt=bool(namesakes))
    if namesakes:
        doubtful = Patient.objects.filter(clinic=clinic, pk__in=[row.pk for row in namesakes])
        doubtful.filter(is_identity_in_doubt=False).update(is_identity_in_doubt=True)
    return patient


def _agrees(patient: Patient, header: Header) -> bool:
    """Return whether nothing in the header speaks against this patient; what is absent contradicts nothing."""
    theirs, ours = set(words(header.patient_name)), set(words(patient.patient_name))
    if theirs and ours and theirs != ours:
        return False
    dates = {patient.patient_birth_date, header.patient_birth_date} - {None}
    return len(dates) < 2


def _complete(patient: Patient, header: Header) -> Patient:
    changed = []
    if not patient.patient_name and header.patient_name:
        patient.patient_name = _clean(header.patient_name, 324)
        patient.patient_name_folded = fold_name(patient.patient_name)[:324]
        changed += ["patient_name", "patient_name_folded"]
    if patient.patient_birth_date is None and header.patient_birth_date:
        patient.patient_birth_date = header.patient_birth_date
        changed.append("patient_birth_date")
    if not patient.patient_sex and header.patient_sex:
        patient.patient_sex = _clean(header.patient_sex, 16)
        changed.append("patient_sex")
    if changed:
        patient.save(update_fields=changed)
    return patient


def _get_or_create(clinic: Clinic, header: Header, key: str, *, is_identity_in_doubt: bool = False) -> Patient:
    name = _clean(header.patient_name, 324)
    patient, _ = Patient.objects.get_or_create(
        clinic=clinic,
        identity_key=key,
        defaults={
            "dicom_patient_id": _clean(header.dicom_patient_id, 64),
            "issuer_of_patient_id": _clean(header.issuer_of_patient_id, 64),
            "patient_name": name,
            "patient_name_folded": fold_name(name)[:324],
            "patient_birth_date": header.patient_birth_date,
            "patient_sex": _clean(header.patient_sex, 16),
            "is_identity_in_doubt": is_identity_in_doubt,
        },
    )
    return patient


def _clean(text: str, length: int) -> str:
    """Return the text as a column can hold it: no NUL (PostgreSQL refuses it), no longer than the column."""
    return text.replace("\0", "")[:length]


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
