"""Large files in pieces, by tus 1.0: begun, broken off, gone on with, checked, cancelled, forgotten."""

import base64
import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.http.request import UnreadablePostError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.access.services import Principal
from apps.audit.models import AuditEvent
from apps.billing.models import Plan
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.ingest import tasks, transfers
from apps.ingest.errors import TooLargeError
from apps.ingest.models import Segment, Transfer, Upload, UploadBatch
from apps.jobs.services import process_until_idle
from apps.storage import services as storage
from apps.storage.models import Blob
from apps.studies.models import Instance
from tests.ingest.files import part10, series, zipped
from tests.ingest.test_views import begin, post_files, rows_of

pytestmark = pytest.mark.django_db
OFFSET_TYPE = "application/offset+octet-stream"


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def tus(client: Client, method: str, url: str, body: bytes = b"", **headers: str) -> Any:
    headers = {"Tus-Resumable": "1.0.0"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.generic(method, url, body, content_type=headers.pop("Type", OFFSET_TYPE), headers=headers)


def create(client: Client, batch: dict[str, Any], length: int, body: bytes = b"", **about: str) -> Any:
    pairs = {"batch": batch["batch"], "key": "1", "filename": "CD.zip"} | about
    metadata = ",".join(f"{name} {encoded(value)}" for name, value in pairs.items())
    kind = OFFSET_TYPE if body else "text/plain"
    url = reverse("upload-tus", args=["alpha"])
    return tus(client, "POST", url, body, Type=kind, Upload_Length=str(length), Upload_Metadata=metadata)


def send(client: Client, place: str, data: bytes, offset: int, end: int, **headers: str) -> Any:
    return tus(client, "PATCH", place, data[offset:end], Upload_Offset=str(offset), **headers)


def offset_of(client: Client, place: str) -> int:
    answer = tus(client, "HEAD", place)
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    return int(answer["Upload-Offset"])


@pytest.fixture
def archive() -> bytes:
    return zipped({f"DICOM/IM{number}": data for number, data in enumerate(series(3))})


def test_what_the_server_can_is_said(as_alice: Client) -> None:
    answer = tus(as_alice, "OPTIONS", reverse("upload-tus", args=["alpha"]))
    assert answer.status_code == 204
    assert answer["Tus-Version"] == "1.0.0"
    assert set(answer["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "checksum", "expiration", "termination",
    }  # fmt: skip
    assert answer["Tus-Checksum-Algorithm"] == "sha1,sha256"
    assert int(answer["Tus-Max-Size"]) > 1 << 30


def test_pieces_become_an_archive_whose_members_are_stored(as_alice: Client, clinic_a: Clinic, archive: bytes) -> None:
    batch = begin(as_alice)
    begun = create(as_alice, batch, len(archive), archive[:500])
    assert (begun.status_code, begun["Upload-Offset"]) == (201, "500")
    assert begun["Upload-Expires"].endswith("GMT")
    place = begun["Location"]
    assert send(as_alice, place, archive, 500, 900).status_code == 204
    assert offset_of(as_alice, place) == 900
    with clinic_scope(clinic_a):
        assert not Upload.objects.exists()
        assert Segment.objects.count() == 2
    answer = send(as_alice, place, archive, 900, len(archive))
    assert (answer.status_code, answer["Upload-Offset"]) == (204, str(len(archive)))
    assert rows_of(as_alice, batch) == {}
    process_until_idle()
    states = {key: row["state"] for key, row in rows_of(as_alice, batch).items()}
    assert states == {"1": "expanded", "DICOM/IM0": "stored", "DICOM/IM1": "stored", "DICOM/IM2": "stored"}
    with clinic_scope(clinic_a):
        assert not Segment.objects.exists()
        assert set(Blob.objects.exclude(state="destroyed").values_list("state", flat=True)) == {"stored"}


def test_pieces_of_a_single_image_are_joined(as_alice: Client, clinic_a: Clinic) -> None:
    data, batch = part10(), begin(as_alice)
    place = create(as_alice, batch, len(data), data[:300], filename="US.dcm")["Location"]
    send(as_alice, place, data, 300, len(data))
    process_until_idle()
    assert rows_of(as_alice, batch)["1"]["state"] == "stored"
    with clinic_scope(clinic_a):
        blob = Instance.objects.get().blob
        assert b"".join(storage.iterate_blob(blob)) == data
        assert bytes(blob.sha256) == hashlib.sha256(data).digest()


def test_a_file_that_came_in_one_piece_is_not_written_again(as_alice: Client, clinic_a: Clinic) -> None:
    data, batch = part10(), begin(as_alice)
    create(as_alice, batch, len(data), data)
    with clinic_scope(clinic_a):
        blob = Upload.objects.get().blob
    process_until_idle()
    with clinic_scope(clinic_a):
        assert Instance.objects.get().blob == blob


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_piece_that_was_damaged_on_its_way_is_not_kept(
    as_alice: Client, clinic_a: Clinic, archive: bytes, algorithm: str
) -> None:
    place = create(as_alice, begin(as_alice), len(archive))["Location"]
    right = f"{algorithm} {encoded(hashlib.new(algorithm, archive[:100]).digest())}"
    assert send(as_alice, place, archive, 0, 101, Upload_Checksum=right).status_code == 460
    assert offset_of(as_alice, place) == 0
    assert send(as_alice, place, archive, 0, 100, Upload_Checksum=right).status_code == 204
    for wrong in ("md5 AAAA", "sha256", "sha256 !", f"{algorithm} AAAA"):
        assert send(as_alice, place, archive, 100, 200, Upload_Checksum=wrong).status_code == 400
    with clinic_scope(clinic_a):
        assert Blob.objects.exclude(state="destroyed").count() == 1


def test_a_piece_at_another_place_or_beyond_the_end_is_refused(as_alice: Client, archive: bytes) -> None:
    place = create(as_alice, begin(as_alice), 1000)["Location"]
    assert send(as_alice, place, archive, 1, 100).status_code == 409
    assert tus(as_alice, "PATCH", place, b"x" * 1001, Upload_Offset="0").status_code == 413
    assert tus(as_alice, "PATCH", place, b"x", Upload_Offset="0", Type="text/plain").status_code == 415
    for offset in ("-1", "x", "", "9" * 30):
        assert tus(as_alice, "PATCH", place, b"x", Upload_Offset=offset).status_code == 400
    assert tus(as_alice, "PATCH", place, b"x", Upload_Offset="0", Tus_Resumable="0.2.2").status_code == 412
    assert tus(as_alice, "PUT", place).status_code == 405
    assert offset_of(as_alice, place) == 0


def test_a_file_begun_twice_because_the_answer_was_lost_is_one_file(as_alice: Client, clinic_a: Clinic) -> None:
    data, batch = part10(), begin(as_alice)
    once, again = (create(as_alice, batch, len(data), data) for _ in range(2))
    assert again.status_code == 201
    assert (again["Location"], again["Upload-Offset"]) == (once["Location"], str(len(data)))
    with clinic_scope(clinic_a):
        assert Upload.objects.count() == Transfer.objects.count() == 1


def test_lengths_that_are_none_are_refused(as_alice: Client, settings: Any) -> None:
    settings.MAX_ARCHIVE_BYTES = 1000
    batch = begin(as_alice)
    assert create(as_alice, batch, 1001).status_code == 413
    assert create(as_alice, batch, 0).status_code == 422
    assert create(as_alice, batch, -1).status_code == 400
    assert create(as_alice, {"batch": "AAAAAAAAAAAAAAAAAAAAAA"}, 5).status_code == 404
    url = reverse("upload-tus", args=["alpha"])
    for metadata in ("", "filename", "batch !!", "filename /w==", ",,,"):
        assert tus(as_alice, "POST", url, Upload_Length="5", Upload_Metadata=metadata).status_code == 404


def broken(data: bytes) -> Iterator[bytes]:
    """A line that breaks after these bytes."""
    yield data
    raise transfers.BrokenOffError


@pytest.fixture
def transfer(alice_acts: Principal, batch: UploadBatch) -> Transfer:
    return transfers.begin(alice_acts, batch, length_bytes=1000, name="../CD.iso")


def test_what_arrived_before_the_line_broke_is_kept(alice_acts: Principal, transfer: Transfer) -> None:
    with pytest.raises(transfers.BrokenOffError):
        transfers.append(alice_acts, transfer, 0, broken(b"x" * 300))
    transfer.refresh_from_db()
    assert (transfer.offset_bytes, transfer.name) == (300, "CD.iso")
    checksum = transfers.Checksum("sha256", bytes(32))
    with pytest.raises(transfers.BrokenOffError):
        transfers.append(alice_acts, transfer, 300, broken(b"x" * 300), checksum=checksum)
    transfer.refresh_from_db()
    assert transfer.offset_bytes == 300, "nothing vouches for a part of what was to be checked"
    assert Blob.objects.exclude(state="destroyed").count() == 1


def test_a_body_that_ends_too_early_is_a_broken_line(as_alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some servers say nothing, and the body is just shorter than announced; others raise."""
    place = create(as_alice, begin(as_alice), 1000)["Location"]

    def read_silently(*_: object) -> bytes:
        return next(arrived, b"")

    def read_and_raise(*_: object) -> bytes:
        for chunk in arrived:
            return chunk
        raise UnreadablePostError

    for offset, read in ((0, read_silently), (10, read_and_raise)):
        arrived = iter([b"x" * 10])
        with monkeypatch.context() as broken_line:
            broken_line.setattr("django.core.handlers.wsgi.WSGIRequest.read", read)
            assert tus(as_alice, "PATCH", place, b"x" * 20, Upload_Offset=str(offset)).status_code == 400
        assert offset_of(as_alice, place) == offset + 10


def test_one_writer_at_a_time(alice_acts: Principal, transfer: Transfer) -> None:
    def while_another_writes() -> Iterator[bytes]:
        yield b"a" * 10
        with pytest.raises(transfers.TransferLockedError):
            transfers.append(alice_acts, transfer, 0, [b"b"])
        yield b"a" * 10

    assert transfers.append(alice_acts, transfer, 0, while_another_writes()).offset_bytes == 20


def test_a_line_that_fell_silent_is_taken_over_and_adds_nothing_later(
    alice_acts: Principal, transfer: Transfer, batch: UploadBatch
) -> None:
    def fall_silent() -> Iterator[bytes]:
        yield b"a" * 10
        Transfer.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
        same = Transfer.objects.get()
        assert transfers.append(alice_acts, same, 0, [b"b" * 5]).offset_bytes == 5
        yield b"a" * 10

    with pytest.raises(transfers.TransferLockedError):
        transfers.append(alice_acts, transfer, 0, fall_silent())
    transfer.refresh_from_db()
    assert transfer.offset_bytes == 5
    assert Blob.objects.exclude(state="destroyed").count() == 1


def test_a_cancelled_upload_leaves_nothing(as_alice: Client, clinic_a: Clinic) -> None:
    place = create(as_alice, begin(as_alice), 1000, b"x" * 100)["Location"]
    assert tus(as_alice, "DELETE", place).status_code == 204
    assert tus(as_alice, "HEAD", place).status_code == 404
    with clinic_scope(clinic_a):
        assert not Segment.objects.exists()
        assert not Blob.objects.exclude(state="destroyed").exists()
        assert storage.used_bytes(clinic_a) == 0
    assert AuditEvent.objects.filter(verb="upload.withdrawn").count() == 1
    data = part10()
    done = create(as_alice, begin(as_alice), len(data), data)["Location"]
    assert tus(as_alice, "DELETE", done).status_code == 403, "what is complete is an upload like any other"


def test_what_nobody_goes_on_with_is_thrown_away(as_alice: Client, clinic_a: Clinic) -> None:
    place = create(as_alice, begin(as_alice), 1000, b"x" * 100)["Location"]
    assert tasks.purge_transfers() == 0
    with clinic_scope(clinic_a):
        Blob.objects.update(created_at=timezone.now() - timedelta(hours=40))
    assert tasks.sweep_quarantine() == 0, "a piece is nobody's leftover"
    with clinic_scope(clinic_a):
        Transfer.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tus(as_alice, "HEAD", place).status_code == 410
    assert send(as_alice, place, b"x" * 1000, 100, 200).status_code == 410
    assert tasks.purge_transfers() == 1
    assert tus(as_alice, "HEAD", place).status_code == 404
    with clinic_scope(clinic_a):
        assert not Blob.objects.exclude(state="destroyed").exists()


def test_a_file_is_gone_on_with_from_another_computer(as_alice: Client, as_bob: Client, archive: bytes) -> None:
    """A later visit finds the transfer by what the file is, not by what is kept in a browser; only its owner does."""
    print_ = hashlib.sha256(archive).hexdigest()
    place = create(as_alice, begin(as_alice), len(archive), archive[:700], fingerprint=print_)["Location"]
    url = reverse("upload-have", args=["alpha"])

    def have(client: Client, batch: dict[str, Any]) -> Any:
        question = {"batch": batch["batch"], "files": [[print_, len(archive), "7"]]}
        return client.post(url, question, content_type="application/json").json()["files"]

    later = begin(as_alice)
    assert have(as_alice, later) == [{"url": place, "offset": 700}]
    assert have(as_bob, begin(as_bob)) == [None]
    send(as_alice, place, archive, 700, len(archive))
    process_until_idle()
    assert rows_of(as_alice, later)["7"]["state"] == "expanded", "its outcome is told to the visit that finished it"
    assert have(as_alice, begin(as_alice)) == [{"done": True}]


def test_other_people_find_no_transfer_AUTHZ_01(as_alice: Client, as_bob: Client, as_charlie: Client) -> None:
    place = create(as_alice, begin(as_alice), 1000)["Location"]
    for client, path in ((as_bob, place), (as_charlie, place), (as_charlie, place.replace("alpha", "beta"))):
        for method in ("HEAD", "PATCH", "DELETE"):
            assert tus(client, method, path, b"x", Upload_Offset="0").status_code == 404


def room_for(clinic: Clinic, size_bytes: int) -> None:
    Plan.objects.update(storage_bytes=storage.used_bytes(clinic) + size_bytes)


def test_a_plan_without_room_refuses_before_a_byte_is_sent_and_in_the_middle_RATE_02(
    as_alice: Client, clinic_a: Clinic
) -> None:
    with clinic_scope(clinic_a):
        room_for(clinic_a, 1000)
    batch = begin(as_alice)
    refused = create(as_alice, batch, 1001)
    assert (refused.status_code, refused.json()["code"]) == (413, "limit-reached")
    place = create(as_alice, batch, 1000, b"x" * 100)["Location"]
    with clinic_scope(clinic_a):
        room_for(clinic_a, 50)
    answer = tus(as_alice, "PATCH", place, b"x" * 100, Upload_Offset="100")
    assert (answer.status_code, answer.json()["code"]) == (413, "limit-reached")
    assert offset_of(as_alice, place) == 100, "what has arrived stays"
    with clinic_scope(clinic_a):
        room_for(clinic_a, 1000)
    assert tus(as_alice, "PATCH", place, b"x" * 100, Upload_Offset="100").status_code == 204


def test_a_disk_that_is_nearly_full_takes_no_uploads_and_shows_what_it_has_F5(
    as_alice: Client, clinic_a: Clinic, settings: Any
) -> None:
    batch = begin(as_alice)
    place = create(as_alice, batch, 1000, b"x" * 100)["Location"]
    post_files(as_alice, batch, {"1": part10()})
    settings.MIN_FREE_BYTES = 1 << 60
    full = [
        create(as_alice, batch, 1000),
        tus(as_alice, "PATCH", place, b"x" * 100, Upload_Offset="100"),
        post_files(as_alice, batch, {"2": part10()}),
    ]
    if storage.health()["free_bytes"] is None:
        pytest.skip("a bucket says nothing of its room")
    assert [(answer.status_code, answer.json()["code"]) for answer in full] == [(503, "storage-full")] * 3
    assert offset_of(as_alice, place) == 100
    assert rows_of(as_alice, batch)["1"]["state"] == "stored"
    settings.MIN_FREE_BYTES = 0
    assert tus(as_alice, "PATCH", place, b"x" * 100, Upload_Offset="100").status_code == 204
    with clinic_scope(clinic_a):
        assert Blob.objects.exclude(state="destroyed").filter(kind="instance").count() == 3


def test_pieces_are_read_as_one_file(alice_acts: Principal, batch: UploadBatch) -> None:
    data = bytes(range(256)) * 40
    transfer = transfers.begin(alice_acts, batch, length_bytes=len(data), name="x")
    for start in (0, 10, 4000, 9000):
        end = {0: 10, 10: 4000, 4000: 9000, 9000: len(data)}[start]
        transfers.append(alice_acts, transfer, start, [data[start:end]])
    upload = Upload.objects.get()
    with transfers.open_upload(upload) as file:
        assert file.read() == data
        for offset, length in ((0, 5), (8, 5), (3990, 6000), (len(data) - 3, 9), (len(data) + 5, 1)):
            file.seek(offset)
            assert file.read(length) == data[offset : offset + length]
        assert file.seek(-4, io.SEEK_END) == len(data) - 4
        with pytest.raises(ValueError, match="before the beginning"):
            file.seek(-1)


def test_a_single_file_beyond_its_limit_is_refused_when_it_is_no_archive(
    alice_acts: Principal, batch: UploadBatch, settings: Any
) -> None:
    settings.MAX_FILE_BYTES = 1000
    transfer = transfers.begin(alice_acts, batch, length_bytes=2000, name="x")
    transfers.append(alice_acts, transfer, 0, [b"x" * 1500])
    transfers.append(alice_acts, transfer, 1500, [b"x" * 500])
    process_until_idle()
    upload = Upload.objects.get()
    assert (upload.state, upload.code) == ("rejected", TooLargeError.code)
    assert not Blob.objects.exclude(state="destroyed").exists()


def test_a_large_zip_of_20_000_members_is_opened_up_to_its_limit_UPL_03(
    alice_acts: Principal, batch: UploadBatch
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for number in range(20_001):
            packed.writestr(str(number), b"")
    data = file.getvalue()
    transfer = transfers.begin(alice_acts, batch, length_bytes=len(data), name="x.zip")
    transfers.append(alice_acts, transfer, 0, [data[: len(data) // 2]])
    transfers.append(alice_acts, transfer, len(data) // 2, [data[len(data) // 2 :]])
    process_until_idle()
    assert Upload.objects.get().code == "archive-too-many-members"
    assert not Blob.objects.exclude(state="destroyed").exists()
