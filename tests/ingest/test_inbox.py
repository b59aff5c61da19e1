"""What waits in the inbox: assigned to a patient by a person, or refused and destroyed; never half visible."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.access.services import Principal
from apps.accounts.models import User, UserSession
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.ingest import inbox, requests, services
from apps.ingest.models import Upload, UploadBatch, WaitingStudy
from apps.jobs.services import process_until_idle
from apps.patients.models import IdentityFlag, Patient
from apps.patients.services import likely_patients
from apps.storage.errors import BlobDestroyedError
from apps.storage.models import Blob
from apps.storage.services import open_blob
from apps.studies.models import Instance, Study
from tests.ingest.conftest import store_as
from tests.ingest.files import part10, series

pytestmark = pytest.mark.django_db

UIDS = {"StudyInstanceUID": "2.25.501", "SeriesInstanceUID": "2.25.501.1"}


@pytest.fixture
def sender(alice_acts: Principal, in_clinic_a: Clinic) -> Principal:
    """Somebody with a link, below the views."""
    made = requests.create_request(alice_acts, title="Dr. House", has_pin=False)
    reference = made.request.link.public_id
    return Principal("link", in_clinic_a, requests.SENDER_CAPABILITIES, Context("link", reference))


def bring(sender: Principal, *files: bytes) -> UploadBatch:
    """Send files as she does, and let everything that follows be done."""
    batch = services.open_batch(sender, UploadBatch.Source.WEB)
    services.store_now(sender, batch, [[data] for data in files])
    process_until_idle()
    return batch


def the_arrival() -> WaitingStudy:
    return WaitingStudy.objects.get(state="waiting")


def test_files_of_one_study_wait_together_and_of_two_people_apart(sender: Principal) -> None:
    bring(sender, *series(2, **UIDS))
    bring(sender, part10(**UIDS))
    assert the_arrival().file_count == 3
    bring(sender, part10(**UIDS, PatientName="Somebody^Else"), part10(StudyInstanceUID="2.25.502"))
    assert WaitingStudy.objects.count() == 3


def test_what_is_assigned_is_stored_with_the_patient_chosen_and_says_where_it_came_from(
    sender: Principal, alice_acts: Principal, alice: User
) -> None:
    store_as(alice_acts.clinic, part10(PatientID="OURS", PatientName="Ours^Olga"))
    ours = Patient.objects.get()
    batch = bring(sender, *series(3, **UIDS, PatientID="THEIRS", PatientName="Theirs^Olga"))
    inbox.assign(alice_acts, the_arrival(), ours)
    inbox.assign(alice_acts, WaitingStudy.objects.get(), ours)
    process_until_idle()
    study = Study.objects.get(study_instance_uid="2.25.501")
    assert study.patient == ours
    assert study.dicom_patient_id == "OURS"
    assert study.number_of_study_related_instances == 3
    assert Patient.objects.count() == 1
    assert set(Upload.objects.filter(batch=batch).values_list("state", "study_id")) == {("stored", study.pk)}
    assert Upload.objects.filter(batch=batch, arrival__settled_by=alice, batch__request__title="Dr. House").count() == 3
    stored = AuditEvent.objects.get(verb="instance.stored", study_reference=study.public_id)
    assert stored.actor_reference == alice.public_id
    assigned = AuditEvent.objects.get(verb="arrival.assigned")
    assert assigned.patient_reference == ours.public_id
    assert not IdentityFlag.objects.exists()


def test_late_files_of_an_assigned_study_wait_again(sender: Principal, alice_acts: Principal) -> None:
    bring(sender, part10(**UIDS))
    inbox.assign_new(alice_acts, the_arrival(), the_arrival())
    process_until_idle()
    bring(sender, part10(StudyInstanceUID="2.25.501", SeriesInstanceUID="2.25.501.2"))
    assert Instance.objects.count() == 1
    late = the_arrival()
    study = inbox.study_here(late)
    assert study is not None
    inbox.assign(alice_acts, late, study.patient)
    process_until_idle()
    study.refresh_from_db()
    assert study.number_of_study_related_series == 2
    assert Patient.objects.count() == 1


def test_where_images_are_anonymised_they_wait_as_they_came_and_are_anonymised_when_taken(
    sender: Principal, alice_acts: Principal
) -> None:
    batch = services.open_batch(sender, UploadBatch.Source.WEB)
    batch.deidentify_profile = "research"
    batch.save()
    services.store_now(sender, batch, [[part10(**UIDS)]])
    process_until_idle()
    assert the_arrival().patient_name == "Quellenhuber^Ottilie"
    assert Upload.objects.get().sop_instance_uid
    inbox.assign_new(alice_acts, the_arrival(), the_arrival())
    process_until_idle()
    assert Upload.objects.get().state != "waiting"
    assert not Study.objects.filter(study_instance_uid="2.25.501").exists()
    assert not Study.objects.filter(patient__patient_name__contains="Quellenhuber").exists()


def test_documents_are_not_taken_by_a_request(sender: Principal) -> None:
    bring(sender, b"%PDF-1.4\n%%EOF\n")
    upload = Upload.objects.get()
    assert (upload.state, upload.code) == ("rejected", "document-by-request")


def test_a_study_that_is_here_goes_to_nobody_else(sender: Principal, alice_acts: Principal) -> None:
    store_as(alice_acts.clinic, part10(**UIDS))
    store_as(alice_acts.clinic, part10(PatientID="X", PatientName="X^Y"))
    bring(sender, part10(**UIDS))
    with pytest.raises(inbox.OtherPatientError):
        inbox.assign(alice_acts, the_arrival(), Patient.objects.get(dicom_patient_id="X"))
    assert Instance.objects.count() == 2


def test_the_same_bytes_and_other_bytes_are_told_apart_when_assigned_UPL_12(
    sender: Principal, alice_acts: Principal
) -> None:
    same, ours, theirs = (
        part10(**UIDS),
        *(part10(**UIDS, SOPInstanceUID="2.25.7", StudyTime=t) for t in ("1201", "1202")),
    )
    store_as(alice_acts.clinic, same)
    store_as(alice_acts.clinic, ours)
    bring(sender, same, theirs)
    inbox.assign(alice_acts, the_arrival(), Patient.objects.get())
    process_until_idle()
    came = Upload.objects.filter(batch__source="request")
    assert sorted(came.values_list("state", flat=True)) == ["conflict", "duplicate"]


def test_what_is_refused_is_destroyed_with_its_key_and_what_it_said(sender: Principal, alice_acts: Principal) -> None:
    bring(sender, *series(2, **UIDS, PatientName="CANARY^Nobody"))
    arrival = the_arrival()
    blobs = list(Blob.objects.filter(pk__in=Upload.objects.values("blob_id")))
    inbox.reject(alice_acts, arrival)
    inbox.reject(alice_acts, arrival)
    for blob in blobs:
        blob.refresh_from_db()
        with pytest.raises(BlobDestroyedError):
            open_blob(blob)
    arrival.refresh_from_db()
    assert (arrival.state, arrival.patient_name, arrival.dicom_patient_id) == ("rejected", "", "")
    assert AuditEvent.objects.filter(verb="arrival.rejected").count() == 1
    with pytest.raises(inbox.AlreadySettledError):
        inbox.assign_new(alice_acts, arrival, arrival)
    assert not Patient.objects.exists()


def test_who_is_likely_comes_first_and_says_why(in_clinic_a: Clinic, sender: Principal) -> None:
    store_as(in_clinic_a, part10(PatientID="N-1", PatientName="Other^Person"))
    store_as(in_clinic_a, part10(PatientID="N-1"))
    store_as(in_clinic_a, part10(PatientID="N-2"))
    bring(sender, part10(PatientID="N-1"))
    found = likely_patients(the_arrival())
    assert [(one.patient.dicom_patient_id, one.is_same, one.is_same_number) for one in found] == [
        ("N-1", True, True),
        ("N-1", False, True),
        ("N-2", False, False),
    ]


def test_the_pages_of_the_inbox(sender: Principal, as_alice: Client, as_bob: Client, alice: User) -> None:
    bring(sender, *series(3, **UIDS))
    page = f"/c/alpha/inbox/{the_arrival().public_id}/"
    listed = as_bob.get("/c/alpha/inbox/").content.decode()
    assert "Quellenhuber" in listed
    shown = as_bob.get(page)
    assert shown.context["previews"]
    upload = shown.context["previews"][0]
    picture = as_bob.get(f"{page}preview/{upload.public_id}/")
    assert picture["Content-Type"] == "image/jpeg"
    assert picture["X-Audit-Id"]
    assert as_bob.get(f"{page}preview/{'A' * 22}/").status_code == 404
    assert AuditEvent.objects.filter(verb="arrival.viewed", object_reference=the_arrival().public_id).exists()
    refused = as_bob.post(f"{page}assign/", {"family_name": "No^Good"})
    assert refused.status_code == 400
    done = as_bob.post(f"{page}assign/", {"family_name": "Quellenhuber", "given_name": "Ottilie", "patient_sex": "F"})
    assert done.status_code == 302
    process_until_idle()
    study = Study.objects.get()
    assert study.patient.patient_name == "Quellenhuber^Ottilie"
    came = as_bob.get(f"/c/alpha/studies/{study.public_id}/uploads/").content.decode()
    assert "sent by Dr. House, assigned by Bob" in came
    assert "Assigned" in as_bob.get("/c/alpha/inbox/").content.decode()


def test_somebody_else_is_found_by_post_alone(sender: Principal, as_bob: Client, in_clinic_a: Clinic) -> None:
    store_as(in_clinic_a, part10(PatientID="Z-9", PatientName="Zander^Zoë"))
    bring(sender, part10(**UIDS))
    page = f"/c/alpha/inbox/{the_arrival().public_id}/"
    found = as_bob.post(page, {"words": "zoe zand"})
    assert "Zander" in found.content.decode()
    assert "Zander" not in as_bob.get(f"{page}?words=zander").content.decode()
    shown = AuditEvent.objects.filter(verb="arrival.viewed").order_by("-pk")
    assert Patient.objects.get(dicom_patient_id="Z-9").public_id in str(shown[1].additional_data)


def test_refusing_asks_for_the_second_factor_again_SESS_07(sender: Principal, as_alice: Client, alice: User) -> None:
    bring(sender, part10(**UIDS))
    page = f"/c/alpha/inbox/{the_arrival().public_id}/refuse/"
    assert as_alice.get(page).status_code == 200
    UserSession.objects.filter(user=alice).update(verified_at=timezone.now() - timedelta(minutes=6))
    for answer in (as_alice.get(page), as_alice.post(page)):
        assert answer.status_code == 302
        assert answer["Location"].startswith("/sign-in/code/")
    assert the_arrival().file_count == 1


def test_an_arrival_of_one_clinic_is_nothing_to_another_AUTHZ_01(
    sender: Principal, as_charlie: Client, as_alice: Client
) -> None:
    bring(sender, part10(**UIDS))
    reference = the_arrival().public_id
    for slug in ("alpha", "beta"):
        for tail in ("", "refuse/", f"preview/{Upload.objects.get().public_id}/"):
            assert as_charlie.get(f"/c/{slug}/inbox/{reference}/{tail}").status_code == 404
        assert as_charlie.post(f"/c/{slug}/inbox/{reference}/assign/").status_code == 404
