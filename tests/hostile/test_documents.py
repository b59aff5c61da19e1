"""Hostile documents attached to a study: each gets its answer, what is kept does nothing (UPL-06, UPL-11, WEB-04)."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import Upload
from apps.storage.services import iterate_blob
from apps.studies.models import Document
from tests.hostile import intake
from tests.hostile.cases import stored
from tests.hostile.document_files import document_cases
from tests.ingest.files import part10

pytestmark = pytest.mark.django_db

CASES = list(document_cases())


def test_each_document_gets_its_answer_and_what_is_kept_does_nothing_UPL_06_UPL_11_WEB_04(
    as_alice: Client, clinic_a: Clinic
) -> None:
    [image] = intake.send_form(as_alice, "alpha", [stored("image", part10)])
    assert image.study
    uploads = intake.send_form(as_alice, "alpha", CASES, study=image.study.public_id)
    assert intake.wrong(CASES, uploads) == {}
    assert {upload.state for upload in uploads} >= {Upload.State.STORED, Upload.State.REJECTED}
    intake.assert_nothing_is_left(clinic_a)
    with clinic_scope(clinic_a):
        documents = list(Document.objects.select_related("blob", "clinic"))
    assert len(documents) == sum(case.outcome == "stored" for case in CASES)
    for document in documents:
        answer = as_alice.get(reverse("document", args=["alpha", document.public_id]))
        b"".join(answer.streaming_content)
        assert answer["Content-Type"] in ("application/pdf", "image/jpeg", "image/png")
        assert answer["Content-Disposition"].startswith("attachment;")
        assert "sandbox" in answer["Content-Security-Policy"]
        drawn = as_alice.get(reverse("document-picture", args=["alpha", document.public_id]))
        assert drawn.status_code == (200 if document.is_picture else 404), document.title
    page = as_alice.get(reverse("study", args=["alpha", image.study.public_id]))
    assert page.status_code == 200
    assert b"<script>alert" not in page.content
    with clinic_scope(clinic_a):
        for document in documents:
            if document.is_picture:
                kept = b"".join(iterate_blob(document.blob))
                for word in (b"<script", b"PK\x03\x04", b"Quellenhuber", b"evIl", b"GPS"):
                    assert word not in kept, document.title
