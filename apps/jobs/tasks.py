"""What Celery calls: run one job, and the tick that re-sends what was lost and starts what is due by the clock."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from apps.jobs import pipeline
from apps.jobs.models import Periodic, WorkerPulse
from apps.jobs.registry import PERIODIC

log = logging.getLogger(__name__)
SWEEP_LIMIT = 500


@shared_task
def run_job(job_id: int) -> None:
    """Claim and run one job; a second signal for the same job does nothing."""
    job = pipeline.claim(job_id)
    if job:
        pipeline.run(job)


def wake(job_id: int) -> None:
    """Tell a worker about a job; when the broker is away, the sweep will."""
    try:
        run_job.apply_async((job_id,), retry=False)
    except Exception:  # the job row is the truth; whatever the broker says must not fail the upload
        log.warning("broker did not take a wake-up", extra={"job": job_id})


@shared_task
def tick() -> None:
    """Show that a worker lives, wake jobs that are overdue, and start the periodic tasks that are due."""
    now = timezone.now()
    WorkerPulse.objects.update_or_create(name=socket.gethostname(), defaults={"seen_at": now})
    overdue = pipeline.due().filter(created_at__lt=now - timedelta(seconds=3)).order_by("run_after")
    for job_id in overdue.values_list("pk", flat=True)[:SWEEP_LIMIT]:
        wake(job_id)
    for name, task in PERIODIC.items():
        if claim_periodic(name, task.every_seconds):
            run_periodic.apply_async((name,), retry=False)


def claim_periodic(name: str, every_seconds: float) -> bool:
    """Return whether the periodic task is due, taking the turn in the same UPDATE."""
    now = timezone.now()
    taken = Periodic.objects.filter(name=name, started_at__lte=now - timedelta(seconds=every_seconds))
    if taken.update(started_at=now):
        return True
    _, is_new = Periodic.objects.get_or_create(name=name, defaults={"started_at": now})
    return is_new


@shared_task
def run_periodic(name: str) -> None:
    """Run one periodic task; an error is logged, its next turn comes by the clock."""
    try:
        PERIODIC[name].function()
    except Exception:
        log.exception("periodic task failed", extra={"kind": name})
