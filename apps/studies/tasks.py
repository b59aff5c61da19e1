"""Work on studies that happens after they are visible."""

from __future__ import annotations

from collections.abc import Callable

from apps.jobs.models import Job
from apps.jobs.services import register
from apps.studies.indexing import PREPARE
from apps.studies.models import Series
from apps.studies.preparation import prepare


@register(PREPARE)
def prepare_series(job: Job) -> Callable[[], None] | None:
    """Make a series' metadata and thumbnail; a series that is gone, or has all of it, is done."""
    # First: what arrives from here on queues the next preparation.
    Series.objects.filter(pk=job.payload["series"]).update(is_preparation_queued=False)
    series = (
        Series.objects.select_related("clinic", "study", "metadata_blob", "thumbnail_blob")
        .filter(pk=job.payload["series"])
        .first()
    )
    return prepare(series) if series is not None else None
