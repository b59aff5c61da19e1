"""A patient with two studies in clinic A, and a link to the first, held by Dana."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client

from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import CAPABILITIES, Role
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.patients.models import Patient
from apps.sharing import services
from apps.studies.models import Study

NAME = "CANARY^Wilhelmina"
DESCRIPTION = "CANARY skull"


def make_study(clinic: Clinic, number: int, patient: Patient | None = None) -> Study:
    with clinic_scope(clinic):
        patient = patient or Patient.objects.create(
            clinic=clinic,
            identity_key=f"id-{number}",
            dicom_patient_id=f"CANARY-{number}",
            patient_name=NAME,
            patient_name_folded=NAME.lower(),
        )
        return Study.objects.create(
            clinic=clinic,
            patient=patient,
            study_instance_uid=f"2.25.{clinic.pk}.{number}",
            study_date=date(2025, 3, number),
            study_description=f"{DESCRIPTION} {number}",
            modalities_in_study="CT",
            number_of_study_related_instances=number,
        )


def principal_for(user: User, clinic: Clinic, role: Role = Role.OWNER) -> Principal:
    context = Context(actor_kind="user", actor_reference=user.public_id, user_id=user.pk, user_email=user.email)
    return Principal("member", clinic, CAPABILITIES[role], context, user)


@pytest.fixture
def study(clinic_a: Clinic) -> Study:
    return make_study(clinic_a, 1)


@pytest.fixture
def second_study(clinic_a: Clinic, study: Study) -> Study:
    return make_study(clinic_a, 2, study.patient)


@pytest.fixture
def foreign_study(clinic_b: Clinic) -> Study:
    return make_study(clinic_b, 3)


@pytest.fixture
def shared(clinic_a: Clinic, alice: User, study: Study) -> services.Shared:
    """A link with a PIN, made by Alice."""
    with clinic_scope(clinic_a):
        return services.share(principal_for(alice, clinic_a), [study], note="Please look at the sinus.")


@pytest.fixture
def shared_without_pin(clinic_a: Clinic, alice: User, study: Study) -> services.Shared:
    with clinic_scope(clinic_a):
        return services.share(principal_for(alice, clinic_a), [study], has_pin=False)


@pytest.fixture
def dana() -> Client:
    """A browser that nobody is signed in to, and that checks CSRF as ours are."""
    return Client(enforce_csrf_checks=True)
