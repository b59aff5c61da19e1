"""The recycle bin: gone at once, back with one click for 30 days, then destroyed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from apps.access.services import Principal, import_principal
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import every_clinic
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import open_batch, store_now
from apps.storage.models import Blob, Erasure
from apps.storage.services import iterate_blob, write_blobs
from apps.studies import recycling
from apps.studies.errors import RestoreRefusedError
from apps.studies.models import DeletedStudy, Document, Instance, Series, Study
from apps.studies.services import delete_study
from tests.ingest.files import series


@pytest.fixture
def principal(in_clinic_a: Clinic) -> Principal:
    return import_principal(in_clinic_a, "tests")


def store(principal: Principal, files: list[bytes]) -> Study:
    batch = open_batch(principal, UploadBatch.Source.IMPORT, is_one_request=True)
    [*outcomes] = store_now(principal, batch, [[file] for file in files])
    return Study.objects.get(study_instance_uid=outcomes[0].study_instance_uid)


def test_a_deleted_study_is_nowhere_and_comes_back_with_one_click(
    principal: Principal, in_clinic_a: Clinic, as_alice: Client
) -> None:
    files = series(2, PatientName="Weg^Wilma")
    study = store(principal, files)
    [letter] = write_blobs(in_clinic_a, "instance", [b"%PDF-1.7"])
    document = Document.objects.create(
        clinic=in_clinic_a, study=study, blob=letter, title="Letter", media_type="application/pdf"
    )
    home = f"/c/{in_clinic_a.slug}"
    pages = [
        f"{home}/studies/{study.public_id}/",
        f"{home}/documents/{document.public_id}/",
        f"{home}/dicomweb/studies/{study.study_instance_uid}/metadata",
    ]
    assert as_alice.get(pages[0]).status_code == 200
    asked = as_alice.get(f"{pages[0]}delete/").content.decode()
    assert "Move to the recycle bin" in asked
    assert Study.objects.exists()

    answer = as_alice.post(f"{pages[0]}delete/", {"delete": "yes"})
    assert answer["Location"] == f"{home}/deleted/"
    for model in (Study, Series, Instance):
        assert not model.objects.exists()
    assert [as_alice.get(page).status_code for page in pages] == [404, 404, 404]
    assert "Wilma" not in as_alice.get(f"{home}/").content.decode()
    assert not Upload.objects.filter(study__isnull=False).exists()
    shown = as_alice.get(f"{home}/deleted/").content.decode()
    assert "Wilma" in shown
    [deleted] = DeletedStudy.objects.all()

    back = as_alice.post(f"{home}/deleted/{deleted.public_id}/restore/")
    assert back["Location"] == pages[0]
    assert [as_alice.get(page).status_code for page in pages[:2]] == [200, 200]
    contents = {b"".join(iterate_blob(row.blob)) for row in Instance.objects.select_related("blob")}
    assert contents == set(files)
    assert Upload.objects.filter(study=study, instance__isnull=False).count() == 2
    assert as_alice.post(f"{home}/deleted/{deleted.public_id}/restore/").status_code == 404
    verbs = list(AuditEvent.objects.filter(object_reference=study.public_id).values_list("verb", flat=True))
    assert {"study.deleted", "study.restored"} <= set(verbs)


def test_what_was_uploaded_again_is_not_mixed_with_what_was_deleted(principal: Principal) -> None:
    files = series(2)
    deleted = delete_study(principal, store(principal, files))
    again = store(principal, files)
    with pytest.raises(RestoreRefusedError):
        recycling.restore_study(principal, deleted)
    delete_study(principal, again)
    assert recycling.restore_study(principal, deleted).public_id == deleted.study_reference
    assert Instance.objects.count() == 2


def test_after_thirty_days_it_is_destroyed_for_good_ENC_06(principal: Principal) -> None:
    study = store(principal, series(2))
    deleted = delete_study(principal, study)
    names = list(Blob.objects.filter(kind="instance").values_list("public_id", flat=True))
    assert recycling.erase_expired(timezone.now() + timedelta(days=29)) == 0
    assert recycling.erase_expired(timezone.now() + timedelta(days=31)) == 1
    assert recycling.erase_expired(timezone.now() + timedelta(days=31)) == 0
    with every_clinic():
        assert not Study.objects.exists()
    assert not Blob.objects.filter(public_id__in=names, wrapped_key__isnull=False).exists()
    assert Erasure.objects.get().reference == deleted.study_reference
    with pytest.raises(RestoreRefusedError):
        recycling.restore_study(principal, deleted)


def test_only_owners_delete(principal: Principal, in_clinic_a: Clinic, as_bob: Client, as_charlie: Client) -> None:
    study = store(principal, series(1))
    for browser, status in ((as_bob, 403), (as_charlie, 404)):
        url = f"/c/{in_clinic_a.slug}/studies/{study.public_id}/delete/"
        assert browser.post(url, {"delete": "yes"}).status_code == status
        assert browser.get(f"/c/{in_clinic_a.slug}/deleted/").status_code == status
    assert Study.objects.exists()
