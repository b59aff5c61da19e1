"""The virus scan by a real clamd with signatures of our own: found wherever it hides, never passed unseen (UPL-07)."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from apps.access.services import Principal
from apps.accounts.roles import Scope
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.ingest import services, tasks
from apps.ingest.models import Upload, UploadBatch
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.storage.models import Blob
from apps.studies.models import Document, Instance
from tests.clamd import BY_HASH, EICAR, STREAM_BYTES, Clamd
from tests.dicom.files import element, item
from tests.dicomweb.conftest import multipart_of, token_for
from tests.hostile import intake, raw
from tests.hostile.cases import Case
from tests.ingest.conftest import Send
from tests.ingest.files import part10, zipped

pytestmark = pytest.mark.django_db
State = Upload.State


@pytest.fixture(scope="module")
def running() -> Iterator[Clamd]:
    with tempfile.TemporaryDirectory(prefix="clamd-") as folder:
        clamd = Clamd(Path(folder))
        clamd.start()
        yield clamd
        clamd.stop()


@pytest.fixture
def clamd(running: Clamd, settings: Any) -> Clamd:
    """The scanner that the settings name."""
    settings.CLAMAV_URL = running.url
    settings.CLAMAV_MAX_BYTES = STREAM_BYTES
    return running


def pdf(content: bytes) -> bytes:
    """A PDF with an attached file, packed as PDF does it."""
    packed = zlib.compress(content)
    head = b"%%PDF-1.4\n1 0 obj\n<</Type/EmbeddedFile/Filter/FlateDecode/Length %d>>\nstream\n" % len(packed)
    return head + packed + b"\nendstream\nendobj\ntrailer\n<<>>\n%%EOF\n"


def private(content: bytes, *, deep: int = 0, vr: str = "OB") -> tuple[int, bytes]:
    value = raw.text(0x00090010, "LO", "HOSTILE") + element(0x00091001, vr, content + b"\0" * (len(content) % 2))
    for _ in range(deep):
        value = element(0x00081140, "SQ", item(value), None)
    return 0x00081140 if deep else 0x00090010, value


HIDING_PLACES = {
    "as it is": EICAR,
    "behind something": b"x" * 5000 + EICAR,
    "in a private element": raw.changed("eicar private", private(EICAR)),
    "in a private element of a nested item": raw.changed("eicar nested", private(EICAR, deep=3)),
    "in a private element of undefined VR": raw.changed("eicar unknown", private(EICAR, vr="UN")),
    "in a preamble": raw.part10("eicar preamble", raw.joined(raw.image("eicar preamble")), preamble=EICAR),
    "behind the pixels": raw.changed("eicar behind", (0xFFFCFFFC, element(0xFFFCFFFC, "OB", EICAR))),
    "in the pixels": raw.encapsulated("eicar pixels", [b"\xff\xd8\xff\xe0" + EICAR]),
    "deflated": raw.deflated("eicar deflated", raw.joined(raw.image("eicar deflated") | dict([private(EICAR)]))),
    "in an encapsulated PDF": raw.changed("eicar pdf", (0x00420011, element(0x00420011, "OB", pdf(EICAR)))),
    "as a whole, in a private element": raw.changed("hash private", private(BY_HASH)),
    "as a whole, in a nested private element": raw.changed("hash nested", private(BY_HASH, deep=2)),
    "as a whole, in an encapsulated document": raw.changed(
        "hash document",
        (0x00420011, element(0x00420011, "OB", BY_HASH + b"\0")),
        (0x00420015, element(0x00420015, "UL", len(BY_HASH).to_bytes(4, "little"))),
    ),
    "as a whole, deflated": raw.deflated(
        "hash packed", raw.joined(raw.image("hash packed") | dict([private(BY_HASH)]))
    ),
    "as a whole, as text": raw.changed("hash text", (0x00104000, element(0x00104000, "UT", BY_HASH + b" "))),
}


def test_it_is_found_wherever_it_hides_UPL_07(clamd: Clamd, send: Send, clinic_a: Clinic) -> None:
    answers = {place: send(data) for place, data in HIDING_PLACES.items()}
    assert {place: (upload.state, upload.code) for place, upload in answers.items()} == dict.fromkeys(
        HIDING_PLACES, (State.REJECTED, "infected")
    )
    assert not Instance.objects.exists()
    assert not Blob.objects.exclude(state=Blob.State.DESTROYED).exists()


def test_in_a_zip_it_costs_only_the_member_that_has_it_UPL_07(clamd: Clamd, send: Send) -> None:
    members = {"a/good": part10(), "a/eicar.com": EICAR, "b/private": HIDING_PLACES["as a whole, in a private element"]}
    archive = send(zipped(members), "disc.zip")
    assert archive.state == State.EXPANDED
    found = {upload.name: upload.code or upload.state for upload in Upload.objects.filter(archive=archive)}
    assert found == {"a/good": "stored", "a/eicar.com": "infected", "b/private": "infected"}


def test_in_a_document_it_is_found_UPL_07(clamd: Clamd, send: Send, alice_acts: Principal) -> None:
    study = send(part10()).study
    batch = services.open_batch(alice_acts, UploadBatch.Source.WEB, study=study)
    assert send(pdf(EICAR), "letter.pdf", batch).code == "infected"
    assert send(pdf(b"a letter of no harm at all"), "letter.pdf", batch).state == State.STORED
    assert Document.objects.count() == 1


def test_what_is_clean_is_stored(clamd: Clamd, send: Send) -> None:
    assert send(part10()).state == State.STORED


def test_a_find_is_recorded_and_the_owners_get_one_mail_UPL_07(
    clamd: Clamd, send: Send, batch: UploadBatch, clinic_a: Clinic
) -> None:
    upload = send(HIDING_PLACES["in a private element"], "Quellenhuber^Ottilie.dcm")
    send(EICAR)
    assert upload.blob is None
    events = AuditEvent.objects.filter(clinic_id=clinic_a.pk, verb="upload.infected", object_reference=batch.public_id)
    assert [event.outcome for event in events] == ["failure", "failure"]
    [letter] = [letter for letter in mail.outbox if letter.to == ["alice@alpha.example"]]
    assert "Test.Eicar" in letter.body
    assert f"/c/alpha/uploads/{batch.public_id}/" in letter.body
    assert "Quellenhuber" not in f"{letter.subject} {letter.body}"


def test_a_device_is_told_UPL_07(clamd: Clamd, clinic_a: Clinic) -> None:
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.WRITE)}"}
    body, content_type = multipart_of([part10(), HIDING_PLACES["in a private element"]])
    response = Client().post("/c/alpha/dicomweb/studies", body, content_type, headers=headers)
    assert response.status_code == 202
    assert len(response.json()["00081199"]["Value"]) == len(response.json()["00081198"]["Value"]) == 1


def assert_held(upload: Upload, code: str = "waiting-for-scan") -> None:
    upload.refresh_from_db()
    assert (upload.state, upload.code) == (State.RECEIVED, code)
    assert upload.message
    assert upload.blob is not None
    assert upload.blob.state == Blob.State.QUARANTINED
    assert not Instance.objects.exists()
    assert not Job.objects.exclude(state=Job.State.DONE).exists()


def released(upload: Upload, code: str = "waiting-for-scan") -> str:
    tasks.scan_held() if code == "waiting-for-scan" else tasks.scan_large()
    process_until_idle()
    upload.refresh_from_db()
    return f"{upload.state} {upload.code}".strip()


@pytest.fixture
def own_clamd(settings: Any, tmp_path: Path) -> Iterator[Clamd]:
    """A scanner of this test alone, which it may kill."""
    with tempfile.TemporaryDirectory(prefix="clamd-") as folder:
        clamd = Clamd(Path(folder))
        settings.CLAMAV_URL, settings.CLAMAV_MAX_BYTES = clamd.url, STREAM_BYTES
        yield clamd
        clamd.stop()


def test_without_the_scanner_files_wait_and_are_taken_when_it_is_back_F21_UPL_07(own_clamd: Clamd, send: Send) -> None:
    good, bad = send(part10()), send(HIDING_PLACES["in a private element"])
    assert_held(good)
    assert_held(bad)
    assert released(good) == "received waiting-for-scan"
    own_clamd.start()
    assert released(good) == "stored"
    bad.refresh_from_db()
    assert bad.code == "infected"
    own_clamd.kill()
    again = send(part10())
    assert again.code == "waiting-for-scan"
    assert Instance.objects.count() == 1


def test_a_scanner_that_hangs_holds_files_and_jobs_go_on_F21_UPL_07(
    own_clamd: Clamd, send: Send, settings: Any
) -> None:
    settings.CLAMAV_TIMEOUT_SECONDS = 0.5
    own_clamd.start()
    own_clamd.freeze()
    upload = send(part10())
    assert_held(upload)
    own_clamd.thaw()
    settings.CLAMAV_TIMEOUT_SECONDS = 30.0
    assert released(upload) == "stored"


def test_old_signatures_scan_nothing_F21_UPL_07(own_clamd: Clamd, send: Send, settings: Any) -> None:
    own_clamd.start(signed_days_ago=8)
    upload = send(part10())
    assert_held(upload)
    assert released(upload) == "received waiting-for-scan"
    own_clamd.stop()
    own_clamd.start(signed_days_ago=1)
    assert released(upload) == "stored"


def test_a_file_beyond_the_limit_is_not_clean_UPL_07(clamd: Clamd, send: Send, settings: Any) -> None:
    settings.CLAMAV_MAX_BYTES = 500
    upload = send(part10())
    assert_held(upload, "over-scan-limit")
    assert released(upload) == "received over-scan-limit"
    settings.CLAMAV_MAX_BYTES = STREAM_BYTES
    assert released(upload, "over-scan-limit") == "stored"


def test_what_the_scanner_itself_finds_too_large_is_not_clean_UPL_07(clamd: Clamd, send: Send, settings: Any) -> None:
    settings.CLAMAV_MAX_BYTES = 100 << 20
    large = raw.changed("large", (0xFFFCFFFC, element(0xFFFCFFFC, "OB", bytes(STREAM_BYTES + 2))))
    assert_held(send(large), "over-scan-limit")


def test_a_waiting_device_is_told_where_to_ask_F21(own_clamd: Clamd, clinic_a: Clinic) -> None:
    headers = {"Authorization": f"Bearer {token_for(clinic_a, Scope.WRITE, Scope.READ)}"}
    body, content_type = multipart_of([part10()])
    response = Client().post("/c/alpha/dicomweb/studies", body, content_type, headers=headers)
    assert response.status_code == 202
    where = response["Location"]
    assert Client().get(where, headers=headers).status_code == 202
    own_clamd.start()
    tasks.scan_held()
    process_until_idle()
    assert Client().get(where, headers=headers).status_code == 200


def test_scanning_that_is_switched_off_sets_waiting_files_free(own_clamd: Clamd, send: Send, settings: Any) -> None:
    upload = send(part10())
    assert_held(upload)
    settings.CLAMAV_URL = ""
    assert released(upload) == "stored"


def test_the_health_page_says_how_the_scan_is_UPL_07(
    own_clamd: Clamd, send: Send, as_platform_admin: Client, settings: Any
) -> None:
    def page() -> str:
        return as_platform_admin.get(reverse("admin:health")).content.decode()

    send(part10())
    assert "the scanner does not answer" in page()
    own_clamd.start(signed_days_ago=30)
    assert "signatures are too old" in page()
    settings.CLAMAV_URL = ""
    assert "scanning is off" in page()


def test_the_upload_page_says_why_a_file_waits(own_clamd: Clamd, as_alice: Client, clinic_a: Clinic) -> None:
    [upload] = intake.send_form(as_alice, "alpha", [Case("IM1", part10, State.RECEIVED)], is_awaited=False)
    page = as_alice.get(reverse("upload-batch", args=["alpha", upload.batch.public_id]))
    assert "waits for the virus scan" in page.content.decode()
