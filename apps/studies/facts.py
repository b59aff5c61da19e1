"""What the keyring says of the blobs of instances and documents: all of the index that the files themselves do not say.

That is who the patient is by what people have decided, the public ids that links and the trail know things by, and when
something arrived. It is read by `apps.studies.rebuilding` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apps.patients.models import Patient
from apps.storage.models import Blob
from apps.storage.services import describes
from apps.studies.models import Document, Instance, Study


@describes
def describe_instances(blobs: Sequence[Blob]) -> dict[int, dict[str, Any]]:
    """Say of instances' blobs what belongs to them, by the blob's row."""
    rows = Instance.objects.filter(blob__in=blobs).select_related("series__study__patient")
    patients = _Patients()
    return {
        row.blob_id: {
            "instance": row.sop_instance_uid,
            "edition": row.edition,
            "created_at": row.created_at.isoformat(),
            "series": row.series.public_id,
            "study": _said_of_study(row.series.study),
            "patient": patients.said_of(row.series.study.patient),
        }
        for row in rows
    }


@describes
def describe_documents(blobs: Sequence[Blob]) -> dict[int, dict[str, Any]]:
    """Say of documents' blobs what belongs to them, by the blob's row."""
    rows = Document.objects.filter(blob__in=blobs).select_related("study__patient", "patient")
    patients = _Patients()
    said = {}
    for row in rows:
        said[row.blob_id] = {
            "document": row.public_id,
            "edition": "",
            "title": row.title,
            "media_type": row.media_type,
            "created_at": row.created_at.isoformat(),
            "study": _said_of_study(row.study) if row.study else None,
            "patient": patients.said_of(row.owner),
        }
    return said


def _said_of_study(study: Study) -> dict[str, str]:
    return {
        "public_id": study.public_id,
        "uid": study.study_instance_uid,
        "created_at": study.created_at.isoformat(),
        "listed_at": study.listed_at.isoformat(),
    }


class _Patients:
    """Says of a patient, once each, who it is and who was merged into it."""

    def __init__(self) -> None:
        self._said: dict[int, dict[str, Any]] = {}

    def said_of(self, patient: Patient) -> dict[str, Any]:
        if patient.pk not in self._said:
            merged = Patient.objects.filter(merged_into=patient).order_by("pk")
            self._said[patient.pk] = _columns_of(patient) | {"merged": [_columns_of(each) for each in merged]}
        return self._said[patient.pk]


def _columns_of(patient: Patient) -> dict[str, Any]:
    born = patient.patient_birth_date
    return {
        "public_id": patient.public_id,
        "identity_key": patient.identity_key,
        "dicom_patient_id": patient.dicom_patient_id,
        "issuer_of_patient_id": patient.issuer_of_patient_id,
        "patient_name": patient.patient_name,
        "patient_birth_date": born.isoformat() if born else None,
        "patient_sex": patient.patient_sex,
        "created_at": patient.created_at.isoformat(),
    }
