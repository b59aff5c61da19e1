"""What a study is found by: the patient's columns it copies, and its terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from django.db.models import F

from apps.clinics.models import Clinic
from apps.patients.naming import search_terms
from apps.studies.models import Study, StudyTerm

BATCH: Final = 500


def write_search_columns(studies: Sequence[Study]) -> None:
    """Write what new studies are found by; their patients are loaded."""
    if not studies:
        return
    terms = []
    behind = []
    for study in studies:
        patient = study.patient
        columns = (patient.patient_name_folded, patient.dicom_patient_id)
        if columns != (study.patient_name_folded, study.dicom_patient_id):
            study.patient_name_folded, study.dicom_patient_id = columns
            behind.append(study)
        words = search_terms(patient.patient_name, patient.dicom_patient_id, study.accession_number)
        terms += [StudyTerm(clinic_id=study.clinic_id, study=study, term=word) for word in sorted(words)]
    Study.objects.bulk_update(behind, ["patient_name_folded", "dicom_patient_id"], batch_size=BATCH)
    StudyTerm.objects.insert_missing(terms)


def rewrite_search_columns(studies: Sequence[Study]) -> None:
    """Write it anew for studies that were found by something else so far."""
    StudyTerm.objects.filter(study__in=studies).delete()
    write_search_columns(studies)


def follow_patients(clinic: Clinic, patient_pks: Iterable[int]) -> None:
    """Let studies be found by the name that their patient has got since."""
    rows = Study.objects.filter(clinic=clinic, patient__in=list(patient_pks)).select_related("patient")
    rewrite_search_columns(list(rows.exclude(patient_name_folded=F("patient__patient_name_folded"))))
