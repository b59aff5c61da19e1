"""Two places, always: what arrives is copied, read back, served when one place fails, and repaired."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from apps.clinics.models import Clinic
from apps.storage import copies, replication, scrub, sweep
from apps.storage.crypto import Buffer
from apps.storage.disk_place import DiskPlace
from apps.storage.errors import BlobMissingError, CorruptBlobError, PlaceFullError, PlaceUnavailableError
from apps.storage.models import Blob, Copy
from apps.storage.places import Place, place_named
from apps.storage.s3_place import S3Place
from apps.storage.services import destroy, iterate_blob, open_blob, places_report, write_blob, write_blobs
from tests.s3_server import S3Server

SMALL, LARGE = secrets.token_bytes(300_000), secrets.token_bytes(5 * 1024 * 1024)


@pytest.fixture
def clinic(in_clinic_a: Clinic) -> Clinic:
    copies.forget_trouble()
    return in_clinic_a


def disk_at(folder: Path) -> dict[str, object]:
    return {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder)}}


@pytest.fixture
def second(disk: DiskPlace, tmp_path: Path, settings: Settings) -> DiskPlace:
    """Another disk that holds a copy of everything."""
    settings.STORAGES = settings.STORAGES | {"replica-second": disk_at(tmp_path / "second")}
    settings.REPLICAS = {"replica-second": "PORTAL_REPLICA_SECOND"}
    place = place_named("replica-second")
    assert isinstance(place, DiskPlace)
    return place


@pytest.fixture(params=["disk", "bucket"])
def other(request: pytest.FixtureRequest, disk: DiskPlace, settings: Settings) -> Place:
    """The second place, each kind in turn."""
    if request.param == "disk":
        return request.getfixturevalue("second")
    server: S3Server = request.getfixturevalue("s3_server")
    settings.STORAGES = settings.STORAGES | {"replica-cloud": server.storage(server.make_bucket(), location="copies")}
    settings.REPLICAS = {"replica-cloud": "PORTAL_REPLICA_CLOUD"}
    return place_named("replica-cloud")


def stored_bytes(place: Place, blob: Blob) -> bytes:
    reader = place.open(blob.object_name, blob.ciphertext_bytes)
    try:
        return bytes(reader.read(0, blob.ciphertext_bytes))
    finally:
        reader.close()


def content_of(blob: Blob) -> bytes:
    return b"".join(iterate_blob(blob))


def states(blob: Blob) -> dict[str, str]:
    return dict(Copy.objects.filter(blob=blob).values_list("place", "state"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_everything_is_copied_bit_for_bit_and_noted_once_BAK_01(clinic: Clinic, disk: DiskPlace, other: Place) -> None:
    blobs = [*write_blobs(clinic, "file", [SMALL, b"", b"x"]), write_blob(clinic, "file", [LARGE])]
    assert replication.copy_due() == len(blobs)
    for blob in blobs:
        blob.refresh_from_db()
        assert blob.copied_at
        assert stored_bytes(other, blob) == stored_bytes(disk, blob)
        assert set(states(blob).values()) == {"good"}
        assert len(states(blob)) == 2
        digests = {bytes(copy.ciphertext_sha256) for copy in blob.copies.all()}
        assert digests == {hashlib.sha256(stored_bytes(disk, blob)).digest()}
    assert replication.copy_due() == 0


def test_quarantine_is_never_copied(clinic: Clinic, second: DiskPlace) -> None:
    write_blob(clinic, "file", [SMALL], quarantined=True)
    assert replication.copy_due() == 0
    assert list(second.list_objects()) == []


def test_a_place_that_is_away_gets_its_copies_later(
    clinic: Clinic, second: DiskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = write_blob(clinic, "file", [SMALL])

    def refuse(*_: object) -> None:
        raise PlaceUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(DiskPlace, "write_many", refuse)
        assert replication.copy_due() == 0
    assert content_of(blob) == SMALL
    assert replication.copy_due() == 1
    assert second.exists(blob.object_name)


def test_reads_go_on_when_the_first_place_is_lost_and_it_is_filled_again_F11(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace
) -> None:
    small, large = write_blob(clinic, "file", [SMALL]), write_blob(clinic, "file", [LARGE])
    replication.copy_due()
    for blob in (small, large):
        disk.delete([blob.object_name])
    assert content_of(small) == SMALL
    with open_blob(large) as reader:
        assert reader.pread(1_000_000, 10) == LARGE[1_000_000:1_000_010]
    assert states(small)["blobs"] == "damaged"
    assert replication.copy_due() == 2
    assert stored_bytes(disk, large) == stored_bytes(second, large)
    assert set(states(small).values()) == {"good"}


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda path: flip(path, path.stat().st_size // 2),
    "a flipped header": lambda path: flip(path, 3),
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeroes": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
}


def test_damage_is_never_served_and_repaired_from_the_other_place_F13_F14(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace
) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    whole = stored_bytes(disk, blob)
    for damage in DAMAGES.values():
        damage(disk.path_of(blob.object_name))
        assert content_of(blob) == SMALL
        assert states(blob)["blobs"] == "damaged"
        assert replication.copy_due() == 1
        assert stored_bytes(disk, blob) == whole
    for damage in DAMAGES.values():
        damage(second.path_of(blob.object_name))
        Copy.objects.update(checked_at=timezone.now() - timedelta(days=2))
        assert scrub.scrub_due(timedelta(minutes=5), seconds=10) == 2
        assert states(blob)["replica-second"] == "damaged"
        assert replication.copy_due() == 1
        assert stored_bytes(second, blob) == whole


def test_a_large_blob_that_rots_while_it_is_read_goes_on_from_the_other_place_F13(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace
) -> None:
    blob = write_blob(clinic, "file", [LARGE])
    replication.copy_due()
    flip(disk.path_of(blob.object_name), 4_000_000)
    assert content_of(blob) == LARGE
    replication.copy_due()
    assert stored_bytes(disk, blob) == stored_bytes(second, blob)


def test_rot_is_not_copied_but_a_study_that_no_place_holds_is_marked_F14(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace
) -> None:
    blob, large = write_blob(clinic, "file", [SMALL]), write_blob(clinic, "file", [LARGE])
    for each in (blob, large):
        flip(disk.path_of(each.object_name), 100_000)
    assert replication.copy_due() == 0
    assert list(second.list_objects()) == []
    blob.refresh_from_db()
    assert blob.lost_at
    with pytest.raises(CorruptBlobError):
        content_of(blob)


def test_what_is_lost_and_comes_back_is_found_again(clinic: Clinic, disk: DiskPlace, second: DiskPlace) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    path = disk.path_of(blob.object_name)
    whole = path.read_bytes()
    path.unlink()
    replication.copy_due()
    with pytest.raises(BlobMissingError):
        content_of(blob)
    path.write_bytes(whole)
    assert replication.copy_due() == 1
    blob.refresh_from_db()
    assert blob.lost_at is None
    assert second.exists(blob.object_name)


def test_the_scrub_takes_turns_and_leaves_alone_what_was_looked_at_today_BAK_03(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_blobs(clinic, "file", [SMALL] * 4)
    replication.copy_due()
    assert scrub.scrub_due(timedelta(minutes=5), seconds=10) == 0
    Copy.objects.update(checked_at=timezone.now() - timedelta(days=2))
    monkeypatch.setattr(scrub, "LEAST_BYTES", 2 * len(SMALL))
    assert scrub.scrub_due(timedelta(minutes=5), seconds=10) == 4
    assert scrub.scrub_due(timedelta(minutes=5), seconds=10) == 4
    assert not Copy.objects.filter(checked_at__lt=timezone.now() - timedelta(days=1)).exists()


def test_new_bytes_go_to_the_other_place_while_the_first_is_away_F11(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, begin = DiskPlace.write_many, DiskPlace.begin

    def only_the_second(method: Callable[..., object]) -> Callable[..., object]:
        def guarded(self: DiskPlace, *arguments: object) -> object:
            if self.root == disk.root:
                raise PlaceUnavailableError
            return method(self, *arguments)

        return guarded

    with monkeypatch.context() as patch:
        patch.setattr(DiskPlace, "write_many", only_the_second(write))
        patch.setattr(DiskPlace, "begin", only_the_second(begin))
        [small], large = write_blobs(clinic, "file", [SMALL]), write_blob(clinic, "file", [LARGE])
        assert (small.place, large.place) == ("replica-second", "replica-second")
        assert content_of(small) == SMALL
    copies.forget_trouble()
    assert replication.copy_due() == 2
    assert stored_bytes(disk, large) == stored_bytes(second, large)


def test_what_is_said_of_a_blob_is_of_the_place_that_took_it_F11(
    clinic: Clinic, second: DiskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_many = DiskPlace.write_many

    def refuse_the_second(place: DiskPlace, objects: Iterable[tuple[str, Buffer]]) -> None:
        if place.root == second.root:
            write_many(place, objects)
            return
        # The others are being encrypted for this place meanwhile.
        next(iter(objects))
        raise PlaceUnavailableError

    monkeypatch.setattr(DiskPlace, "write_many", refuse_the_second)
    for _ in range(30):
        copies.forget_trouble()
        contents = [secrets.token_bytes(size) for size in (500, 500, 100_000)]
        blobs = write_blobs(clinic, "file", contents)
        assert {blob.place for blob in blobs} == {"replica-second"}
        assert [content_of(blob) for blob in blobs] == contents


def test_a_full_place_is_no_reason_to_fill_the_next(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise PlaceFullError

    monkeypatch.setattr(DiskPlace, "write_many", full)
    with pytest.raises(PlaceFullError):
        write_blobs(clinic, "file", [SMALL])
    assert not Blob.objects.exists()


def test_destroying_reaches_every_place(
    clinic: Clinic, disk: DiskPlace, other: Place, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        destroy([blob])
    assert not disk.exists(blob.object_name)
    assert not other.exists(blob.object_name)
    assert not Copy.objects.exists()


def test_a_new_place_is_noticed_and_a_lost_one_filled_again(
    clinic: Clinic, disk: DiskPlace, tmp_path: Path, settings: Settings
) -> None:
    settings.REPLICAS = {}
    blob = write_blob(clinic, "file", [SMALL])
    assert replication.copy_due() == 1
    settings.STORAGES = settings.STORAGES | {"replica-late": disk_at(tmp_path / "late")}
    settings.REPLICAS = {"replica-late": "PORTAL_REPLICA_LATE"}
    late = place_named("replica-late")
    assert replication.copy_due() == 0
    assert replication.find_missing() == 1
    assert replication.copy_due() == 1
    assert late.exists(blob.object_name)
    late.delete([blob.object_name])
    assert replication.rebuild("replica-late") == 1
    assert replication.copy_due() == 1
    assert stored_bytes(late, blob) == stored_bytes(disk, blob)


def test_the_sweep_removes_leftovers_from_every_place(clinic: Clinic, disk: DiskPlace, second: DiskPlace) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    stray = second.path_of(blob.object_name).with_name("strayStrayStrayStray12")
    stray.write_bytes(b"left behind")
    assert sweep.remove_leftovers(timezone.now() + timedelta(hours=3)) == 1
    assert not stray.exists()
    assert second.exists(blob.object_name)


@pytest.fixture
def locked(s3_server: S3Server, disk: DiskPlace, settings: Settings) -> S3Place:
    """A bucket with Object Lock as the second place."""
    name = f"locked-{secrets.token_hex(8)}"
    s3_server.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    settings.STORAGES = settings.STORAGES | {"replica-vault": s3_server.storage(name)}
    settings.REPLICAS = {"replica-vault": "PORTAL_REPLICA_VAULT"}
    settings.REPLICA_LOCK_DAYS = {"replica-vault": 30}
    place = place_named("replica-vault")
    assert isinstance(place, S3Place)
    return place


def test_a_thief_with_every_key_cannot_destroy_a_locked_copy_BAK_02_F16(
    clinic: Clinic, disk: DiskPlace, locked: S3Place, s3_server: S3Server
) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    [copy] = Copy.objects.filter(place="replica-vault")
    assert copy.locked_until
    assert copy.locked_until > timezone.now() + timedelta(days=29)
    disk.delete([blob.object_name])
    # The thief: every credential the application has, and all that S3 lets them try.
    client, target = s3_server.client(), {"Bucket": locked.bucket, "Key": locked.key_of(blob.object_name)}
    [version] = [each["VersionId"] for each in client.list_object_versions(Bucket=locked.bucket)["Versions"]]
    sooner = {"Mode": "COMPLIANCE", "RetainUntilDate": timezone.now() + timedelta(seconds=1)}
    for refused in (
        lambda: client.delete_object(**target, VersionId=version),
        lambda: client.delete_object(**target, VersionId=version, BypassGovernanceRetention=True),
        lambda: client.put_object_retention(**target, VersionId=version, Retention=sooner),
    ):
        with pytest.raises(ClientError):
            refused()
    client.delete_object(**target)
    client.put_object(**target, Body=b"overwritten")
    whole = client.get_object(**target, VersionId=version)["Body"].read()
    assert hashlib.sha256(whole).digest() == bytes(copy.ciphertext_sha256)
    with pytest.raises(CorruptBlobError):
        content_of(blob)
    # Both present versions are bad now; the locked one comes back by itself, and then goes everywhere.
    replication.copy_due()
    replication.copy_due()
    assert content_of(blob) == SMALL
    assert stored_bytes(disk, blob) == stored_bytes(locked, blob) == whole


def test_a_lock_is_prolonged_when_half_of_it_is_over(clinic: Clinic, locked: S3Place) -> None:
    write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    copies_there = Copy.objects.filter(place="replica-vault")
    for left, is_prolonged in ((20, False), (10, True)):
        before = timezone.now() + timedelta(days=left)
        copies_there.update(locked_until=before, checked_at=timezone.now() - timedelta(days=2))
        scrub.scrub_due(timedelta(minutes=5), seconds=10)
        locked_until = copies_there.get().locked_until
        assert locked_until
        assert (locked_until > before) == is_prolonged


def test_a_replaced_disk_is_filled_by_one_command(
    clinic: Clinic, disk: DiskPlace, second: DiskPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    disk.delete([blob.object_name])
    call_command("rebuild_place", "blobs")
    assert "blobs is whole again" in capsys.readouterr().out
    assert stored_bytes(disk, blob) == stored_bytes(second, blob)
    with pytest.raises(CommandError, match="PORTAL_REPLICAS"):
        call_command("rebuild_place", "nowhere")


def test_the_report_counts_what_each_place_has(clinic: Clinic, disk: DiskPlace, second: DiskPlace) -> None:
    first = write_blob(clinic, "file", [SMALL])
    replication.copy_due()
    write_blob(clinic, "file", [SMALL])
    disk.delete([first.object_name])
    content_of(first)
    here, there = places_report()
    assert (here["name"], here["good"], here["damaged"], here["is_answering"]) == ("blobs", 0, 1, True)
    assert (there["name"], there["good"], there["waiting"]) == ("replica-second", 1, 1)
