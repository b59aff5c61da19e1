"""No query without a chosen clinic, no row written for another one (AUTHZ-01, AUTHZ-05)."""

from collections.abc import Callable

import pytest
from django_scopes.exceptions import ScopeError

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.patients.models import Patient


def add_patient(clinic: Clinic, number: str = "1") -> Patient:
    with clinic_scope(clinic):
        return Patient.objects.create(clinic=clinic, identity_key=number, dicom_patient_id=number)


READS = {
    "all": lambda: list(Patient.objects.all()),
    "exists": lambda: bool(Patient.objects.exists()),
    "explain": lambda: len(Patient.objects.explain()),
    "in_bulk": lambda: Patient.objects.in_bulk([1]),
    "contains": lambda: Patient.objects.contains(Patient(pk=1)),
    "bulk_create": lambda: Patient.objects.bulk_create([Patient(clinic_id=1, identity_key="x")]),
    "bulk_update": lambda: Patient.objects.bulk_update([Patient(pk=1, clinic_id=1)], ["patient_sex"]),
    "update": lambda: Patient.objects.update(patient_sex="F"),
    "count": lambda: Patient.objects.count() + 0,
    "get": lambda: Patient.objects.get(pk=1),
}


@pytest.mark.parametrize("read", READS)
def test_without_a_chosen_clinic_nothing_is_read_or_written(db: None, read: str) -> None:
    with pytest.raises(ScopeError):
        READS[read]()


def test_rows_of_another_clinic_do_not_exist_AUTHZ_01(clinic_a: Clinic, clinic_b: Clinic) -> None:
    patient = add_patient(clinic_a)
    with clinic_scope(clinic_b):
        assert not Patient.objects.filter(pk=patient.pk).exists()
        with pytest.raises(Patient.DoesNotExist):
            Patient.objects.get(pk=patient.pk)


def test_related_rows_are_read_through_the_guarded_manager(clinic_a: Clinic, clinic_b: Clinic) -> None:
    patient = add_patient(clinic_a)
    with clinic_scope(clinic_b), pytest.raises(Patient.DoesNotExist):
        patient.refresh_from_db()


WRITES: dict[str, Callable[[Patient], object]] = {
    "save": lambda patient: patient.save(),
    "create": lambda patient: Patient.objects.create(clinic=patient.clinic, identity_key="2"),
    "bulk_create": lambda patient: Patient.objects.bulk_create([Patient(clinic=patient.clinic, identity_key="2")]),
    "bulk_update": lambda patient: Patient.objects.bulk_update([patient], ["patient_sex"]),
    "update": lambda patient: Patient.objects.update(clinic=patient.clinic),
    "delete": lambda patient: patient.delete(),
}


@pytest.mark.parametrize("write", WRITES)
def test_no_row_is_written_for_another_clinic(clinic_a: Clinic, clinic_b: Clinic, write: str) -> None:
    patient = add_patient(clinic_a)
    with clinic_scope(clinic_b), pytest.raises(ScopeError):
        WRITES[write](patient)
    with clinic_scope(clinic_a):
        assert Patient.objects.get() == patient


def test_the_same_identity_may_live_in_two_clinics_AUTHZ_05(clinic_a: Clinic, clinic_b: Clinic) -> None:
    add_patient(clinic_a, "MRN-1")
    add_patient(clinic_b, "MRN-1")
    with every_clinic():
        assert Patient.objects.filter(dicom_patient_id="MRN-1").count() == 2


def test_public_ids_carry_128_random_bits_AUTHZ_10(clinic_a: Clinic) -> None:
    ids = {Patient(clinic=clinic_a).public_id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(public_id) == 22 and public_id[0].isalnum() for public_id in ids)
