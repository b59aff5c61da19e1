"""Documents of studies and patients: kept without the camera's notes, served harmlessly, made into DICOM."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image

from apps.access.services import Principal
from apps.accounts.models import Membership, User
from apps.accounts.roles import Role
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.dicom import limited
from apps.ingest import services
from apps.ingest.models import Upload, UploadBatch
from apps.patients.models import Patient
from apps.storage.models import Blob
from apps.storage.services import iterate_blob, open_blob
from apps.studies.models import Document, Instance, Study
from tests.conftest import signed_in
from tests.dicom.files import element
from tests.hostile import raw
from tests.ingest.conftest import Send
from tests.ingest.files import part10

pytestmark = pytest.mark.django_db

PDF = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n"
NOISE = np.random.default_rng(7).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def photo(kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(out, kind, **options)
    return out.getvalue()


def noted_photo() -> bytes:
    """As a phone makes it: where, when, with what, lying on its side, a comment, and something behind the end."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "SECRETPHONE", "2026:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    return photo(exif=exif, comment=b"SECRETCOMMENT") + b"PK\x03\x04SECRETARCHIVE"


@pytest.fixture
def study(send: Send) -> Study:
    found = send(part10(StudyDescription="Knee")).study
    assert found
    return found


@pytest.fixture
def attach(send: Send, alice_acts: Principal, study: Study) -> Any:
    def attach(data: bytes, name: str, *, patient: Patient | None = None) -> Upload:
        of_study = None if patient else study
        batch = services.open_batch(alice_acts, UploadBatch.Source.WEB, study=of_study, patient=patient)
        return send(data, name, batch)

    return attach


def content_of(document: Document) -> bytes:
    return b"".join(iterate_blob(document.blob))


def test_a_photograph_is_kept_without_its_notes(attach: Any, study: Study) -> None:
    original = noted_photo()
    assert attach(original, "wound.jpg").state == Upload.State.STORED
    [document] = study.documents.all()
    kept = content_of(document)
    assert b"SECRET" not in kept
    assert b"PK\x03\x04" not in kept
    with Image.open(io.BytesIO(kept)) as image, Image.open(io.BytesIO(original)) as before:
        assert dict(image.getexif()) == {0x0112: 6}
        assert np.array_equal(np.asarray(image), np.asarray(before))
    assert not Blob.objects.filter(state=Blob.State.QUARANTINED).exists()


@pytest.mark.parametrize("data", [photo("PNG", pnginfo=None), photo(progressive=True), photo(restart_marker_blocks=2)])
def test_the_picture_itself_is_untouched(data: bytes, attach: Any, study: Study) -> None:
    attach(data, "picture")
    [document] = study.documents.all()
    with Image.open(io.BytesIO(content_of(document))) as image, Image.open(io.BytesIO(data)) as before:
        assert np.array_equal(np.asarray(image), np.asarray(before))


def test_a_document_of_a_patient_is_on_their_page_and_recorded(
    attach: Any, study: Study, as_alice: Client, clinic_a: Clinic
) -> None:
    assert attach(PDF, "consent.pdf", patient=study.patient).state == Upload.State.STORED
    page = as_alice.get(reverse("patient-documents", args=["alpha", study.patient.public_id]))
    assert "consent" in page.content.decode()
    assert "consent" not in as_alice.get(reverse("study", args=["alpha", study.public_id])).content.decode()
    [event] = AuditEvent.objects.filter(verb="document.stored", clinic_id=clinic_a.pk)
    assert event.patient_reference == study.patient.public_id


def test_the_upload_page_adds_to_a_patient(as_alice: Client, study: Study, as_charlie: Client) -> None:
    url = reverse("upload", args=["alpha"])
    assert "Add to a patient" in as_alice.get(url, {"patient": study.patient.public_id}).content.decode()
    begun = as_alice.post(reverse("upload-begin", args=["alpha"]), {"patient": study.patient.public_id})
    assert begun.status_code == 201
    assert UploadBatch.objects.get(public_id=begun.json()["batch"]).patient == study.patient
    foreign = as_charlie.post(reverse("upload-begin", args=["beta"]), {"patient": study.patient.public_id})
    assert foreign.status_code == 404


