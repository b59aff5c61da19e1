"""Dana holds a link to an anonymised copy: what she sees, when she sees it, and that nobody is named anywhere."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from pydicom import Dataset, dcmread

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.billing.errors import LimitReachedError
from apps.billing.models import Plan
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.deidentification import services
from apps.deidentification.copying import ended_copies, work_on
from apps.deidentification.models import Copy, Report, Review
from apps.deidentification.reviewing import COPY_JOB
from apps.deidentification.tasks import end_copies
from apps.exports.models import Export
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.sharing import services as sharing
from apps.sharing.errors import NotReviewedError
from apps.storage.models import Blob
from apps.storage.services import open_blob, used_bytes
from apps.studies.models import Instance, Series, Study
from tests.deidentification.conftest import PATIENT_ID, STUDY_UID
from tests.world import body_of, open_link

pytestmark = pytest.mark.django_db

CANARIES = (b"CANARY", STUDY_UID.encode(), PATIENT_ID.encode(), b"19610214", b"20240131")


def shared(owner: Principal, study: Study) -> sharing.Shared:
    with clinic_scope(owner.clinic):
        return sharing.share(owner, [study], has_pin=False, may_download=True, note="look", is_anonymised=True)


def ask(browser: Client, url: str) -> tuple[HttpResponse, bytes]:
    response = browser.get(url)
    return response, body_of(response)


def test_an_anonymised_link_shows_the_copy_and_names_nobody(owner: Principal, study: Study) -> None:
    made = shared(owner, study)
    dana = open_link(made)
    home = f"/v/{made.share.link.public_id}/"
    for url in (home, f"{home}dicomweb/studies"):
        response, body = ask(dana, url)
        assert response.status_code == 409, url
        assert not holds(body)
    with clinic_scope(owner.clinic):
        process_until_idle()
    bodies = {}
    response, bodies["home"] = ask(dana, home)
    assert response.status_code == 200
    response, bodies["studies"] = ask(dana, f"{home}dicomweb/studies")
    [found] = json.loads(bodies["studies"])
    uid = found["0020000D"]["Value"][0]
    assert uid != STUDY_UID
    root = f"{home}dicomweb/studies/{uid}"
    for path in ("/series", "/instances", "/metadata", "/rendered", ""):
        response, bodies[path] = ask(dana, root + path)
        assert response.status_code == 200, path
        assert response["X-Audit-Id"]
    with clinic_scope(owner.clinic, edition=made.share.edition):
        copied = Study.objects.get()
    response, bodies["viewer"] = ask(dana, f"{home}studies/{copied.public_id}/")
    assert response.status_code in (200, 503)
    response, archive = ask(dana, f"{home}download/{copied.public_id}/")
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        for name in opened.namelist():
            bodies[name] = name.encode() + opened.read(name)
    assert len([name for name in bodies if b"DICM" in bodies[name][128:300]]) >= 3
    assert {name: holds(body) for name, body in bodies.items() if holds(body)} == {}
    # The trail goes on under the study that it was made from.
    opened_event = AuditEvent.objects.filter(verb="study.downloaded").latest("pk")
    assert opened_event.study_reference == study.public_id
    assert opened_event.patient_reference == study.patient.public_id


def test_what_is_prepared_for_an_anonymised_link_is_the_copy(owner: Principal, study: Study) -> None:
    made = shared(owner, study)
    with clinic_scope(owner.clinic):
        process_until_idle()
    dana = open_link(made)
    home = f"/v/{made.share.link.public_id}/"
    assert dana.post(f"{home}exports/prepare/", {"format": "zip"}).status_code == 302
    with clinic_scope(owner.clinic):
        process_until_idle()
        export = Export.objects.get()
        assert export.state == Export.State.READY
    _, archive = ask(dana, f"{home}exports/{export.public_id}/")
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        whole = b"".join(name.encode() + opened.read(name) for name in opened.namelist())
    assert whole.count(b"DICM") >= 2
    assert not holds(whole)


def holds(body: bytes) -> list[bytes]:
    upper = body.upper()
    return [canary for canary in CANARIES if canary.upper() in upper]


def test_text_in_the_pixels_is_black_and_the_rest_as_it_was(owner: Principal, study: Study) -> None:
    made = shared(owner, study)
    with clinic_scope(owner.clinic):
        process_until_idle()
        originals = {row.instance_number: read(row) for row in Instance.objects.select_related("blob")}
    with clinic_scope(owner.clinic, edition=made.share.edition):
        copies = {row.instance_number: read(row) for row in Instance.objects.select_related("blob")}
    before, after = originals[1].pixel_array, copies[1].pixel_array
    assert (before[4:44, 6:180] > 200).sum() > 300
    assert after[:46].max() < 60
    assert np.array_equal(before[60:], after[60:])
    assert np.array_equal(originals[2].pixel_array, copies[2].pixel_array)
    assert copies[1].PatientIdentityRemoved == "YES"


def read(row: Instance) -> Dataset:
    with open_blob(row.blob) as file:
        return dcmread(io.BytesIO(file.read()))


def test_nobody_of_the_clinic_meets_a_copy(owner: Principal, study: Study, as_alice: Client) -> None:
    made = shared(owner, study)
    with clinic_scope(owner.clinic):
        process_until_idle()
        assert list(Study.objects.values_list("public_id", flat=True)) == [study.public_id]
        assert list(sharing.visible_studies(made.share)) == []
    with clinic_scope(owner.clinic, edition=made.share.edition):
        copied = Study.objects.get()
        assert copied.pk != study.pk
    assert copied.public_id not in as_alice.get("/c/alpha/").content.decode()
    assert as_alice.get(f"/c/alpha/studies/{copied.public_id}/").status_code == 404
    assert as_alice.get(f"/c/alpha/dicomweb/studies/{copied.study_instance_uid}/metadata").status_code == 404


def test_what_a_person_must_look_at_holds_the_link_back(owner: Principal, doubtful_study: Study) -> None:
    made = shared(owner, doubtful_study)
    dana = open_link(made)
    home = f"/v/{made.share.link.public_id}/"
    with clinic_scope(owner.clinic):
        process_until_idle()
        assert Copy.objects.get().state == Copy.State.WAITING
        review = Review.objects.get()
        assert review.reasons == ["pixels-doubtful", "secondary-capture"]
        assert review.proposed
        with pytest.raises(NotReviewedError):
            shared(owner, doubtful_study)
    assert dana.get(home).status_code == 409
    with clinic_scope(owner.clinic):
        services.decide(owner, review, is_approved=True, boxes=[[0, 0, 320, 40]])
        process_until_idle()
        assert Copy.objects.get().state == Copy.State.READY
    assert dana.get(home).status_code == 200
    with clinic_scope(owner.clinic, edition=made.share.edition):
        capture = read(Instance.objects.select_related("blob").get(instance_number=3))
    assert capture.pixel_array[:40].max() == 0
    assert AuditEvent.objects.get(verb="review.approved").study_reference == doubtful_study.public_id


def test_a_refused_image_is_left_out(owner: Principal, doubtful_study: Study) -> None:
    made = shared(owner, doubtful_study)
    with clinic_scope(owner.clinic):
        process_until_idle()
        services.decide(owner, Review.objects.get(), is_approved=False)
        process_until_idle()
        assert Copy.objects.get().state == Copy.State.READY
    with clinic_scope(owner.clinic, edition=made.share.edition):
        assert [row.instance_number for row in Instance.objects.all()] == [1]


def test_the_copy_ends_with_its_link_and_the_report_stays(owner: Principal, study: Study) -> None:
    made = shared(owner, study)
    with clinic_scope(owner.clinic):
        process_until_idle()
        before = set(Blob.objects.filter(state=Blob.State.STORED).values_list("pk", flat=True))
        assert not ended_copies(owner.clinic)
        sharing.revoke(owner, made.share)
    end_copies()
    with clinic_scope(owner.clinic):
        assert Copy.objects.get().state == Copy.State.ENDED
        kept = set(Blob.objects.filter(state=Blob.State.STORED).values_list("pk", flat=True))
        assert kept < before
        assert {row.blob_id for row in Instance.objects.all()} <= kept
        report = Report.objects.get()
    with clinic_scope(owner.clinic, edition=made.share.edition):
        assert not Study.objects.exists()
    assert report.content["instances"] == 2
    assert report.content["pixel_regions"] >= 1
    assert "CANARY" not in json.dumps(report.content).upper()


def test_metadata_and_pictures_of_a_copy_are_made_by_its_jobs(owner: Principal, study: Study) -> None:
    made = shared(owner, study)
    with clinic_scope(owner.clinic):
        process_until_idle()
    with clinic_scope(owner.clinic, edition=made.share.edition):
        [series] = Series.objects.all()
        assert series.metadata_blob is not None
        assert series.thumbnail_blob is not None
        assert not series.is_preparation_queued


def leave_room(clinic: Clinic, size: int) -> None:
    with clinic_scope(clinic):
        Plan.objects.update(storage_bytes=used_bytes(clinic) + size)


def test_a_copy_needs_room_in_the_plan_of_the_clinic(owner: Principal, study: Study) -> None:
    leave_room(owner.clinic, study.size_bytes // 2)
    with pytest.raises(LimitReachedError):
        shared(owner, study)
    with clinic_scope(owner.clinic):
        assert not Copy.objects.exists()


def test_a_copy_waits_when_others_took_the_room_meanwhile(owner: Principal, study: Study) -> None:
    shared(owner, study)
    leave_room(owner.clinic, 10)
    with clinic_scope(owner.clinic):
        copy = Copy.objects.select_related("clinic").get()
        before, waiting = used_bytes(owner.clinic), Job.objects.filter(kind=COPY_JOB).count()
        write_down = work_on(copy, seconds=lambda: 0.0)
        assert write_down is not None
        with transaction.atomic():
            write_down()
        copy.refresh_from_db()
        assert (copy.state, copy.instance_count) == (Copy.State.PREPARING, 0)
        assert used_bytes(owner.clinic) == before
        assert Job.objects.filter(kind=COPY_JOB).count() == waiting + 1
        leave_room(owner.clinic, 10 * study.size_bytes)
        process_until_idle()
        copy.refresh_from_db()
        assert copy.state == Copy.State.READY
