"""A study as it was, beside what is there (BAK-06), and nothing of what was destroyed on purpose (BAK-07)."""

from __future__ import annotations

import io
import os
from datetime import datetime
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from apps.access.services import import_principal
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest.models import UploadBatch
from apps.ingest.services import close_batch, open_batch, receive, store_now
from apps.jobs.services import process_until_idle
from apps.storage.services import copy_due, open_blob
from apps.studies.models import Document, Instance, Study
from apps.studies.services import erase_studies
from tests.backup.test_drill import place, ship
from tests.studies.files import part10, uid

__all__ = ["place"]

pytestmark = pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="test_postgres.py does it there")
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(out, "PNG")
    return out.getvalue()


PNG = png()
CONTENTS = [part10("ct1"), part10("ct2", InstanceNumber=2), part10("ct3", InstanceNumber=3)]


def store(clinic: Clinic, *contents: bytes) -> None:
    principal = import_principal(clinic, "tests")
    batch = open_batch(principal, UploadBatch.Source.IMPORT)
    store_now(principal, batch, [[content] for content in contents])
    close_batch(batch)


def restore(at: datetime, *options: str) -> str:
    out = io.StringIO()
    call_command("restore", "--clinic", "alpha", "--at", at.isoformat(), *options, stdout=out, stderr=out)
    return out.getvalue()


def contents_of(clinic: Clinic) -> list[bytes]:
    with clinic_scope(clinic):
        found = []
        for instance in Instance.objects.order_by("sop_instance_uid").select_related("blob"):
            with open_blob(instance.blob) as reader:
                found.append(reader.read())
        return sorted(found)


def test_a_study_comes_back_as_of_a_time_and_what_was_destroyed_does_not_BAK_06_BAK_07(
    transactional_db: None, clinic_a: Clinic, place: Path, tmp_path: Path, settings: Settings
) -> None:
    with clinic_scope(clinic_a):
        store(clinic_a, *CONTENTS)
        copy_due()
    ship(Path(str(connection.settings_dict["NAME"])), tmp_path / "stream")
    then = timezone.now()

    # An image's row is gone (whatever did that), another one's blob was replaced by other bytes under the same UID.
    with clinic_scope(clinic_a):
        lost = Instance.objects.get(sop_instance_uid=uid("ct1"))
        lost.delete()
    said = restore(then, "--study", uid("study"))
    assert "1 study" in said or "1 studies" in said
    assert "2 duplicate" in said
    assert "1 stored" in said
    assert contents_of(clinic_a) == sorted(CONTENTS)
    assert AuditEvent.objects.filter(verb="backup.restored", clinic_id=clinic_a.pk).count() == 1
    assert not list((Path(settings.DATA_DIR) / "backup").glob("older-*"))

    with clinic_scope(clinic_a):
        study = Study.objects.get()
        erase_studies(import_principal(clinic_a, "tests"), [study], kind="study", reference=study.public_id)
    with pytest.raises(CommandError, match="destroyed on purpose"):
        restore(then, "--study", uid("study"))
    assert contents_of(clinic_a) == []


def papers_of(clinic: Clinic) -> list[tuple[str, str, bytes]]:
    with clinic_scope(clinic):
        found = []
        for document in Document.objects.order_by("title").select_related("blob"):
            with open_blob(document.blob) as reader:
                found.append((document.title, document.media_type, bytes(reader.read())))
        return found


@pytest.mark.parametrize("wanted", ["study", "patient"])
def test_documents_come_back_once_with_what_they_are_called_BAK_06(
    transactional_db: None, clinic_a: Clinic, place: Path, tmp_path: Path, wanted: str
) -> None:
    with clinic_scope(clinic_a):
        store(clinic_a, *CONTENTS)
        study = Study.objects.select_related("patient").get()
        principal = import_principal(clinic_a, "tests")
        for name, content, owner in (
            ("Report 12.3. Dr. Meyer.pdf", PDF, {"study": study}),
            ("Photo.png", PNG, {"study": study}),
            ("Referral.pdf", PDF + b"% another\n", {"patient": study.patient}),
        ):
            batch = open_batch(principal, UploadBatch.Source.IMPORT, **owner)
            receive(principal, batch, name, [content])
            close_batch(batch)
    process_until_idle()
    before = papers_of(clinic_a)
    assert len(before) == 3
    with clinic_scope(clinic_a):
        copy_due()
    ship(Path(str(connection.settings_dict["NAME"])), tmp_path / "stream")
    then = timezone.now()

    option = ["--study", uid("study")] if wanted == "study" else ["--patient", study.patient.public_id]
    with clinic_scope(clinic_a):
        Document.objects.filter(title__startswith="Report").delete()
        Document.objects.filter(title="Referral").delete()
    assert ("1 documents taken" if wanted == "study" else "2 documents taken") in restore(then, *option)
    # Nor while a worker has yet to examine what was brought.
    assert "0 documents taken" in restore(then, *option)
    process_until_idle()
    expected = [each for each in before if wanted == "patient" or each[0] != "Referral"]
    assert papers_of(clinic_a) == expected
    # What is there is not brought a second time, though what came back has another name in URLs.
    assert "0 documents taken" in restore(then, *option)
    process_until_idle()
    assert papers_of(clinic_a) == expected
