"""Who a header speaks of."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from django.db import connection, transaction
from django.db.models import Q

from apps.clinics.models import Clinic
from apps.patients.models import IdentityFlag, Patient
from apps.patients.naming import fold_name, words

__all__ = [
    "Facts",
    "agrees",
    "complete",
    "create_patient",
    "flag_identity",
    "get_or_create_from",
    "lacks_facts",
    "likely_patients",
    "lock_patients",
    "pairs_in_doubt",
    "refresh_doubts",
    "search_patients",
]

MOST_SUGGESTIONS = 5
MOST_FOUND = 20


class Facts(Protocol):
    """What a header, an arrival or a form says about a person; texts are '' when it does not say."""

    @property
    def dicom_patient_id(self) -> str: ...
    @property
    def issuer_of_patient_id(self) -> str: ...
    @property
    def patient_name(self) -> str: ...
    @property
    def patient_birth_date(self) -> datetime.date | None: ...
    @property
    def patient_sex(self) -> str: ...


class StudyFacts(Facts, Protocol):
    """As `Facts`, and the study they stand in."""

    @property
    def study_instance_uid(self) -> str: ...


@dataclass(frozen=True)
class Suggestion:
    """A patient that an arrival may be of: `is_same` when number, name and birth date all say so."""

    patient: Patient
    is_same: bool
    is_same_number: bool


def get_or_create_from(clinic: Clinic, header: StudyFacts) -> Patient:
    """Return the patient that the header names, made when new; its own row, also where that was merged into another.

    Patients are told apart by issuer and PatientID within a clinic. A PatientID met with another name or another birth
    date never joins that patient: it gets a row of its own, and the contradiction is flagged for a person to decide;
    then `is_identity_in_doubt` is set on the returned patient, and the rows follow once the caller has locked them
    (`pairs_in_doubt`, `lock_patients`, `refresh_doubts`).
    Without PatientID, only the same name with the same birth date is the same person; else the study stands alone.
    Needs a transaction: two that bring one PatientID at once wait for each other.
    """
    if header.dicom_patient_id:
        return _by_patient_id(clinic, header)
    birth_date = header.patient_birth_date
    name = sorted(words(header.patient_name))
    if name and birth_date:
        return _get_or_create(clinic, header, _digest("name", *name, birth_date.isoformat()))
    return _get_or_create(clinic, header, _digest("study", header.study_instance_uid))


def create_patient(clinic: Clinic, facts: Facts) -> Patient:
    """Return a new patient because a person said so, whoever else has these facts."""
    patient = Patient(clinic=clinic, **_columns(facts))
    patient.identity_key = _digest("person", patient.public_id)
    patient.save()
    return patient


def agrees(patient: Patient, facts: Facts) -> bool:
    """Return whether nothing speaks against these facts being this patient's; what is absent contradicts nothing."""
    number, issuer = _clean(facts.dicom_patient_id, 64), _clean(facts.issuer_of_patient_id, 64)
    if number and patient.dicom_patient_id and number != patient.dicom_patient_id:
        return False
    if issuer and patient.issuer_of_patient_id and issuer != patient.issuer_of_patient_id:
        return False
    return _is_same_person(patient, facts)


def lacks_facts(patient: Patient, facts: Facts) -> bool:
    """Return whether these facts of the same patient say something that its row does not."""
    if facts.dicom_patient_id != patient.dicom_patient_id or facts.issuer_of_patient_id != patient.issuer_of_patient_id:
        return False
    return bool(
        (not patient.patient_name and facts.patient_name)
        or (patient.patient_birth_date is None and facts.patient_birth_date)
        or (not patient.patient_sex and facts.patient_sex)
    ) and _is_same_person(patient, facts)


def complete(patient: Patient, facts: Facts) -> None:
    """Fill in what the first header of a locked patient did not say and these facts do."""
    changed = []
    if not patient.patient_name and facts.patient_name:
        patient.patient_name = _clean(facts.patient_name, 324)
        patient.patient_name_folded = fold_name(patient.patient_name)[:324]
        changed += ["patient_name", "patient_name_folded"]
    if patient.patient_birth_date is None and facts.patient_birth_date:
        patient.patient_birth_date = facts.patient_birth_date
        changed.append("patient_birth_date")
    if not patient.patient_sex and facts.patient_sex:
        patient.patient_sex = _clean(facts.patient_sex, 16)
        changed.append("patient_sex")
    if changed:
        patient.save(update_fields=changed)


