"""The door: limits, rights, STOW-RS outcomes."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.billing.models import Plan
from apps.billing.services import current_plan
from apps.clinics.models import Clinic
from apps.dicom.uid import make_uid
from apps.ingest import pipeline, services
from apps.ingest.errors import BatchClosedError, TooLargeError
from apps.ingest.ledger import ReservationError
from apps.ingest.models import Upload, UploadBatch
from apps.ingest.tasks import resume_stranded, sweep_quarantine
from apps.jobs.models import Job
from apps.jobs.services import process_until_idle
from apps.storage import services as storage
from apps.storage.models import Blob
from apps.studies.models import Instance
from tests.ingest.files import part10, series, zipped

pytestmark = pytest.mark.usefixtures("in_clinic_a")
State = Upload.State


def room_for(clinic: Clinic, more_bytes: int) -> None:
    """Leave the clinic's plan room for just so many bytes."""
    plan = current_plan(clinic)
    Plan.objects.filter(pk=plan.pk).update(storage_bytes=storage.used_bytes(clinic) + more_bytes)


def test_what_is_acknowledged_is_durable_and_queued_UPL_01(alice_acts: Principal, batch: UploadBatch) -> None:
    upload = services.receive(alice_acts, batch, "a/../IM1", [b"one", b"two"])
    assert (upload.name, upload.state, upload.size_bytes) == ("a/IM1", State.RECEIVED, 6)
    assert upload.blob is not None
    assert upload.blob.state == Blob.State.QUARANTINED
    with storage.open_blob(upload.blob) as file:
        assert file.read() == b"onetwo"
    assert Job.objects.get().payload == {"upload_ids": [upload.pk]}
    event = AuditEvent.objects.get(verb="upload.received")
    assert event.object_reference == batch.public_id


@pytest.mark.parametrize("declared", [None, 3, 500])
def test_a_file_that_lies_about_its_size_is_cut_off_UPL_02(
    alice_acts: Principal, batch: UploadBatch, settings, declared: int | None
) -> None:
    settings.MAX_FILE_BYTES = 20 << 20
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 20
            yield bytes(1 << 20)

    with pytest.raises(TooLargeError) as caught:
        services.receive(alice_acts, batch, "IM", endless(), declared_bytes=declared)
    assert caught.value.status == 413
    assert read <= 22 << 20
    assert not Upload.objects.exists()
    assert not Blob.objects.exists()


def test_a_declared_size_beyond_the_limit_is_refused_before_a_byte_is_read_UPL_02(
    alice_acts: Principal, batch: UploadBatch, settings
) -> None:
    def unread() -> Iterator[bytes]:
        pytest.fail("read")
        yield b""

    with pytest.raises(TooLargeError):
        services.receive(alice_acts, batch, "IM", unread(), declared_bytes=settings.MAX_FILE_BYTES + 1)


