"""The pages on which people put right of whom studies are."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.patients.models import IdentityFlag, Patient
from apps.studies.models import Correction, Study
from tests.studies.files import index, part10, uid

pytestmark = pytest.mark.django_db

OTHER = {"PatientName": "Schmidt^Anna", "PatientBirthDate": "19810704"}


@pytest.fixture
def doubtful(in_clinic_a: Clinic) -> tuple[Patient, Patient]:
    """Two names of one number."""
    index(in_clinic_a, part10("a"))
    index(in_clinic_a, part10("b", study="b", series="b", **OTHER))
    first, second = Patient.objects.order_by("pk")
    return first, second


def test_two_names_of_one_number_are_made_one_from_the_list(as_bob: Client, doubtful: tuple[Patient, Patient]) -> None:
    first, second = doubtful
    page = as_bob.get("/c/alpha/identities/").content.decode()
    assert "Müller" in page
    assert "Schmidt" in page
    as_bob.post(f"/c/alpha/patients/{first.public_id}/merge/", {"patient": second.public_id, "keep": "this"})
    assert set(Study.objects.values_list("patient_id", flat=True)) == {first.pk}
    assert "Schmidt" not in as_bob.get("/c/alpha/identities/").content.decode()
    led = as_bob.get(f"/c/alpha/patients/{second.public_id}/")
    assert led["Location"] == f"/c/alpha/patients/{first.public_id}/"
    done = Correction.objects.get()
    assert "Schmidt" in as_bob.get("/c/alpha/corrections/").content.decode()
    as_bob.post(f"/c/alpha/corrections/{done.public_id}/undo/")
    assert Study.objects.get(study_instance_uid=uid("b")).patient == second
    assert "Schmidt" in as_bob.get("/c/alpha/identities/").content.decode()


def test_two_people_stay_two(as_bob: Client, doubtful: tuple[Patient, Patient]) -> None:
    flag = IdentityFlag.objects.get()
    as_bob.post(f"/c/alpha/identities/{flag.public_id}/different/")
    assert "Schmidt" not in as_bob.get("/c/alpha/identities/").content.decode()
    assert not Patient.objects.filter(is_identity_in_doubt=True).exists()
    assert "in doubt" not in as_bob.get("/c/alpha/").content.decode()


def test_the_one_named_stays_when_the_other_is_kept(as_bob: Client, doubtful: tuple[Patient, Patient]) -> None:
    first, second = doubtful
    as_bob.post(f"/c/alpha/patients/{first.public_id}/merge/", {"patient": second.public_id, "keep": "other"})
    assert set(Study.objects.values_list("patient_id", flat=True)) == {second.pk}


def test_a_study_is_moved_to_somebody_found_by_name(as_bob: Client, in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("a"))
    index(in_clinic_a, part10("b", study="b", series="b", PatientID="Z", PatientName="Zander^Zoë"))
    study, target = Study.objects.get(study_instance_uid=uid("study")), Patient.objects.get(dicom_patient_id="Z")
    page = f"/c/alpha/studies/{study.public_id}/move/"
    assert "Zander" not in as_bob.get(page).content.decode()
    assert "Zander" in as_bob.post(page, {"words": "zand"}).content.decode()
    event = AuditEvent.objects.filter(verb="correction.prepared").latest("pk")
    assert event.additional_data["patient_references"] == [target.public_id]
    as_bob.post(page, {"patient": target.public_id})
    study.refresh_from_db()
    assert study.patient == target
    assert "Zander" in as_bob.get(f"/c/alpha/studies/{study.public_id}/").content.decode()


def test_splitting_asks_for_what_tells_the_two_apart(as_bob: Client, in_clinic_a: Clinic) -> None:
    index(in_clinic_a, part10("a"), part10("b", study="b", series="b"))
    patient = Patient.objects.get()
    page = f"/c/alpha/patients/{patient.public_id}/split/"
    chosen = Study.objects.get(study_instance_uid=uid("b"))
    same = {"studies": [chosen.public_id], "family_name": "Müller", "given_name": "Jörg", "dicom_patient_id": "P-17"}
    refused = as_bob.post(page, same)
    assert refused.status_code == 409
    assert "could not be told apart" in refused.content.decode()
    assert as_bob.post(page, same | {"family_name": ""}).status_code == 400
    assert as_bob.post(page, same | {"studies": [], "given_name": "Jana"}).status_code == 409
    done = as_bob.post(page, same | {"given_name": "Jana"})
    assert done.status_code == 302
    chosen.refresh_from_db()
    assert chosen.patient.patient_name == "Müller^Jana"
    # What arrives for her from here on finds her.
    index(in_clinic_a, part10("c", study="c", series="c", PatientName="Müller^Jana"))
    assert Study.objects.get(study_instance_uid=uid("c")).patient == chosen.patient