def lock_patients(pks: Iterable[int]) -> dict[int, Patient]:
    """Return these patients and those they were merged into, as they are now, held until the transaction ends.

    Locked in the order of their rows, before any study: whoever merges and whoever indexes take the same way. Needs a
    transaction.
    """
    wanted = set(pks)
    while True:
        try:
            with transaction.atomic():
                return _lock_all(wanted)
        except _MergedError as error:
            # The savepoint lets go of the locks: the targets' would be taken out of order.
            wanted |= error.targets


class _MergedError(Exception):
    """Some of the patients point to others that are not among those to lock."""

    def __init__(self, targets: set[int]) -> None:
        super().__init__()
        self.targets = targets


def _lock_all(pks: set[int]) -> dict[int, Patient]:
    rows = Patient.objects.select_for_update(no_key=True, of=("self",)).filter(pk__in=pks).order_by("pk")
    found = {patient.pk: patient for patient in rows.select_related("merged_into")}
    targets = {patient.merged_into_id for patient in found.values() if patient.merged_into_id is not None}
    if not targets <= pks:
        raise _MergedError(targets)
    return found


def flag_identity(one: Patient, other: Patient, reason: str, *, study_reference: str = "") -> None:
    """Note that two patients contradict each other, for somebody to look at; said once, it stays said."""
    older, younger = sorted((one, other), key=lambda patient: patient.pk)
    if older.pk != younger.pk:
        IdentityFlag.objects.get_or_create(
            clinic_id=older.clinic_id,
            patient=older,
            other=younger,
            defaults={"reason": reason, "study_reference": study_reference},
        )


def pairs_in_doubt(pks: Iterable[int]) -> set[int]:
    """Return all patients that stand in an open flag with one of these."""
    wanted = set(pks)
    if not wanted:
        return set()
    pairs = IdentityFlag.open_ones().filter(Q(first_id__in=wanted) | Q(second_id__in=wanted))
    return {pk for pair in pairs.values_list("first_id", "second_id") for pk in pair}


def refresh_doubts(pks: Iterable[int]) -> None:
    """Write down which of these locked patients somebody still has to say something about."""
    rows = Patient.objects.filter(pk__in=set(pks))
    doubtful = pairs_in_doubt(pks)
    rows.filter(pk__in=doubtful, is_identity_in_doubt=False).update(is_identity_in_doubt=True)
    rows.exclude(pk__in=doubtful).filter(is_identity_in_doubt=True).update(is_identity_in_doubt=False)


def likely_patients(facts: Facts) -> list[Suggestion]:
    """Return the patients that something may be of, the likeliest first: by number, else by name and birth date."""
    alive = Patient.objects.filter(merged_into=None)
    rows: dict[int, Patient] = {}
    if facts.dicom_patient_id:
        for patient in alive.filter(dicom_patient_id=facts.dicom_patient_id).order_by("pk")[:MOST_FOUND]:
            rows[patient.pk] = patient
        merged = Patient.objects.filter(dicom_patient_id=facts.dicom_patient_id, merged_into__isnull=False)
        for patient in merged.select_related("merged_into").order_by("pk")[:MOST_FOUND]:
            rows.setdefault(patient.current.pk, patient.current)
    name = fold_name(facts.patient_name)
    if name:
        namesakes = alive.filter(patient_name_folded=name)
        if facts.patient_birth_date:
            namesakes = namesakes.filter(patient_birth_date=facts.patient_birth_date)
        for patient in namesakes.order_by("pk")[:MOST_FOUND]:
            rows.setdefault(patient.pk, patient)
    suggestions = [
        Suggestion(
            patient,
            is_same=agrees(patient, facts) and _is_exact(patient, facts),
            is_same_number=bool(facts.dicom_patient_id) and patient.dicom_patient_id == facts.dicom_patient_id,
        )
        for patient in rows.values()
    ]
    suggestions.sort(key=lambda one: (not one.is_same, not one.is_same_number, one.patient.pk))
    return suggestions[:MOST_SUGGESTIONS]


