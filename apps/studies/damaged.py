"""Studies of which an image is whole in no place any more: marked, so that nobody finds out while reading."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from apps.clinics.scoping import every_clinic
from apps.storage.models import Blob
from apps.studies.models import Instance, Study


def mark_damaged() -> int:
    """Write down which studies have lost images, and how many; return how many studies that are.

    The copies say it of their blobs; what comes back, from a disk that is put in again, takes the mark away.
    """
    with every_clinic():
        lost = Instance.objects.filter(blob__lost_at__isnull=False, blob__state=Blob.State.STORED)
        counts = dict(lost.values_list("series__study").annotate(count=Count("pk")).order_by())
        for study in Study.objects.exclude(lost_instance_count=0).exclude(pk__in=counts):
            Study.objects.filter(pk=study.pk).update(lost_instance_count=0)
        for pk, count in counts.items():
            Study.objects.filter(pk=pk).exclude(lost_instance_count=count).update(lost_instance_count=count)
        return len(counts)


def damaged_studies() -> QuerySet[Study]:
    """Return the marked studies, of every clinic where scopes are lifted."""
    return Study.objects.filter(lost_instance_count__gt=0).select_related("clinic").order_by("pk")
