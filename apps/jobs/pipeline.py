"""Claim a job, work, commit its effects together with its end, or hand it back."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from apps.clinics.scoping import clinic_scope
from apps.jobs.errors import FinalError, UnknownKindError
from apps.jobs.models import Job, WorkerPulse
from apps.jobs.registry import HANDLERS, LONG_KINDS

log = logging.getLogger(__name__)
# Somebody else may be claiming the same one.
CLAIM_TRIES = 20


class LeaseLostError(Exception):
    """Another worker took the job over: its effects, not ours, count."""


def due(*, ignore_delay: bool = False) -> QuerySet[Job]:
    """Return the jobs that may be claimed now: queued and due, or running with an ended lease."""
    now = timezone.now()
    queued = Q(state=Job.State.QUEUED) if ignore_delay else Q(state=Job.State.QUEUED, run_after__lte=now)
    return Job.objects.filter(queued | Q(state=Job.State.RUNNING, lease_until__lt=now))


def claim(job_id: int, *, ignore_delay: bool = False) -> Job | None:
    """Take the job's lease by one conditional UPDATE, so that no lock is held; None when somebody else has it."""
    token = uuid.uuid4().hex
    taken = (
        due(ignore_delay=ignore_delay)
        .filter(pk=job_id)
        .update(
            state=Job.State.RUNNING,
            attempts=F("attempts") + 1,
            lease_token=token,
            lease_until=timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS),
        )
    )
    return Job.objects.select_related("clinic").get(pk=job_id) if taken else None


def claim_next(*, ignore_delay: bool = False) -> Job | None:
    """Claim a job of the clinic whose turn it is, the oldest of its own; None when nothing is due.

    Each clinic has a queue of its own, and each process goes round the clinics: ten thousand jobs of one delay the
    single one of another by one job (CONTROLS RATE-04). Long work leaves a worker free for what is short.
    """
    waiting = due(ignore_delay=ignore_delay)
    if LONG_KINDS and not _has_room_for_long_work():
        waiting = waiting.exclude(kind__in=LONG_KINDS)
    clinics = {clinic_id or 0 for clinic_id in waiting.order_by().values_list("clinic_id", flat=True).distinct()}
    for clinic_id in sorted(clinics, key=lambda each: (each <= _turn.last, each)):
        of_clinic = waiting.filter(Q(clinic=clinic_id) if clinic_id else Q(clinic=None)).order_by("run_after", "pk")
        for job_id in of_clinic.values_list("pk", flat=True)[:CLAIM_TRIES]:
            if job := claim(job_id, ignore_delay=ignore_delay):
                _turn.last = clinic_id
                return job
    return None


@dataclass
class _Turn:
    """Which clinic this process worked for last; 0 for work of no clinic."""

    last: int = -1


_turn = _Turn()


def _has_room_for_long_work() -> bool:
    running = Job.objects.filter(kind__in=LONG_KINDS, state=Job.State.RUNNING, lease_until__gte=timezone.now())
    room: int = max(1, settings.WORKERS - 1)
    return running.count() < room


def show_life() -> None:
    """Note that a worker of this machine lives, for /readyz."""
    WorkerPulse.objects.update_or_create(name=socket.gethostname(), defaults={"seen_at": timezone.now()})


class Heartbeat(threading.Thread):
    """Renews the lease while a handler works, so that long work is not taken for dead, nor the worker that does it."""

    def __init__(self, job: Job) -> None:
        super().__init__(daemon=True)
        self.job, self.stopped = job, threading.Event()

    def run(self) -> None:
        """Renew every third of the lease until stopped or taken over."""
        held = Job.objects.filter(pk=self.job.pk, lease_token=self.job.lease_token, state=Job.State.RUNNING)
        while not self.stopped.wait(settings.JOB_LEASE_SECONDS / 3):
            try:
                if not held.update(lease_until=timezone.now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)):
                    break
                show_life()
            except DatabaseError:
                # Busy or away for a moment: the next beat may still be in time, and if not, another worker takes over.
                log.warning("lease not renewed", extra={"job": self.job.pk, "kind": self.job.kind})
                connection.close()
        connection.close()


def run(job: Job) -> None:
    """Run a claimed job to its end: done, failed, or queued again with a growing delay."""
    if job.attempts > Job.MAX_ATTEMPTS:
        _give_up(job)
        return
    heartbeat = Heartbeat(job)
    heartbeat.start()
    ours = Job.objects.filter(pk=job.pk, lease_token=job.lease_token)
    try:
        with clinic_scope(job.clinic) if job.clinic else contextlib.nullcontext():
            if job.kind not in HANDLERS:
                raise UnknownKindError
            effects = HANDLERS[job.kind](job)
            with transaction.atomic():
                if effects:
                    effects()
                if not ours.update(state=Job.State.DONE, lease_until=None, error="", finished_at=timezone.now()):
                    raise LeaseLostError
    except LeaseLostError:
        log.warning("lease lost", extra={"job": job.pk, "kind": job.kind})
    except Exception as error:
        is_final = isinstance(error, FinalError) or job.attempts >= Job.MAX_ATTEMPTS
        log.exception("job failed" if is_final else "job will be tried again", extra={"job": job.pk, "kind": job.kind})
        delay = timedelta(seconds=min(600, 2**job.attempts))
        ours.update(
            state=Job.State.FAILED if is_final else Job.State.QUEUED,
            error=type(error).__name__,
            lease_until=None,
            run_after=timezone.now() + delay,
            finished_at=timezone.now() if is_final else None,
        )
    finally:
        heartbeat.stopped.set()


def _give_up(job: Job) -> None:
    """Fail a job that came back from every attempt without an end: it takes its workers along."""
    log.error("job given up: its workers died", extra={"job": job.pk, "kind": job.kind})
    Job.objects.filter(pk=job.pk, lease_token=job.lease_token).update(
        state=Job.State.FAILED, error="WorkerLost", lease_until=None, finished_at=timezone.now()
    )
