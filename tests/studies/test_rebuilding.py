"""The index comes back from the blobs alone, and what was destroyed does not."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from apps.access.services import Principal, import_principal
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.services import open_batch, store_now
from apps.keys.errors import KeyUnavailableError
from apps.keys.services import forget_clinic_keys
from apps.patients.models import Patient
from apps.storage import erasures, keyring
from apps.storage.disk_place import DiskPlace
from apps.storage.errors import BlobDestroyedError, StorageError
from apps.storage.models import Blob, Copy, Erasure, KeyringPage
from apps.storage.services import copy_due, destroy, iterate_blob, open_blob, write_blobs, write_keyring
from apps.studies.corrections import merge_patients
from apps.studies.models import Document, Instance, Series, Study
from apps.studies.services import erase_clinic, erase_patient, rebuild, replay_erasures
from tests.faults.disks import SECOND, two_disks
from tests.ingest.files import series

Disks = tuple[DiskPlace, DiskPlace]


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    with two_disks(tmp_path) as both:
        yield both


@pytest.fixture
def principal(in_clinic_a: Clinic, disks: Disks) -> Principal:
    return import_principal(in_clinic_a, "tests")


def store(principal: Principal, files: list[bytes]) -> Study:
    """Bring files in, copied and in the keyring, and return their study."""
    batch = open_batch(principal, UploadBatch.Source.IMPORT, is_one_request=True)
    outcomes = store_now(principal, batch, [[file] for file in files])
    assert {outcome.outcome for outcome in outcomes} == {"stored"}
    copy_due()
    write_keyring()
    return Study.objects.get(study_instance_uid=outcomes[0].study_instance_uid)


def add_document(study: Study) -> Document:
    [blob] = write_blobs(study.clinic, "instance", [b"%PDF-1.7 a letter"])
    return Document.objects.create(
        clinic=study.clinic, study=study, blob=blob, title="Letter", media_type="application/pdf"
    )


def lose_the_index() -> None:
    """All rows of studies and blobs gone, as in a database from before they came."""
    with transaction.atomic():
        for model in (Upload, Document, Instance, Series, Study):
            model.objects.all().delete()
        with every_clinic():
            Patient.objects.filter(merged_into__isnull=False).delete()
            Patient.objects.all().delete()
            Copy.objects.all().delete()
            Blob.objects.all().delete()
            KeyringPage.objects.all().delete()
            Erasure.objects.all().delete()


def rebuilt() -> object:
    *_, result = rebuild()
    return result


def contents() -> dict[str, str]:
    rows = Instance.objects.select_related("blob")
    return {row.sop_instance_uid: hashlib.sha256(b"".join(iterate_blob(row.blob))).hexdigest() for row in rows}


def test_the_index_comes_back_as_people_had_put_it_right(principal: Principal, disks: Disks) -> None:
    study = store(principal, series(3, PatientID="A-1", PatientName="Stein^Rosa"))
    other = store(principal, series(2, PatientID="B-2", PatientName="Steyn^Rosa"))
    document = add_document(study)
    merge_patients(principal, other.patient, study.patient)
    write_keyring()
    before = contents()
    names = {(row.study_instance_uid, row.public_id, row.patient.public_id) for row in Study.objects.all()}
    of_series = set(Series.objects.values_list("series_instance_uid", "public_id"))

    lose_the_index()
    result = rebuilt()

    assert (result.instance_count, result.document_count, result.lost, result.unreadable) == (5, 1, [], [])
    assert contents() == before
    assert {(row.study_instance_uid, row.public_id, row.patient.public_id) for row in Study.objects.all()} == names
    assert set(Series.objects.values_list("series_instance_uid", "public_id")) == of_series
    assert Document.objects.get(study__public_id=study.public_id).public_id == document.public_id
    assert Study.objects.get(public_id=study.public_id).number_of_study_related_instances == 3
    # Once more changes nothing; and what is noted anew takes the place of what was found.
    assert rebuilt().instance_count == 0
    write_keyring()
    assert len(list(keyring.page_folder(SECOND).list_objects())) == KeyringPage.objects.count() == 1


def test_new_bytes_are_in_the_keyring_of_every_place_and_destroyed_ones_in_none(
    principal: Principal, disks: Disks
) -> None:
    study = store(principal, series(3))
    doomed, *kept = Blob.objects.filter(kind="instance")
    for alias in ("blobs", SECOND):
        [stored] = keyring.page_folder(alias).list_objects()
        sealed = keyring.read_object(keyring.page_folder(alias), stored.name)
        assert doomed.public_id.encode() not in sealed
        assert len(keyring.open_page(stored.name, sealed)["blobs"]) == 3
    Instance.objects.filter(blob=doomed).delete()
    with transaction.atomic():
        destroy([doomed])
    write_keyring()
    for alias in ("blobs", SECOND):
        said = [
            blob["public_id"]
            for stored in keyring.page_folder(alias).list_objects()
            for blob in keyring.open_page(stored.name, keyring.read_object(keyring.page_folder(alias), stored.name))[
                "blobs"
            ]
        ]
        assert sorted(said) == sorted(blob.public_id for blob in kept)
    assert study.clinic_id


def test_an_erased_patient_comes_back_by_no_way_ENC_06_BAK_07(
    principal: Principal, disks: Disks, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    kept = store(principal, series(2, PatientID="K-1", PatientName="Bleibt^Karl"))
    gone = store(principal, series(3, PatientID="G-2", PatientName="Geht^Gerda"))
    add_document(gone)
    write_keyring()
    # A thief, or a backup: every byte of both places as it was before.
    shutil.copytree(disks[1].root, disks[1].root.with_name("stolen"))
    old_rows = {blob.public_id: bytes(blob.wrapped_key) for blob in Blob.objects.filter(kind="instance")}

    with django_capture_on_commit_callbacks(execute=True):
        erasure = erase_patient(principal, gone.patient)

    assert erasure.blob_count == 4
    assert list(Study.objects.all()) == [kept]
    assert not Patient.objects.filter(patient_name__startswith="Geht").exists()
    assert sorted(erasure.places) == ["blobs", SECOND]
    event = AuditEvent.objects.filter(verb="patient.erased").latest("id")
    assert event.additional_data["study_count"] == 1
    for disk in disks:
        names = {stored.name.partition("/")[2] for stored in disk.list_objects()}
        assert not names & set(erasure.content["blobs"])

    # A database from before: its rows and wrapped keys are back, and the thief's bytes too.
    lose_the_index()
    for disk in disks:
        shutil.rmtree(disk.root / "keyring")
        shutil.copytree(disks[1].root.with_name("stolen"), disk.root, dirs_exist_ok=True)
    result = rebuilt()
    assert result.erased_count == 4
    assert [study.public_id for study in Study.objects.all()] == [kept.public_id]
    for public_id in erasure.content["blobs"]:
        assert not Blob.objects.filter(public_id=public_id).exists()
        assert public_id in {*old_rows, *erasure.content["blobs"]}


def test_a_restored_database_destroys_once_more_what_was_erased_BAK_07(
    principal: Principal, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = store(principal, series(2, PatientID="G-2"))
    clinic, reference = study.clinic, study.patient.public_id
    blobs = list(Blob.objects.filter(kind="instance").values_list("public_id", flat=True))
    entry = erasures.new_entry(clinic, "patient", reference, patients=[reference], blobs=blobs)
    # The places' list has it; this database is older.
    erasures.announce(entry)
    Erasure.objects.all().delete()
    result = replay_erasures(context=Context.system("restore"))
    assert (result.erasure_count, result.study_count, result.blob_count) == (1, 1, 2)
    assert not Study.objects.exists()
    assert not Blob.objects.filter(wrapped_key__isnull=False).exists()
    assert Erasure.objects.get().public_id == entry.public_id
    assert replay_erasures(context=Context.system("restore")).blob_count == 0
    monkeypatch.undo()


def test_a_clinic_is_destroyed_with_its_keys_ENC_06(principal: Principal, disks: Disks, clinic_b: Clinic) -> None:
    store(principal, series(2))
    copied = list(Blob.objects.filter(kind="instance"))
    erase_clinic(principal.clinic, context=Context.system("tests"))
    forget_clinic_keys()
    for blob in copied:
        # An old copy of the row, its wrapped key with it.
        with pytest.raises((KeyUnavailableError, StorageError, BlobDestroyedError)):
            open_blob(blob)
    assert not Study.objects.exists()
    assert Clinic.objects.get(pk=principal.clinic.pk).is_suspended
    assert not Clinic.objects.get(pk=clinic_b.pk).is_suspended


def test_a_page_that_rots_is_written_anew(principal: Principal, disks: Disks) -> None:
    store(principal, series(1))
    [stored] = keyring.page_folder("blobs").list_objects()
    path = keyring.page_folder("blobs").path_of(stored.name)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    keyring.tend()
    sealed = keyring.read_object(keyring.page_folder("blobs"), stored.name)
    assert keyring.open_page(stored.name, sealed)["blobs"]


@pytest.mark.skipif(os.environ["TEST_STACK"] == "servers", reason="the new life begins with a copied SQLite file")
@pytest.mark.usefixtures("django_db_setup")
def test_everything_comes_back_in_an_empty_installation(principal: Principal, disks: Disks, tmp_path: Path) -> None:
    study = store(principal, series(2, PatientName="Stein^Rosa"))
    life = tmp_path / "life"
    life.mkdir()
    # The first disk is lost with the database; what is left is the second one and the master key.
    environment = os.environ | {
        "PORTAL_DATA_DIR": str(life),
        "PORTAL_REPLICAS": "second",
        "PORTAL_REPLICA_SECOND_DIR": str(disks[1].root),
    }

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=settings.BASE_DIR, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    _empty_copy(life / "viewbox.sqlite3")
    told = manage("rebuild_index", "--owner", "owner@alpha.example")
    assert "2 instances and 0 documents came back" in told
    assert "alpha: http" in told
    with sqlite3.connect(life / "viewbox.sqlite3") as copy:
        assert copy.execute("select public_id from studies_study").fetchall() == [(study.public_id,)]
        assert copy.execute("select count(*) from keys_clinickey where wrapped is not null").fetchone() == (1,)


def _empty_copy(path: Path) -> None:
    """A database with all migrations and no rows but theirs, beside the test's own transaction."""
    with sqlite3.connect(settings.DATABASES["default"]["NAME"]) as source, sqlite3.connect(path) as target:
        source.backup(target)
    assert connection.in_atomic_block


def test_scopes_stay_closed(principal: Principal, clinic_b: Clinic) -> None:
    study = store(principal, series(1))
    with clinic_scope(clinic_b):
        assert not Study.objects.filter(pk=study.pk).exists()
        assert not Erasure.objects.exists()
