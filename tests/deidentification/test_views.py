"""The pages of anonymisation: who may choose, who may release, and what a copy to take away holds."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from django.test import Client

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.deidentification import services
from apps.deidentification.models import Copy, Policy, Report, Review
from apps.jobs.services import process_until_idle
from apps.studies.models import Study
from tests.deidentification.conftest import STUDY_UID, image, store
from tests.world import body_of

pytestmark = pytest.mark.django_db


def test_an_owner_chooses_and_the_choice_is_on_the_trail(as_alice: Client, clinic_a: Clinic) -> None:
    url = "/c/alpha/anonymisation/"
    assert as_alice.get(url).status_code == 200
    chosen = {"link_preset": "teaching", "download_preset": "minimal", "ingest_preset": "research"}
    assert as_alice.post(url, chosen).status_code == 302
    with clinic_scope(clinic_a):
        policy = Policy.objects.get()
        assert (policy.link_preset, policy.download_preset, policy.ingest_preset) == ("teaching", "minimal", "research")
        key = bytes(policy.sealed_key)
    assert as_alice.post(url, chosen | {"link_preset": "everything"}).status_code == 400
    assert as_alice.post(url, chosen).status_code == 302
    with clinic_scope(clinic_a):
        assert bytes(Policy.objects.get().sealed_key) == key
    event = AuditEvent.objects.filter(verb="deidentification.changed").latest("pk")
    assert event.additional_data["filters"] == ["ingest:research", "links:teaching", "downloads:minimal"]


def test_pseudonyms_are_the_same_today_and_next_year_and_another_clinics_differ(
    owner: Principal, clinic_b: Clinic
) -> None:
    with clinic_scope(owner.clinic):
        ours = services.mapper_of(services.policy_of(owner.clinic)).uid(STUDY_UID)
        assert services.mapper_of(services.policy_of(owner.clinic)).uid(STUDY_UID) == ours
    with clinic_scope(clinic_b):
        assert services.mapper_of(services.policy_of(clinic_b)).uid(STUDY_UID) != ours


def test_a_download_is_prepared_and_names_nobody(as_alice: Client, owner: Principal, study: Study) -> None:
    url = f"/c/alpha/studies/{study.public_id}/copies/"
    assert as_alice.post(url).status_code == 302
    with clinic_scope(owner.clinic):
        process_until_idle()
        copy = Copy.objects.get()
        report = Report.objects.get()
    assert "Ready" in as_alice.get(url).content.decode()
    archive = body_of(as_alice.get(f"/c/alpha/copies/{copy.public_id}/download/"))
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        whole = b"".join(name.encode() + opened.read(name) for name in opened.namelist())
    assert b"CANARY" not in whole.upper()
    assert STUDY_UID.encode() not in whole
    # The proof, and the same search once more.
    shown = as_alice.get(f"/c/alpha/reports/{report.public_id}/").content.decode()
    content = json.loads(as_alice.get(f"/c/alpha/reports/{report.public_id}/report.json").content)
    for text in (shown, json.dumps(content)):
        assert "CANARY" not in text.upper()
        assert "PatientName" in text
    assert content["residue"] == 0
    assert content["method_codes"]
    assert as_alice.post(f"/c/alpha/reports/{report.public_id}/verify/").status_code == 302
    with clinic_scope(owner.clinic):
        process_until_idle()
        report.refresh_from_db()
    assert report.verified_at is not None
    assert report.residue_count == 0


def test_a_download_is_refused_while_somebody_has_to_look(
    as_alice: Client, owner: Principal, doubtful_study: Study
) -> None:
    url = f"/c/alpha/studies/{doubtful_study.public_id}/copies/"
    as_alice.post(url)
    with clinic_scope(owner.clinic):
        process_until_idle()
        review = Review.objects.get()
        copy = Copy.objects.get()
    assert as_alice.get(f"/c/alpha/copies/{copy.public_id}/download/").status_code == 404
    refused = as_alice.post(url)
    assert refused.status_code == 409
    assert "has to look at them" in refused.content.decode()
    page = f"/c/alpha/reviews/{review.public_id}/"
    assert as_alice.get(page).status_code == 200
    picture = as_alice.get(f"{page}frames/1/")
    assert picture["Content-Type"] == "image/jpeg"
    assert as_alice.get(f"{page}frames/2/").status_code == 404
    for boxes in ("[[1,2,3]]", '[["a",0,1,1]]', "{", json.dumps([[0, 0, 9, 9]] * 501)):
        assert as_alice.post(page, {"decision": "approve", "boxes": boxes}).status_code == 400
    assert as_alice.post(page, {"decision": "approve", "boxes": "[[0,0,320,40]]"}).status_code == 302
    with clinic_scope(owner.clinic):
        review.refresh_from_db()
        assert (review.state, review.boxes) == ("approved", [[0, 0, 320, 40]])
        process_until_idle()
    assert as_alice.get(f"/c/alpha/copies/{copy.public_id}/download/").status_code == 200


def test_a_document_can_only_be_left_out(as_alice: Client, owner: Principal) -> None:
    pdf = image(
        5, sop_class="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=b"%PDF-1.4 CANARY%%EOF ", PixelData=None
    )
    assert store(owner, pdf) == ["stored"]
    with clinic_scope(owner.clinic):
        study = Study.objects.get()
        services.request_copy(owner, [study], Copy.Purpose.DOWNLOAD)
        process_until_idle()
        review = Review.objects.get()
    page = f"/c/alpha/reviews/{review.public_id}/"
    assert "cannot be cleaned" in as_alice.get(page).content.decode()
    assert as_alice.post(page, {"decision": "approve", "boxes": "[]"}).status_code == 400
    assert as_alice.post(page, {"decision": "refuse"}).status_code == 302
    with clinic_scope(owner.clinic):
        process_until_idle()
        assert Copy.objects.get().state == Copy.State.READY
