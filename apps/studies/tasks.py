"""Work on studies that happens after they are visible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import connection

from apps.clinics.scoping import clinic_scope
from apps.jobs.models import Job
from apps.jobs.services import periodic, register
from apps.studies import damaged, recycling
from apps.studies.indexing import PREPARE, queue_left_over_preparation
from apps.studies.models import Series
from apps.studies.preparation import prepare

STATISTICS_SECONDS: Final = 600


@register(PREPARE)
def prepare_series(job: Job) -> Callable[[], None] | None:
    """Make a series' metadata and thumbnail; a series that is gone, or has all of it, is done."""
    edition = str(job.payload.get("edition", ""))
    if not edition or job.clinic is None:
        return _prepared(job)
    clinic = job.clinic
    with clinic_scope(clinic, edition=edition):
        keep = _prepared(job)

    def keep_in_copy() -> None:
        with clinic_scope(clinic, edition=edition):
            if keep is not None:
                keep()

    return keep_in_copy


def _prepared(job: Job) -> Callable[[], None] | None:
    # First: what arrives from here on queues the next preparation.
    Series.objects.filter(pk=job.payload["series"]).update(is_preparation_queued=False)
    series = (
        Series.objects.select_related("clinic", "study", "metadata_blob", "thumbnail_blob")
        .filter(pk=job.payload["series"])
        .first()
    )
    return prepare(series) if series is not None else None


@periodic("studies.prepare_left_over", every_seconds=3600)
def prepare_left_over() -> None:
    """Prepare series of which the job came to no good end."""
    queue_left_over_preparation()


@periodic("studies.refresh_statistics", STATISTICS_SECONDS)
def refresh_statistics() -> None:
    """Tell SQLite how its index is filled, from a sample; PostgreSQL sees to that itself.

    Without it SQLite takes every index for equally good, and reads 100,000 rows to find one accession number.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA analysis_limit = 1000")
        for table in ("studies_study", "studies_studyterm", "studies_series", "studies_instance", "patients_patient"):
            cursor.execute(f"ANALYZE {table}")


@periodic("studies.mark_damaged", every_seconds=60)
def mark_damaged() -> None:
    """Mark studies of which an image is lost in every place."""
    damaged.mark_damaged()


@periodic("studies.erase_expired", every_seconds=3600)
def erase_expired() -> None:
    """Destroy what has been in the recycle bin for 30 days."""
    recycling.erase_expired()
