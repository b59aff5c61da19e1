import threading
import time

import pytest
from django.db import connection, transaction

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.patients.models import Patient
from apps.patients.services import complete, get_or_create_from, lacks_facts, lock_patients, pairs_in_doubt
from tests.studies.files import header


def test_the_same_person_is_found_again(in_clinic_a: Clinic) -> None:
    first = get_or_create_from(in_clinic_a, header())
    again = get_or_create_from(in_clinic_a, header(study="another", PatientName="MÜLLER^JÖRG"))
    assert again.pk == first.pk
    assert not again.is_identity_in_doubt


@pytest.mark.parametrize("other", [{"PatientName": "Schmidt^Anna"}, {"PatientBirthDate": "19810704"}])
def test_one_patient_id_with_two_people_is_kept_apart_and_flagged(in_clinic_a: Clinic, other: dict[str, str]) -> None:
    first = get_or_create_from(in_clinic_a, header())
    second = get_or_create_from(in_clinic_a, header(study="another", **other))
    assert second.pk != first.pk
    assert second.is_identity_in_doubt
    assert pairs_in_doubt([second.pk]) == {first.pk, second.pk}


def test_both_people_of_one_patient_id_are_found_again(in_clinic_a: Clinic) -> None:
    first = get_or_create_from(in_clinic_a, header())
    second = get_or_create_from(in_clinic_a, header(PatientName="Schmidt^Anna"))
    assert get_or_create_from(in_clinic_a, header(study="third")).pk == first.pk
    assert get_or_create_from(in_clinic_a, header(study="third", PatientName="Schmidt^Anna")).pk == second.pk


def test_what_is_absent_contradicts_nothing_and_is_filled_in_later(in_clinic_a: Clinic) -> None:
    first = get_or_create_from(in_clinic_a, header(PatientName="", PatientBirthDate="", PatientSex=""))
    later = header(study="another")
    again = get_or_create_from(in_clinic_a, later)
    assert again.pk == first.pk
    assert lacks_facts(again, later)
    complete(again, later)
    again.refresh_from_db()
    assert not lacks_facts(again, later)
    assert (again.patient_name, again.patient_name_folded, again.patient_sex) == ("Müller^Jörg", "muller^jorg", "M")
    assert again.patient_birth_date is not None
    assert not again.is_identity_in_doubt


def test_issuers_of_one_number_are_different_people(in_clinic_a: Clinic) -> None:
    first = get_or_create_from(in_clinic_a, header(IssuerOfPatientID="North"))
    second = get_or_create_from(in_clinic_a, header(IssuerOfPatientID="South", PatientName="Schmidt^Anna"))
    assert first.pk != second.pk
    assert not second.is_identity_in_doubt


def test_without_patient_id_name_and_birth_date_make_a_person(in_clinic_a: Clinic) -> None:
    first = get_or_create_from(in_clinic_a, header(PatientID=""))
    assert get_or_create_from(in_clinic_a, header(PatientID="", study="another")).pk == first.pk
    assert get_or_create_from(in_clinic_a, header(PatientID="", PatientBirthDate="19810704")).pk != first.pk


@pytest.mark.parametrize("known", [{}, {"PatientName": "Müller^Jörg"}, {"PatientBirthDate": "19700131"}])
def test_an_empty_patient_id_never_makes_one_of_two(in_clinic_a: Clinic, known: dict[str, str]) -> None:
    facts = {"PatientID": "", "PatientName": "", "PatientBirthDate": ""} | known
    first = get_or_create_from(in_clinic_a, header(**facts))
    assert get_or_create_from(in_clinic_a, header(study="another", **facts)).pk != first.pk
    assert get_or_create_from(in_clinic_a, header("ct2", **facts)).pk == first.pk


def test_one_patient_id_in_two_clinics_is_two_patients_AUTHZ_05(clinic_a: Clinic, clinic_b: Clinic) -> None:
    with clinic_scope(clinic_a):
        first = get_or_create_from(clinic_a, header())
    with clinic_scope(clinic_b):
        second = get_or_create_from(clinic_b, header())
        assert Patient.objects.count() == 1
    assert first.pk != second.pk
    assert not second.is_identity_in_doubt


def test_a_name_of_any_length_is_kept_as_far_as_it_fits(in_clinic_a: Clinic) -> None:
    patient = get_or_create_from(in_clinic_a, header(PatientName="x" * 2000))
    patient.refresh_from_db()
    assert len(patient.patient_name) == 324


@pytest.mark.django_db(transaction=True)
def test_whoever_locks_a_merged_patient_takes_the_older_row_first(clinic_a: Clinic) -> None:
    """One who holds the older row can go on to the younger: who waits for the pair holds neither of them."""
    with clinic_scope(clinic_a):
        older = get_or_create_from(clinic_a, header())
        younger = get_or_create_from(clinic_a, header(PatientID="P-18"))
        younger.merged_into = older
        younger.save()
    locked: list[set[int]] = []

    def wait_for_the_pair() -> None:
        try:
            with clinic_scope(clinic_a), transaction.atomic():
                locked.append(set(lock_patients([younger.pk])))
        finally:
            connection.close()

    other = threading.Thread(target=wait_for_the_pair)
    with clinic_scope(clinic_a), transaction.atomic():
        lock_patients([older.pk])
        other.start()
        time.sleep(0.5)
        assert not locked
        rows = Patient.objects.filter(pk=younger.pk)
        assert rows.select_for_update(nowait=connection.features.has_select_for_update_nowait).get()
    other.join(60)
    assert locked == [{older.pk, younger.pk}]
