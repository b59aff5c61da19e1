"""STOW-RS: what is taken, what is refused, and how it is said (PS3.18 10.5)."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest
from django.test import Client, RequestFactory

from apps.accounts.models import User
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicomweb import storing
from apps.dicomweb.errors import LengthRequiredError
from apps.ingest.models import UploadBatch
from apps.ingest.services import DUPLICATE_SOP_INSTANCE
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies.models import Instance
from tests.conftest import signed_in
from tests.dicomweb.conftest import Api, multipart_of, part10, uid

pytestmark = pytest.mark.django_db

NEW_STUDY = uid("stored study")
NEW_SERIES = uid("stored series")


def new(name: str, **attributes: Any) -> bytes:
    return part10("MR_small.dcm", name, NEW_SERIES, **({"study": NEW_STUDY} | attributes))


def module_of(response: Any) -> pydicom.Dataset:
    assert response["Content-Type"] == "application/dicom+json", response.content
    return pydicom.Dataset.from_json(response.json())


def instance_count(clinic: Clinic) -> int:
    with clinic_scope(clinic):
        return Instance.objects.count()


def test_what_is_stored_is_found_at_once(api: Api) -> None:
    body, content_type = multipart_of([new("one"), new("two")])
    response = api.post("studies", body, content_type)
    assert response.status_code == 200
    module = module_of(response)
    assert module.RetrieveURL == f"http://testserver/c/alpha/dicomweb/studies/{NEW_STUDY}"
    found = api.get(f"studies/{NEW_STUDY}/instances").json()
    retrieve_urls = {one["00081190"]["Value"][0] for one in found}
    assert {item.RetrieveURL for item in module.ReferencedSOPSequence} == retrieve_urls
    assert {item.ReferencedSOPClassUID for item in module.ReferencedSOPSequence} == {"1.2.840.10008.5.1.4.1.1.4"}


def test_one_instance_alone(api: Api) -> None:
    response = api.post("studies", new("one"), "application/dicom")
    assert response.status_code == 200
    assert [item.ReferencedSOPInstanceUID for item in module_of(response).ReferencedSOPSequence] == [uid("one")]


def test_sending_twice_is_no_error_and_stores_once(api: Api, clinic_a: Clinic) -> None:
    body, content_type = multipart_of([new("one")])
    assert [api.post("studies", body, content_type).status_code for _ in range(2)] == [200, 200]
    assert instance_count(clinic_a) == 1


def test_other_bytes_under_a_known_uid_are_a_conflict(api: Api) -> None:
    api.post("studies", new("one"), "application/dicom")
    response = api.post("studies", new("one", StudyDescription="changed"), "application/dicom")
    assert response.status_code == 409
    [failed] = module_of(response).FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (uid("one"), 0x0111)


def test_good_and_bad_together_are_202_with_both_lists(api: Api) -> None:
    body, content_type = multipart_of([b"this is no DICOM", new("one"), new("two")[:-500]])
    response = api.post("studies", body, content_type)
    assert response.status_code == 202
    module = module_of(response)
    assert [item.ReferencedSOPInstanceUID for item in module.ReferencedSOPSequence] == [uid("one")]
    failures = [*module.get("FailedSOPSequence", []), *module.get("OtherFailuresSequence", [])]
    assert [item.FailureReason for item in failures] == [0xC000, 0xC000]


def test_nothing_good_is_409(api: Api, clinic_a: Clinic) -> None:
    body, content_type = multipart_of([b"this is no DICOM"])
    response = api.post("studies", body, content_type)
    assert response.status_code == 409
    assert [item.FailureReason for item in module_of(response).OtherFailuresSequence] == [0xC000]
    assert instance_count(clinic_a) == 0


def test_instances_of_another_study_than_the_paths_are_refused(api: Api, clinic_a: Clinic) -> None:
    body, content_type = multipart_of([new("one"), new("stray", study=uid("elsewhere"))])
    response = api.post(f"studies/{NEW_STUDY}", body, content_type)
    assert response.status_code == 202
    [failed] = module_of(response).FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (uid("stray"), 0xA900)
    assert instance_count(clinic_a) == 1


@pytest.mark.parametrize(
    "body", [b"\r\n", b"--b--\r\n", b"nothing", b"--b\r\nContent-Type: application/dicom\r\n\r\ncut"]
)
def test_a_malformed_body_is_400(api: Api, clinic_a: Clinic, body: bytes) -> None:
    response = api.post("studies", body, 'multipart/related; type="application/dicom"; boundary=b')
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    assert instance_count(clinic_a) == 0


def test_a_body_that_breaks_off_leaves_no_half_instance(api: Api, clinic_a: Clinic) -> None:
    body, content_type = multipart_of([new("one"), new("two")])
    assert api.post("studies", body[:-100], content_type).status_code == 400
    with clinic_scope(clinic_a):
        assert not Blob.objects.filter(state=Blob.State.QUARANTINED).exists()


@pytest.mark.parametrize(
    "content_type",
    [
        "application/octet-stream",
        "multipart/form-data; boundary=b",
        'multipart/related; type="application/dicom+json"; boundary=b',
        'multipart/related; type="application/dicom+xml"; boundary=b',
        "text/plain",
    ],
)
def test_other_media_types_are_415(api: Api, content_type: str) -> None:
    assert api.post("studies", b"--b--\r\n", content_type).status_code == 415


def test_an_instance_larger_than_the_installation_takes_is_413(api: Api, settings: Any) -> None:
    settings.MAX_FILE_BYTES = 1000
    response = api.post("studies", new("one"), "application/dicom")
    assert (response.status_code, response.json()["code"]) == (413, "payload-too-large")


def test_a_chunked_body_is_read_where_the_server_marks_its_end() -> None:
    request = RequestFactory().post("/", headers={"Transfer-Encoding": "chunked"})
    request.META["CONTENT_LENGTH"] = ""
    with pytest.raises(LengthRequiredError):
        storing.body_stream(request)
    stream = io.BytesIO(b"body")
    request.environ |= {"wsgi.input_terminated": True, "wsgi.input": stream}
    assert storing.body_stream(request) is stream


def test_what_takes_longer_is_left_to_the_workers_and_can_be_followed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "SECONDS_WITHIN_REQUEST", -1.0)
    body, content_type = multipart_of([new("one"), b"this is no DICOM"])
    response = api.post("studies", body, content_type)
    assert response.status_code == 202
    path = response["Location"].removeprefix(f"{api.root}/")
    waiting = api.get(path)
    assert (waiting.status_code, waiting["Retry-After"]) == (202, "5")
    process_until_idle()
    done = api.get(path)
    assert done.status_code == 202
    assert "Retry-After" not in done
    module = module_of(done)
    assert [item.ReferencedSOPInstanceUID for item in module.ReferencedSOPSequence] == [uid("one")]
    assert len(module.OtherFailuresSequence) == 1
    assert len(api.get(f"studies/{NEW_STUDY}/instances").json()) == 1


def test_a_conflict_has_the_same_reason_whoever_settles_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.post("studies", new("one"), "application/dicom")
    other = new("one", PatientID="another")
    within = module_of(api.post("studies", other, "application/dicom"))
    monkeypatch.setattr(storing, "SECONDS_WITHIN_REQUEST", -1.0)
    location = api.post("studies", other, "application/dicom")["Location"]
    process_until_idle()
    later = module_of(api.get(location.removeprefix(f"{api.root}/")))
    reasons = [module.FailedSOPSequence[0].FailureReason for module in (within, later)]
    assert reasons == [DUPLICATE_SOP_INSTANCE] * 2


def test_only_the_sender_follows_a_request(api: Api, as_browser: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "SECONDS_WITHIN_REQUEST", -1.0)
    location = api.post("studies", new("one"), "application/dicom")["Location"]
    assert as_browser.get(location.removeprefix(f"{api.root}/")).status_code == 404


def test_a_browser_needs_its_csrf_token(bob: User, clinic_a: Clinic) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.cookies = signed_in(bob).cookies
    assert browser.post("/c/alpha/dicomweb/studies", new("one"), "application/dicom").status_code == 403
    assert instance_count(clinic_a) == 0


def test_storing_is_on_record(api: Api, clinic_a: Clinic) -> None:
    response = api.post("studies", new("one"), "application/dicom")
    assert AuditEvent.objects.filter(public_id=response["X-Audit-Id"]).exists()
    with clinic_scope(clinic_a):
        assert UploadBatch.objects.get().source == UploadBatch.Source.STOW
