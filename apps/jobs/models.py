"""The durable truth about background work: Celery only carries wake-ups."""

from django.db import models
from django.utils import timezone

from apps.clinics.models import Clinic


class Job(models.Model):
    """One piece of work with a lease: claimed by one conditional UPDATE, re-queued by the sweep when the lease ends."""

    MAX_ATTEMPTS = 8

    class State(models.TextChoices):
        """Where the work stands."""

        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    kind = models.CharField(max_length=40)
    clinic = models.ForeignKey(Clinic, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    attempts = models.PositiveSmallIntegerField(default=0)
    run_after = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.CharField(max_length=32, blank=True, default="")
    # The class name of the last error, never its text: a message may quote the file.
    error = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["state", "run_after"], name="job_due"),
            models.Index(fields=["state", "lease_until"], name="job_leases"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Periodic(models.Model):
    """When a periodic task last began, so that two schedulers never run it twice."""

    name = models.CharField(max_length=60, primary_key=True)
    started_at = models.DateTimeField()


class WorkerPulse(models.Model):
    """A worker's last sign of life, read by /readyz."""

    name = models.CharField(max_length=120, primary_key=True)
    seen_at = models.DateTimeField()
