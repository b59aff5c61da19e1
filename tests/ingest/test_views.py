"""The upload page and what its script talks to."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import Membership, User, UserSession
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


def begin(client: Client, slug: str = "alpha") -> dict[str, Any]:
    answer = client.post(reverse("upload-begin", args=[slug]))
    assert answer.status_code == 201
    return answer.json()


def post_files(
    client: Client, batch: dict[str, Any], files: dict[str, bytes], names: dict[str, str] | None = None, **extra: Any
) -> Any:
    """Send files as the page does: by STOW-RS, each with a key and a name."""
    body = b"".join(
        f"--b\r\nContent-Type: application/dicom\r\nContent-ID: <{key}>\r\n"
        f"Content-Location: {quote((names or {}).get(key, f'folder/{key}'), safe='')}\r\n\r\n".encode()
        + data
        + b"\r\n"
        for key, data in files.items()
    )
    content_type = 'multipart/related; type="application/dicom"; boundary=b'
    return client.post(batch["urls"]["store"], body + b"--b--\r\n", content_type=content_type, **extra)


def rows_of(client: Client, batch: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the page hears of its files, by their keys; members of archives by their names."""
    uploads = client.get(batch["urls"]["results"]).json()["uploads"]
    return {row["key"] or row["name"]: row for row in uploads}


@pytest.fixture
def uploader(clinic_a: Clinic, bob: User) -> Client:
    """Bob, when he may upload and nothing else."""
    Membership.objects.filter(user=bob).update(role=Role.UPLOADER)
    return signed_in(bob)


