"""Two versions of one instance: kept, compared, decided about, and nothing overwritten silently (UPL-12)."""

from __future__ import annotations

import gzip
import io
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest
from django.db import connection, transaction
from django.test import Client

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import phantom
from apps.dicom.errors import Code, RejectedError
from apps.ingest import conflicts
from apps.ingest.models import Upload, VersionDecision
from apps.jobs.services import process_until_idle
from apps.storage.errors import BlobDestroyedError
from apps.storage.models import Blob
from apps.storage.services import iterate_blob, open_blob, used_bytes
from apps.studies import preparation
from apps.studies.models import Instance, Series, Study
from apps.studies.services import series_metadata
from tests.ingest.conftest import Send, store_as
from tests.ingest.files import PIXEL_RUN, part10

pytestmark = pytest.mark.django_db

SAME = {"StudyInstanceUID": "2.25.61", "SeriesInstanceUID": "2.25.61.1", "SOPInstanceUID": "2.25.61.1.1"}
FIRST = {**SAME, "StudyDescription": "Before"}
SECOND = {**SAME, "StudyDescription": "After", "PixelData": PIXEL_RUN[::-1]}


@pytest.fixture
def conflict(send: Send) -> Upload:
    """An image, and another version of it."""
    send(part10(**FIRST))
    upload = send(part10(**SECOND))
    assert upload.state == "conflict"
    return upload


def stored() -> bytes:
    return b"".join(iterate_blob(Instance.objects.select_related("blob").get(sop_instance_uid="2.25.61.1.1").blob))


def counts() -> tuple[object, ...]:
    study, series = Study.objects.get(), Series.objects.get()
    return (
        study.number_of_study_related_instances,
        study.size_bytes,
        series.size_bytes,
        series.number_of_frames,
        used_bytes(study.clinic),
    )


def test_what_differs_is_said(conflict: Upload, alice_acts: Principal) -> None:
    found = conflicts.find_conflict(alice_acts, conflict.public_id)
    assert found
    comparison = conflicts.compare(found)
    said = {difference.tag: (difference.first, difference.second) for difference in comparison.attributes}
    assert said["(0008,1030)"] == ("Before", "After")
    assert comparison.has_same_pixels is False
    assert comparison.may_replace
    assert list(conflicts.open_conflicts(alice_acts)) == [conflict]


def test_keeping_what_is_stored_destroys_the_other(conflict: Upload, alice_acts: Principal) -> None:
    before, blob = stored(), conflict.blob
    conflicts.keep_existing(alice_acts, conflict)
    process_until_idle()
    assert stored() == before
    assert blob
    blob.refresh_from_db()
    with pytest.raises(BlobDestroyedError):
        open_blob(blob)
    with pytest.raises(conflicts.ConflictSettledError):
        conflicts.replace(alice_acts, Upload.objects.get(pk=conflict.pk))
    assert AuditEvent.objects.filter(verb="conflict.settled", object_reference=conflict.public_id).count() == 1


def test_replacing_keeps_the_one_before_and_comes_undone(conflict: Upload, alice_acts: Principal) -> None:
    first, second = part10_pair = (stored(), b"".join(iterate_blob(conflict.blob)))
    before = counts()
    assert b"Before" in series_json()
    conflicts.replace(alice_acts, conflict)
    process_until_idle()
    assert stored() == second
    assert b"After" in series_json()
    replaced = Upload.objects.select_related("blob").get(pk=conflict.pk)
    assert b"".join(iterate_blob(replaced.blob)) == first
    assert not conflicts.open_conflicts(alice_acts).exists()
    conflicts.undo_replace(alice_acts, replaced)
    conflicts.undo_replace(alice_acts, Upload.objects.get(pk=conflict.pk))
    process_until_idle()
    assert (stored(), b"".join(iterate_blob(Upload.objects.get(pk=conflict.pk).blob))) == part10_pair
    assert b"Before" in series_json()
    assert counts() == before
    assert list(conflicts.open_conflicts(alice_acts)) == [conflict]
    assert AuditEvent.objects.filter(verb="conflict.undone").count() == 1


def series_json() -> bytes:
    return gzip.decompress(series_metadata(Series.objects.select_related("study", "clinic").get()))


def test_what_was_being_prepared_of_the_version_before_is_thrown_away(conflict: Upload, alice_acts: Principal) -> None:
    series = Series.objects.select_related("study", "clinic", "metadata_blob", "thumbnail_blob").get()
    content, covered = preparation.make_metadata(series)
    conflicts.replace(alice_acts, conflict)
    late = preparation.write_prepared(series, "metadata", content)
    with transaction.atomic():
        preparation.keep_metadata(series, late, covered)
    late.refresh_from_db()
    assert late.is_destroyed
    assert b"After" in series_json()


def test_replacements_come_undone_in_their_order(conflict: Upload, alice_acts: Principal, send: Send) -> None:
    third = send(part10(**SAME, StudyDescription="Third"))
    conflicts.replace(alice_acts, conflict)
    conflicts.replace(alice_acts, Upload.objects.get(pk=third.pk))
    with pytest.raises(conflicts.LaterDecisionError):
        conflicts.undo_replace(alice_acts, Upload.objects.get(pk=conflict.pk))
    conflicts.undo_replace(alice_acts, Upload.objects.get(pk=third.pk))
    conflicts.undo_replace(alice_acts, Upload.objects.get(pk=conflict.pk))
    assert b"Before" in stored()


