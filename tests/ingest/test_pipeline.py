"""From arrival to outcome."""

import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from apps.access.services import Principal, import_principal
from apps.audit.models import AuditEvent
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import limited
from apps.dicom.limited.pool import Limits, Pool
from apps.dicom.uid import make_uid
from apps.ingest import pipeline, services
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.tasks import open_uploads
from apps.jobs.models import Job
from apps.jobs.services import enqueue, process_until_idle
from apps.storage import services as storage
from apps.storage.errors import PlaceUnavailableError
from apps.storage.models import Blob
from apps.storage.services import BlobReader
from apps.studies import services as studies
from apps.studies.models import Document, Instance, Study
from tests.ingest.conftest import Send, store_as
from tests.ingest.files import PIXEL_RUN, part10, series, zipped

State = Upload.State
PDF = b"%PDF-1.7 a report\n%%EOF\n"

# The data directory, and what the S3 server of a run on servers has on its disk.
PLACES_OF_BYTES = [settings.DATA_DIR, Path(os.environ["TEST_RUN_DIR"]) / "s3" / "data"]


def living_blobs() -> int:
    return Blob.objects.exclude(state=Blob.State.DESTROYED).filter(kind="instance").count()


def test_a_dicom_file_becomes_an_instance(send: Send) -> None:
    data = part10()
    upload = send(data)
    instance = Instance.objects.get()
    assert (upload.state, upload.instance, upload.study) == (State.STORED, instance, Study.objects.get())
    assert upload.finished_at is not None
    assert instance.blob.state == Blob.State.STORED
    with storage.open_blob(instance.blob) as file:
        assert file.read() == data


def test_the_same_bytes_again_are_a_duplicate_UPL_12(send: Send) -> None:
    data = part10()
    first, second = send(data), send(data)
    assert (first.state, second.state) == (State.STORED, State.DUPLICATE)
    assert second.message == "The same file is already stored."
    assert Instance.objects.count() == living_blobs() == 1


def test_other_bytes_under_the_same_uid_are_kept_as_a_conflict_UPL_12(send: Send) -> None:
    uid, study = make_uid(), make_uid()
    first, second = (part10(SOPInstanceUID=uid, StudyInstanceUID=study, PatientID=name) for name in ("A", "B"))
    send(first)
    upload = send(second)
    assert (upload.state, upload.code) == (State.CONFLICT, "different-bytes")
    assert "identifier but other content is already stored" in upload.message
    with storage.open_blob(Instance.objects.get().blob) as file:
        assert file.read() == first
    assert upload.blob is not None
    assert upload.blob.state == Blob.State.STORED
    with storage.open_blob(upload.blob) as file:
        assert file.read() == second


def test_the_same_file_twice_in_one_job_is_one_instance_UPL_12(alice_acts: Principal, batch: UploadBatch) -> None:
    data, other = part10(), part10()
    for content in (data, other, data):
        services.receive(alice_acts, batch, "IM", [content])
    uploads = list(Upload.objects.select_related("batch", "blob", "clinic").order_by("pk"))
    with transaction.atomic():
        pipeline.process(uploads)()
    assert [upload.state for upload in uploads] == [State.STORED, State.STORED, State.DUPLICATE]
    assert Instance.objects.count() == 2


def test_the_same_uid_in_two_clinics_is_two_instances_UPL_12(clinic_a: Clinic, clinic_b: Clinic) -> None:
    data = part10()
    assert [store_as(clinic_a, data), store_as(clinic_b, data)] == ["stored", "stored"]