@pytest.mark.parametrize("name", ["letter.pdf", 'x"\r\nX-Evil: 1.pdf', "\u202efdp.html", "../../a.svg"])
def test_documents_leave_as_files_that_may_do_nothing_WEB_04(
    name: str, attach: Any, study: Study, as_bob: Client
) -> None:
    attach(PDF, name)
    [document] = study.documents.all()
    answer = as_bob.get(reverse("document", args=["alpha", document.public_id]))
    assert answer["Content-Disposition"].startswith("attachment;")
    assert "\n" not in answer["Content-Disposition"]
    assert answer["Content-Type"] == "application/pdf"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]
    assert "X-Evil" not in answer.headers


def test_pages_show_pictures_that_were_drawn_here_WEB_05(attach: Any, study: Study, as_bob: Client) -> None:
    attach(noted_photo(), "wound.jpg")
    attach(PDF, "letter.pdf")
    photograph, letter = study.documents.order_by("pk")
    answer = as_bob.get(reverse("document-picture", args=["alpha", photograph.public_id]))
    assert answer["Content-Type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.height > image.width, "it stands upright"
        assert not image.getexif()
    assert as_bob.get(reverse("document-picture", args=["alpha", letter.public_id])).status_code == 404


CDA = b"""<?xml version="1.0"?><?xml-stylesheet href="evil.xsl"?>
<ClinicalDocument xmlns="urn:hl7-org:v3">
<title>Letter</title><component><structuredBody><component><section><title>Findings</title>
<text><paragraph>Nothing &lt;script&gt;alert(1)&lt;/script&gt; new.</paragraph></text></section></component>
</structuredBody>
</component></ClinicalDocument>"""


def encapsulated(content: bytes, sop_class: str, name: str) -> bytes:
    padded = content + b"\0" * (len(content) % 2)
    return raw.changed(
        name,
        (0x00080016, raw.text(0x00080016, "UI", sop_class)),
        (0x7FE00010, b""),
        (0x00420011, element(0x00420011, "OB", padded)),
        (0x00420015, element(0x00420015, "UL", len(content).to_bytes(4, "little"))),
    )


def test_a_letter_inside_dicom_is_shown_as_text_alone_WEB_04(send: Send, as_bob: Client) -> None:
    upload = send(encapsulated(CDA, "1.2.840.10008.5.1.4.1.1.104.2", "cda"))
    assert upload.study
    assert upload.instance
    series = upload.instance.series
    study_page = as_bob.get(reverse("study", args=["alpha", upload.study.public_id])).content.decode()
    papers_url = reverse("series-papers", args=["alpha", series.public_id])
    assert papers_url in study_page
    page = as_bob.get(papers_url)
    assert "Findings" in page.content.decode()
    assert "&lt;script&gt;alert(1)" in page.content.decode()
    file = as_bob.get(reverse("series-paper-file", args=["alpha", series.public_id, upload.sop_instance_uid]))
    assert file["Content-Type"] == "application/octet-stream"
    assert file["Content-Disposition"].startswith("attachment;")
    assert file.content == CDA


@pytest.mark.parametrize(
    ("content", "media_type"),
    [(PDF, "application/pdf"), (b"<html><script>alert(1)</script></html>", "application/octet-stream")],
)
def test_a_pdf_inside_dicom_is_one_only_if_it_is_one_WEB_05(
    content: bytes, media_type: str, send: Send, as_bob: Client
) -> None:
    upload = send(encapsulated(content, "1.2.840.10008.5.1.4.1.1.104.1", f"pdf {media_type}"))
    assert upload.instance
    url = reverse("series-paper-file", args=["alpha", upload.instance.series.public_id, upload.sop_instance_uid])
    answer = as_bob.get(url)
    assert (answer["Content-Type"], answer.content.rstrip(b"\0")) == (media_type, content)
    assert "sandbox" in answer["Content-Security-Policy"]


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><text>&x;</text></a>',
        b"<a>" * 5000,
        b"no xml",
        b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><l>&b;</l>',
    ],
)
def test_a_hostile_letter_says_nothing(content: bytes, send: Send, as_bob: Client) -> None:
    upload = send(encapsulated(content, "1.2.840.10008.5.1.4.1.1.104.2", f"cda {content[:40]!r}"))
    assert upload.instance
    page = as_bob.get(reverse("series-papers", args=["alpha", upload.instance.series.public_id]))
    assert page.status_code == 200
    assert "root:" not in page.content.decode()


