"""What a link shows after patients were merged, split, or a study was moved: what it was made for, and no more."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.patients.models import Patient
from apps.sharing import services
from apps.studies import corrections
from apps.studies.models import Study
from tests.sharing.conftest import make_study, principal_for
from tests.sharing.test_recipients import home_of, open_link

pytestmark = pytest.mark.django_db


@pytest.fixture
def other_patient(clinic_a: Clinic) -> Patient:
    """Somebody else with a study of her own, earlier than the shared one."""
    with clinic_scope(clinic_a):
        patient = Patient.objects.create(
            clinic=clinic_a, identity_key="other", dicom_patient_id="OTHER", patient_name="Other^Olga",
            patient_name_folded="other^olga",
        )  # fmt: skip
        earlier = make_study(clinic_a, 8, patient)
        Study.objects.filter(pk=earlier.pk).update(study_date=date(2020, 1, 1))
        return patient


def seen(dana: Client, shared: services.Shared) -> set[str]:
    """The UIDs of the studies that the link finds by DICOMweb, as the viewer asks."""
    found = dana.get(f"{home_of(shared)}dicomweb/studies")
    if found.status_code == 204:
        return set()
    assert found.status_code == 200
    return {row["0020000D"]["Value"][0] for row in found.json()}


def test_a_link_shows_what_it_was_made_for_after_a_merge(
    dana: Client, clinic_a: Clinic, alice: User, study: Study, second_study: Study, other_patient: Patient
) -> None:
    acts = principal_for(alice, clinic_a)
    with clinic_scope(clinic_a):
        shared = services.share(acts, [study, second_study], may_see_priors=True)
    open_link(dana, shared)
    made_for = {study.study_instance_uid, second_study.study_instance_uid}
    assert seen(dana, shared) == made_for
    with clinic_scope(clinic_a):
        merge = corrections.merge_patients(acts, study.patient, other_patient)
    assert seen(dana, shared) == made_for
    with clinic_scope(clinic_a):
        corrections.undo(acts, merge)
        corrections.merge_patients(acts, other_patient, study.patient)
    assert seen(dana, shared) == made_for


def test_a_study_that_was_somebody_elses_is_shown_no_more_until_that_is_taken_back(
    dana: Client, clinic_a: Clinic, alice: User, study: Study, second_study: Study, other_patient: Patient
) -> None:
    acts = principal_for(alice, clinic_a)
    with clinic_scope(clinic_a):
        shared = services.share(acts, [study, second_study], note="look")
    open_link(dana, shared)
    with clinic_scope(clinic_a):
        move = corrections.move_study(acts, study, other_patient)
        assert move
    assert seen(dana, shared) == {second_study.study_instance_uid}
    page = f"{home_of(shared)}studies/{study.public_id}/"
    assert dana.get(page).status_code == 404
    assert study.public_id not in dana.get(home_of(shared)).content.decode()
    with clinic_scope(clinic_a):
        made_since = services.share(acts, [study])
        corrections.undo(acts, move)
    assert seen(dana, shared) == {study.study_instance_uid, second_study.study_instance_uid}
    open_link(dana, made_since)
    assert seen(dana, made_since) == {study.study_instance_uid}
