"""Hostile DICOM files through both doors, and a look at everything that was kept (CONTROLS UPL-04..06, 08, 09, 11)."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.roles import Scope
from apps.clinics.models import Clinic
from apps.jobs.services import process_until_idle
from tests.dicomweb.conftest import multipart_of, token_for
from tests.hostile import intake
from tests.hostile.cases import uid_for
from tests.hostile.dicom_files import dicom_cases

pytestmark = pytest.mark.django_db

CASES = list(dicom_cases())


def test_no_case_is_there_twice_UPL_11() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 200


def test_the_upload_page_gives_each_its_answer_and_what_is_kept_can_be_looked_at_UPL_11(
    as_alice: Client, clinic_a: Clinic
) -> None:
    uploads = intake.send_form(as_alice, "alpha", CASES)
    assert intake.wrong(CASES, uploads) == {}
    intake.assert_nothing_is_left(clinic_a)
    assert all(upload.message for upload in uploads if upload.state == "rejected")
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.READ)}"}
    kept = intake.instances_in(clinic_a)
    assert len(kept) > 150
    assert intake.look_at(as_alice, "/c/alpha/dicomweb", kept, headers) == []
    both = next(one for one in kept if one.sop_instance_uid == uid_for("also a page"))
    answer = as_alice.get(
        f"/c/alpha/dicomweb/studies/{both.series.study.study_instance_uid}/series/{both.series.series_instance_uid}"
        f"/instances/{both.sop_instance_uid}",
        headers=headers | {"Accept": "application/dicom"},
    )
    assert answer["Content-Type"].startswith("application/dicom"), (
        "a file that is a page, too, leaves as DICOM (UPL-06)"
    )
    assert answer["X-Content-Type-Options"] == "nosniff"
    for path in ("studies", "series", "instances"):
        assert as_alice.get(f"/c/alpha/dicomweb/{path}?limit=1000", headers=headers).status_code == 200
    assert as_alice.get("/c/alpha/").status_code == 200


def test_a_device_gets_the_same_answers_UPL_11(clinic_a: Clinic) -> None:
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.WRITE)}"}
    sent = [case for case in CASES if case.outcome not in ("conflict", "duplicate")][::3]
    body, content_type = multipart_of([case.make() for case in sent])
    response = Client().post("/c/alpha/dicomweb/studies", body, content_type, headers=headers)
    assert response.status_code == 202
    module = response.json()
    stored = len(module["00081199"]["Value"])
    assert stored == sum(case.outcome == "stored" for case in sent)
    process_until_idle()
    intake.assert_nothing_is_left(clinic_a)
