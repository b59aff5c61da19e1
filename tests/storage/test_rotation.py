"""A clinic's keys are replaced while its images are read (ENC-08)."""

from __future__ import annotations

import io
import secrets

import pytest
from django.core.management import CommandError, call_command

from apps.clinics.models import Clinic
from apps.keys.models import ClinicKey
from apps.storage import replication
from apps.storage.disk_place import DiskPlace
from apps.storage.errors import BlobDestroyedError
from apps.storage.models import Blob, Copy
from apps.storage.rotation import renew_data_key
from apps.storage.services import destroy, iterate_blob, open_blob, used_bytes, write_blob, write_blobs

CONTENT = secrets.token_bytes(200_000)


@pytest.fixture
def clinic(in_clinic_a: Clinic, disk: DiskPlace) -> Clinic:
    return in_clinic_a


def content_of(blob: Blob) -> bytes:
    return b"".join(iterate_blob(Blob.objects.get(pk=blob.pk)))


def rotate(clinic: Clinic, *options: str) -> None:
    call_command("rotate_clinic_key", clinic.slug, *options, stdout=io.StringIO())


def test_a_new_clinic_key_opens_all_and_the_old_one_is_destroyed_ENC_08(clinic: Clinic) -> None:
    blobs = write_blobs(clinic, "file", [CONTENT, b"", b"x"])
    held = write_blob(clinic, "file", [CONTENT], quarantined=True)
    old = ClinicKey.objects.get(purpose="stored")
    rotate(clinic)
    assert [content_of(blob) for blob in blobs] == [CONTENT, b"", b"x"]
    assert content_of(held) == CONTENT
    old.refresh_from_db()
    assert (old.wrapped, old.is_primary, bool(old.destroyed_at)) == (None, False, True)


def test_new_data_keys_leave_no_byte_as_it_was_and_every_reference_intact_ENC_08(
    clinic: Clinic, disk: DiskPlace
) -> None:
    [blob] = write_blobs(clinic, "file", [CONTENT])
    replication.copy_due()
    before = disk.path_of(blob.object_name)
    ciphertext, used = before.read_bytes(), used_bytes(clinic)
    rotate(clinic, "--data-keys")
    now = Blob.objects.get(pk=blob.pk)
    assert content_of(blob) == CONTENT
    assert now.public_id != blob.public_id
    assert bytes(now.wrapped_key or b"") != bytes(blob.wrapped_key or b"")
    assert disk.path_of(now.object_name).read_bytes()[40:] != ciphertext[40:]
    assert used_bytes(clinic) == used
    assert not Copy.objects.filter(blob=blob).exists()
    assert replication.copy_due() == 1
    assert Blob.objects.get(public_id=blob.public_id).is_destroyed


def test_who_has_it_open_reads_on(clinic: Clinic) -> None:
    blob = write_blob(clinic, "file", [CONTENT])
    with open_blob(blob) as reader:
        assert reader.read(10) == CONTENT[:10]
        assert renew_data_key(clinic, blob)
        assert reader.read() == CONTENT[10:]


def test_what_was_destroyed_meanwhile_stays_destroyed(clinic: Clinic) -> None:
    blob, stale = write_blob(clinic, "file", [CONTENT]), Blob.objects.get()
    destroy([blob])
    assert not renew_data_key(clinic, stale)
    with pytest.raises(BlobDestroyedError):
        content_of(blob)
    assert used_bytes(clinic) == 0


def test_a_name_that_is_no_clinics_is_refused(clinic: Clinic) -> None:
    with pytest.raises(CommandError, match="no clinic"):
        call_command("rotate_clinic_key", "nowhere")
