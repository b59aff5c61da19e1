"""Rows that go straight to the driver are the rows that the ORM would have written."""

from __future__ import annotations

import datetime

import pytest
from django.db import IntegrityError, transaction
from django_scopes.exceptions import ScopeError

from apps.clinics.models import Clinic
from apps.patients.models import Patient
from apps.patients.services import get_or_create_from
from tests.studies.files import header


def test_what_was_inserted_reads_back_as_it_was(in_clinic_a: Clinic) -> None:
    kept = get_or_create_from(in_clinic_a, header())
    rows = [
        Patient(
            clinic=in_clinic_a,
            identity_key=f"key {number}",
            patient_name="Müller^Jörg=%s",
            patient_birth_date=datetime.date(1980, 7, 4),
            is_identity_in_doubt=bool(number % 2),
            merged_into=kept,
        )
        for number in range(300)
    ]
    Patient.objects.insert(rows)
    for row in rows:
        found = Patient.objects.get(pk=row.pk)
        for field in Patient._meta.local_concrete_fields:
            assert getattr(found, field.attname) == getattr(row, field.attname), field.name
    rows[0].patient_sex = "O"
    rows[0].save()
    assert Patient.objects.get(pk=rows[0].pk).patient_sex == "O"


def test_one_that_is_there_already_is_refused_with_all_of_them(in_clinic_a: Clinic) -> None:
    rows = [Patient(clinic=in_clinic_a, identity_key=key) for key in ("one", "two", "one")]
    with pytest.raises(IntegrityError), transaction.atomic():
        Patient.objects.insert(rows)
    assert not Patient.objects.exists()


def test_a_row_of_another_clinic_is_refused(in_clinic_a: Clinic, clinic_b: Clinic) -> None:
    with pytest.raises(ScopeError):
        Patient.objects.insert([Patient(clinic=clinic_b, identity_key="one")])
