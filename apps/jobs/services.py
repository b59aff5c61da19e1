"""The door of background work: enqueue it, register who does it, work it off."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Count, Min
from django.utils import timezone

from apps.clinics.models import Clinic
from apps.jobs import pipeline
from apps.jobs.models import Job, WorkerPulse
from apps.jobs.registry import periodic, register
from apps.jobs.tasks import wake, wake_periodic

__all__ = [
    "enqueue",
    "enqueue_many",
    "has_live_worker",
    "health",
    "periodic",
    "process_until_idle",
    "register",
    "wake_periodic",
]

PULSE_SECONDS = 30


def enqueue(
    kind: str, payload: dict[str, object], *, clinic: Clinic | None = None, run_after: datetime | None = None
) -> Job:
    """Write a job in the caller's transaction and wake a worker when it commits. The payload holds ids, never PHI."""
    job = Job.objects.create(kind=kind, payload=payload, clinic=clinic, run_after=run_after or timezone.now())
    if run_after is None:
        transaction.on_commit(partial(wake, job.pk))
    return job


def enqueue_many(kind: str, payloads: list[dict[str, object]], *, clinic: Clinic | None = None) -> list[Job]:
    """Write several jobs of one kind in one statement, as `enqueue` does for one."""
    jobs = Job.objects.bulk_create([Job(kind=kind, payload=payload, clinic=clinic) for payload in payloads])
    for job in jobs:
        transaction.on_commit(partial(wake, job.pk))
    return jobs


def process_until_idle() -> int:
    """Work off everything queued in this process, retries without their delay; return how many runs that took."""
    count = 0
    while job := pipeline.claim_next(ignore_delay=True):
        pipeline.run(job)
        count += 1
    return count


def has_live_worker() -> bool:
    """Return whether a worker showed itself within the last half minute."""
    return WorkerPulse.objects.filter(seen_at__gte=timezone.now() - timedelta(seconds=PULSE_SECONDS)).exists()


def health() -> dict[str, object]:
    """Return counts by state and the age in seconds of the oldest queued job."""
    counts = dict(Job.objects.values_list("state").annotate(Count("pk")))
    oldest = Job.objects.filter(state=Job.State.QUEUED).aggregate(at=Min("created_at"))["at"]
    return {
        "queued": counts.get(Job.State.QUEUED, 0),
        "running": counts.get(Job.State.RUNNING, 0),
        "failed": counts.get(Job.State.FAILED, 0),
        "oldest_queued_seconds": round((timezone.now() - oldest).total_seconds()) if oldest else 0,
        "has_live_worker": has_live_worker(),
    }
