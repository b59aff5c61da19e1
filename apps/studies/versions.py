"""Another version of an instance in place of the stored one: its row, its counts, and what was prepared of it."""

from __future__ import annotations

from django.db.models import F, Sum
from django.utils import timezone

from apps.dicom.parse import Header
from apps.storage.models import Blob
from apps.studies.indexing import facts_of, queue_preparation
from apps.studies.models import Instance, Series, Study


def lock_instance(instance: Instance) -> Instance:
    """Return the instance as it is now, held with its study and series until the transaction ends."""
    where = Instance.objects.select_related("series").get(pk=instance.pk)
    Study.objects.select_for_update(no_key=True).get(pk=where.series.study_id)
    Series.objects.select_for_update(no_key=True).get(pk=where.series_id)
    rows = Instance.objects.select_for_update(of=("self",)).select_related("series__study__patient", "blob", "clinic")
    return rows.get(pk=instance.pk)


def replace_version(instance: Instance, header: Header, blob: Blob) -> None:
    """Let a locked instance be of these bytes from now on; what was prepared of its series is made anew.

    The blob that it had stays as it is: the caller keeps it. The header is of the same study, series and instance.
    """
    size_before, frames_before = instance.size_bytes, instance.number_of_frames
    for field, value in facts_of(header, blob).items():
        setattr(instance, field, value)
    instance.save()
    series, study = instance.series, instance.series.study
    has_pixels = Instance.objects.filter(series=series).aggregate(frames=Sum("number_of_frames"))["frames"]
    Series.objects.filter(pk=series.pk).update(
        size_bytes=F("size_bytes") + instance.size_bytes - size_before,
        number_of_frames=F("number_of_frames") + instance.number_of_frames - frames_before,
        has_pixels=bool(has_pixels),
        # Covering no instance means stale: whoever asks next has them made of what is there now.
        metadata_instance_count=0,
        thumbnail_instance_count=0,
        version=F("version") + 1,
    )
    Study.objects.filter(pk=study.pk).update(
        size_bytes=F("size_bytes") + instance.size_bytes - size_before, updated_at=timezone.now()
    )
    queue_preparation(instance.clinic, [series.pk])