def test_a_full_plan_refuses_in_words_and_leaves_nothing_UPL_02(alice_acts: Principal, batch: UploadBatch) -> None:
    data = part10()
    services.receive(alice_acts, batch, "IM", [data])
    process_until_idle()
    room_for(alice_acts.clinic, len(data) // 2)  # UIDs are random, so another file may be a little shorter
    used_bytes = storage.used_bytes(alice_acts.clinic)
    with pytest.raises(ReservationError) as caught:
        services.receive(alice_acts, batch, "IM", [part10()])
    assert (caught.value.code, caught.value.status) == ("limit-reached", 413)
    assert "storage" in str(caught.value)
    assert Upload.objects.count() == 1
    assert storage.used_bytes(alice_acts.clinic) == used_bytes


def test_the_last_place_is_given_once_RATE_02(alice_acts: Principal, batch: UploadBatch) -> None:
    """A second file is in quarantine when the first one asks, and there is room for one."""
    data = part10()
    room_for(alice_acts.clinic, len(data))
    storage.write_blobs(alice_acts.clinic, "instance", [part10()], quarantined=True)
    services.receive(alice_acts, batch, "IM1", [data])
    with pytest.raises(ReservationError):
        services.receive(alice_acts, batch, "IM2", [part10()])


def test_an_archive_makes_room_for_its_own_members(alice_acts: Principal, batch: UploadBatch) -> None:
    files = {f"IM{number}": data for number, data in enumerate(series(3))}
    data = zipped(files)
    room_for(alice_acts.clinic, sum(map(len, files.values())))
    services.receive(alice_acts, batch, "a.zip", [data])
    process_until_idle()
    assert Instance.objects.count() == 3


def test_members_without_room_say_so(alice_acts: Principal, batch: UploadBatch) -> None:
    data = zipped({f"IM{number}": data for number, data in enumerate(series(3))})
    room_for(alice_acts.clinic, len(data))
    services.receive(alice_acts, batch, "a.zip", [data])
    process_until_idle()
    assert set(Upload.objects.exclude(archive=None).values_list("state", "code")) == {(State.REJECTED, "limit-reached")}
    assert storage.used_bytes(alice_acts.clinic) == 0


def test_a_closed_batch_takes_nothing(alice_acts: Principal, batch: UploadBatch) -> None:
    services.close_batch(batch)
    batch.refresh_from_db()
    with pytest.raises(BatchClosedError):
        services.receive(alice_acts, batch, "IM", [b"one"])


def test_stow_gets_an_outcome_for_each_part(importer: Principal) -> None:
    uid = make_uid()
    parts = [part10(), part10(SOPInstanceUID=uid), part10(SOPInstanceUID=uid), b"hello", part10()[:-9], b""]
    parts.append(parts[0])
    opened = services.open_batch(importer, UploadBatch.Source.STOW)
    outcomes = services.store_now(importer, opened, ([part] for part in parts))
    assert [(outcome.outcome, outcome.failure_reason) for outcome in outcomes] == [
        ("stored", None),
        ("stored", None),
        ("conflict", 0x0111),
        ("rejected", 0xC000),
        ("rejected", 0xC000),
        ("rejected", 0xC000),
        ("duplicate", None),
    ]
    assert outcomes[1].sop_instance_uid == uid
    assert outcomes[0].study_instance_uid
    assert outcomes[0].sop_class_uid
    assert Instance.objects.count() == 2
    assert not Job.objects.filter(kind="ingest.process").exists()


def test_stow_parts_are_read_one_after_the_other(importer: Principal) -> None:
    """They are parts of one request body: the next may only be asked for when the last one is read."""
    stream = iter([*part10(), None] for _ in range(60))
    open_part = False

    def chunks() -> Iterator[bytes]:
        nonlocal open_part
        open_part = True
        yield bytes(byte for byte in next(stream) if byte is not None)
        open_part = False

    def parts() -> Iterator[Iterator[bytes]]:
        for _ in range(60):
            assert not open_part
            yield chunks()

    opened = services.open_batch(importer, UploadBatch.Source.STOW)
    outcomes = services.store_now(importer, opened, parts())
    assert [outcome.outcome for outcome in outcomes] == ["stored"] * 60


def test_stow_into_a_study_refuses_the_others(importer: Principal) -> None:
    right, wrong = part10(StudyInstanceUID="1.2.3"), part10(StudyInstanceUID="1.2.4")
    opened = services.open_batch(importer, UploadBatch.Source.STOW)
    outcomes = services.store_now(importer, opened, [[right], [wrong]], study_instance_uid="1.2.3")
    assert [(outcome.outcome, outcome.code, outcome.failure_reason) for outcome in outcomes] == [
        ("stored", "", None),
        ("rejected", "study-mismatch", 0xA900),
    ]
    assert outcomes[1].sop_class_uid


def test_stow_over_the_limit_is_out_of_resources(importer: Principal) -> None:
    room_for(importer.clinic, 100)
    opened = services.open_batch(importer, UploadBatch.Source.STOW)
    [outcome] = services.store_now(importer, opened, [[part10()]])
    assert (outcome.outcome, outcome.failure_reason) == ("rejected", 0xA700)
    assert storage.used_bytes(importer.clinic) == 0


def test_stow_that_breaks_off_leaves_nothing_of_its_group(importer: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    class BrokenLineError(Exception):
        pass

    def breaks() -> Iterator[bytes]:
        yield b"half"
        raise BrokenLineError

    opened = services.open_batch(importer, UploadBatch.Source.STOW)
    with pytest.raises(BrokenLineError):
        services.store_now(importer, opened, [[part10()], breaks()])
    monkeypatch.setattr(pipeline, "_record", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        services.store_now(importer, opened, [[part10()]])
    assert not Instance.objects.exists()
    assert storage.used_bytes(importer.clinic) == 0


def test_uploads_whose_job_is_lost_are_queued_again(alice_acts: Principal, batch: UploadBatch, time_machine) -> None:
    upload = services.receive(alice_acts, batch, "IM", [part10()])
    assert resume_stranded() == 0
    now = timezone.now()
    time_machine.move_to(now + timedelta(hours=1))
    assert resume_stranded() == 0, "its job is still there"
    Job.objects.all().delete()
    assert resume_stranded() == 1
    time_machine.move_to(now)  # S3 refuses a request whose clock is an hour off
    Job.objects.update(run_after=now)
    process_until_idle()
    upload.refresh_from_db()
    assert upload.state == State.STORED


def test_quarantine_without_an_upload_is_destroyed(alice_acts: Principal, batch: UploadBatch, time_machine) -> None:
    waiting = services.receive(alice_acts, batch, "IM", [part10()])
    [orphan] = storage.write_blobs(alice_acts.clinic, "instance", [b"left behind"], quarantined=True)
    assert sweep_quarantine() == 0, "a request may still be at work on it"
    time_machine.move_to(timezone.now() + timedelta(hours=3))
    assert sweep_quarantine() == 1
    orphan.refresh_from_db()
    assert orphan.state == Blob.State.DESTROYED
    assert waiting.blob is not None
    waiting.blob.refresh_from_db()
    assert waiting.blob.state == Blob.State.QUARANTINED
