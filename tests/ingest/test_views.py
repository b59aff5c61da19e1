"""The upload page and what its script talks to."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload, UploadBatch
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies.models import Study
from tests.conftest import signed_in
from tests.ingest.files import part10, zipped

State = Upload.State


def begin(client: Client, slug: str = "alpha") -> dict[str, str]:
    answer = client.post(reverse("upload-begin", args=[slug]))
    assert answer.status_code == 201
    return answer.json()


def post_files(client: Client, url: str, files: dict[str, bytes], names: dict[str, str] | None = None) -> Any:
    fields: dict[str, Any] = {"names": json.dumps(names or {key: f"folder/{key}" for key in files})}
    fields |= {key: SimpleUploadedFile("file", data) for key, data in files.items()}
    return client.post(url, fields)


@pytest.fixture
def uploader(clinic_a: Clinic, bob: User) -> Client:
    """Bob, when he may upload and nothing else."""
    Membership.objects.filter(user=bob).update(role=Role.UPLOADER)
    return signed_in(bob)


def test_files_arrive_are_processed_and_found_again(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    answer = post_files(as_alice, batch["files_url"], {"1": part10(), "2": b"hello", "3": zipped({"a/IM": part10()})})
    assert [row["state"] for row in answer.json()["files"]] == ["received"] * 3
    process_until_idle()
    results = as_alice.get(batch["results_url"]).json()
    rows = {row["key"] or row["name"]: row for row in results["uploads"]}
    assert {key: row["state"] for key, row in rows.items()} == {
        "1": "stored",
        "2": "rejected",
        "3": "expanded",
        "a/IM": "stored",
    }
    assert rows["2"]["text"] == "Rejected: This is not a DICOM file."
    assert rows["1"]["study_url"].startswith("/c/alpha/studies/")
    assert rows["a/IM"]["archive"] == rows["3"]["id"]
    assert as_alice.get(batch["results_url"], {"after": results["after"]}).json()["uploads"] == []
    assert as_alice.post(batch["close_url"]).status_code == 200
    page = as_alice.get(batch["page_url"])
    assert page.headers["X-Audit-Id"]
    assert b"folder/2" in page.content
    assert b"This is not a DICOM file." in page.content
    listed = as_alice.get(reverse("uploads", args=["alpha"]))
    assert batch["page_url"].encode() in listed.content


def test_results_skip_nothing_that_is_finished_later(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {str(n): b"hello" for n in range(4)})
    with clinic_scope(clinic_a):
        first, second, *_ = Upload.objects.order_by("pk")
        Upload.objects.exclude(pk=second.pk).update(state=State.REJECTED)
    answer = as_alice.get(batch["results_url"]).json()
    assert [row["key"] for row in answer["uploads"]] == ["0", "2", "3"]
    assert answer["after"] == first.public_id
    assert not answer["is_done"]
    with clinic_scope(clinic_a):
        Upload.objects.update(state=State.REJECTED)
    later = as_alice.get(batch["results_url"], {"after": answer["after"]}).json()
    assert [row["key"] for row in later["uploads"]] == ["1", "2", "3"]
    assert later["is_done"]


def test_a_request_sent_again_is_not_taken_again(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    data = part10()
    once = post_files(as_alice, batch["files_url"], {"1": data}).json()["files"][0]
    again = post_files(as_alice, batch["files_url"], {"1": data}).json()["files"][0]
    assert once["id"] == again["id"]
    with clinic_scope(clinic_a):
        assert Upload.objects.count() == 1
        assert Blob.objects.exclude(state=Blob.State.DESTROYED).count() == 1


def test_a_file_beyond_the_limit_costs_only_itself_UPL_02(as_alice: Client, clinic_a: Clinic, settings) -> None:
    settings.MAX_FILE_BYTES = 100_000
    batch = begin(as_alice)
    answer = post_files(as_alice, batch["files_url"], {"1": bytes(300_000), "2": part10()})
    assert {row["key"]: row["state"] for row in answer.json()["files"]} == {"1": "failed", "2": "received"}
    assert "larger" in {row["key"]: row["text"] for row in answer.json()["files"]}["1"]
    with clinic_scope(clinic_a):
        assert Blob.objects.count() == 1


def test_nothing_arrives_without_the_token_of_the_page_WEB_03(alice: User, clinic_a: Clinic) -> None:
    client = signed_in(alice)
    batch = begin(client)
    client.handler.enforce_csrf_checks = True
    answer = post_files(client, batch["files_url"], {"1": part10()})
    assert answer.status_code == 403
    token = str(client.get(reverse("upload", args=["alpha"])).context["csrf_token"])
    fields = {"1": SimpleUploadedFile("file", part10()), "csrfmiddlewaretoken": token}
    assert client.post(batch["files_url"], fields).status_code == 403, "the body is not looked into for it"
    with clinic_scope(clinic_a):
        assert not Blob.objects.exists()
    answer = client.post(batch["files_url"], {"1": SimpleUploadedFile("f", part10())}, headers={"X-CSRFToken": token})
    assert answer.status_code == 200


def test_files_sent_to_other_pages_are_dropped_unread_UPL_01(clinic_a: Clinic, alice: User) -> None:
    answer = Client().post(reverse("sign-in"), {"email": "a", "file": SimpleUploadedFile("f", bytes(5_000_000))})
    assert answer.status_code < 500
    answer = signed_in(alice).post(reverse("upload-begin", args=["alpha"]), {"f": SimpleUploadedFile("f", part10())})
    assert answer.status_code == 201
    with clinic_scope(clinic_a):
        assert not Blob.objects.exists()


def test_a_form_without_files_is_told_so(as_alice: Client) -> None:
    answer = as_alice.post(begin(as_alice)["files_url"], {"names": "{}"})
    assert (answer.status_code, answer.json()["code"]) == (422, "no-files")


@pytest.mark.parametrize("names", ["[]", "{", '"a"', '{"1": 7}', '{"1": null}', '{"1": "../../x"}', ""])
def test_any_names_are_survived_UPL_05(as_alice: Client, clinic_a: Clinic, names: str) -> None:
    url = begin(as_alice)["files_url"]
    answer = as_alice.post(url, {"names": names, "1": SimpleUploadedFile("../../evil", part10())})
    assert answer.status_code == 200
    with clinic_scope(clinic_a):
        assert ".." not in Upload.objects.get().name


@pytest.mark.parametrize("key", ["a" * 41, "a b", "<script>", "../x"])
def test_keys_that_are_none_bring_nothing(as_alice: Client, clinic_a: Clinic, key: str) -> None:
    answer = as_alice.post(begin(as_alice)["files_url"], {key: SimpleUploadedFile("f", part10())})
    assert answer.json() == {"files": []}
    with clinic_scope(clinic_a):
        assert not Upload.objects.exists()
        assert not Blob.objects.exclude(state=Blob.State.DESTROYED).exists()


def test_another_clinic_sees_and_adds_nothing_AUTHZ_01(as_alice: Client, as_charlie: Client) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {"1": part10()})
    for name in ("page_url", "results_url"):
        assert as_charlie.get(batch[name]).status_code == 404
        assert as_charlie.get(batch[name].replace("alpha", "beta")).status_code == 404
    assert post_files(as_charlie, batch["files_url"], {"9": part10()}).status_code == 404
    moved = batch["files_url"].replace("alpha", "beta")
    assert post_files(as_charlie, moved, {"9": part10()}).status_code == 404


def test_colleagues_do_not_see_each_others_uploads_but_owners_do(as_alice: Client, as_bob: Client) -> None:
    alices, bobs = begin(as_alice), begin(as_bob)
    post_files(as_alice, alices["files_url"], {"1": part10()})
    post_files(as_bob, bobs["files_url"], {"1": part10()})
    assert as_bob.get(alices["page_url"]).status_code == 404
    assert post_files(as_bob, alices["files_url"], {"2": part10()}).status_code == 404
    assert as_alice.get(bobs["page_url"]).status_code == 200
    assert post_files(as_alice, bobs["files_url"], {"2": part10()}).status_code == 404


def test_an_uploader_learns_the_outcome_but_gets_no_way_to_the_study(uploader: Client) -> None:
    batch = begin(uploader)
    post_files(uploader, batch["files_url"], {"1": part10()})
    process_until_idle()
    [row] = uploader.get(batch["results_url"]).json()["uploads"]
    assert (row["state"], row["study_url"]) == ("stored", "")
    assert b"/studies/" not in uploader.get(batch["page_url"]).content


def test_documents_go_to_visible_studies_only(as_alice: Client, as_charlie: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {"1": part10()})
    process_until_idle()
    with clinic_scope(clinic_a):
        study = Study.objects.get().public_id
    assert as_alice.get(reverse("upload", args=["alpha"]), {"study": study}).status_code == 200
    assert as_charlie.get(reverse("upload", args=["beta"]), {"study": study}).status_code == 404
    assert as_charlie.post(reverse("upload-begin", args=["beta"]), {"study": study}).status_code == 404
    to_study = as_alice.post(reverse("upload-begin", args=["alpha"]), {"study": study}).json()
    post_files(as_alice, to_study["files_url"], {"1": b"%PDF-1.7 letter %%EOF"})
    process_until_idle()
    assert as_alice.get(to_study["results_url"]).json()["uploads"][0]["state"] == "stored"


def test_asking_how_far_it_is_tells_numbers_only(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {"1": part10(), "2": b"hello"}, {"1": "Quellenhuber.dcm", "2": "x"})
    url = reverse("upload-progress", args=["alpha", batch["batch"]])
    before = AuditEvent.objects.count()
    answer = as_alice.get(url, headers={"X-Background": "1"})
    assert b"0 of 2" in answer.content
    assert "HX-Refresh" not in answer.headers
    process_until_idle()
    recorded = AuditEvent.objects.count()
    answer = as_alice.get(url, headers={"X-Background": "1"})
    assert answer.headers["HX-Refresh"] == "true"
    assert b"Quellenhuber" not in answer.content
    assert AuditEvent.objects.count() == recorded > before


PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\"'><svg onload=alert(1)>",
    "{{1234567*7}}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_are_never_markup_WEB_06(as_alice: Client, payload: str) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {"1": zipped({payload: b"hello"})}, {"1": payload})
    process_until_idle()
    content = as_alice.get(batch["page_url"]).content.decode()
    assert payload not in content or payload == "{{1234567*7}}"
    assert "&lt;" in content or payload == "{{1234567*7}}"
    assert "8641969" not in content or payload != "{{1234567*7}}"


def test_a_batch_without_files_is_not_listed(as_alice: Client, clinic_a: Clinic) -> None:
    begin(as_alice)
    with clinic_scope(clinic_a):
        assert UploadBatch.objects.count() == 1
    assert b"Nothing uploaded yet" in as_alice.get(reverse("uploads", args=["alpha"])).content


def test_the_pages_of_a_long_upload(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch["files_url"], {"1": zipped({f"{n:03}": b"hello" for n in range(250)})})
    process_until_idle()
    first, second = (as_alice.get(batch["page_url"], {"page": page, "show": "problem"}).content for page in (1, 2))
    assert b'<span class="text-body-secondary">folder/1 \xe2\x80\xba</span> 007' in first
    assert b"> 249" in second
    assert as_alice.get(batch["page_url"], {"show": "stored"}).content.count(b"upload-row") == 1
