"""Of whom a study is: what its headers say, what people have put right since, and where the two contradict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from apps.clinics.models import Clinic
from apps.dicom.parse import Header
from apps.patients.models import IdentityFlag, Patient
from apps.patients.services import (
    agrees,
    complete,
    flag_identity,
    get_or_create_from,
    lacks_facts,
)
from apps.studies.models import CorrectedStudy, Correction, Study


def patients_named_by(clinic: Clinic, headers: Sequence[Header]) -> dict[str, Patient]:
    """Return the patient of each header by its Study Instance UID, asking once for each person."""
    by_person: dict[tuple[object, ...], Patient] = {}
    patients = {}
    # In the order of the persons, not of their studies: two workers that bring the same people must not cross.
    for header in sorted(headers, key=lambda header: (header.dicom_patient_id, header.patient_name)):
        is_anybody = not header.dicom_patient_id
        person = (
            header.dicom_patient_id,
            header.issuer_of_patient_id,
            header.patient_name,
            header.patient_birth_date,
            header.patient_sex,
            header.study_instance_uid if is_anybody else "",
        )
        if person not in by_person:
            by_person[person] = get_or_create_from(clinic, header)
        patients[header.study_instance_uid] = by_person[person]
    return patients


def contradicted(studies: Mapping[str, Study], headers: Mapping[str, Header]) -> list[Header]:
    """Return the late headers that name somebody else than the study they join is of."""
    return [headers[uid] for uid, study in studies.items() if not agrees(study.patient, headers[uid])]


def flag_contradictions(studies: Mapping[str, Study], named: Mapping[str, Patient]) -> set[int]:
    """Flag studies whose late images name other, locked patients, unless a person has put that right.

    Returns the patients that are in doubt since.
    """
    doubtful: set[int] = set()
    for uid, patient in sorted(named.items()):
        study = studies.get(uid)
        if study is None or patient.current.pk == study.patient.current.pk or _was_put_right(study, patient):
            continue
        flag_identity(study.patient.current, patient, IdentityFlag.Reason.STUDY, study_reference=study.public_id)
        doubtful |= {study.patient.current.pk, patient.current.pk}
    return doubtful


def _was_put_right(study: Study, named: Patient) -> bool:
    return CorrectedStudy.objects.filter(study=study, from_patient=named, correction__undone_at=None).exists()


def complete_patients(
    patients: Mapping[int, Patient],
    studies: Mapping[str, Study],
    named: Mapping[str, Patient],
    headers: Mapping[str, Header],
) -> bool:
    """Fill in what the locked patients' first headers did not say and these do; return whether there was any."""
    is_any = False
    pks = {uid: study.patient_id for uid, study in studies.items()} | {uid: row.pk for uid, row in named.items()}
    for uid, pk in pks.items():
        patient = patients.get(pk)
        if patient is not None and lacks_facts(patient, headers[uid]):
            complete(patient, headers[uid])
            is_any = True
    return is_any


def note_merges(studies: Mapping[str, Study], named: Mapping[str, Patient]) -> None:
    """Write new studies of a merged patient into the journal of its merges, so that undoing one takes them back too."""
    rows: list[CorrectedStudy] = []
    for uid, study in sorted(studies.items()):
        source = named.get(uid)
        if source is None or source.merged_into_id is None or study.patient_id != source.merged_into_id:
            continue
        rows += [
            CorrectedStudy(
                clinic_id=study.clinic_id,
                correction=merge,
                study=study,
                from_patient_id=merge.source_id,
                to_patient_id=merge.target_id,
            )
            for merge in _merges_from(source)
        ]
    CorrectedStudy.objects.bulk_create(rows, ignore_conflicts=True)


def _merges_from(source: Patient) -> Iterator[Correction]:
    """Yield the merges that led from this patient to the one it is now, one after the other."""
    at: int | None = source.pk
    while True:
        merge = Correction.objects.filter(kind=Correction.Kind.MERGE, source=at, undone_at=None).first()
        if merge is None:
            return
        yield merge
        at = merge.target_id