def search_patients(typed: str, *, limit: int = MOST_FOUND) -> list[Patient]:
    """Return living patients whose number begins with what was typed, or whose name has all its words."""
    rows = Patient.objects.filter(merged_into=None)
    terms = words(typed)
    if not terms:
        return []
    found = list(rows.filter(dicom_patient_id__startswith=typed.strip()).order_by("dicom_patient_id", "pk")[:limit])
    named = rows.exclude(pk__in=[patient.pk for patient in found])
    for term in terms[:6]:
        named = named.filter(patient_name_folded__contains=term)
    return (found + list(named.order_by("patient_name_folded", "pk")[:limit]))[:limit]


def _by_patient_id(clinic: Clinic, header: StudyFacts) -> Patient:
    patient_id, issuer = _clean(header.dicom_patient_id, 64), _clean(header.issuer_of_patient_id, 64)
    _hold_number(clinic, issuer, patient_id)
    namesakes = list(
        Patient.objects.filter(clinic=clinic, dicom_patient_id=patient_id, issuer_of_patient_id=issuer)
        .select_related("merged_into")
        .order_by("pk")
    )
    agreeing = [patient for patient in namesakes if _is_same_person(patient, header)]
    exact = [patient for patient in agreeing if _is_exact(patient, header)]
    if exact:
        return exact[0]
    # A header that says less than the rows fits several of them: taking one of two people for it would be a guess.
    told_apart = len({patient.current.pk for patient in namesakes}) > 1
    likely = [patient for patient in agreeing if not told_apart or _says_the_same(patient, header)]
    if len({patient.current.pk for patient in likely}) == 1:
        return likely[0]
    birth_date = header.patient_birth_date
    key = _digest(
        "id",
        header.issuer_of_patient_id,
        header.dicom_patient_id,
        *sorted(words(header.patient_name)),
        birth_date.isoformat() if birth_date else "",
    )
    patient = _get_or_create(clinic, header, key)
    others = {row.current.pk: row.current for row in namesakes}
    for namesake in others.values():
        flag_identity(namesake, patient, IdentityFlag.Reason.PATIENT_ID)
    patient.is_identity_in_doubt = bool(others)
    return patient


def _hold_number(clinic: Clinic, issuer: str, patient_id: str) -> None:
    """Let one at a time decide whom this number names: of two that bring it with two names the second sees the first.

    SQLite writes one transaction at a time anyway.
    """
    if connection.vendor == "postgresql":
        digest = hashlib.sha256(json.dumps(["patient", clinic.pk, issuer, patient_id]).encode()).digest()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], signed=True)])


def _is_same_person(patient: Patient, facts: Facts) -> bool:
    theirs, ours = set(words(facts.patient_name)), set(words(patient.patient_name))
    if theirs and ours and theirs != ours:
        return False
    dates = {patient.patient_birth_date, facts.patient_birth_date} - {None}
    return len(dates) < 2


def _says_the_same(patient: Patient, facts: Facts) -> bool:
    """Return whether name or birth date is there on both sides; that they do not contradict is known."""
    has_name = bool(words(facts.patient_name) and words(patient.patient_name))
    return has_name or bool(facts.patient_birth_date and patient.patient_birth_date)


def _is_exact(patient: Patient, facts: Facts) -> bool:
    return (
        set(words(facts.patient_name)) == set(words(patient.patient_name))
        and patient.patient_birth_date == facts.patient_birth_date
    )


def _get_or_create(clinic: Clinic, facts: Facts, key: str) -> Patient:
    rows = Patient.objects.select_related("merged_into")
    patient, _ = rows.get_or_create(clinic=clinic, identity_key=key, defaults=_columns(facts))
    return patient


def _columns(facts: Facts) -> dict[str, object]:
    name = _clean(facts.patient_name, 324)
    return {
        "dicom_patient_id": _clean(facts.dicom_patient_id, 64),
        "issuer_of_patient_id": _clean(facts.issuer_of_patient_id, 64),
        "patient_name": name,
        "patient_name_folded": fold_name(name)[:324],
        "patient_birth_date": facts.patient_birth_date,
        "patient_sex": _clean(facts.patient_sex, 16),
    }


def _clean(text: str, length: int) -> str:
    """Return the text as a column can hold it: no NUL (PostgreSQL refuses it), no longer than the column."""
    return text.replace("\0", "")[:length]


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