def convert(client: Client, document: Document, study: str, title: str = "Wound") -> Any:
    url = reverse("document-object", args=["alpha", document.public_id])
    assert client.get(url).status_code == 200
    return client.post(url, {"study": study, "title": title})


def check_object(instance: Instance, folder: Path) -> None:
    """David Clunie's validator finds no error in the object."""
    assert shutil.which("dciodvfy"), "install the package dicom3tools"
    with open_blob(instance.blob) as file:
        (folder / "object.dcm").write_bytes(file.read())
    said = subprocess.run(["dciodvfy", folder / "object.dcm"], capture_output=True, check=False)
    errors = [line for line in (said.stdout + said.stderr).decode("latin-1").splitlines() if line.startswith("Error")]
    assert errors == []


@pytest.mark.parametrize(
    ("data", "sop_class_uid"),
    [
        (PDF, "1.2.840.10008.5.1.4.1.1.104.1"),
        (noted_photo(), "1.2.840.10008.5.1.4.1.1.77.1.4"),
        (photo(), "1.2.840.10008.5.1.4.1.1.77.1.4"),
        (photo("PNG", "RGBA"), "1.2.840.10008.5.1.4.1.1.77.1.4"),
        (photo("JPEG", "L"), "1.2.840.10008.5.1.4.1.1.77.1.4"),
        (photo("JPEG", "CMYK"), "1.2.840.10008.5.1.4.1.1.77.1.4"),
    ],
    ids=["pdf", "phone", "jpeg", "png", "grey", "cmyk"],
)
def test_a_document_becomes_an_object_of_its_study(
    data: bytes, sop_class_uid: str, attach: Any, study: Study, as_alice: Client, tmp_path: Path
) -> None:
    attach(data, "a file")
    [document] = study.documents.all()
    answer = convert(as_alice, document, study.public_id)
    assert answer.status_code == 302
    document.refresh_from_db()
    made = document.instance
    assert made
    assert made.sop_class_uid == sop_class_uid
    assert made.series.study == study
    check_object(made, tmp_path)
    if made.number_of_frames:
        with open_blob(made.blob) as file:
            assert limited.rendered(file).startswith(b"\xff\xd8")
    assert as_alice.get(reverse("viewer", args=["alpha", study.public_id])).status_code in (200, 503)
    page = as_alice.get(reverse("study", args=["alpha", study.public_id])).content.decode()
    assert "Also there as a DICOM object" in page
    assert AuditEvent.objects.filter(verb="document.converted").count() == 1
    again = as_alice.get(reverse("document-object", args=["alpha", document.public_id]))
    assert again.status_code == 302


def test_a_document_of_a_patient_can_begin_a_study(attach: Any, study: Study, as_alice: Client, tmp_path: Path) -> None:
    attach(noted_photo(), "wound.jpg", patient=study.patient)
    [document] = Document.objects.filter(patient=study.patient)
    assert convert(as_alice, document, "new", "Wound, left knee").status_code == 302
    document.refresh_from_db()
    assert document.instance
    made = document.instance.series.study
    assert made != study
    assert made.patient == study.patient
    assert made.modalities == ["XC"]
    check_object(document.instance, tmp_path)


def test_nobody_converts_into_a_study_of_another_patient(
    attach: Any, study: Study, send: Send, as_alice: Client
) -> None:
    other = send(part10(PatientID="QX-78", PatientName="Somebody^Else")).study
    attach(PDF, "letter.pdf")
    assert other
    [document] = study.documents.all()
    assert convert(as_alice, document, other.public_id).status_code == 422
    document.refresh_from_db()
    assert document.instance is None


def test_who_may_only_upload_makes_no_object_and_sees_no_document(attach: Any, study: Study, bob: User) -> None:
    attach(PDF, "letter.pdf")
    [document] = study.documents.all()
    Membership.objects.filter(user=bob).update(role=Role.UPLOADER)
    client = signed_in(bob)
    assert client.get(reverse("document-object", args=["alpha", document.public_id])).status_code == 404
