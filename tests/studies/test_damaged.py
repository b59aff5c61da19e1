"""Both copies bad: the study is marked, the administrators are told, and nobody is served anything wrong (F14)."""

from __future__ import annotations

from pathlib import Path

from django.test import Client
from django.utils import timezone

from apps.access.services import import_principal
from apps.backup.alarms import watch
from apps.clinics.models import Clinic
from apps.ingest.models import UploadBatch
from apps.ingest.services import open_batch, store_now
from apps.jobs.models import Job
from apps.storage.services import copy_due
from apps.studies.models import Instance, Study
from apps.studies.services import mark_damaged
from tests.faults.disks import two_disks
from tests.ingest.files import series


def test_a_study_that_lost_an_image_says_so_and_an_alarm_is_raised_F14(
    in_clinic_a: Clinic, as_alice: Client, as_platform_admin: Client, tmp_path: Path
) -> None:
    with two_disks(tmp_path) as disks:
        batch = open_batch(import_principal(in_clinic_a, "tests"), UploadBatch.Source.IMPORT, is_one_request=True)
        store_now(import_principal(in_clinic_a, "tests"), batch, [[file] for file in series(2)])
        copy_due()
        blob = Instance.objects.first().blob
        paths = [disk.path_of(blob.object_name) for disk in disks]
        whole = paths[0].read_bytes()
        for path in paths:
            path.write_bytes(b"rot")
        blob.copied_at = None
        blob.save()
        blob.copies.update(state="damaged")
        copy_due()
        assert mark_damaged() == 1
        study = Study.objects.get()
        assert study.lost_instance_count == 1
        page = as_alice.get(f"/c/{in_clinic_a.slug}/studies/{study.public_id}/")
        assert "1 image of this study is damaged in every copy" in page.content.decode()
        alarms = [alarm for alarm in watch(timezone.now()) if alarm.code == "images-lost"]
        assert [alarm.item for alarm in alarms] == [study.public_id]
        assert Job.objects.filter(kind="notices.mail").exists()
        # The disk with the whole copy is put in again.
        paths[1].write_bytes(whole)
        copy_due()
        assert mark_damaged() == 0
        assert Study.objects.get().lost_instance_count == 0
