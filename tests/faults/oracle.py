"""What an installation at rest must look like from inside; run in the installation's own environment.

`manage.py shell -c "from tests.faults import oracle; oracle.main()"` waits until nothing is under way, lets the sweeps
do what they would do hours later, and prints one JSON object: what is wrong (nothing), and how much there was.
"""

from __future__ import annotations

import json
import time
from datetime import timedelta

from django.db.models import Count, F, Q, Sum
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope, every_clinic
from apps.ingest import tasks as ingest
from apps.ingest.models import Upload
from apps.jobs.models import Job
from apps.storage import sweep
from apps.storage.models import Blob, Usage
from apps.storage.places import PRIMARY, object_name, place_named
from apps.storage.services import iterate_blob
from apps.studies.indexing import PREPARE, queue_left_over_preparation
from apps.studies.models import Instance, Series, Study

IDLE_SECONDS = 240
OUTCOMES = ("stored", "duplicate", "expanded")


def main() -> None:
    """Wait, sweep, look, print."""
    waited = wait_until_idle()
    if queue_left_over_preparation():
        waited += wait_until_idle()
    ingest.ORPHANED_AFTER = timedelta(0)
    swept = ingest.sweep_quarantine()
    sweep.delete_destroyed_bytes()
    leftovers = sweep.remove_leftovers(timezone.now() + timedelta(hours=2))
    with every_clinic():
        wrong = [*jobs(), *uploads(), *blobs(), *index()]
        counts = {"instances": Instance.objects.count(), "uploads": Upload.objects.count()}
    print(json.dumps({"wrong": wrong, "waited": round(waited, 1), "swept": swept, "leftovers": leftovers} | counts))


def wait_until_idle() -> float:
    """Return when no job is queued or running, or when it took too long, which `jobs` then says."""
    begun = time.monotonic()
    unfinished = Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING])
    while unfinished.exists() and time.monotonic() < begun + IDLE_SECONDS:
        time.sleep(0.1)
    return time.monotonic() - begun


def jobs() -> list[str]:
    """Jobs that did not come to a good end."""
    # A preparation of which the workers were killed every time is followed by another one: see `index`.
    given_up = Q(kind=PREPARE, state=Job.State.FAILED, error="WorkerLost")
    rows = Job.objects.exclude(Q(state=Job.State.DONE) | given_up)
    return [f"job {row}" for row in rows.values_list("pk", "kind", "state", "attempts", "error")]


def uploads() -> list[str]:
    """Files without a good outcome, and outcomes that nothing stands behind."""
    rows = Upload.objects.exclude(state__in=OUTCOMES).values_list("pk", "state", "code")
    wrong = [f"upload {row}" for row in rows]
    unbacked = Upload.objects.filter(state=Upload.State.STORED).exclude(instance__blob=F("blob"))
    return wrong + [f"upload {pk} is called stored without an instance" for pk in unbacked.values_list("pk", flat=True)]


def blobs() -> list[str]:
    """Blobs without bytes, bytes without blobs, blobs that nobody names, a counter that is not their sum."""
    wrong = []
    living = Blob.objects.exclude(state=Blob.State.DESTROYED)
    wrong += [f"blob {pk} is in quarantine" for pk in living.filter(state="quarantined").values_list("pk", flat=True)]
    named = set(Instance.objects.values_list("blob_id", flat=True))
    for column in ("metadata_blob_id", "thumbnail_blob_id"):
        named |= set(Series.objects.values_list(column, flat=True))
    wrong += [f"blob {blob.pk} ({blob.kind}) belongs to nothing" for blob in living if blob.pk not in named]
    bytes_here = {stored.name for stored in place_named(PRIMARY).list_objects()}
    bytes_due = {object_name(name) for name in living.values_list("public_id", flat=True)}
    if bytes_here != bytes_due:
        wrong.append(f"{len(bytes_here - bytes_due)} bytes without a blob, {len(bytes_due - bytes_here)} without bytes")
    for clinic in Clinic.objects.all():
        total = living.filter(clinic=clinic).aggregate(size=Sum("size_bytes", default=0), count=Count("pk"))
        counted = Usage.objects.filter(clinic=clinic).values("stored_bytes", "blob_count").first()
        if counted and counted != {"stored_bytes": total["size"], "blob_count": total["count"]}:
            wrong.append(f"usage of {clinic.slug}: {counted}, in fact {total}")
        with clinic_scope(clinic):
            for blob in living.filter(clinic=clinic):
                if sum(map(len, iterate_blob(blob))) != blob.size_bytes:
                    wrong.append(f"blob {blob.pk} is cut short")
    return wrong


def index() -> list[str]:
    """Series and studies whose counts are not those of their instances, or that have none."""
    wrong = []
    for series in Series.objects.annotate(count=Count("instances"), size=Sum("instances__size_bytes", default=0)):
        if not series.count or series.count != series.number_of_series_related_instances:
            wrong.append(f"series {series.pk} counts {series.number_of_series_related_instances}, has {series.count}")
        if series.size != series.size_bytes:
            wrong.append(f"series {series.pk} sums {series.size_bytes}, has {series.size}")
        if series.metadata_blob_id is None or series.metadata_instance_count != series.count:
            wrong.append(f"series {series.pk} was not prepared")
    for study in Study.objects.annotate(
        count=Count("series__instances"), series_count=Count("series", distinct=True),
        size=Sum("series__instances__size_bytes", default=0),
    ):  # fmt: skip
        is_right = (
            study.count == study.number_of_study_related_instances
            and study.series_count == study.number_of_study_related_series
            and study.size == study.size_bytes
        )
        if not is_right:
            wrong.append(f"study {study.pk} miscounts")
    return wrong