def test_files_arrive_are_processed_and_found_again(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    answer = post_files(as_alice, batch, {"1": part10(), "2": b"hello", "3": zipped({"a/IM": part10()})})
    assert answer.status_code == 202
    rows = rows_of(as_alice, batch)
    assert {key: row["state"] for key, row in rows.items()} == {"1": "stored", "2": "rejected"}
    process_until_idle()
    rows = rows_of(as_alice, batch)
    assert {key: row["state"] for key, row in rows.items()} == {
        "1": "stored",
        "2": "rejected",
        "3": "expanded",
        "a/IM": "stored",
    }
    assert rows["2"]["text"] == "Rejected: This is not a DICOM file."
    assert rows["1"]["study_url"].startswith("/c/alpha/studies/")
    assert rows["a/IM"]["archive"] == rows["3"]["id"]
    assert as_alice.post(batch["urls"]["close"]).status_code == 200
    page = as_alice.get(batch["urls"]["page"])
    assert page.headers["X-Audit-Id"]
    assert b"folder/2" in page.content
    assert b"This is not a DICOM file." in page.content
    listed = as_alice.get(reverse("uploads", args=["alpha"]))
    assert batch["urls"]["page"].encode() in listed.content


def test_results_come_once_and_in_the_order_of_their_outcome(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    url = batch["urls"]["results"]
    assert as_alice.get(url).json() == {"after": "", "open": 0, "finished": 0, "uploads": []}
    post_files(as_alice, batch, {"1": b"hello", "2": part10()})
    first = as_alice.get(url, {"known": 0}).json()
    assert [row["key"] for row in first["uploads"]] == ["1", "2"]
    assert first["finished"] == 2
    post_files(as_alice, batch, {"3": b"hello"})
    later = as_alice.get(url, {"known": 2, "after": first["after"]}).json()
    assert [row["key"] for row in later["uploads"]] == ["3"]
    for nonsense in ("x", "2026-01-01", "2026-13-45T00:00:00Z x", first["after"].partition(" ")[0]):
        assert as_alice.get(url, {"known": 0, "after": nonsense}).status_code == 200


def test_asking_for_news_costs_one_query_and_is_no_activity(as_alice: Client, alice: User, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": b"hello"})
    url = batch["urls"]["results"]
    UserSession.objects.filter(user=alice).update(last_activity_at=timezone.now() - timedelta(minutes=5))
    before = UserSession.objects.get(user=alice).last_activity_at
    with CaptureQueriesContext(connection) as asked:
        as_alice.get(url, {"known": 1}, headers={"X-Background": "1"})
    assert len([query for query in asked if "ingest_upload" in query["sql"]]) == 1
    assert UserSession.objects.get(user=alice).last_activity_at == before


def test_a_request_sent_again_is_not_taken_again(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    data = part10()
    once = post_files(as_alice, batch, {"1": data, "2": b"hello"})
    again = post_files(as_alice, batch, {"1": data, "2": b"hello"})
    assert once.status_code == again.status_code == 202
    assert once.json() == again.json()
    with clinic_scope(clinic_a):
        assert Upload.objects.count() == 2
        assert Blob.objects.exclude(state=Blob.State.DESTROYED).count() == 1


def test_a_line_that_breaks_in_the_middle_costs_the_file_it_broke_in_F24(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    head = b"--b\r\nContent-Type: application/dicom\r\nContent-ID: <%d>\r\n\r\n"
    body = b"".join(head % number + part10() + b"\r\n" for number in (1, 2)) + head % 3 + part10()[:200]
    content_type = 'multipart/related; type="application/dicom"; boundary=b'
    assert as_alice.post(batch["urls"]["store"], body, content_type=content_type).status_code == 400
    assert {key: row["state"] for key, row in rows_of(as_alice, batch).items()} == {"1": "stored", "2": "stored"}


def test_what_ones_own_uploads_brought_is_known_and_nothing_else_UPL_12(
    as_alice: Client, as_bob: Client, clinic_a: Clinic
) -> None:
    """Whoever asks learns of their own uploads only, never of what else the clinic holds."""
    bobs, alices = begin(as_bob), begin(as_alice)
    mine, theirs = part10(SOPInstanceUID="2.25.1"), part10(SOPInstanceUID="2.25.2")
    post_files(as_alice, alices, {"1": mine, "2": b"hello"})
    post_files(as_bob, bobs, {"1": theirs})
    instances = [["2.25.1", len(mine)], ["2.25.1", len(mine) - 1], ["2.25.2", len(theirs)], ["2.25.3", 5]]

    def have(client: Client, **asked: Any) -> Any:
        return client.post(reverse("upload-have", args=["alpha"]), asked, content_type="application/json")

    later = begin(as_alice)
    answer = have(as_alice, batch=later["batch"], instances=instances, keys=["1"]).json()
    assert answer == {"keys": {}, "instances": [1, 0, 0, 0], "files": []}
    assert have(as_bob, batch=bobs["batch"], instances=instances).json()["instances"] == [0, 0, 1, 0]
    assert list(have(as_alice, batch=alices["batch"], keys=["1", "2", "9"]).json()["keys"]) == ["1", "2"]
    assert have(as_bob, batch=alices["batch"]).status_code == 404
    with clinic_scope(clinic_a):
        Upload.objects.filter(sop_instance_uid="2.25.1").update(instance=None)
    answer = have(as_alice, batch=later["batch"], instances=instances).json()
    assert answer["instances"][0] == 0, "what was erased since is sent again"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"7", b'"a"', b"{", b'{"instances": 7}', b'{"instances": [["1.2"]]}', b'{"instances": [["/x", 1]]}',
        b'{"instances": [[null, null]]}', b'{"keys": ["<script>"]}', b'{"keys": 5}', b'{"files": [["zz", 1, "1"]]}',
        b'{"instances": [["1.2", "x"]]}', b"\xff\xfe", b'{"keys": [' + b'"1",' * 2001 + b'"1"]}',
    ],
)  # fmt: skip
def test_any_question_is_survived(as_alice: Client, clinic_a: Clinic, body: bytes) -> None:
    answer = as_alice.post(reverse("upload-have", args=["alpha"]), body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-question")


def test_a_file_beyond_the_limit_costs_only_itself_UPL_02(as_alice: Client, clinic_a: Clinic, settings) -> None:
    settings.MAX_FILE_BYTES = 9 << 20
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": bytes(10 << 20), "2": part10()})
    rows = rows_of(as_alice, batch)
    assert {key: row["state"] for key, row in rows.items()} == {"1": "rejected", "2": "stored"}
    assert "larger" in rows["1"]["text"]
    with clinic_scope(clinic_a):
        assert Blob.objects.filter(kind="instance").count() == 1


def test_nothing_arrives_without_the_token_of_the_page_WEB_03(alice: User, clinic_a: Clinic) -> None:
    client = signed_in(alice)
    batch = begin(client)
    client.handler.enforce_csrf_checks = True
    assert post_files(client, batch, {"1": part10()}).status_code == 403
    tus = reverse("upload-tus", args=["alpha"])
    assert client.post(tus, b"x", content_type="application/offset+octet-stream").status_code == 403
    with clinic_scope(clinic_a):
        assert not Blob.objects.exists()
    token = client.get(reverse("upload-begin", args=["alpha"])).json()["csrf"]
    assert post_files(client, batch, {"1": part10()}, headers={"X-CSRFToken": token}).status_code == 200


def test_files_sent_to_forms_are_dropped_unread_UPL_01(clinic_a: Clinic, alice: User) -> None:
    answer = Client().post(reverse("sign-in"), {"email": "a", "file": SimpleUploadedFile("f", bytes(5_000_000))})
    assert answer.status_code < 500
    answer = signed_in(alice).post(reverse("upload-begin", args=["alpha"]), {"f": SimpleUploadedFile("f", part10())})
    assert answer.status_code == 201
    with clinic_scope(clinic_a):
        assert not Blob.objects.exists()


def test_any_name_is_survived_UPL_05(as_alice: Client, clinic_a: Clinic) -> None:
    names = ["../../x", "C:\\evil\\..\\x", "a\0b", "\u202egnp.exe", "", "%", "x" * 3000, "<script>", "a\r\nb"]
    batch = begin(as_alice)
    files = {str(number): b"hello" for number in range(len(names))}
    post_files(as_alice, batch, files, {str(number): name for number, name in enumerate(names)})
    with clinic_scope(clinic_a):
        found = list(Upload.objects.values_list("name", flat=True))
    assert len(found) == len(names)
    assert not [name for name in found if ".." in name or not name.isprintable() or len(name) > 255]


def test_keys_that_are_none_are_left_out(as_alice: Client, clinic_a: Clinic) -> None:
    for key in ("a" * 41, "a b", "a<b", "../x"):
        assert post_files(as_alice, begin(as_alice), {key: part10()}).status_code == 200
    with clinic_scope(clinic_a):
        assert set(Upload.objects.values_list("client_key", flat=True)) == {None}


def test_another_clinic_sees_and_adds_nothing_AUTHZ_01(as_alice: Client, as_charlie: Client) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": part10()})
    moved = {"urls": {name: url.replace("alpha", "beta") for name, url in batch["urls"].items()}}
    for there in (batch, moved):
        assert as_charlie.get(there["urls"]["page"]).status_code == 404
        assert as_charlie.get(there["urls"]["results"]).status_code == 404
        assert post_files(as_charlie, there, {"9": part10()}).status_code == 404


def test_colleagues_do_not_see_each_others_uploads_but_owners_do(as_alice: Client, as_bob: Client) -> None:
    alices, bobs = begin(as_alice), begin(as_bob)
    post_files(as_alice, alices, {"1": part10()})
    post_files(as_bob, bobs, {"1": part10()})
    assert as_bob.get(alices["urls"]["page"]).status_code == 404
    assert post_files(as_bob, alices, {"2": part10()}).status_code == 404
    assert as_alice.get(bobs["urls"]["page"]).status_code == 200
    assert post_files(as_alice, bobs, {"2": part10()}).status_code == 404


def test_an_uploader_learns_the_outcome_but_gets_no_way_to_the_study(uploader: Client) -> None:
    batch = begin(uploader)
    post_files(uploader, batch, {"1": part10()})
    process_until_idle()
    [row] = uploader.get(batch["urls"]["results"]).json()["uploads"]
    assert (row["state"], row["study_url"]) == ("stored", "")
    assert b"/studies/" not in uploader.get(batch["urls"]["page"]).content


def test_documents_go_to_visible_studies_only(as_alice: Client, as_charlie: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": part10()})
    process_until_idle()
    with clinic_scope(clinic_a):
        study = Study.objects.get().public_id
    assert as_alice.get(reverse("upload", args=["alpha"]), {"study": study}).status_code == 200
    assert as_charlie.get(reverse("upload", args=["beta"]), {"study": study}).status_code == 404
    assert as_charlie.post(reverse("upload-begin", args=["beta"]), {"study": study}).status_code == 404
    to_study = as_alice.post(reverse("upload-begin", args=["alpha"]), {"study": study}).json()
    post_files(as_alice, to_study, {"1": b"%PDF-1.7 letter %%EOF"})
    process_until_idle()
    assert as_alice.get(to_study["urls"]["results"]).json()["uploads"][0]["state"] == "stored"


def test_asking_how_far_it_is_tells_numbers_only(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": zipped({"IM": part10()})}, {"1": "Quellenhuber.zip"})
    url = reverse("upload-progress", args=["alpha", batch["batch"]])
    before = AuditEvent.objects.count()
    answer = as_alice.get(url, headers={"X-Background": "1"})
    assert b"0 of 1" in answer.content
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
    post_files(as_alice, batch, {"1": zipped({payload: b"hello"})}, {"1": payload})
    process_until_idle()
    content = as_alice.get(batch["urls"]["page"]).content.decode()
    assert payload not in content or payload == "{{1234567*7}}"
    assert "&lt;" in content or payload == "{{1234567*7}}"
    assert "8641969" not in content or payload != "{{1234567*7}}"


def test_a_batch_without_files_is_not_listed(as_alice: Client, clinic_a: Clinic) -> None:
    begin(as_alice)
    with clinic_scope(clinic_a):
        assert UploadBatch.objects.count() == 1
    assert b"Nothing uploaded yet" in as_alice.get(reverse("uploads", args=["alpha"])).content


def test_the_list_is_saved_as_a_table_that_runs_nothing_WEB_07(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": part10(), "2": b"hello"}, {"1": "IM1", "2": "=HYPERLINK(1)"})
    answer = as_alice.get(reverse("upload-csv", args=["alpha", batch["batch"]]))
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    header, first, second = answer.content.decode("utf-8-sig").splitlines()
    assert header == "File,Bytes,What became of it"
    assert first.endswith(",Stored")
    assert second == "'=HYPERLINK(1),5,Rejected: This is not a DICOM file."


def test_the_pages_of_a_long_upload(as_alice: Client, clinic_a: Clinic) -> None:
    batch = begin(as_alice)
    post_files(as_alice, batch, {"1": zipped({f"{n:03}": b"hello" for n in range(250)})})
    process_until_idle()
    first, second = (as_alice.get(batch["urls"]["page"], {"page": page, "show": "problem"}).content for page in (1, 2))
    assert b'<span class="text-body-secondary">folder/1 \xe2\x80\xba</span> 007' in first
    assert b"> 249" in second
    assert as_alice.get(batch["urls"]["page"], {"show": "stored"}).content.count(b"upload-row") == 1
