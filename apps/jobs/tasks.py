"""What Celery calls: run one job, and the tick that re-sends what was lost and starts what is due by the clock."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from celery import current_app, shared_task
from django.utils import timezone

from apps.jobs import pipeline
from apps.jobs.models import Job, Periodic
from apps.jobs.registry import PERIODIC, periodic

log = logging.getLogger(__name__)
SWEEP_LIMIT = 100
DONE_JOBS_KEPT = timedelta(days=7)


@shared_task
def run_job(job_id: int) -> None:
    """Run one job: not the one that the message names, which only says that there is work, but whose turn it is."""
    job = pipeline.claim_next()
    if job:
        pipeline.run(job)


def wake(job_id: int) -> None:
    """Tell a worker about a job; when the broker is away, the sweep will."""
    try:
        run_job.apply_async((job_id,), retry=False)
    except Exception:  # the job row is the truth; whatever the broker says must not fail the upload
        log.warning("broker did not take a wake-up", extra={"job": job_id})


def wake_periodic(name: str) -> None:
    """Run a periodic task before its turn; when the broker is away, its turn comes."""
    try:
        run_periodic.apply_async((name,), retry=False)
    except Exception:
        log.warning("broker did not take a wake-up", extra={"kind": name})


@shared_task
def tick() -> None:
    """Show that a worker lives, wake jobs that are overdue, and start the periodic tasks that are due."""
    pipeline.show_life()
    overdue = pipeline.due().filter(created_at__lt=timezone.now() - timedelta(seconds=3)).order_by("run_after")
    ids = overdue.values_list("pk", flat=True)
    # What a dead worker held is few and comes first; what is queued waits while the broker has enough for everybody,
    # or of a long queue every tick would send every message once more.
    for job_id in ids.filter(state=Job.State.RUNNING)[:SWEEP_LIMIT]:
        wake(job_id)
    for job_id in ids.filter(state=Job.State.QUEUED)[: max(0, SWEEP_LIMIT - messages_waiting())]:
        wake(job_id)
    for name, task in PERIODIC.items():
        if claim_periodic(name, task.every_seconds):
            run_periodic.apply_async((name,), retry=False)


def messages_waiting() -> int:
    """Return how many wake-ups the broker holds, 0 when it does not say."""
    queue = str(current_app.conf.task_default_queue)
    try:
        with current_app.connection_for_write() as broker:
            channel: Any = broker.default_channel
            return int(channel.queue_declare(queue, passive=True).message_count)
    except Exception:  # a broker that is away has nothing for anybody
        return 0


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


@periodic("jobs.forget", every_seconds=24 * 60 * 60)
def forget_done() -> None:
    """Delete jobs that were done a week ago; those that failed stay until somebody has looked at them."""
    Job.objects.filter(state=Job.State.DONE, finished_at__lt=timezone.now() - DONE_JOBS_KEPT).delete()