def test_a_version_of_another_series_takes_nobodys_place(send: Send, alice_acts: Principal) -> None:
    send(part10(**FIRST))
    other = send(part10(**SECOND | {"SeriesInstanceUID": "2.25.61.2"}))
    found = conflicts.find_conflict(alice_acts, other.public_id)
    assert found
    assert not conflicts.compare(found).may_replace
    with pytest.raises(conflicts.CannotReplaceError):
        conflicts.replace(alice_acts, found)
    assert b"Before" in stored()


def test_keeping_both_gives_one_a_uid_of_its_own_that_says_which_it_had(
    conflict: Upload, alice_acts: Principal
) -> None:
    first = stored()
    conflicts.keep_both(alice_acts, conflict)
    process_until_idle()
    assert stored() == first
    made = Instance.objects.select_related("blob").exclude(sop_instance_uid="2.25.61.1.1").get()
    with open_blob(made.blob) as file:
        dataset = pydicom.dcmread(io.BytesIO(file.read()))
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == made.sop_instance_uid
    [original] = dataset.OriginalAttributesSequence
    assert original.ModifiedAttributesSequence[0].SOPInstanceUID == "2.25.61.1.1"
    assert original.ReasonForTheAttributeModification == "COERCE"
    assert dataset.PixelData == PIXEL_RUN[::-1]
    assert made.series.study.number_of_study_related_instances == 2
    decision = VersionDecision.objects.get()
    assert decision.reissued
    assert decision.reissued.state == "stored"
    assert not Blob.objects.filter(state="quarantined").exists()


def test_the_pages_of_conflicts(conflict: Upload, as_bob: Client) -> None:
    page = f"/c/alpha/conflicts/{conflict.public_id}/"
    assert conflict.public_id in as_bob.get("/c/alpha/conflicts/").content.decode()
    shown = as_bob.get(page).content.decode()
    assert "Before" in shown
    assert "After" in shown
    pictures = [as_bob.get(f"{page}picture/{side}/") for side in ("stored", "other")]
    assert {picture["Content-Type"] for picture in pictures} == {"image/jpeg"}
    assert pictures[0].content != pictures[1].content
    assert as_bob.get(f"{page}picture/none/").status_code == 404
    assert as_bob.post(f"{page}settle/", {"choice": "nonsense"}).status_code == 302
    assert Upload.objects.get(pk=conflict.pk).code == "different-bytes"
    as_bob.post(f"{page}settle/", {"choice": "replace"})
    assert b"After" in stored()
    as_bob.post(f"{page}undo/")
    assert b"Before" in stored()


def test_the_same_uid_in_two_clinics_is_no_conflict_AUTHZ_05(
    clinic_a: Clinic, clinic_b: Clinic, as_charlie: Client
) -> None:
    assert store_as(clinic_a, part10(**FIRST)) == "stored"
    assert store_as(clinic_b, part10(**SECOND)) == "stored"
    assert store_as(clinic_a, part10(**SECOND)) == "conflict"
    with clinic_scope(clinic_a):
        conflict = Upload.objects.get(state="conflict")
        assert b"Before" in stored()
    with clinic_scope(clinic_b):
        assert b"After" in stored()
    assert as_charlie.get(f"/c/beta/conflicts/{conflict.public_id}/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_other_bytes_at_the_same_moment_overwrite_nothing_F19(clinic_a: Clinic) -> None:
    """However many bring other bytes under one UID at once: the first stays, the others are kept aside."""
    rounds, writers = 3, 4
    contents = {
        (r, w): part10(**SAME | {"SOPInstanceUID": f"2.25.61.{r}.9"}, StudyDescription=f"r{r}w{w}")
        for r in range(rounds)
        for w in range(writers)
    }

    def bring(key: tuple[int, int]) -> str:
        try:
            return store_as(clinic_a, contents[key])
        finally:
            connection.close()

    with ThreadPoolExecutor(writers) as pool:
        outcomes = dict(zip(contents, pool.map(bring, contents), strict=True))
    with clinic_scope(clinic_a):
        for r in range(rounds):
            of_round = sorted(outcomes[r, w] for w in range(writers))
            assert of_round == ["conflict"] * (writers - 1) + ["stored"]
        kept = {b"".join(iterate_blob(row.blob)) for row in Instance.objects.select_related("blob")}
        aside = {b"".join(iterate_blob(row.blob)) for row in Upload.objects.filter(state="conflict")}
        assert kept | aside == set(contents.values())
        assert Study.objects.get().number_of_study_related_instances == rounds


@pytest.mark.django_db(transaction=True)
def test_the_same_study_from_many_at_once_is_there_once_F18(clinic_a: Clinic) -> None:
    contents = list(phantom.ct_head(3))

    def bring(_: int) -> list[str]:
        try:
            return [store_as(clinic_a, content) for content in contents]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        outcomes = [outcome for run in pool.map(bring, range(4)) for outcome in run]
    assert sorted(outcomes) == ["duplicate"] * 9 + ["stored"] * 3
    with clinic_scope(clinic_a):
        assert Study.objects.get().number_of_study_related_instances == 3
        assert used_bytes(clinic_a) == sum(map(len, contents))
        assert AuditEvent.objects.filter(verb__in=["instance.stored", "upload.recognised"]).count() == 12


def test_a_decision_that_cannot_be_made_waits_for_another(
    conflict: Upload, alice_acts: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RejectedError(Code.MALFORMED)

    monkeypatch.setattr("apps.dicom.limited.reissue", refuse)
    conflicts.keep_both(alice_acts, conflict)
    process_until_idle()
    assert list(conflicts.open_conflicts(alice_acts)) == [conflict]
    assert Instance.objects.count() == 1
