"""The index from the blobs alone: when the database is lost, or older than what the places hold.

The keyring gives the blobs their rows and keys (`apps.storage.rebuilding`), the files say what they are, and what
people have decided since stands in the keyring beside the keys. Users, links and the trail are not in it: those come
from a copy of the database, if there is one. Whatever the database has already is left as it is.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from apps.billing.services import subscribe_default
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.dicom.errors import DicomError
from apps.dicom.parse import Header, parse_header
from apps.patients.models import Patient
from apps.patients.naming import fold_name
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.rebuilding import Found, Keyring
from apps.storage.services import adopt_pages, open_blob, read_keyring, remember_erasure, restore_blobs, restore_clinics
from apps.studies.indexing import index_instances
from apps.studies.models import Document, Series, Study

log = logging.getLogger(__name__)


@dataclass
class Rebuilt:
    """What came back, and what did not."""

    clinics: list[Clinic] = field(default_factory=list)
    """New ones: nobody can sign in to them yet."""
    instance_count: int = 0
    document_count: int = 0
    other_count: int = 0
    """Blobs that no index entry is known of: kept, with their keys."""
    lost: list[str] = field(default_factory=list)
    """Public ids of blobs whose bytes no place has."""
    unreadable: list[str] = field(default_factory=list)
    """Public ids of blobs that do not open or are no longer what they were, and names of such pages."""
    erased_count: int = 0
    """What is in copies of the keyring and stays destroyed."""


def rebuild() -> Iterator[Rebuilt]:
    """Bring back all that is missing; yield what there is so far after each batch.

    Raises KeyUnavailableError under another master key, PlaceUnavailableError if a place does not answer, ValueError if
    the database belongs to another installation. Broken off, the next call goes on.
    """
    keyring = read_keyring()
    result = Rebuilt(erased_count=keyring.erased_blob_count, unreadable=list(keyring.unreadable))
    result.clinics = restore_clinics(keyring)
    for clinic in result.clinics:
        subscribe_default(clinic, clinic.locale)
    with every_clinic():
        clinics = list(Clinic.objects.filter(pk__in=keyring.clinics).order_by("pk"))
    for clinic in clinics:
        with clinic_scope(clinic):
            yield from _rebuild_clinic(clinic, keyring, result)
    adopt_pages(keyring)
    yield result


def _rebuild_clinic(clinic: Clinic, keyring: Keyring, result: Rebuilt) -> Iterator[Rebuilt]:
    for entry in keyring.erased:
        if entry.clinic == clinic.pk:
            remember_erasure(entry)
    documents: list[Found] = []
    for batch in restore_blobs(clinic, keyring, result.lost):
        instances = [found for found in batch if found.facts.get("instance") and found.facts["edition"] == ""]
        papers = [found for found in batch if found.facts.get("document")]
        result.other_count += len(batch) - len(instances) - len(papers)
        documents += papers
        result.instance_count += _index(clinic, instances, result.unreadable)
        yield result
    for found in documents:
        _restore_document(clinic, found)
        result.document_count += 1
    yield result


def _index(clinic: Clinic, batch: Sequence[Found], unreadable: list[str]) -> int:
    read: list[tuple[Header, Blob]] = []
    said: dict[str, dict[str, Any]] = {}
    series: dict[tuple[str, str], str] = {}
    for found in batch:
        try:
            with open_blob(found.blob) as file:
                header = parse_header(file)
        except (StorageError, DicomError) as error:
            log.error("a blob cannot be indexed", extra={"code": error.code})
            unreadable.append(found.blob.public_id)
            continue
        read.append((header, found.blob))
        said.setdefault(header.study_instance_uid, found.facts)
        series.setdefault((header.study_instance_uid, header.series_instance_uid), found.facts["series"])
    with transaction.atomic():
        here = set(Study.objects.filter(study_instance_uid__in=said).values_list("study_instance_uid", flat=True))
        known_series = set(
            Series.objects.filter(study__study_instance_uid__in=said).values_list(
                "study__study_instance_uid", "series_instance_uid"
            )
        )
        patients = {uid: _patient(clinic, facts["patient"]) for uid, facts in said.items() if uid not in here}
        rows = index_instances(clinic, read, patients=patients)
        for uid in patients:
            _name_again(uid, said[uid]["study"])
        for (study_uid, series_uid), public_id in series.items():
            if (study_uid, series_uid) not in known_series:
                fresh = Series.objects.filter(study__study_instance_uid=study_uid, series_instance_uid=series_uid)
                if not Series.objects.filter(public_id=public_id).exists():
                    fresh.update(public_id=public_id)
    return sum(row.blob_id == blob.pk for row, (_, blob) in zip(rows, read, strict=True))


def _name_again(uid: str, said: dict[str, str]) -> None:
    """Give a study the names and times by which links and the trail know it."""
    Study.objects.filter(study_instance_uid=uid).update(
        public_id=said["public_id"],
        created_at=datetime.datetime.fromisoformat(said["created_at"]),
        listed_at=datetime.datetime.fromisoformat(said["listed_at"]),
    )


def _patient(clinic: Clinic, said: dict[str, Any]) -> Patient:
    """Return the patient that the keyring names, with those who were merged into it, made where they are missing."""
    patient = _one_patient(clinic, said, None)
    for merged in said.get("merged", []):
        _one_patient(clinic, merged, patient)
    return patient


def _one_patient(clinic: Clinic, said: dict[str, Any], into: Patient | None) -> Patient:
    present = Patient.objects.filter(public_id=said["public_id"]).first()
    # Whoever arrived meanwhile in the same name is the same person to everything that arrives.
    present = present or Patient.objects.filter(identity_key=said["identity_key"]).first()
    if present is not None:
        return present.current
    born = said["patient_birth_date"]
    return Patient.objects.create(
        clinic=clinic,
        public_id=said["public_id"],
        identity_key=said["identity_key"],
        dicom_patient_id=said["dicom_patient_id"],
        issuer_of_patient_id=said["issuer_of_patient_id"],
        patient_name=said["patient_name"],
        patient_name_folded=fold_name(said["patient_name"])[:324],
        patient_birth_date=datetime.date.fromisoformat(born) if born else None,
        patient_sex=said["patient_sex"],
        merged_into=into,
        created_at=datetime.datetime.fromisoformat(said["created_at"]),
    )


def _restore_document(clinic: Clinic, found: Found) -> None:
    facts = found.facts
    if Document.objects.filter(public_id=facts["document"]).exists():
        return
    study = facts["study"] and Study.objects.filter(public_id=facts["study"]["public_id"]).first()
    Document.objects.create(
        clinic=clinic,
        public_id=facts["document"],
        # A study that had nothing but documents is not remade: they belong to its patient then.
        study=study or None,
        patient=None if study else _patient(clinic, facts["patient"]),
        blob=found.blob,
        title=facts["title"],
        media_type=facts["media_type"],
        created_at=datetime.datetime.fromisoformat(facts["created_at"]),
    )
