"""A clinic that stores nothing identified: what arrives is anonymised by a worker, or waits for a person."""

from __future__ import annotations

import pytest

from apps.access.services import Principal
from apps.clinics.scoping import clinic_scope
from apps.deidentification import services
from apps.deidentification.models import Identity, Report, Review
from apps.ingest.models import Upload
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.storage.services import open_blob
from apps.studies.models import Instance, Study
from tests.deidentification.conftest import NAME, PATIENT_ID, SECONDARY_CAPTURE, STUDY_UID, image, store

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stores_anonymised(owner: Principal) -> None:
    with clinic_scope(owner.clinic):
        services.choose(
            owner, ingest_preset="research", link_preset="minimal", download_preset="research", keeps_identities=True
        )


def test_the_original_lies_in_quarantine_only_and_is_destroyed_with_its_key(owner: Principal) -> None:
    assert store(owner, image(1, "CANARYFAMILY Zerlina"), image(2)) == ["received"] * 2
    with clinic_scope(owner.clinic):
        assert set(Upload.objects.values_list("state", flat=True)) == {"stored"}
        study = Study.objects.select_related("patient").get()
        assert study.study_instance_uid != STUDY_UID
        for said in (study.patient.patient_name, study.dicom_patient_id, study.accession_number):
            assert "CANARY" not in said.upper()
        living = Blob.objects.exclude(state=Blob.State.DESTROYED).filter(kind="instance")
        assert {blob.pk for blob in living} == {row.blob_id for row in Instance.objects.all()}
        for blob in living:
            with open_blob(blob) as file:
                content = file.read()
            assert not [word for word in (b"CANARY", STUDY_UID.encode(), b"19610214") if word in content]
        gone = Blob.objects.filter(state=Blob.State.DESTROYED, kind="instance")
        assert gone.count() == 2
        assert not gone.exclude(wrapped_key=None).exists()
        report = Report.objects.get()
        assert (report.study_id, report.content["instances"]) == (study.pk, 2)


def test_the_same_file_twice_is_a_duplicate_under_the_same_pseudonym(owner: Principal) -> None:
    store(owner, image(1))
    store(owner, image(1))
    store(owner, image(2))
    with clinic_scope(owner.clinic):
        assert sorted(Upload.objects.values_list("state", flat=True)) == ["duplicate", "stored", "stored"]
        assert Study.objects.count() == 1


def test_the_table_knows_who_is_behind_a_pseudonym_and_can_be_emptied(owner: Principal) -> None:
    store(owner, image(1))
    with clinic_scope(owner.clinic):
        pseudonym = Study.objects.get().dicom_patient_id
        found = services.identity_behind(owner.clinic, pseudonym)
        assert found is not None
        assert (found["patient_name"], found["dicom_patient_id"]) == (NAME, PATIENT_ID)
        assert PATIENT_ID.encode() not in bytes(Identity.objects.get().sealed)
        services.choose(
            owner, ingest_preset="", link_preset="minimal", download_preset="research", keeps_identities=False
        )
        assert services.identity_behind(owner.clinic, pseudonym) is None


def test_what_a_person_must_look_at_waits_in_quarantine(owner: Principal) -> None:
    store(
        owner,
        image(3, "CANARYFAMILY Zerlina", sop_class=SECONDARY_CAPTURE),
        image(4, "CANARYFAMILY", sop_class=SECONDARY_CAPTURE),
    )
    with clinic_scope(owner.clinic):
        assert not Study.objects.exists()
        assert set(Upload.objects.values_list("state", "code")) == {("received", "needs-review")}
        first, second = Review.objects.order_by("pk")
        services.decide(owner, first, is_approved=True, boxes=first.proposed)
        services.decide(owner, second, is_approved=False)
        process_until_idle()
        assert set(Upload.objects.values_list("state", "code")) == {("stored", ""), ("rejected", "left-out")}
        instance = Instance.objects.select_related("blob").get()
        with open_blob(instance.blob) as file:
            assert b"CANARY" not in file.read()
        assert Blob.objects.exclude(state=Blob.State.DESTROYED).filter(kind="instance").count() == 1