@pytest.mark.parametrize(
    ("data", "state", "code"),
    [
        (b"", State.REJECTED, "empty"),
        (b"hello", State.REJECTED, "not-dicom"),
        (b"%PDF-1.7 a report", State.REJECTED, "document-without-study"),
        (b"\xff\xd8\xff\xe0 a photo", State.REJECTED, "document-without-study"),
        (b"<svg onload=alert(1)>", State.REJECTED, "not-dicom"),
        (part10()[:-100], State.REJECTED, "truncated"),
        (part10(StudyInstanceUID=None), State.REJECTED, "no-uid"),
        (zipped({}), State.REJECTED, "archive-empty"),
        (b"PK\x03\x04 broken", State.REJECTED, "archive-damaged"),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(send: Send, data: bytes, state: str, code: str) -> None:
    upload = send(data)
    assert (upload.state, upload.code) == (state, code)
    assert upload.message
    assert upload.blob is None
    assert living_blobs() == 0
    assert not Study.objects.exists()


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3/4", "1.2.a", "1." * 40 + "1"])
def test_uids_that_are_none_are_refused_UPL_05(send: Send, uid: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # pydicom's own opinion of them
        data = part10(StudyInstanceUID=uid)
    assert send(data).code == "bad-uid"
    assert living_blobs() == 0


def test_leftovers_of_an_operating_system_are_passed_over(send: Send) -> None:
    upload = send(b"\0\0\0\1Bud1", name="CD/.DS_Store")
    assert (upload.state, upload.code) == (State.IGNORED, "system-file")


def test_what_was_to_be_anonymised_is_never_stored_as_it_is(send: Send, batch: UploadBatch) -> None:
    batch.deidentify_profile = "minimal"
    batch.save()
    original = part10()
    upload = send(original)
    assert upload.state == State.STORED
    instance = Instance.objects.select_related("series__study__patient", "blob").get()
    assert upload.instance_id == instance.pk
    assert instance.sop_instance_uid not in original.decode("latin-1")
    assert "Quellenhuber" not in instance.series.study.patient.patient_name
    assert living_blobs() == 1
    with storage.open_blob(instance.blob) as stored:
        assert b"Quellenhuber" not in stored.read()


def test_every_outcome_is_on_the_trail_without_a_name(send: Send, batch: UploadBatch, alice_acts: Principal) -> None:
    upload = send(part10())
    send(b"hello", name="Quellenhuber.txt")
    stored = AuditEvent.objects.get(verb="instance.stored")
    assert upload.study is not None
    assert stored.study_reference == upload.study.public_id
    assert stored.patient_reference == upload.study.patient.public_id
    assert stored.actor_reference == alice_acts.context.actor_reference
    refused = AuditEvent.objects.get(verb="upload.rejected")
    assert (refused.outcome, refused.object_reference) == ("failure", batch.public_id)
    everything = " ".join(str(list(AuditEvent.objects.filter(pk=e.pk).values()[0].values())) for e in [stored, refused])
    assert "Quellenhuber" not in everything
    assert "QX-77" not in everything


def test_a_whole_zip_with_folders(send: Send, batch: UploadBatch) -> None:
    files = series(5)
    members = {f"CD/PAT/{number}": data for number, data in enumerate(files)} | {"CD/README.TXT": b"hello"}
    archive = send(zipped(members), name="study.zip")
    assert archive.state == State.EXPANDED
    assert archive.blob is None
    outcomes = Upload.objects.filter(archive=archive).order_by("position").values_list("name", "state")
    assert list(outcomes) == [(f"CD/PAT/{n}", State.STORED) for n in range(5)] + [("CD/README.TXT", State.REJECTED)]
    assert living_blobs() == Instance.objects.count() == 5


def test_a_zip_in_a_zip_is_not_opened(send: Send) -> None:
    archive = send(zipped({"inner.zip": zipped({"IM1": part10()})}))
    assert [m.code for m in Upload.objects.filter(archive=archive)] == ["nested-archive"]
    assert living_blobs() == 0


def test_a_bomb_is_not_opened_at_all(send: Send) -> None:
    upload = send(zipped({"bomb": bytes(64 << 20)}))
    assert (upload.state, upload.code) == (State.REJECTED, "archive-expands")
    assert Upload.objects.count() == 1


def test_an_archive_that_is_taken_twice_has_each_member_once(send: Send, batch: UploadBatch) -> None:
    archive = send(zipped({"IM1": part10()}))
    Upload.objects.filter(pk=archive.pk).update(state=State.RECEIVED)
    Job.objects.filter(kind="ingest.expand").update(state=Job.State.QUEUED)
    process_until_idle()
    assert Upload.objects.filter(archive=archive).count() == 1


def test_documents_join_the_study_they_are_sent_to(send: Send, alice_acts: Principal) -> None:
    study = send(part10()).study
    assert study is not None
    to_study = services.open_batch(alice_acts, UploadBatch.Source.WEB, study=study)
    upload = send(PDF, name="reports/letter.pdf", into=to_study)
    document = Document.objects.get()
    assert (upload.state, document.study, document.media_type) == (State.STORED, study, "application/pdf")
    assert document.title == "letter"
    with storage.open_blob(document.blob) as file:
        assert file.read() == PDF
    broken = send(b"\x89PNG\r\n\x1a\n cut", into=to_study)
    assert broken.state == State.REJECTED
    assert broken.message
    assert Document.objects.count() == 1


class WorkerDiedError(Exception):
    """Stands for a worker that is killed."""


def test_a_worker_that_dies_on_the_way_leaves_one_instance_F1(
    alice_acts: Principal, batch: UploadBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every point of the effects in turn; the retry completes, nothing is there twice."""
    for number, (owner, name) in enumerate(
        [
            (studies, "index_instances"),
            (storage, "adopt"),
            (storage, "destroy"),
            (pipeline, "_write"),
            (pipeline, "_record"),
        ],
        start=1,
    ):
        upload = services.receive(alice_acts, batch, "IM", [part10()])
        real = getattr(owner, name)

        def die(*args: object, real=real, **kwargs: object) -> None:
            real(*args, **kwargs)
            raise WorkerDiedError

        with monkeypatch.context() as dying:
            dying.setattr(owner, name, die)
            [open_upload] = open_uploads([upload.pk])
            with pytest.raises(WorkerDiedError), transaction.atomic():
                pipeline.process([open_upload])()
        upload.refresh_from_db()
        assert upload.state == State.RECEIVED, name
        process_until_idle()
        upload.refresh_from_db()
        assert upload.state == State.STORED, name
        assert Instance.objects.count() == living_blobs() == number, name


def test_two_workers_on_one_job_settle_it_once_F1(alice_acts: Principal, batch: UploadBatch) -> None:
    upload = services.receive(alice_acts, batch, "IM", [part10()])
    slow = pipeline.process(open_uploads([upload.pk]))
    process_until_idle()
    with transaction.atomic():
        slow()
    upload.refresh_from_db()
    assert upload.state == State.STORED
    assert Instance.objects.count() == living_blobs() == 1
    assert AuditEvent.objects.filter(verb="instance.stored").count() == 1


def test_a_storage_that_is_away_rejects_nothing(
    alice_acts: Principal, batch: UploadBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = services.receive(alice_acts, batch, "IM", [part10()])

    def away(blob: Blob) -> None:
        raise PlaceUnavailableError

    uploads = open_uploads([upload.pk])
    with monkeypatch.context() as broken:
        broken.setattr(storage, "open_blob", away)
        with pytest.raises(PlaceUnavailableError):
            pipeline.process(uploads)
    process_until_idle()
    upload.refresh_from_db()
    assert upload.state == State.STORED


def test_a_file_that_kills_its_parser_costs_that_one_file_UPL_08_F20(
    alice_acts: Principal, batch: UploadBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(memory_bytes=1 << 30, processor_seconds=1, wall_seconds=60, payload_bytes=1 << 20)
    pool = Pool("tests.dicom.dangerous", limits, size=2)
    monkeypatch.setattr(limited, "READERS", pool)
    files = [part10(PatientName=name) for name in ("Sound^One", "CRASH^NOW", "HANG^NOW", "Sound^Two")]
    stored = services.store_now(alice_acts, batch, [[data] for data in files])
    assert [outcome.code for outcome in stored] == ["", "parser-crashed", "parser-timed-out", ""]
    pool.close()


def test_a_job_that_failed_goes_on_file_by_file(
    alice_acts: Principal, batch: UploadBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took a worker along, or cannot be read, does not take its neighbours through all attempts."""
    uploads = [services.receive(alice_acts, batch, "IM", [part10()]) for _ in range(3)]
    Job.objects.all().delete()
    enqueue("ingest.process", {"upload_ids": [upload.pk for upload in uploads]}, clinic=batch.clinic)
    unreadable = uploads[1].blob
    open_blob = storage.open_blob

    def refuse_one(blob: Blob) -> BlobReader:
        if blob == unreadable:
            raise PlaceUnavailableError
        return open_blob(blob)

    monkeypatch.setattr(storage, "open_blob", refuse_one)
    process_until_idle()
    states = [Upload.objects.get(pk=upload.pk).state for upload in uploads]
    assert states == [State.STORED, State.RECEIVED, State.STORED]


def test_no_plaintext_is_ever_in_the_data_directory_UPL_01(
    alice_acts: Principal, batch: UploadBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = part10(PixelData=PIXEL_RUN * 20_000, NumberOfFrames=20_000)
    data = zipped({"IM1": part10(), "large": large}, zipfile.ZIP_STORED)
    canaries = [b"Quellenhuber", PIXEL_RUN[:240]]
    assert all(canary in data for canary in canaries)
    seen = 0

    def look() -> None:
        nonlocal seen
        for path in [path for place in PLACES_OF_BYTES for path in place.rglob("*")]:
            if path.is_file() and "sqlite3" not in path.name:
                content = path.read_bytes()
                seen += 1
                assert not [canary for canary in canaries if canary in content], path.name

    def slowly():
        for start in range(0, len(data), 1 << 20):
            look()
            yield data[start : start + (1 << 20)]

    services.receive(alice_acts, batch, "Quellenhuber.zip", slowly())
    look()
    real = pipeline.settle_open
    monkeypatch.setattr(pipeline, "settle_open", lambda findings: (look(), real(findings)))
    process_until_idle()
    look()
    assert seen
    assert Instance.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_devices_and_workers_that_meet_at_the_same_studies_wait_in_no_circle_F18_F19(clinic_a: Clinic) -> None:
    """Three senders and three jobs over two batches each, in opposite orders; one UID comes with other bytes."""
    with clinic_scope(clinic_a):
        importer = import_principal(clinic_a, "tests")
        studies_of = [series(3), series(3)]
        uid, at = make_uid(), {"StudyInstanceUID": make_uid(), "SeriesInstanceUID": make_uid()}
        versions = [part10(SOPInstanceUID=uid, InstanceNumber=number, **at) for number in range(6)]
        jobs = []
        for turn in range(3):
            uploads = []
            for files in studies_of[:: -1 if turn % 2 else 1]:
                opened = services.open_batch(importer, UploadBatch.Source.WEB)
                uploads += [services.receive(importer, opened, "IM", [data]).pk for data in [*files, versions[turn]]]
            jobs.append(uploads)

    def send(turn: int) -> None:
        with clinic_scope(clinic_a):
            opened = services.open_batch(importer, UploadBatch.Source.STOW)
            files = [data for files in studies_of[:: 1 if turn % 2 else -1] for data in files]
            services.store_now(importer, opened, ([data] for data in [*files, versions[3 + turn]]))

    def work(turn: int) -> None:
        with clinic_scope(clinic_a):
            settle = pipeline.process(open_uploads(jobs[turn]))
            with transaction.atomic():
                settle()

    def run(act: Callable[[int], None], turn: int) -> None:
        try:
            act(turn)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(run, act, turn) for turn in range(3) for act in (send, work)]:
            done.result(timeout=120)
    with clinic_scope(clinic_a):
        assert Instance.objects.count() == 7
        states = Counter(Upload.objects.values_list("state", flat=True))
        # Each job brought its version twice, in two batches: the second time it is like the first.
        assert states[State.STORED] == 7
        assert Upload.objects.filter(state=State.RECEIVED).count() == 0
        conflicts = Upload.objects.filter(state=State.CONFLICT)
        assert set(conflicts.values_list("sop_instance_uid", flat=True)) == {uid}
        assert storage.used_bytes(clinic_a) == sum(
            blob.size_bytes for blob in Blob.objects.exclude(state=Blob.State.DESTROYED)
        )
